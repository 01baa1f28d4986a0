"""The spaces of published tables: the contract at small sizes, MACs and parameters by hand, and the tables' encodings."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

import search_spaces
from latency_predictors.devices import parity
from latency_predictors.devices.measuring import random_inputs
from latency_predictors.devices.onnxruntime import OnnxRuntime
from latency_predictors.devices.timing_graph import timing_graph
from nas.testing.spaces import SearchSpaceContract
from search_spaces import SearchSpace
from search_spaces.convnet.fbnet import shuffle
from search_spaces.elastic import ElasticOneOf
from search_spaces.layers import Layers
from search_spaces.supernet import Supernet
from search_spaces.tabular import accel_nasbench, fbnet, nasbench201


class TestFbnetOfDigits(SearchSpaceContract):
    """Layers that keep, change and halve the shape."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "fbnet",
            resolution=9,
            in_channels=1,
            classes=5,
            stem=8,
            widths=(8, 16),
            strides=(1, 2),
            depths=(1, 2),
            head=24,
        )


class TestNasbench201OfDigits(SearchSpaceContract):
    """All operations on all edges."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get("nasbench201", resolution=8, in_channels=1, classes=5, width=4, cells=1)


class TestAccelNasbenchOfDigits(SearchSpaceContract):
    """All four kinds of block, two depths, strides of 1 and 2."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "accel-nasbench",
            resolution=9,
            in_channels=1,
            classes=5,
            stem=8,
            stem_stride=1,
            widths=(8, 16),
            strides=(1, 2),
            expansions=(1, 2, 3),
            depths=((1, 2), (1, 3)),
            head=24,
        )


# ------------------------------------------------------------------------------------------------ NAS-Bench-201


@pytest.fixture(scope="module")
def bench() -> SearchSpace:
    return search_spaces.get("nasbench201")


def test_the_cell_of_3x3_convolutions_costs_what_the_paper_says(bench: SearchSpace) -> None:
    codes = nasbench201.codes_of(["333333"])
    assert bench.macs(codes)[0] == 220_119_680  # 220.12 M
    assert bench.parameters(codes)[0] == 1_531_546  # 1.5315 M


