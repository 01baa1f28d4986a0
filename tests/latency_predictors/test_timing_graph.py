from __future__ import annotations

import ast
from collections import Counter
from math import prod
from pathlib import Path
from time import process_time

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper, shape_inference
from torch import nn

import search_spaces
from latency_predictors.devices import timing_graph as timing_graphs
from latency_predictors.devices.onnxruntime import OnnxRuntime
from latency_predictors.devices.timing_graph import timing_graph
from nas.testing.backends import EveryOperator, every_operator
from nas.testing.speed import slowdown
from search_spaces import Architecture, Op, SearchSpace, Workload, fusing, operators
from search_spaces.trace import trace

KINDS = {
    "conv": "Conv", "linear": "Gemm", "relu": "Relu", "hardswish": "HardSwish", "hardsigmoid": "HardSigmoid",
    "add": "Add", "mul": "Mul", "mean": "ReduceMean", "reshape": "Reshape",
}  # fmt: skip


@pytest.fixture(scope="module")
def mobilenet() -> SearchSpace:
    return search_spaces.get("mobilenetv3", resolutions=(64,), classes=10, width=0.5)


@pytest.fixture(scope="module")
def resnet() -> SearchSpace:
    """Poolings, of which one reaches beyond the image: 5 pixels by two."""
    return search_spaces.get("ofa-resnet50", resolutions=(40,), classes=10, widths=(0.05, 0.1), expansions=(0.5,))


def architectures(space: SearchSpace) -> list[Architecture]:
    return [space.smallest(), space.largest(), *space.sample(1, seed=0)]


def macs_of(model: bytes) -> int:
    """Counted from the ONNX file alone, by shape inference."""
    graph = shape_inference.infer_shapes(onnx.load_from_string(model), strict_mode=True).graph
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += prod(shapes[node.output[0]]) * prod(weights[node.input[1]][1:])
        elif node.op_type == "Gemm":
            total += shapes[node.output[0]][0] * prod(weights[node.input[1]])
        elif node.op_type == "MatMul":
            total += prod(shapes[node.output[0]][:-1]) * prod(weights[node.input[1]])
    return total


@pytest.mark.parametrize("name", ["convnet", "mobilenet"])
@pytest.mark.parametrize("batch", [1, 2])
def test_operators_and_macs_are_those_of_the_workload(name: str, batch: int, request: pytest.FixtureRequest) -> None:
    space: SearchSpace = request.getfixturevalue(name)
    for architecture in architectures(space):
        workload = space.workload(architecture)
        model = timing_graph(workload, batch)
        onnx.checker.check_model(model, full_check=True)
        written = Counter(node.op_type for node in onnx.load_from_string(model).graph.node)
        assert written - Counter(["Identity"]) == Counter(KINDS[op.kind] for op in workload.ops)
        assert macs_of(model) == batch * workload.macs


@pytest.mark.parametrize("batch", [1, 2])
def test_every_operator_gives_what_torch_gives(batch: int) -> None:
    network = EveryOperator().eval()
    compare(network, timing_graph(every_operator(), batch, seed=3), ((batch, 4, 6, 6), (batch, 4, 6, 6)))


@pytest.mark.parametrize("name", ["convnet", "mobilenet", "resnet"])
def test_networks_give_what_torch_gives(name: str, request: pytest.FixtureRequest) -> None:
    space: SearchSpace = request.getfixturevalue(name)
    for architecture in architectures(space):
        (shape,) = space.input_shapes(architecture).values()
        model = timing_graph(space.workload(architecture), 2)
        compare(space.build(architecture).eval(), model, ((2, *shape[1:]),))


def compare(network: nn.Module, model: bytes, shapes: tuple[tuple[int, ...], ...]) -> None:
    """Give the weights of `model` to `network`, and compare the outputs of both."""
    take_weights(network, model)
    rng = np.random.default_rng(0)
    inputs = {f"input{i}": rng.standard_normal(shape, dtype=np.float32) for i, shape in enumerate(shapes)}
    with torch.no_grad():
        wanted = network(*map(torch.from_numpy, inputs.values())).numpy()
    found = OnnxRuntime().prepare(model).run(inputs)["output0"]
    assert np.isfinite(found).all()
    assert 1e-6 < np.abs(wanted).max() < 1e6
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def take_weights(network: nn.Module, model: bytes) -> None:
    """Weights in the order of the nodes; batch normalisation becomes the bias of its convolution."""
    graph = onnx.load_from_string(model).graph
    constants = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    weighted = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    norms = iter([layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)])
    assert len(weighted) == len(layers)
    with torch.no_grad():
        for norm in (layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)):
            norm.running_var.fill_(1 - norm.eps)
        if isinstance(network, EveryOperator):
            network.norm.running_var.fill_(1)
            next(norms)
        for node, layer in zip(weighted, layers, strict=True):
            layer.weight.copy_(constants[node.input[1]])
            bias = constants[node.input[2]] if len(node.input) > 2 else None
            folded = bias is not None and (layer.bias is None or layer is getattr(network, "dense", None))
            if layer.bias is not None:
                layer.bias.zero_() if folded else layer.bias.copy_(bias)
            if folded:
                next(norms).bias.copy_(bias)


