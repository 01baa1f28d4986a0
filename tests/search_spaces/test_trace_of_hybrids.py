"""Tracing operators of hybrid networks: parts of tensors, padding, upsampling, group normalisation, transposed
convolutions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

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
    ("function", "bounds", "shape"),
    [
        (lambda x: x[:, :3], (1, 0, 3, 1), (2, 3, 4, 6)),
        (lambda x: x[:, 3:], (1, 3, 5, 1), (2, 2, 4, 6)),
        (lambda x: x[..., -2:], (3, 4, 6, 1), (2, 5, 4, 2)),
        (lambda x: x[:, :, 1:-1], (2, 1, 3, 1), (2, 5, 2, 6)),
        (lambda x: x[:, 1::3], (1, 1, 5, 3), (2, 2, 4, 6)),
        (lambda x: x.narrow(1, 1, 2), (1, 1, 3, 1), (2, 2, 4, 6)),
    ],
)
def test_slice(function: Callable[[Tensor], Tensor], bounds: tuple[int, ...], shape: Shape) -> None:
    op = only(traced(function, (2, 5, 4, 6)))
    assert op.attributes == tuple(zip(("axis", "start", "end", "step"), bounds, strict=True))
    assert (op.kind, op.output_shape, op.macs) == ("slice", shape, 0)


def test_a_slice_of_all_is_no_operator() -> None:
    op = only(traced(lambda x: torch.relu(x[:, :9, :4]), (2, 5, 4, 6)))
    assert (op.kind, op.inputs) == ("relu", (0,))


@pytest.mark.parametrize(("margins", "shape"), [((1, 0, 1, 0), (2, 3, 5, 6)), ((0, 2, 0, 1), (2, 3, 5, 7))])
def test_pad(margins: tuple[int, ...], shape: Shape) -> None:
    op = only(traced(lambda x: F.pad(x, margins), (2, 3, 4, 5)))
    left, right, top, bottom = margins
    assert op == Op("pad", (0,), (1,), ((2, 3, 4, 5), shape), (), (("padding", (top, left, bottom, right)),))


def test_padding_is_folded_into_the_convolution_after_it() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 2, bias=False), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.norm(self.conv(F.pad(torch.relu(x), (1, 0, 2, 3)))))

    before, conv, after = traced(Padded(), (1, 3, 4, 5)).ops
    assert (conv.kind, conv.shapes, conv.inputs) == ("conv", ((1, 3, 4, 5), (1, 4, 8, 5)), before.outputs)
    assert dict(conv.attributes)["padding"] == (2, 1, 3, 0)
    assert (conv.macs, conv.parameters) == (4 * 8 * 5 * 3 * 4, 3 * 4 * 4 + 2 * 4)
    assert after.inputs == conv.outputs


@pytest.mark.parametrize("own", [0, 1])
def test_padding_that_another_operator_reads_too_stays_or_raises(own: int) -> None:
    conv = nn.Conv2d(3, 3, 1 + 2 * own, padding=own)

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv

        def forward(self, x: Tensor) -> Tensor:
            padded = F.pad(x, (1, 0, 1, 0))
            y: Tensor = self.conv(padded)
            return y + padded

    if own:
        assert [op.kind for op in traced(Padded(), (1, 3, 4, 5)).ops] == ["pad", "conv", "add"]
    else:
        with pytest.raises(UnknownOperator, match="also read without its"):
            traced(Padded(), (1, 3, 4, 5))


@pytest.mark.parametrize("factor", [2, 3])
def test_upsample(factor: int) -> None:
    for options in ({"scale_factor": factor}, {"size": (4 * factor, 5 * factor)}):
        op = only(traced(lambda x, options=options: F.interpolate(x, mode="nearest", **options), (2, 3, 4, 5)))
        assert (op.kind, op.attributes, op.macs) == ("upsample", (("factors", (factor, factor)),), 0)
        assert op.output_shape == (2, 3, 4 * factor, 5 * factor)


def test_group_norm() -> None:
    norm = nn.GroupNorm(2, 6, eps=1e-3)
    op = only(traced(norm, (2, 6, 4, 5)))
    assert (op.kind, op.weights, op.parameters, op.macs) == ("group_norm", ((6,), (6,)), 12, 0)
    assert op.attributes == (("groups", 2), ("epsilon", 1e-3))


@pytest.mark.parametrize(
    ("conv", "column"),
    [
        (nn.ConvTranspose2d(4, 6, 4, 2, padding=1), "macs_dense"),
        (nn.ConvTranspose2d(4, 6, 3, padding=1, bias=False), "macs_dense"),
        (nn.ConvTranspose2d(4, 6, 1), "macs_pointwise"),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), "macs_grouped"),
        (nn.ConvTranspose2d(4, 4, 3, groups=4), "macs_depthwise"),
    ],
)
def test_conv_transpose(conv: nn.ConvTranspose2d, column: str) -> None:
    x = torch.zeros(2, 4, 7, 6)
    with FlopCounterMode(display=False) as counter:
        output = conv(x)
    op = only(traced(conv, (2, 4, 7, 6)))
    assert (op.kind, op.output_shape) == ("conv_transpose", tuple(output.shape))
    assert op.parameters == sum(parameter.numel() for parameter in conv.parameters())
    assert op.macs == counter.get_total_flops() / 2
    # Every value of the input goes to a window of each output channel of its group.
    assert op.macs == x.numel() * (conv.out_channels // conv.groups) * conv.kernel_size[0] ** 2
    assert {name for name, value in op.costs().items() if value and name.startswith("macs")} == {column}


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda x: torch.cat([x, x])[:1], "part of a batch"),
        (lambda x: x.expand(2, 4, 5, 6), "repeating a batch"),
        (lambda x: F.pad(x, (0, 0, 0, 0, 1, 0)), "padding of other dimensions"),
        (lambda x: F.pad(x, (1, 1, 1, 1), value=1.0), "not with zeros"),
        (lambda x: F.interpolate(x, size=(7, 6), mode="nearest"), "other factors than whole numbers"),
        (nn.GroupNorm(1, 4, affine=False), "without scale and shift"),
        (nn.ConvTranspose2d(4, 4, 3, 2, output_padding=1), "output_padding"),
    ],
)
def test_forms_that_are_not_known_raise(module: nn.Module | Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(UnknownOperator, match=message):
        traced(module, (1, 4, 5, 6))