@pytest.mark.parametrize("ops", ["000000", "123401", "222222", "414141", "300213", "132132"])
@pytest.mark.parametrize(("width", "cells", "classes", "size"), [(16, 5, 10, 32), (8, 3, 120, 16)])
def test_macs_and_parameters_of_cells_by_hand(ops: str, width: int, cells: int, classes: int, size: int) -> None:
    space = search_spaces.get("nasbench201", width=width, cells=cells, classes=classes, resolution=size)
    taps = sum({"2": 1, "3": 9}.get(op, 0) for op in ops)
    convolutions = sum(op in "23" for op in ops)
    c = width
    macs = 27 * c * size**2 + 4 * c * classes
    parameters = 27 * c + 2 * c + 2 * 4 * c + (4 * c + 1) * classes
    for stage in range(3):
        channels, pixels = c * 2**stage, (size // 2**stage) ** 2
        macs += cells * taps * channels**2 * pixels
        parameters += cells * (taps * channels**2 + convolutions * 2 * channels)
        if stage > 0:
            weights = 9 * channels * (channels // 2) + 9 * channels**2 + channels * (channels // 2)
            macs += weights * pixels
            parameters += weights + 4 * channels
    codes = nasbench201.codes_of([ops])
    assert (space.macs(codes)[0], space.parameters(codes)[0]) == (macs, parameters)


def test_a_network_computes_what_the_definition_of_the_cell_says() -> None:
    """Against a cell written down here from the paper, with the weights of the network."""
    space = search_spaces.get("nasbench201", width=4, cells=1, resolution=8)
    for ops in ("341230", "123434", "130143", "012304"):
        torch.manual_seed(1)
        network = space.build(space.architectures(nasbench201.codes_of([ops]))[0]).eval()
        modules = dict(network.named_children())
        x = modules["stem"](torch.randn(2, 3, 8, 8))
        expected = x
        for stage in (1, 2, 3):
            if stage > 1:
                expected = modules[f"reduction{stage - 1}"](expected)
            nodes = [expected]
            for node, numbers in ((1, ops[:1]), (2, ops[1:3]), (3, ops[3:])):
                name = f"stage{stage}_cell1_node{node}"
                terms = [edge(op, nodes[i], modules, name, i) for i, op in enumerate(numbers)]
                nodes.append(torch.stack(terms).sum(0))
            expected = nodes[-1]
        for module in list(network)[1:-1]:
            x = module(x)
        torch.testing.assert_close(x, expected)


def edge(op: str, x: torch.Tensor, modules: dict[str, nn.Module], node: str, source: int) -> torch.Tensor:
    if op in "23":
        branch = modules[node].get_submodule(f"edges.{source}.options.option{op}")
        normalised: torch.Tensor = branch.get_submodule("norm")(branch.get_submodule("conv")(torch.relu(x)))
        return normalised
    if op == "4":  # the mean over those of the 3 x 3 pixels that exist
        ones = torch.ones(1, 1, 3, 3)
        sums, counts = (
            nn.functional.conv2d(values.flatten(0, 1)[:, None], ones, padding=1).view_as(x)
            for values in (x, torch.ones_like(x))
        )
        return sums / counts
    return x if op == "1" else torch.zeros_like(x)


@pytest.mark.parametrize(
    ("ops", "connected"),
    [("000000", False), ("333000", False), ("000004", False), ("033000", False), ("300040", True), ("000100", True)],
)
def test_cells_without_a_path_give_the_same_for_every_image(ops: str, connected: bool) -> None:
    space = search_spaces.get("nasbench201", width=4, cells=1, resolution=8)
    (architecture,) = space.architectures(nasbench201.codes_of([ops]))
    supernet = Supernet(space).eval()
    supernet.activate(architecture)
    with torch.no_grad():
        a, b = supernet(torch.randn(2, 3, 8, 8))
    assert torch.equal(a, b) != connected
    assert a.isfinite().all()
    images = {"input0": np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)}
    session = OnnxRuntime().prepare(timing_graph(space.workload(architecture)))
    found, other = (session.run({"input0": image})["output0"] for image in (images["input0"], -2 * images["input0"]))
    assert np.array_equal(found, other) != connected


@pytest.mark.parametrize("name", ["nasbench201", "fbnet", "accel-nasbench"])
def test_timing_graphs_give_what_torch_gives(name: str) -> None:
    space = search_spaces.get(name, resolution=16)
    for architecture in (space.largest(), *space.sample(3, seed=0)):
        model = timing_graph(space.workload(architecture), batch=2)
        session = OnnxRuntime().prepare(model)
        parity.check(OnnxRuntime(), session, model, random_inputs(session, np.random.default_rng(0)))


def test_encoding_of_all_cells() -> None:
    ops = ["".join(digits) for digits in product("01234", repeat=6)]
    codes = nasbench201.codes_of(ops)
    assert codes.shape == (15_625, 6)
    assert len(np.unique(codes, axis=0)) == 15_625
    assert nasbench201.ops_of(codes) == ops


def test_encoding_names_edges_and_operations(bench: SearchSpace) -> None:
    (architecture,) = bench.architectures(nasbench201.codes_of(["012340"]))
    assert architecture.values == {
        "edge1_0": "none",
        "edge2_0": "skip_connect",
        "edge2_1": "nor_conv_1x1",
        "edge3_0": "nor_conv_3x3",
        "edge3_1": "avg_pool_3x3",
        "edge3_2": "none",
    }
    assert bench.size == 15_625


@pytest.mark.parametrize("text", ["", "12345", "123450", "1234444", "12 444", "-12344"])
def test_what_is_no_cell_raises(text: str) -> None:
    with pytest.raises(ValueError, match="expected six digits from 0 to 4"):
        nasbench201.codes_of(["111111", text])


# -------------------------------------------------------------------------------------------------------- FBNet

KINDS = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1))


