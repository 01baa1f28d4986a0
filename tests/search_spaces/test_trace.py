"""Tracing: every kind of operator, shapes against torch on the CPU, and nothing that passes unknown."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.trace import UnknownOperator, trace
from search_spaces.workload import Op, Shape, Workload


class Function(nn.Module):
    """A module without weights."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def traced(module: nn.Module | Callable[..., Tensor], *shapes: Shape) -> Workload:
    return trace((module if isinstance(module, nn.Module) else Function(module)).to("meta"), shapes)


def only(workload: Workload) -> Op:
    (op,) = workload.ops
    return op


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("relu", torch.relu),
        ("hardswish", F.hardswish),
        ("hardsigmoid", F.hardsigmoid),
        ("sigmoid", torch.sigmoid),
        ("silu", F.silu),
        ("gelu", F.gelu),
        ("gelu", lambda x: F.gelu(x, approximate="tanh")),
    ],
)
def test_elementwise(kind: str, function: Callable[[Tensor], Tensor]) -> None:
    shape = (2, 3, 4, 5)
    op = only(traced(function, shape))
    assert op == Op(kind, (0,), (1,), (shape, shape))
    assert op.macs == 0


@pytest.mark.parametrize(
    ("kind", "function", "constant"), [("add", lambda x: x + 1, 1.0), ("mul", lambda x: 0.5 * x, 0.5)]
)
def test_arithmetic_with_a_number_keeps_it(kind: str, function: Callable[[Tensor], Tensor], constant: float) -> None:
    op = only(traced(function, (2, 3)))
    assert op == Op(kind, (0,), (1,), ((2, 3), (2, 3)), (), (("constant", constant),))


@pytest.mark.parametrize("kind", ["add", "mul"])
@pytest.mark.parametrize("other", [(2, 3, 4, 5), (2, 3, 1, 1), (1, 1, 4, 5)])
def test_arithmetic_of_two_activations_broadcasts(kind: str, other: Shape) -> None:
    shape = (2, 3, 4, 5)
    op = only(traced(torch.add if kind == "add" else torch.mul, other, shape))
    assert op == Op(kind, (0, 1), (2,), (other, shape, shape))


