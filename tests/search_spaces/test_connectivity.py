"""Numbers and lengths of paths, against walking along every path and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

import search_spaces
from search_spaces.workload import Workload


def lengths(workload: Workload, tensor: int) -> list[int]:
    """Of every path from the first input to a tensor, by walking back from it."""
    if tensor == workload.inputs[0]:
        return [0]
    op = next((op for op in workload.ops if tensor in op.outputs), None)
    if op is None or op.kind == "zero":
        return []
    step = int(op.kind in ("conv", "linear"))
    return [length + step for source in op.inputs for length in lengths(workload, source)]


def expected(found: list[int]) -> list[float]:
    return [np.log1p(len(found)), max(found), min(found), float(np.mean(found))] if found else [0.0] * 4


SMALL = {
    "nasbench201": {"cells": 1},
    "convnet": {"depths": [[1, 2], [1, 2]], "widths": [[16, 24], [24, 32]], "strides": [1, 2]},
    "efficient-hybrid": {
        "preset": "small-images", "stem_strides": [2], "widths": [[16, 24], [32]], "strides": [1, 2],
        "depths": [[0, 1], [1]], "first_kinds": [["fused"], ["fused"]],
        "kinds": [["conv_ffn", "fused"], ["single_head_attention", "small_kernel"]],
    },
    "hybrid-slm": {
        "vocabulary": 20, "prefill": [6], "decode": [4], "widths": [8, 12], "depths": [1, 2], "heads": 2, "kv_heads": [1, 2],
        "mixers": ["skip", "short_convolution", "sliding_window", "attention"], "windows": [4, 6], "ratios": [1, 2],
    },
    "vit": {"resolutions": [32], "patches": [8, 16], "widths": [32, 64], "depths": [1, 2], "heads": [1, 2], "ratios": [1, 2, 3]},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(search_spaces.names()) - {"hat"}))
def test_every_path_is_counted(name: str) -> None:
    space = search_spaces.get(name, **SMALL.get(name, {}))
    smallest = np.repeat(space.codes([space.smallest()]), 60, axis=0)
    near = np.concatenate([smallest[:1], space.mutate(smallest, 0.1, np.random.default_rng(1))])
    few = space.architectures(near[space.connectivity(near)[:, 0] < np.log(20_000)])
    assert len(set(few)) > 5
    for architecture in few[:30]:
        workload = space.workload(architecture)
        walked = expected(lengths(workload, workload.outputs[0]))
        np.testing.assert_allclose(space.connectivity(space.codes([architecture]))[0], walked)


def test_cells_multiply_the_paths() -> None:
    """All cells of NAS-Bench-201 are alike: lengths add up, and numbers of paths multiply."""
    space = search_spaces.get("nasbench201")
    codes = space.random_codes(300, np.random.default_rng(0))
    none, skip, pool = (space.choices[0].options.index(name) for name in ("none", "skip_connect", "avg_pool_3x3"))
    rows = []
    for e10, e20, e21, e30, e31, e32 in codes.tolist():
        paths = [(e30,), (e10, e31), (e20, e32), (e10, e21, e32)]
        found = [sum(edge not in (skip, pool) for edge in path) for path in paths if none not in path]
        # Fifteen cells; two reductions with one or two convolutions; stem and classifier.
        rows.append(
            [np.log1p(len(found) ** 15.0 * 4), 15 * max(found) + 6, 15 * min(found) + 4, 15 * np.mean(found) + 5]
            if found
            else [0.0] * 4
        )
    np.testing.assert_allclose(space.connectivity(codes), np.array(rows))


def test_hat_decoder_has_a_path_for_each_phase() -> None:
    space = search_spaces.get("hat")
    codes = space.random_codes(50, np.random.default_rng(0))
    for phase in space.phases:
        columns = space.connectivity(codes, phase)
        assert np.isfinite(columns).all()
        assert (columns[:, 1] >= columns[:, 3]).all()
        assert (columns[:, 3] >= columns[:, 2]).all()
    np.testing.assert_array_equal(space.connectivity(codes), space.connectivity(codes, space.phases[0]))
    with pytest.raises(ValueError, match="no phase 'inference'"):
        space.connectivity(codes, "inference")


def test_without_slots_the_input_is_the_output() -> None:
    space = search_spaces.SearchSpace("empty", (search_spaces.Choice("a", (1, 2)),), ())
    np.testing.assert_allclose(space.connectivity(np.array([[0], [1]])), [expected([0])] * 2)
