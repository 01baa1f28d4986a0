from __future__ import annotations

import numpy as np
import pytest

import search_spaces
from search_spaces import SearchSpace
from search_spaces.workload import COSTS


@pytest.fixture(scope="module")
def small() -> SearchSpace:
    return search_spaces.get("convnet", resolutions=(8, 12), in_channels=1, stem=16, widths=((16,), (32,)),
                             strides=(1, 2), depths=((1, 2), (1, 2)), head=64)  # fmt: skip


def test_sums_of_all_costs_are_the_features(small: SearchSpace) -> None:
    slots, codes = small.slot_workloads(), small.random_codes(200, np.random.default_rng(0))

    def costs() -> np.ndarray:
        return np.array([[workload.costs()[name] for name in COSTS] for workload in slots.workloads], dtype=np.float64)

    np.testing.assert_array_equal(slots.sums(codes, costs), small.features(codes))
    assert slots.sums(codes[:0], costs).shape == (0, len(COSTS))


def test_a_number_counts_the_slots_that_run_its_workload(small: SearchSpace) -> None:
    slots, codes = small.slot_workloads(), small.random_codes(50, np.random.default_rng(1))
    counts = slots.sums(codes, lambda: np.eye(len(slots.workloads)))
    for row, architecture in zip(counts, small.architectures(codes), strict=True):
        blocks = [small.variant_workload(variant) for variant in small.variants(architecture).values()]
        np.testing.assert_array_equal(row, [blocks.count(workload) for workload in slots.workloads])


def test_numbers_stay_and_equal_workloads_share_one(small: SearchSpace) -> None:
    slots = small.slot_workloads()
    slots.number(small.codes([small.largest()]))
    before = slots.workloads
    slots.number_all(1000)
    assert slots.workloads[: len(before)] == before
    assert len(set(slots.workloads)) == len(slots.workloads)
    again = small.slot_workloads()
    again.number_all(len(slots.workloads))  # exactly as many as there are
    assert set(again.workloads) == set(slots.workloads)


def test_bad_input_raises(small: SearchSpace) -> None:
    with pytest.raises(ValueError, match="phase 'decode'"):
        small.slot_workloads("decode")
    with pytest.raises(ValueError, match="more than 7 distinct blocks"):
        small.slot_workloads().number_all(7)
