"""The two graphs of a language model, at lengths and batches other than those that were traced."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import search_spaces
from latency_predictors.devices.models import inputs_of, with_sizes
from latency_predictors.devices.onnx_in_torch import OnnxInTorch
from nas.errors import UsageError
from nas.export.fixed_sizes import fixed
from nas.export.generate import Graphs
from nas.export.phase_graphs import PhaseGraphs, phases_of
from nas.export.shared_weights import share_weights
from nas.export.weights import INT8, quantized
from search_spaces import Architecture, SearchSpace

MIXERS = ("attention", "sliding_window", "rat")
VOCABULARY, WINDOW = 40, 6


def make_space(**options: Any) -> SearchSpace:
    sizes = {"widths": (32,), "depths": (3,), "heads": 2, "kv_heads": (1,), "windows": (WINDOW,), "states": (4,)}
    phases = {"prefill": (24,), "decode": (40,)}
    return search_spaces.get(
        "hybrid-slm", vocabulary=VOCABULARY, ratios=(2,), meta_tokens=(1,), **{**sizes, **phases, **options}
    )


def made(*mixers: str) -> PhaseGraphs:
    """Of a network with these mixers, one a layer."""
    space = make_space(depths=(len(mixers),))
    values = {choice.name: choice.options[-1] for choice in space.choices}
    values |= {f"layer{number}_mixer": kind for number, kind in enumerate(mixers, 1)}
    (architecture,) = space.architectures(space.codes([Architecture(space.name, tuple(values.items()))]))
    torch.manual_seed(0)
    return PhaseGraphs(space, architecture, space.build(architecture).eval())


@pytest.fixture(scope="module")
def graphs() -> PhaseGraphs:
    return made(*MIXERS)


@pytest.fixture(scope="module")
def models(graphs: PhaseGraphs) -> Mapping[str, bytes]:
    return {name: model.SerializeToString() for name, model in graphs.export().items()}


def ran(model: bytes | str, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def by_torch(graphs: PhaseGraphs, name: str, inputs: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    with torch.inference_mode():
        return [y.numpy() for y in graphs.network(name)(*map(torch.from_numpy, inputs.values()))]


def assert_same(found: Mapping[str, np.ndarray[Any, Any]], expected: list[np.ndarray[Any, Any]]) -> None:
    for (name, value), wanted in zip(found.items(), expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (3, 2), (3, 45), (1, 70)])
def test_graphs_compute_what_torch_does(
    graphs: PhaseGraphs, models: Mapping[str, bytes], batch: int, tokens: int
) -> None:
    drawn = np.random.default_rng(tokens).integers(VOCABULARY, size=(batch, tokens + 2))
    inputs = {"tokens": drawn[:, :tokens]}
    expected = by_torch(graphs, "prefill", inputs)
    assert expected[0].shape == (batch, 1, VOCABULARY)
    assert_same(ran(models["prefill"], inputs), expected)
    for place in (tokens, tokens + 1):
        inputs = {"tokens": drawn[:, place : place + 1], **dict(zip(graphs.states, expected[1:], strict=True))}
        expected = by_torch(graphs, "decode", inputs)
        assert_same(ran(models["decode"], inputs), expected)


def test_only_what_grows_is_free(graphs: PhaseGraphs, models: Mapping[str, bytes]) -> None:
    attention, window = ([f"layer{number}_mixer_state{i}" for i in (0, 1)] for number in (1, 2))
    assert {name for name, axes in graphs.free.items() if axes} == {*attention, *window}
    shapes = {name: value.shape for name, value in inputs_of(onnx.load_from_string(models["decode"])).items()}
    assert shapes["tokens"] == (None, 1)
    for name in graphs.states:
        free = tuple(axis for axis, size in enumerate(shapes[name]) if size is None)
        assert free == ((0, 2) if name in (*attention, *window) else (0,)), name
    assert [output.name for output in onnx.load_from_string(models["decode"]).graph.output] == graphs.outputs


def test_limits_are_those_of_the_mixers(graphs: PhaseGraphs) -> None:
    assert graphs.capacity == 3 * 16 - 1  # RAT has room for the 42 tokens of the phases in chunks of 16; one is meta
    assert graphs.longest_prompt is None
    delta = made("gated_delta_net")
    assert (delta.capacity, delta.longest_prompt) == (None, 4096 - 1)


def test_a_logit_of_a_whole_sequence_is_that_of_going_on(graphs: PhaseGraphs, models: Mapping[str, bytes]) -> None:
    tokens = np.random.default_rng(0).integers(VOCABULARY, size=(2, 30))
    run = Graphs(lambda inputs: ran(models["prefill"], inputs), lambda inputs: ran(models["decode"], inputs))
    logits = [run.start(tokens[:, :4]), *(run.go_on(tokens[:, place]) for place in range(4, 12))]
    network: Any = graphs.network("prefill")
    with torch.inference_mode():
        expected = network.network(torch.from_numpy(tokens)).numpy()
    np.testing.assert_allclose(np.stack(logits, 1), expected[:, 3:12], rtol=1e-4, atol=1e-5)


def test_weights_are_kept_once(graphs: PhaseGraphs, models: Mapping[str, bytes], tmp_path: Path) -> None:
    parts, weights = share_weights({name: onnx.load_from_string(model) for name, model in models.items()}, "w.data")
    (tmp_path / "w.data").write_bytes(weights)
    parameters = {id(p): 4 * p.numel() for p in graphs.network("decode").parameters()}
    assert len(weights) < 1.01 * sum(parameters.values()) + 1000
    inputs = {"tokens": np.arange(10).reshape(1, 10)}
    for name, part in parts.items():
        (tmp_path / name).write_bytes(part)
        assert len(part) < 120_000
    found = ran(str(tmp_path / "prefill"), inputs)
    for name, value in ran(models["prefill"], inputs).items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_sizes_are_fixed(graphs: PhaseGraphs, models: Mapping[str, bytes], weights: str) -> None:
    shapes = graphs.sizes("decode_40")
    assert shapes["layer1_mixer_state0"] == (1, 1, 41, 16)
    assert shapes["layer2_mixer_state0"] == (1, 1, WINDOW - 1, 16)
    (model,) = quantized({"decode": onnx.load_from_string(models["decode"])}, weights).values()
    content = fixed(model, shapes)
    found = onnx.load_from_string(content)
    assert {name: value.shape for name, value in inputs_of(found).items()} == shapes
    assert not {node.op_type for node in found.graph.node} & {"Range", "Shape", "Cos", "Sin", "Cast", "ConstantOfShape"}
    rng = np.random.default_rng(0)
    inputs = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    inputs["tokens"] = np.array([[3]])
    free = ran(model.SerializeToString(), inputs)
    again = OnnxInTorch(found)(*(torch.from_numpy(inputs[name]) for name in shapes))
    for (name, value), by_torch in zip(ran(content, inputs).items(), again, strict=True):
        np.testing.assert_allclose(value, free[name], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(value, by_torch, rtol=1e-4, atol=1e-4)


def test_a_size_that_is_another_one(graphs: PhaseGraphs, models: Mapping[str, bytes]) -> None:
    shapes = {**graphs.sizes("decode_40"), "layer3_mixer_state0": (1, 4, 9)}
    with pytest.raises(ValueError, match=r"'layer3_mixer_state0' has the shape .* and cannot be given"):
        with_sizes(onnx.load_from_string(models["decode"]), shapes)


def test_eight_bit_weights_are_near(graphs: PhaseGraphs, models: Mapping[str, bytes]) -> None:
    small = quantized({"prefill": onnx.load_from_string(models["prefill"])}, INT8)["prefill"]
    kinds = [node.op_type for node in small.graph.node]
    maps = [m for m in graphs.network("prefill").modules() if isinstance(m, nn.Linear)]
    assert kinds.count("MatMulNBits") >= len(maps)
    inputs = {"tokens": np.random.default_rng(0).integers(VOCABULARY, size=(2, 20))}
    found = ran(small.SerializeToString(), inputs)["logits"]
    expected = by_torch(graphs, "prefill", inputs)[0]
    assert 1e-7 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["prefill", "decode"])
def test_a_space_without_one_of_the_phases(name: str) -> None:
    with pytest.raises(UsageError, match=f"space.options.{name} names none"):
        phases_of(make_space(**{name: ()}))
