"""The contract of a search space: one definition of the network, whoever looks at it."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas.export.onnx_model import to_onnx
from nas.testing.space_costs import SpaceCostsContract, traced
from search_spaces import Architecture, SearchSpace
from search_spaces.elastic import ElasticLayer
from search_spaces.phases import PhaseNetwork
from search_spaces.space import Codes
from search_spaces.supernet import Supernet


class SearchSpaceContract(SpaceCostsContract):
    """Subclass it as `TestMySpace` and override the class-scoped fixture `space`; small networks make it quick."""

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, space: SearchSpace) -> Supernet:
        """A supernet in evaluation mode in which no tensor has its initial value; tests must not change it."""
        return scrambled(space)

    # ------------------------------------------------------------------- costs

    def test_workload_is_a_trace_of_the_extracted_network(
        self, space: SearchSpace, architectures: list[Architecture], trained: Supernet
    ) -> None:
        supernet = deepcopy(trained)
        for architecture in architectures:
            network = supernet.extract(architecture).to("meta")
            for phase in space.phases:
                assert traced(space, network, architecture, phase) == space.workload(architecture, phase)

    def test_macs_are_half_of_the_operations_that_torch_counts(
        self, space: SearchSpace, codes: Codes, architectures: list[Architecture], trained: Supernet
    ) -> None:
        supernet = deepcopy(trained)
        for row, architecture in zip(codes, architectures, strict=True):
            network = supernet.extract(architecture)
            for phase in space.phases:
                running = PhaseNetwork(network, space.variants(architecture, phase))
                with FlopCounterMode(display=False) as counter, torch.no_grad():
                    running(*_inputs(supernet, architecture, 1, phase))
                assert space.macs(row[None], phase)[0] == counter.get_total_flops() / 2

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
        network, space = supernet.extract(architecture), supernet.space
        for phase in space.phases:
            running = PhaseNetwork(network, space.variants(architecture, phase)).eval()
            content = to_onnx(running, supernet.example_inputs(architecture, phase))
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            names = [entry.name for entry in session.get_inputs()]
            for batch in (1, 5):
                inputs = _inputs(supernet, architecture, batch, phase)
                feed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
                with torch.no_grad():
                    expected = running(*inputs)
                wanted = expected if isinstance(expected, tuple) else (expected,)
                for found, output in zip(session.run(None, feed), wanted, strict=True):
                    np.testing.assert_allclose(found, output, rtol=1e-3, atol=1e-4 * float(output.abs().max()))

    # --------------------------------------------------------------- wrong use

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


def _inputs(supernet: Supernet, architecture: Architecture, batch: int, phase: str | None = None) -> list[Tensor]:
    """Example inputs of the network, repeatable, `batch` different ones."""
    torch.manual_seed(batch)
    examples = [supernet.example_inputs(architecture, phase) for _ in range(batch)]
    return [torch.cat([example[name] for example in examples]) for name in examples[0]]


def _loss(outputs: Tensor) -> Tensor:
    """A loss whose gradient is not the same for all outputs."""
    return (outputs * torch.linspace(-1, 2, outputs.numel()).view_as(outputs)).mean() + outputs.square().mean()