def test_arithmetic_with_a_weight_counts_it() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    op = only(traced(Scale(), (1, 3, 4, 4)))
    assert (op.kind, op.inputs, op.weights, op.parameters, op.macs) == ("mul", (0,), ((3, 1, 1),), 3, 0)
    assert op.costs()["weight_bytes"] == 12


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("groups", "column"), [(1, "macs_dense"), (2, "macs_grouped"), (4, "macs_depthwise")])
def test_conv(kernel: int, stride: int, groups: int, column: str) -> None:
    conv = nn.Conv2d(4, 4, kernel, stride, padding=kernel // 2, groups=groups)
    output = conv(torch.zeros(2, 4, 7, 6))
    op = only(traced(conv, (2, 4, 7, 6)))
    assert (op.kind, op.output_shape) == ("conv", tuple(output.shape))
    assert dict(op.attributes) == {
        "stride": (stride, stride), "padding": (kernel // 2,) * 2, "dilation": (1, 1), "groups": groups
    }  # fmt: skip
    assert op.weights == ((4, 4 // groups, kernel, kernel), (4,))
    assert op.parameters == 4 * (4 // groups) * kernel**2 + 4
    # Every value of the output is a sum over the window and the input channels of its group.
    assert op.macs == output.numel() * (4 // groups) * kernel**2
    expected_column = "macs_pointwise" if kernel == groups == 1 else column
    assert {name for name, value in op.costs().items() if value and name.startswith("macs")} == {expected_column}


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(0, 3), dilation=(1, 2), groups=2),
        nn.Conv2d(4, 6, 2, stride=3),
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1),
        nn.Conv1d(4, 6, 3, padding=1, dilation=2),
    ],
    ids=["uneven", "even kernel", "transposed", "one dimension"],
)
def test_shapes_of_convolutions(conv: nn.Module) -> None:
    shape = (2, 4, 9) if isinstance(conv, nn.Conv1d) else (2, 4, 9, 10)
    output_shape = tuple(conv(torch.zeros(shape)).shape)
    assert only(traced(conv, shape)).output_shape == output_shape


@pytest.mark.parametrize("dims", [(2, 3), (-1,), (0, -2)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_shapes_of_means(dims: tuple[int, ...], keepdim: bool) -> None:
    shape = (2, 3, 4, 5)
    op = only(traced(lambda x: x.mean(dims, keepdim=keepdim), shape))
    assert (op.kind, op.output_shape) == ("mean", tuple(torch.zeros(shape).mean(dims, keepdim=keepdim).shape))


@pytest.mark.parametrize(
    ("module", "shape"),
    [(nn.Conv2d(4, 6, 3), (1, 5, 9, 9)), (nn.Conv2d(4, 6, 3), (1, 4, 2, 9)), (nn.Linear(4, 6), (1, 5))],
)
def test_what_does_not_fit_is_torchs_error(module: nn.Module, shape: Shape) -> None:
    with pytest.raises(RuntimeError):
        module(torch.zeros(shape))
    with pytest.raises(RuntimeError) as found:
        traced(module, shape)
    assert not isinstance(found.value, UnknownOperator)


def test_a_mean_and_a_product_take_their_options() -> None:
    assert only(traced(lambda x: x.mean(1, dtype=torch.float64), (2, 3))).output_shape == (2,)
    product = only(traced(lambda x: torch.addmm(x.new_zeros(4), x, x.new_zeros(3, 4), beta=2), (2, 3)))
    assert product.output_shape == (2, 4)


def test_no_compiler_is_imported() -> None:
    """It would take longer than all that a command does with the workloads."""
    code = "import sys, search_spaces as s; x = s.get('convnet'); x.features(x.random_codes(20, __import__('numpy').random.default_rng(0)))"
    subprocess.run([sys.executable, "-c", f"{code}; sys.exit('torch._dynamo' in sys.modules)"], check=True)


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias: bool) -> None:
    op = only(traced(nn.Linear(6, 5, bias=bias), (3, 6)))
    assert (op.kind, op.shapes, op.macs, op.parameters) == ("linear", ((3, 6), (3, 5)), 90, 35 if bias else 30)
    assert op.costs()["macs_linear"] == 90


def test_linear_over_tokens() -> None:
    workload = traced(nn.Linear(6, 5), (2, 3, 6))
    assert workload.macs == 2 * 3 * 6 * 5
    assert workload.parameters == 35
    assert workload.ops[-1].output_shape == (2, 3, 5)
    assert workload.costs()["kernels"] == 1  # reshapes cost nothing


@pytest.mark.parametrize("keepdim", [True, False])
def test_mean(keepdim: bool) -> None:
    op = only(traced(lambda x: x.mean((-1, 2), keepdim=keepdim), (2, 3, 4, 5)))
    assert dict(op.attributes) == {"axes": (3, 2), "keepdim": keepdim}
    assert op.output_shape == ((2, 3, 1, 1) if keepdim else (2, 3))


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [(F.relu6, 0.0, 6.0), (lambda x: F.hardtanh(x, -2, 3), -2.0, 3.0), (F.hardtanh, -1.0, 1.0)],
)
def test_clip(function: Callable[[Tensor], Tensor], low: float, high: float) -> None:
    op = only(traced(function, (2, 3)))
    assert (op.kind, dict(op.attributes)) == ("clip", {"min": low, "max": high})


@pytest.mark.parametrize(
    ("function", "shape", "attributes"),
    [
        (lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), (2, 3, 8, 5), ((3, 3), (1, 1), (1, 1), False)),
        (lambda x: F.avg_pool2d(x, 2), (2, 3, 4, 2), ((2, 2), (2, 2), (0, 0), True)),
        (nn.AvgPool2d((4, 1), (2, 1), (1, 0)), (2, 3, 4, 5), ((4, 1), (2, 1), (1, 0), True)),
        # Windows that end inside the image are the same with and without ceil_mode.
        (nn.AvgPool2d((2, 5), ceil_mode=True), (2, 3, 4, 1), ((2, 5), (2, 5), (0, 0), True)),
        (nn.AvgPool2d(2, ceil_mode=True), (2, 3, 4, 3), ((2, 2), (2, 2), (0, 0), True, True)),
    ],
)
def test_average_pool(function: Callable[[Tensor], Tensor], shape: Shape, attributes: tuple[object, ...]) -> None:
    op = only(traced(function, (2, 3, 8, 5)))
    names = ("kernel", "stride", "padding", "count_include_pad", "ceil_mode")
    assert (op.kind, op.output_shape, op.macs) == ("average_pool", shape, 0)
    assert dict(op.attributes) == dict(zip(names, attributes, strict=False))


@pytest.mark.parametrize(
    ("function", "shape", "attributes"),
    [
        (lambda x: F.max_pool2d(x, 3, 2, 1), (2, 3, 4, 3), ((3, 3), (2, 2), (1, 1))),
        (nn.MaxPool2d((4, 1), ceil_mode=True), (2, 3, 2, 5), ((4, 1), (4, 1), (0, 0))),
        (nn.MaxPool2d(2, ceil_mode=True), (2, 3, 4, 3), ((2, 2), (2, 2), (0, 0), True)),
    ],
)
def test_max_pool(function: Callable[[Tensor], Tensor], shape: Shape, attributes: tuple[object, ...]) -> None:
    op = only(traced(function, (2, 3, 8, 5)))
    assert (op.kind, op.output_shape, op.macs) == ("max_pool", shape, 0)
    assert dict(op.attributes) == dict(zip(("kernel", "stride", "padding", "ceil_mode"), attributes, strict=False))


def test_pooling_of_another_kind_raises() -> None:
    with pytest.raises(UnknownOperator, match="average pooling with divisor_override"):
        traced(lambda x: F.avg_pool2d(x, 2, divisor_override=3), (2, 3, 8, 5))
    with pytest.raises(UnknownOperator, match="max pooling with dilation"):
        traced(lambda x: F.max_pool2d(x, 2, dilation=2), (2, 3, 8, 5))


def test_zero() -> None:
    op = only(traced(lambda x: x * 0, (2, 3)))
    assert (op.kind, op.inputs, op.shapes, op.weights) == ("zero", (0,), ((2, 3), (2, 3)), ())


def test_transpose_with_the_copy_that_follows() -> None:
    workload = traced(lambda x: x.view(1, 2, 3, 4).permute(0, 2, -3, 3).reshape(1, 6, 4), (1, 6, 4))
    assert [op.kind for op in workload.ops] == ["reshape", "transpose", "reshape"]
    op = workload.ops[1]
    assert dict(op.attributes) == {"order": (0, 2, 1, 3)}
    assert (op.output_shape, op.costs()["activation_bytes"], op.macs) == ((1, 3, 2, 4), 4 * 2 * 24, 0)


def test_several_results() -> None:
    workload = traced(lambda x, y: (y, torch.relu(x), x), (2, 3), (4,))
    assert (workload.inputs, workload.outputs) == ((0, 1), (1, 2, 0))


def test_reshape() -> None:
    op = only(traced(lambda x: x.flatten(1), (2, 3, 4, 5)))
    assert (op.kind, op.shapes) == ("reshape", ((2, 3, 4, 5), (2, 60)))
    assert not any(op.costs().values())


def test_views_of_the_same_shape_are_no_operators() -> None:
    op = only(traced(lambda x: torch.relu(x.detach().view(2, 3)), (2, 3)))
    assert op.inputs == (0,)


class TestBatchNorm:
    def test_is_folded_into_the_convolution_before_it(self) -> None:
        workload = traced(nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()), (1, 3, 5, 5))
        conv, relu = workload.ops
        assert (conv.weights, conv.parameters) == (((4, 3, 1, 1), (4,)), 3 * 4 + 2 * 4)
        assert relu.inputs == conv.outputs

    def test_leaves_one_bias(self) -> None:
        op = only(traced(nn.Sequential(nn.Conv2d(3, 4, 1, bias=True), nn.BatchNorm2d(4)), (1, 3, 5, 5)))
        assert (op.weights, op.parameters) == (((4, 3, 1, 1), (4,)), 3 * 4 + 4 + 2 * 4)

    def test_of_parallel_convolutions_is_folded(self) -> None:
        class Parallel(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)
                self.norm_a, self.norm_b = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

            def forward(self, x: Tensor) -> Tensor:
                a, b = self.a(x), self.b(x)
                return self.norm_a(a) + self.norm_b(b)

        module = Parallel()
        workload = traced(module, (1, 3, 5, 5))
        assert [op.kind for op in workload.ops] == ["conv", "conv", "add"]
        assert workload.parameters == sum(parameter.numel() for parameter in module.parameters())

    @pytest.mark.parametrize("before", [nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()), nn.Identity()])
    def test_stays_elsewhere(self, before: nn.Module) -> None:
        op = traced(nn.Sequential(before, nn.BatchNorm2d(4)), (1, 4, 5, 5)).ops[-1]
        assert (op.kind, op.weights, op.parameters, op.macs) == ("batch_norm", ((4,), (4,)), 8, 0)

    def test_stays_when_the_convolution_was_read_before(self) -> None:
        class Early(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

            def forward(self, x: Tensor) -> Tensor:
                y = self.conv(x)
                return torch.relu(y) + self.norm(y)

        assert [op.kind for op in traced(Early(), (1, 3, 5, 5)).ops] == ["conv", "relu", "batch_norm", "add"]

    def test_a_convolution_that_is_read_with_and_without_it_raises(self) -> None:
        class Late(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

            def forward(self, x: Tensor) -> Tensor:
                y = self.conv(x)
                z: Tensor = self.norm(y)
                return z + y

        with pytest.raises(UnknownOperator, match="without its batch normalisation"):
            traced(Late(), (1, 3, 5, 5))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.tanh, "aten.tanh"),
        (lambda x: x.log_softmax(-1), "aten._log_softmax"),
        (lambda x: F.adaptive_max_pool2d(x, 2), "aten.adaptive_max_pool2d"),
        (lambda x: x.relu_(), "aten.relu_"),
        (lambda x: x + torch.rand(1, device="meta"), "aten.rand"),
        (lambda x: x.cumprod(1), "aten.cumprod"),
        (lambda x: x + torch.empty(1, device="meta"), "constant that was made on the way"),
    ],
)
def test_unknown_operators_raise_and_are_named(function: Callable[[Tensor], Tensor], name: str) -> None:
    with pytest.raises(UnknownOperator, match=name):
        traced(function, (1, 3, 4, 4))