def fbnet_by_hand(blocks: list[int]) -> tuple[int, int]:
    """MACs and parameters of the CIFAR-100 variant, from the paper's figures 2 and 3."""
    layers = [(16, 16, 1)]
    for before, after, stride in zip((16, 24, 32, 64, 112), (24, 32, 64, 112, 184), (1, 2, 2, 1, 2), strict=True):
        layers += [(before, after, stride)] + 3 * [(after, after, 1)]
    layers.append((184, 352, 1))
    size, macs, parameters = 32, 27 * 16 * 32**2, 27 * 16 + 2 * 16
    for block, (c, d, stride) in zip(blocks, layers, strict=True):
        out = size // stride
        if block < 8:
            kernel, expansion, groups = KINDS[block]
            hidden = c * expansion
            first, middle, last = c * hidden // groups, hidden * kernel**2, hidden * d // groups
            macs += first * size**2 + (middle + last) * out**2
            parameters += first + middle + last + 2 * (hidden + hidden + d)
        elif stride == 2 or c != d:
            macs += c * d * out**2
            parameters += c * d + 2 * d
        size = out
    macs += 352 * 1504 * size**2 + 1504 * 100
    return macs, parameters + 352 * 1504 + 2 * 1504 + 1504 * 100 + 100


def test_macs_and_parameters_of_fbnet_by_hand() -> None:
    space = search_spaces.get("fbnet")
    rows = [[block] * 22 for block in range(9)] + np.random.default_rng(0).integers(0, 9, (40, 22)).tolist()
    codes = fbnet.codes_of(["_".join(map(str, row)) for row in rows])
    expected = np.array([fbnet_by_hand(row) for row in rows])
    np.testing.assert_array_equal(space.macs(codes), expected[:, 0])
    np.testing.assert_array_equal(space.parameters(codes), expected[:, 1])
    assert space.size == 9**22


def test_encoding_of_fbnet() -> None:
    space = search_spaces.get("fbnet")
    rows = np.random.default_rng(1).integers(0, 9, (200, 22)).tolist()
    ops = ["_".join(map(str, row)) for row in rows]
    codes = fbnet.codes_of(ops)
    assert fbnet.ops_of(codes) == ops
    for row, architecture in zip(rows, space.architectures(codes), strict=True):
        names = [f"k{k}_e{e}" + (f"_g{g}" if g > 1 else "") for k, e, g in KINDS] + ["skip"]
        assert list(architecture.values.values()) == [names[number] for number in row]


@pytest.mark.parametrize("text", ["", "1_2", "1_2_9", "1_2_-1", "1_2_x", "1__2"])
def test_what_is_no_fbnet_raises(text: str) -> None:
    with pytest.raises(ValueError, match="expected numbers from 0 to 8 joined by '_'"):
        fbnet.codes_of(["1_2_3", text])


def test_options_are_cheapest_first() -> None:
    space = search_spaces.get("fbnet")
    codes = np.repeat(np.arange(9)[:, None], 22, axis=1)
    assert (np.diff(space.macs(codes)[1:]) > 0).all()


def test_shuffling_takes_turns() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1).expand(2, 6, 3, 4).contiguous()
    assert shuffle(x, 2)[1, :, 2, 3].tolist() == [0, 3, 1, 4, 2, 5]
    torch.testing.assert_close(shuffle(x, 3), nn.functional.channel_shuffle(x, 3))


# ------------------------------------------------------------------------------------------------ Accel-NASBench

EFFICIENTNET_B0 = {"e": ["1_6_6_6_6_6_6"], "k": ["3_3_5_3_5_5_3"], "l": ["1_2_2_3_3_4_1"], "se": ["1_1_1_1_1_1_1"]}


@pytest.fixture(scope="module")
def accel() -> SearchSpace:
    return search_spaces.get("accel-nasbench")


def test_efficientnet_b0_has_the_parameters_of_its_authors(accel: SearchSpace) -> None:
    codes = accel_nasbench.codes_of(accel, EFFICIENTNET_B0)
    assert accel.parameters(codes)[0] == 5_288_548
    (architecture,) = accel.architectures(codes)
    assert architecture.values["block6_l"] == 4
    kinds = {op.kind for op in accel.workload(architecture).ops}
    assert {"silu", "sigmoid"} <= kinds
    assert not {"relu", "hardswish", "hardsigmoid"} & kinds


