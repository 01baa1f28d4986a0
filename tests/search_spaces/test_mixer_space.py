"""The contract of a search space for one whose blocks are all kinds of mixer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from latency_predictors.devices.onnx_in_torch import OnnxInTorch
from latency_predictors.devices.timing_graph import timing_graph
from nas.export.onnx_model import to_onnx
from nas.testing.spaces import SearchSpaceContract, scrambled
from search_spaces import Architecture, Choice, SearchSpace, Slot, Variant
from search_spaces.convnet.blocks import ConvNormAct, Head
from search_spaces.hybrid.frequency_filter import FrequencyFilter
from search_spaces.hybrid.modulation import Modulation
from search_spaces.hybrid.selective_scan import AtrousSelectiveScan
from search_spaces.hybrid.state_mixer import HiddenStateMixer
from search_spaces.space import Value
from search_spaces.spec import ModuleSpec
from search_spaces.supernet import Supernet

KINDS = {
    "states": partial(ModuleSpec.of, HiddenStateMixer, states=5),
    "scan": partial(ModuleSpec.of, AtrousSelectiveScan, states=3),
    "modulation": partial(ModuleSpec.of, Modulation, kernel=5),
    "frequencies": partial(ModuleSpec.of, FrequencyFilter),
}


def stem(values: Mapping[str, Value], phase: str) -> Variant:
    size, channels = int(values["resolution"]), int(values["width"])
    spec = ModuleSpec.of(ConvNormAct, in_channels=3, out_channels=channels, kernel=3, stride=2, activation="relu")
    return Variant(spec, ((1, 3, size, size),))


def block(values: Mapping[str, Value], phase: str, *, layer: int) -> Variant | None:
    if int(values["depth"]) < layer:
        return None
    size, channels = (int(values["resolution"]) + 1) // 2, int(values["width"])
    hidden = channels * int(values[f"expansion{layer}"])
    spec = KINDS[str(values[f"kind{layer}"])](channels=channels, hidden=hidden, resolution=size)
    return Variant(spec, ((1, channels, size, size),))


def head(values: Mapping[str, Value], phase: str) -> Variant:
    size, channels = (int(values["resolution"]) + 1) // 2, int(values["width"])
    spec = ModuleSpec.of(Head, in_channels=channels, channels=12, features=0, classes=4, activation="relu")
    return Variant(spec, ((1, channels, size, size),))


def mixers() -> SearchSpace:
    """One stage; images of 12 or 9 pixels, so that blocks see 6 or 5."""
    choices = [Choice("resolution", (9, 12)), Choice("width", (16, 32)), Choice("depth", (1, 2))]
    slots = [Slot("stem", ("resolution", "width"), stem)]
    for layer in (1, 2):
        kind = Choice(f"kind{layer}", tuple(KINDS), ("depth", tuple(range(layer, 3))), ordered=False)
        expansion = Choice(f"expansion{layer}", (1, 2), ("depth", tuple(range(layer, 3))))
        choices += [kind, expansion]
        depends = ("resolution", "width", "depth", kind.name, expansion.name)
        slots.append(Slot(f"block{layer}", depends, partial(block, layer=layer)))
    slots.append(Slot("head", ("resolution", "width"), head))
    return SearchSpace("mixers", tuple(choices), tuple(slots))


class TestMixers(SearchSpaceContract):
    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return mixers()


@dataclass
class Exported:
    """A network with one block, as it was extracted and as a file."""

    architecture: Architecture
    network: nn.Module
    content: bytes


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return scrambled(mixers())


@pytest.fixture(scope="module", params=KINDS)
def exported(supernet: Supernet, request: pytest.FixtureRequest) -> Exported:
    """Of images of 9 pixels: the block sees 5, an odd number."""
    architecture = of_kind(supernet.space, request.param, 9)
    network = supernet.extract(architecture)
    return Exported(architecture, network, to_onnx(network, supernet.example_inputs(architecture)))


def of_kind(space: SearchSpace, kind: str, resolution: int) -> Architecture:
    values = {"resolution": resolution, "width": 16, "depth": 1, "kind1": kind, "expansion1": 2}
    others = {choice.name: choice.options[0] for choice in space.choices}
    wanted = Architecture(space.name, tuple((others | values).items()))
    return space.architectures(space.codes([wanted]))[0]


@pytest.mark.parametrize("batch", [1, 3])
def test_exported_networks_compute_the_same(exported: Exported, batch: int) -> None:
    images = torch.randn(batch, 3, 9, 9)
    with torch.no_grad():
        expected = exported.network(images)
    (in_torch,) = OnnxInTorch(onnx.load_from_string(exported.content))(images)
    for found in (run(exported.content, images), in_torch):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_timing_graphs_have_the_operators_of_exported_networks(supernet: Supernet, exported: Exported) -> None:
    written = timing_graph(supernet.space.workload(exported.architecture))
    assert operators(written) == operators(exported.content)


def operators(content: bytes) -> list[str]:
    """Kinds of the nodes that read something which is not constant, but for those that only give another shape."""
    graph = onnx.load_from_string(content).graph
    constant = {tensor.name for tensor in graph.initializer}
    kinds: list[str] = []
    for node in graph.node:
        if all(name in constant for name in node.input):
            constant |= set(node.output)
        elif node.op_type == "Gemm":  # what exported networks do in two steps
            kinds += ["MatMul", "Add"][: len(node.input) - 1]
        elif node.op_type not in ("Reshape", "Identity", "Unsqueeze", "Squeeze", "Shape"):
            kinds.append(node.op_type)
    return sorted(kinds)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_timing_graphs_run(supernet: Supernet, kind: str, batch: int) -> None:
    """Numbers of a moderate size, the same in ONNX Runtime and torch, each of which depends on its own image."""
    workload = supernet.space.workload(of_kind(supernet.space, kind, 12))
    content = timing_graph(workload, batch)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    images = torch.randn(batch, 3, 12, 12)
    found = run(content, images)
    assert found.shape == (batch, 4)
    assert 1e-3 < np.abs(found).max() < 1e4
    assert np.abs(run(content, -images) - found).max() > 1e-3
    (in_torch,) = OnnxInTorch(model)(images)
    np.testing.assert_allclose(in_torch, found, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(run(timing_graph(workload), images[-1:]), found[-1:], rtol=1e-3, atol=1e-4)


def run(content: bytes, images: Tensor) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return np.asarray(found)


@pytest.mark.parametrize("kind", KINDS)
def test_resolutions_share_weights(supernet: Supernet, kind: str) -> None:
    """A larger image does not change what the supernet makes of a smaller one; their networks have the same weights."""
    small, large = (of_kind(supernet.space, kind, resolution) for resolution in (9, 12))
    images = torch.randn(2, 3, 9, 9)
    with torch.no_grad():
        supernet.activate(small)
        expected = supernet(images)
        supernet.activate(large)
        supernet(torch.randn(2, 3, 12, 12))
        networks = [supernet.extract(architecture) for architecture in (small, large)]
        torch.testing.assert_close(networks[0](images), expected)
    first, second = (dict(network.named_parameters()) for network in networks)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_matrices_of_the_transform_are_neither_trained_nor_saved_with_the_supernet(supernet: Supernet) -> None:
    assert not any("spectrum" in name for name in supernet.state_dict())
    for resolution, size in ((9, 5), (12, 6)):
        network = supernet.extract(of_kind(supernet.space, "frequencies", resolution))
        assert not any("spectrum" in name for name, _ in network.named_parameters())
        (rows,) = (tensor for name, tensor in network.state_dict().items() if name.endswith("spectrum.rows.value"))
        assert rows.shape == (size, 2 * (size // 2 + 1))
