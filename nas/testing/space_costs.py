"""The contract of a search space without its supernet: architectures, codes, drawing and costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter

import numpy as np
import pytest
import torch
from torch import nn

import search_spaces
from search_spaces import Architecture, SearchSpace, Workload
from search_spaces.phases import PhaseNetwork
from search_spaces.scaling import Scale
from search_spaces.space import Codes
from search_spaces.trace import trace


class SpaceCostsContract:
    """For a space that has no supernet; others subclass `nas.testing.spaces.SearchSpaceContract`, which has all of it.

    Override the class-scoped fixture `space`.

    Attributes:
        random_architectures: how many are looked at beside the smallest and the largest.
        rows_per_second: least speed of `SearchSpace.features` on one core.
    """

    random_architectures: int = 3
    rows_per_second: float = 1e5

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        raise NotImplementedError("a subclass of the contract overrides the fixture `space`")

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

    def test_named_architectures_are_of_the_space(self, space: SearchSpace) -> None:
        for name, values in space.named.items():
            architecture = space.architecture(name)
            assert architecture.values.items() >= values.items(), f"{name} sets a choice that has no effect"

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

    def test_workload_is_a_trace_of_the_network(self, space: SearchSpace, architectures: list[Architecture]) -> None:
        for architecture in architectures:
            for phase in space.phases:
                with torch.device("meta"):
                    network = space.build(architecture, phase)
                assert traced(space, network, architecture, phase) == space.workload(architecture, phase)

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
            idle_bytes = [workload.idle_weight_bytes for workload in workloads]
            np.testing.assert_array_equal(space.memory_bytes(codes, phase), weight_bytes + idle_bytes + peak_bytes)

    def test_parameters_are_those_of_the_network(
        self, space: SearchSpace, codes: Codes, architectures: list[Architecture]
    ) -> None:
        for row, architecture in zip(codes, architectures, strict=True):
            count = sum(parameter.numel() for parameter in space.build(architecture).parameters())
            assert space.parameters(row[None])[0] == count

    def test_scaled_networks_are_of_the_scaled_space(
        self, space: SearchSpace, codes: Codes, architectures: list[Architecture]
    ) -> None:
        if space.scaled is None:
            pytest.skip("this space does not say how its networks are scaled")
        for row, architecture in zip(codes[:5], architectures[:5], strict=True):
            for scale in (Scale(2, 1, 1), Scale(1, 2, 1), Scale(1, 1, 2)):
                larger, found = space.scaled(architecture, scale)
                assert larger.architectures(larger.codes([found])) == [found]
                assert larger.macs(larger.codes([found]))[0] > space.macs(row[None])[0]
                assert search_spaces.get(larger.name, **larger.options).fingerprint == larger.fingerprint

    def test_features_are_fast(self, space: SearchSpace) -> None:
        codes = space.random_codes(20_000, np.random.default_rng(0))
        space.features(codes, space.phases[0])  # fills the tables of the slots
        assert len(codes) / _least_seconds(lambda: space.features(codes, space.phases[0])) > self.rows_per_second

    # --------------------------------------------------------------- wrong use

    def test_wrong_codes_raise(self, space: SearchSpace, codes: Codes) -> None:
        features = partial(space.features, phase=space.phases[0])
        for function in (space.canonical, features, space.architectures):
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


def traced(space: SearchSpace, network: nn.Module, architecture: Architecture, phase: str) -> Workload:
    """The workload of a whole network (on the meta device) in a phase, where that of the space is put together from slots."""
    variants = space.variants(architecture, phase)
    shapes = tuple(space.input_shapes(architecture, phase).values())
    return trace(PhaseNetwork(network, variants), shapes, bool(next(iter(variants.values())).indices))


def _least_seconds(function: Callable[[], object]) -> float:
    seconds = []
    for _ in range(7):
        started = perf_counter()
        function()
        seconds.append(perf_counter() - started)
    return min(seconds)