def accel_by_hand(e: list[int], k: list[int], depth: list[int], se: list[int]) -> tuple[int, int]:
    """MACs and parameters, from table 1 of EfficientNet."""
    macs, parameters, size, c = 27 * 32 * 112**2, 27 * 32 + 64, 112, 32
    for block, (out, stride) in enumerate(zip((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 2, 1, 2, 1), strict=True)):
        for layer in range(depth[block]):
            after, hidden, squeezed = size // (stride if layer == 0 else 1), c * e[block], c // 4
            if e[block] > 1:
                macs += c * hidden * size**2
                parameters += c * hidden + 2 * hidden
            macs += (k[block] ** 2 * hidden + hidden * out) * after**2
            parameters += k[block] ** 2 * hidden + 2 * hidden + hidden * out + 2 * out
            if se[block]:
                macs += 2 * hidden * squeezed
                parameters += 2 * hidden * squeezed + hidden + squeezed
            size, c = after, out
    return macs + 320 * 1280 * 49 + 1_280_000, parameters + 320 * 1280 + 2560 + 1_281_000


def test_macs_and_parameters_of_accel_nasbench_by_hand(accel: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    rows = [[rng.choice(options, 7).tolist() for options in ([1, 4, 6], [3, 5], [1, 2, 3], [0, 1])] for _ in range(40)]
    columns = {part: ["_".join(map(str, row[i])) for row in rows] for i, part in enumerate(("e", "k", "l", "se"))}
    codes = accel_nasbench.codes_of(accel, columns)
    expected = np.array([accel_by_hand(*row) for row in rows])
    np.testing.assert_array_equal(accel.macs(codes), expected[:, 0])
    np.testing.assert_array_equal(accel.parameters(codes), expected[:, 1])
    assert accel_nasbench.columns_of(accel, codes) == columns


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("e", "1_6_6", "expected 7 numbers"),
        ("k", "3_3_5_3_5_5_x", "expected 7 numbers"),
        ("se", "", "expected 7 numbers"),
        ("e", "1_6_6_6_6_6_5", "'block7_e' has no option 5"),
        ("l", "4_2_2_3_3_4_1", "'block1_l' has no option 4"),
    ],
)
def test_what_is_no_accel_nasbench_raises(accel: SearchSpace, column: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        accel_nasbench.codes_of(accel, EFFICIENTNET_B0 | {column: [text]})


# ------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nasbench201", {"resolution": 30}, "divisible by 4"),
        ("nasbench201", {"cells": 0}, "cells must be positive"),
        ("fbnet", {"strides": (1, 2)}, "must have one entry for each stage"),
        ("fbnet", {"depths": (1, 4, 4, 0, 4, 4, 1)}, "depths must be positive"),
        ("fbnet", {"head": -1}, "head must be positive"),
        ("accel-nasbench", {"widths": (8, 16)}, "must have one entry for each block"),
        ("accel-nasbench", {"depths": ((1, 0),) * 7}, "depths must be positive"),
        ("accel-nasbench", {"kernels": (3, 4)}, "kernels must be odd"),
    ],
)
def test_impossible_options_of_tabular_spaces(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_spaces.get(name, **options)


def test_an_elastic_choice_becomes_one_of_its_options_only() -> None:
    options = (nn.Identity, nn.Tanh)
    elastic = ElasticOneOf(options)
    x = torch.randn(5)
    elastic.activate(Layers().one_of(options, 1))
    assert torch.equal(elastic(x), x.tanh())
    elastic.activate(Layers().one_of(options, 0))
    assert torch.equal(elastic(x), x)
    with pytest.raises(ValueError, match="cannot become"):
        elastic.activate(Layers().one_of((*options, nn.ReLU), 2))
    with pytest.raises(ValueError, match="cannot become"):
        elastic.activate(nn.Tanh())