def test_a_product_of_two_activations_raises() -> None:
    with pytest.raises(UnknownOperator, match="product of two activations"):
        traced(torch.mm, (3, 3), (3, 3))


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_module_is_kept(training: bool) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).to("meta").train(training)
    assert len(trace(module, ((1, 3, 5, 5),)).ops) == 1
    assert module.training is training
    failing = Function(torch.tanh).train(training)
    with pytest.raises(UnknownOperator):
        trace(failing, ((1, 3),))
    assert failing.training is training


def test_shapes_are_those_of_a_real_run() -> None:
    """Of a network with branches, broadcasting and odd sizes: every recorded output shape in running order."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 6, 3, 2, padding=1), nn.BatchNorm2d(6)
            self.wide = nn.Conv2d(6, 6, (1, 3), padding=(0, 2), dilation=(1, 2), groups=3)
            self.gate, self.classifier = nn.Conv2d(6, 6, 1), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.norm(self.stem(x)))
            y = F.hardswish(self.wide(x)) + x
            y = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
            logits: Tensor = self.classifier(y.mean((2, 3)))
            return logits

    module = Net().eval()
    expected: list[Shape] = []
    with torch.no_grad():
        x = module.norm(module.stem(torch.zeros(1, 3, 13, 11)))
        wide = module.wide(x)
        gate = module.gate(x.mean((2, 3), keepdim=True))
        expected = [x.shape, x.shape, wide.shape, wide.shape, x.shape, gate.shape, gate.shape, gate.shape, x.shape,
                    (1, 6), (1, 4)]  # fmt: skip
    workload = traced(module, (1, 3, 13, 11))
    assert [op.output_shape for op in workload.ops] == [tuple(shape) for shape in expected]
    assert workload.parameters == sum(parameter.numel() for parameter in module.parameters())
    produced = {0: (1, 3, 13, 11)}
    for op in workload.ops:  # every input was made before, with the shape that its reader saw
        assert [produced[number] for number in op.inputs] == list(op.shapes[: len(op.inputs)])
        produced[op.outputs[0]] = op.output_shape
    assert len(produced) == len(workload.ops) + 1