def test_batch_multiplies_the_first_dimension() -> None:
    graph = onnx.load_from_string(timing_graph(every_operator(), batch=5)).graph
    shapes = [[size.dim_value for size in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)]
    assert shapes == [[5, 4, 6, 6], [5, 4, 6, 6], [15, 3]]


def test_linear_layers_on_more_than_two_dimensions() -> None:
    shape, weights = (1, 7, 4), ((4, 5), (5,))
    for constants in (weights, weights[:1]):
        op = Op("linear", (0,), (1,), (shape, (1, 7, 5)), constants)
        model = timing_graph(Workload((op,), (0,), (1,), (shape,)), batch=2)
        onnx.checker.check_model(model, full_check=True)
        x = np.random.default_rng(0).standard_normal((2, 7, 4), dtype=np.float32)
        weight, *bias = map(numpy_helper.to_array, onnx.load_from_string(model).graph.initializer)
        found = OnnxRuntime().prepare(model).run({"input0": x})["output0"]
        np.testing.assert_allclose(found, x @ weight + (bias[0] if bias else 0), atol=1e-5)
        assert macs_of(model) == 2 * op.macs


def test_the_seed_decides_the_weights() -> None:
    assert timing_graph(every_operator(), seed=1) == timing_graph(every_operator(), seed=1)
    assert timing_graph(every_operator(), seed=1) != timing_graph(every_operator(), seed=2)


def test_bad_input_raises() -> None:
    op = Op("fourier", (0,), (1,), ((1, 4), (1, 4)))
    with pytest.raises(ValueError, match="'fourier'"):
        timing_graph(Workload((op,), (0,), (1,), ((1, 4),)))
    with pytest.raises(ValueError, match="batch is 1 or more"):
        timing_graph(every_operator(), batch=0)


def test_it_takes_a_tenth_of_a_second() -> None:
    space = search_spaces.get("mobilenetv3")
    workload = space.workload(space.largest())
    seconds = []
    for _ in range(5):
        started = process_time()
        timing_graph(workload)
        seconds.append(process_time() - started)
    assert min(seconds) < 0.1 * slowdown()


def test_it_has_a_writer_for_every_kind_that_a_trace_can_produce() -> None:
    assert set(timing_graphs._WRITERS) == traced_kinds()


def traced_kinds() -> set[str]:
    """Read off the source of search_spaces/operators.py and fusing.py: what they pass to `record.append`, and the table
    of operators."""
    trees = [ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")) for module in (operators, fusing)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    kinds = [call.args[0] for call in calls if ast.unparse(call.func) == "record.append"]
    named = {kind.value for kind in kinds if isinstance(kind, ast.Constant) and isinstance(kind.value, str)}
    passed_on = [ast.unparse(kind) for kind in kinds if not isinstance(kind, ast.Constant)]
    assert passed_on == ["kind"]  # those of the table
    return named | set(operators.ELEMENTWISE.values()) | {"reshape"}  # a view, which the recording itself writes


@pytest.mark.parametrize("shape", [(), (4, 1, 1)])
def test_constants_of_arithmetic_have_the_shape_of_the_workload(shape: tuple[int, ...]) -> None:
    op = Op("add", (0,), (1,), ((1, 4, 3, 3), (1, 4, 3, 3)), (shape,) if shape else ())
    graph = onnx.load_from_string(timing_graph(Workload((op,), (0,), (1,), ((1, 4, 3, 3),)))).graph
    assert [tuple(tensor.dims) for tensor in graph.initializer] == [shape]


def test_the_workload_of_a_traced_module_is_enough() -> None:
    with torch.device("meta"):
        workload = trace(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), ((1, 3, 2, 2),))
    outputs = OnnxRuntime().prepare(timing_graph(workload, 4)).run({"input0": np.ones((4, 3, 2, 2), np.float32)})
    assert outputs["output0"].shape == (4, 3)
