"""The contract of a search space: one definition of the network, whoever looks at it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from time import perf_counter

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas.export.onnx_model import to_onnx
from search_spaces import Architecture, SearchSpace
from search_spaces.elastic import ElasticLayer
from search_spaces.space import Codes
from search_spaces.supernet import Supernet
from search_spaces.trace import trace


class SearchSpaceContract:
    """Subclass it as `TestMySpace` and override the class-scoped fixture `space`; small networks make it quick.

    Attributes:
        random_architectures: how many are looked at beside the smallest and the largest.
        rows_per_second: least speed of `SearchSpace.features` on one core.
    """

    random_architectures: int = 3
    rows_per_second: float = 1e5

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        raise NotImplementedError("a subclass of SearchSpaceContract overrides the fixture `space`")

    @pytest.fixture(scope="class")
    @classmethod
    def codes(cls, space: SearchSpace) -> Codes:
        """Canonical codes of the smallest, the largest and some random architectures."""
        ends = space.codes([space.smallest(), space.largest()])
        return np.concatenate([ends, space.random_codes(cls.random_architectures, np.random.default_rng(7))])

    @pytest.fixture(scope="class")
    @classmethod
    def architectures(cls, space: SearchSpace, codes: Codes) -> list[Architecture]:
        return space.architectures(codes)

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, space: SearchSpace) -> Supernet:
        """A supernet in evaluation mode in which no tensor has its initial value; tests must not change it."""
        return scrambled(space)

    # ----------------------------------------------------------------- identity

    def test_json_changes_nothing(self, architectures: list[Architecture]) -> None:
        for architecture in architectures:
            read = Architecture.from_json(architecture.to_json())
            assert read == architecture
            assert read.key == architecture.key

    def test_codes_and_architectures_are_inverse(
        self, space: SearchSpace, codes: Codes, architectures: list[Architecture]
    ) -> None:
        np.testing.assert_array_equal(space.codes(architectures), codes)
        assert space.architectures(space.codes(architectures)) == architectures

    def test_canonical_is_idempotent(self, space: SearchSpace) -> None:
        radices = [len(choice.options) for choice in space.choices]
        raw = np.random.default_rng(0).integers(0, radices, size=(50, len(radices)))
        once = space.canonical(raw)
        np.testing.assert_array_equal(space.canonical(once), once)
        np.testing.assert_array_equal(once[space.active(raw)], raw[space.active(raw)])

    def test_inactive_choices_have_no_effect(
        self, space: SearchSpace, codes: Codes, architectures: list[Architecture]
    ) -> None:
        for row, architecture, active in zip(codes, architectures, space.active(codes), strict=True):
            changed = [
                choice.options[index if on else -1]
                for choice, index, on in zip(space.choices, row, active, strict=True)
            ]
            raw = Architecture(space.name, tuple(zip(architecture.values, changed, strict=True)))
            assert space.architectures(space.codes([raw]))[0].key == architecture.key
            for phase in space.phases:
                # Straight from the slots, which know nothing of canonical codes.
                variants = {
                    slot.name: slot.variant({name: raw.values[name] for name in slot.choices}, phase)
                    for slot in space.slots
                }
                assert {n: v for n, v in variants.items() if v is not None} == space.variants(architecture, phase)

    def test_active_choices_have_an_effect(
        self, space: SearchSpace, codes: Codes, architectures: list[Architecture]
    ) -> None:
        for row, architecture, active in zip(codes, architectures, space.active(codes), strict=True):
            for column, choice in enumerate(space.choices):
                if not active[column] or len(choice.options) == 1:
                    continue
                changed = row.copy()
                changed[column] = (row[column] + 1) % len(choice.options)
                other = space.architectures(changed[None])[0]
                assert other.key != architecture.key
                assert any(space.variants(other, p) != space.variants(architecture, p) for p in space.phases)

    # ----------------------------------------------------------------- drawing

    def test_samples_are_distinct_and_repeatable(self, space: SearchSpace) -> None:
        n = min(space.size, 200)
        sample = space.sample(n, seed=0)
        assert len({architecture.key for architecture in sample}) == n
        assert sample == space.sample(n, seed=0)
        assert n == space.size or sample != space.sample(n, seed=1)

    def test_more_samples_than_architectures_raise(self, space: SearchSpace) -> None:
        with pytest.raises(ValueError, match="fewer than"):
            space.sample(space.size + 1, seed=0)

    def test_mutation_keeps_or_redraws(self, space: SearchSpace) -> None:
        rng = np.random.default_rng(0)
        parents = space.random_codes(500, rng)
        before = parents.copy()
        np.testing.assert_array_equal(space.mutate(parents, 0.0, rng), parents)
        for rate in (0.2, 1.0):
            children = space.mutate(parents, rate, rng)
            np.testing.assert_array_equal(space.canonical(children), children)
            assert (children != parents).any()
        np.testing.assert_array_equal(parents, before)

    def test_crossover_takes_from_the_parents(self, space: SearchSpace) -> None:
        rng = np.random.default_rng(0)
        a, b = space.random_codes(300, rng), space.random_codes(300, rng)
        children = space.crossover(a, b, rng)
        np.testing.assert_array_equal(space.canonical(children), children)
        active = space.active(children)
        assert ((children == a) | (children == b))[active].all()
        assert (children != a).any()
        assert (children != b).any()
        np.testing.assert_array_equal(space.crossover(a, a, rng), a)

    # ------------------------------------------------------------------- costs

    def test_the_smallest_costs_no_more_than_the_largest(self, space: SearchSpace, codes: Codes) -> None:
        for phase in space.phases:
            assert space.macs(codes[:1], phase)[0] <= space.macs(codes[1:2], phase)[0]
        assert space.parameters(codes[:1])[0] <= space.parameters(codes[1:2])[0]

    def test_workload_is_a_trace_of_the_extracted_network(
        self, space: SearchSpace, architectures: list[Architecture], trained: Supernet
    ) -> None:
        supernet = deepcopy(trained)
        for architecture in architectures:
            network = supernet.extract(architecture).to("meta")
            shapes = tuple(space.input_shapes(architecture).values())
            assert trace(network, shapes) == space.workload(architecture, space.phases[0])

    def test_features_are_sums_of_the_workload(
        self, space: SearchSpace, codes: Codes, architectures: list[Architecture]
    ) -> None:
        for phase in space.phases:
            names = space.feature_names(phase)
            workloads = [space.workload(architecture, phase) for architecture in architectures]
            expected = [[sum(op.costs()[name] for op in workload.ops) for name in names] for workload in workloads]
            np.testing.assert_array_equal(space.features(codes, phase), expected)
            np.testing.assert_array_equal(space.macs(codes, phase), [workload.macs for workload in workloads])
            weight_bytes = np.array(expected)[:, names.index("weight_bytes")]
            peak_bytes = [workload.peak_activation_bytes for workload in workloads]
            np.testing.assert_array_equal(space.memory_bytes(codes, phase), weight_bytes + peak_bytes)

    def test_macs_are_half_of_the_operations_that_torch_counts(
        self, space: SearchSpace, codes: Codes, architectures: list[Architecture], trained: Supernet
    ) -> None:
        supernet = deepcopy(trained)
        for row, architecture in zip(codes, architectures, strict=True):
            network = supernet.extract(architecture)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                network(*_inputs(supernet, architecture, 1))
            assert space.macs(row[None], space.phases[0])[0] == counter.get_total_flops() / 2

    def test_parameters_are_those_of_the_network(
        self, space: SearchSpace, codes: Codes, architectures: list[Architecture]
    ) -> None:
        for row, architecture in zip(codes, architectures, strict=True):
            count = sum(parameter.numel() for parameter in space.build(architecture).parameters())
            assert space.parameters(row[None])[0] == count

    def test_features_are_fast(self, space: SearchSpace) -> None:
        codes = space.random_codes(20_000, np.random.default_rng(0))
        space.features(codes, space.phases[0])  # fills the tables of the slots
        assert len(codes) / _least_seconds(lambda: space.features(codes, space.phases[0])) > self.rows_per_second

    # ---------------------------------------------------------------- networks

    def test_activate_equals_extract(self, architectures: list[Architecture], trained: Supernet) -> None:
        supernet = deepcopy(trained)
        outputs = []
        for architecture in architectures:
            inputs = _inputs(supernet, architecture, 3)
            network = supernet.extract(architecture)
            supernet.activate(architectures[0])
            supernet.activate(architecture)
            with torch.no_grad():
                outputs.append(supernet(*inputs))
                torch.testing.assert_close(network(*inputs), outputs[-1])
        # Constant outputs would agree whatever the weights are.
        assert all(output.std() > 0 for output in outputs)
        assert not torch.equal(outputs[0], outputs[1])

    def test_activate_equals_extract_in_training(self, architectures: list[Architecture], trained: Supernet) -> None:
        supernet = deepcopy(trained).train()
        for architecture in architectures:
            inputs = _inputs(supernet, architecture, 3)
            network = supernet.extract(architecture)
            assert network.training
            supernet.activate(architecture)
            torch.manual_seed(0)
            output = supernet(*inputs)
            torch.manual_seed(0)
            torch.testing.assert_close(network(*inputs), output)
            # The running statistics went to the places that the architecture reads.
            torch.testing.assert_close(supernet.extract(architecture).state_dict(), network.state_dict())

    def test_extracted_networks_are_static(
        self, space: SearchSpace, architectures: list[Architecture], trained: Supernet
    ) -> None:
        supernet = deepcopy(trained)
        for architecture in architectures:
            network = supernet.extract(architecture)
            assert not any(isinstance(module, ElasticLayer) for module in network.modules())
            fresh = space.build(architecture).state_dict()
            state = network.state_dict()
            assert {name: tensor.shape for name, tensor in state.items()} == {
                name: tensor.shape for name, tensor in fresh.items()
            }
            assert all(parameter.requires_grad for parameter in network.parameters())

    def test_extracted_weights_are_copies(self, architectures: list[Architecture], trained: Supernet) -> None:
        supernet = deepcopy(trained)
        before = deepcopy(supernet.state_dict())
        for architecture in architectures:
            network = supernet.extract(architecture)
            with torch.no_grad():
                for tensor in network.state_dict().values():
                    tensor.add_(1)
        for name, tensor in supernet.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    def test_extract_draws_no_random_numbers(self, architectures: list[Architecture], trained: Supernet) -> None:
        supernet = deepcopy(trained)
        before = torch.get_rng_state()
        supernet.extract(architectures[-1])
        assert torch.equal(torch.get_rng_state(), before)

    def test_gradients_reach_every_active_parameter(self, architectures: list[Architecture], trained: Supernet) -> None:
        """Of a sandwich of paths with a single backward pass: the sum of the gradients of the static networks."""
        supernet = deepcopy(trained).train()
        names: dict[tuple[str, str], None] = {}
        losses = []
        for architecture in architectures:
            inputs = _inputs(supernet, architecture, 4)
            network = supernet.extract(architecture)
            _loss(network(*inputs)).backward()
            for name, parameter in network.named_parameters():
                if parameter.grad is not None and parameter.grad.any():
                    slot, _, rest = name.partition(".")
                    names[slot, rest] = None
            losses.append(_loss(supernet(*inputs)))
        torch.stack(losses).sum().backward()
        reached = set()
        for name, parameter in supernet.slots.named_parameters():
            slot, _, rest = name.split(".", 2)
            if parameter.grad is not None and parameter.grad.any():
                assert parameter.grad.isfinite().all(), name
                reached.add((slot, rest))
        assert names
        assert names.keys() <= reached

    def test_sorting_channels_keeps_the_largest_network(self, space: SearchSpace, trained: Supernet) -> None:
        supernet, largest = deepcopy(trained), space.largest()
        inputs = _inputs(supernet, largest, 3)
        supernet.activate(largest)
        with torch.no_grad():
            before = supernet(*inputs)
            supernet.sort_channels()
            torch.testing.assert_close(supernet(*inputs), before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))

    def test_onnx_runtime_computes_the_same(self, architectures: list[Architecture], trained: Supernet) -> None:
        supernet, architecture = deepcopy(trained), architectures[-1]
        network = supernet.extract(architecture)
        content = to_onnx(network, supernet.example_inputs(architecture))
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
        for batch in (1, 5):
            inputs = _inputs(supernet, architecture, batch)
            feed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
            (found,) = session.run(None, feed)
            with torch.no_grad():
                expected = network(*inputs)
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))

    # --------------------------------------------------------------- wrong use

    def test_wrong_codes_raise(self, space: SearchSpace, codes: Codes) -> None:
        for function in (space.canonical, space.features, space.architectures):
            with pytest.raises(ValueError, match="columns"):
                function(codes[:, :-1])
            with pytest.raises(ValueError, match="outside the options"):
                function(codes - 1_000)
            with pytest.raises(ValueError, match="integer matrix"):
                function(codes.astype(np.float64))

    def test_an_unknown_phase_raises(self, space: SearchSpace, codes: Codes) -> None:
        with pytest.raises(ValueError, match="no phase 'dreaming'"):
            space.features(codes, "dreaming")
        with pytest.raises(ValueError, match="no phase 'dreaming'"):
            space.workload(space.smallest(), "dreaming")

    def test_an_architecture_of_another_space_raises(self, trained: Supernet) -> None:
        with pytest.raises(ValueError, match="belongs to space 'elsewhere'"):
            trained.activate(Architecture("elsewhere", ()))


def scrambled(space: SearchSpace) -> Supernet:
    """A new supernet in evaluation mode in which no tensor has its initial value.

    Weights are perturbed and trained a little. Normalisation gets the statistics of real activations, then other ones
    of the same size, so that signals neither vanish nor explode.
    """
    torch.manual_seed(3)
    supernet = space.build_supernet()
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    optimiser = torch.optim.SGD(supernet.parameters(), lr=0.01)
    paths = [space.largest(), space.smallest(), *space.sample(min(6, space.size), 11)]
    for architecture in paths * 3:
        supernet.activate(architecture)
        with torch.enable_grad():
            _loss(supernet(*_inputs(supernet, architecture, 4))).backward()
        nn.utils.clip_grad_norm_(supernet.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    buffers = dict(supernet.named_buffers())
    for name, mean in buffers.items():
        if name.endswith("running_mean"):
            var = buffers[name.removesuffix("mean") + "var"]
            mean.add_(0.3 * var.sqrt() * torch.randn_like(mean))
            var.mul_(0.5 + torch.rand_like(var))
    supernet.activate(space.largest())
    return supernet.eval()


def _inputs(supernet: Supernet, architecture: Architecture, batch: int) -> list[Tensor]:
    """Example inputs of the network, repeatable, `batch` different ones."""
    torch.manual_seed(batch)
    examples = [supernet.example_inputs(architecture) for _ in range(batch)]
    return [torch.cat([example[name] for example in examples]) for name in examples[0]]


def _loss(outputs: Tensor) -> Tensor:
    """A loss whose gradient is not the same for all outputs."""
    return (outputs * torch.linspace(-1, 2, outputs.numel()).view_as(outputs)).mean() + outputs.square().mean()


def _least_seconds(function: Callable[[], object]) -> float:
    seconds = []
    for _ in range(7):
        started = perf_counter()
        function()
        seconds.append(perf_counter() - started)
    return min(seconds)
