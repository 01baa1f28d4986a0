"""The space of NAS-Bench-201 (Dong and Yang, ICLR 2020): one cell of four nodes, repeated through the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor, nn

from search_spaces.checks import check_positive
from search_spaces.convnet.ends import fixed
from search_spaces.layers import Layers
from search_spaces.space import Choice, Codes, SearchSpace, Slot, Value, Variant
from search_spaces.spec import ModuleSpec

#: The operations in the order of their numbers in the tables.
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

#: The edges in the order of the tables: `edge2_1` leads from node 1 to node 2.
EDGES = ("edge1_0", "edge2_0", "edge2_1", "edge3_0", "edge3_1", "edge3_2")

# From the cheapest to the most expensive, as the options of a choice are: limits and training read its last one.
_OPTIONS = ("none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")

State = Tensor | tuple[Tensor, ...]


class Zero(nn.Module):
    """Zeros of the shape of the input. As in the authors' code it reads its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0


class ReluConvNorm(nn.Module):
    """ReLU, convolution, batch normalisation."""

    def __init__(self, layers: Layers, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = layers.conv(in_channels, out_channels, kernel, stride)
        self.norm = layers.norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(self.conv(x.relu()))
        return result


class Node(nn.Module):
    """A node of the cell: the sum of what the edges from all earlier nodes give.

    Takes the tensors of the earlier nodes and gives them together with its own, except that the last node of a cell
    gives its own alone. When node 1 is the same as node 0 that tensor is there once.

    Args:
        layers: makes the layers.
        channels: of every tensor.
        last: whether it is the last node of the cell.
        **edges: number of the operation of each edge (`edge0`: from node 0).
    """

    def __init__(self, layers: Layers, channels: int, last: bool, **edges: int) -> None:
        super().__init__()
        plain = Layers()
        options = (
            Zero,
            nn.Identity,
            partial(ReluConvNorm, plain, channels, channels, 1, 1),
            partial(ReluConvNorm, plain, channels, channels, 3, 1),
            partial(nn.AvgPool2d, 3, stride=1, padding=1, count_include_pad=False),
        )
        self.last = last
        self.edges = nn.ModuleList([layers.one_of(options, edges[f"edge{i}"]) for i in range(len(edges))])

    def forward(self, *state: State) -> State:
        nodes = _tensors(state)
        sources = nodes if len(nodes) == len(self.edges) else (nodes[0], *nodes)
        first, *others = (edge(source) for edge, source in zip(self.edges, sources, strict=True))
        total: Tensor = sum(others, first)
        return total if self.last else (*nodes, total)


def _tensors(state: tuple[State, ...]) -> tuple[Tensor, ...]:
    """In a network, modules are given one tensor or tuple; where a slot is looked at alone, its tensors one by one."""
    return tuple(tensor for part in state for tensor in (part if isinstance(part, tuple) else (part,)))


class Stem(nn.Module):
    """3x3 convolution and batch normalisation."""

    def __init__(self, layers: Layers, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = layers.conv(in_channels, channels, 3)
        self.norm = layers.norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(self.conv(x))
        return result


class Reduction(nn.Module):
    """Residual block that halves the resolution and doubles the channels; average pooling in its shortcut."""

    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        self.first = ReluConvNorm(layers, channels, 2 * channels, 3, 2)
        self.second = ReluConvNorm(layers, 2 * channels, 2 * channels, 3, 1)
        self.pool = nn.AvgPool2d(2, stride=2)
        self.shortcut = layers.conv(channels, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.shortcut(self.pool(x)) + self.second(self.first(x))
        return result


class Classifier(nn.Module):
    """Batch normalisation, ReLU, global average, linear layer."""

    def __init__(self, layers: Layers, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = layers.norm(channels)
        self.linear = layers.linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.norm(x).relu().mean((2, 3)))
        return logits


def nasbench201(
    *, resolution: int = 32, in_channels: int = 3, classes: int = 10, width: int = 16, cells: int = 5
) -> SearchSpace:
    """Three stages of equal cells; each of the six edges of the cell has one of five operations.

    There is a slot for each node of each cell, so that features are sums over few variants. As in the authors' code,
    all edges are computed, those to or from which nothing leads included, and `none` multiplies by zero: a cell whose output
    does not depend on its input is a network like any other. The workload has the MACs and parameters that the tables
    state: convolutions, the linear layer with its bias, and scale and shift of every normalisation.

    Args:
        resolution: of the images in pixels, divisible by 4.
        in_channels: of the images.
        classes: number of classes.
        width: channels of the first stage; every other stage has twice those before it.
        cells: number of cells of each stage.

    Raises:
        ValueError: when a size is impossible.
    """
    options = dict(locals())
    check_positive(**options)
    if resolution % 4:
        raise ValueError(f"resolution must be divisible by 4, since it is halved twice, not {resolution}")
    stem = ModuleSpec.of(Stem, in_channels=in_channels, channels=width)
    slots = [_fixed("stem", stem, in_channels, resolution)]
    for stage in (1, 2, 3):
        channels, size = width * 2 ** (stage - 1), resolution // 2 ** (stage - 1)
        if stage > 1:
            reduction = ModuleSpec.of(Reduction, channels=channels // 2)
            slots.append(_fixed(f"reduction{stage - 1}", reduction, channels // 2, 2 * size))
        for cell in range(1, cells + 1):
            slots += _cell(f"stage{stage}_cell{cell}", channels, size)
    slots.append(_fixed("classifier", ModuleSpec.of(Classifier, channels=channels, classes=classes), channels, size))
    choices = tuple(Choice(edge, _OPTIONS, ordered=False) for edge in EDGES)
    return SearchSpace("nasbench201", choices, tuple(slots), options)


def _fixed(name: str, spec: ModuleSpec, channels: int, size: int) -> Slot:
    return fixed(name, Variant(spec, ((1, channels, size, size),)))


def _cell(name: str, channels: int, size: int) -> list[Slot]:
    shape = (1, channels, size, size)
    slots = []
    for node in (1, 2, 3):
        # The first edge decides whether node 1 is a tensor of its own.
        edges = tuple(edge for edge in EDGES if edge.startswith(f"edge{node}") or edge == EDGES[0])
        slots.append(Slot(f"{name}_node{node}", edges, partial(_node, node, shape)))
    return slots


def _node(node: int, shape: tuple[int, ...], values: Mapping[str, Value], phase: str) -> Variant | None:
    is_copy = values[EDGES[0]] == "skip_connect"
    if node == 1 and is_copy:
        return None
    edges = {f"edge{i}": OPERATIONS.index(str(values[f"edge{node}_{i}"])) for i in range(node)}
    spec = ModuleSpec.of(Node, channels=shape[1], last=node == 3, **edges)
    return Variant(spec, (shape,) * (node - is_copy))


def codes_of(ops: Sequence[str]) -> Codes:
    """Codes of the architectures that a table writes as six digits, such as `421211`: edges in the order of `EDGES`.

    Returns:
        An integer matrix of shape (n, 6).

    Raises:
        ValueError: when a text is not six digits from 0 to 4.
    """
    for text in ops:
        if len(text) != len(EDGES) or not set(text) <= set("01234"):
            raise ValueError(f"{text!r} is no architecture of NAS-Bench-201: expected six digits from 0 to 4")
    codes = [[_OPTIONS.index(OPERATIONS[int(digit)]) for digit in text] for text in ops]
    return np.array(codes, dtype=np.int64).reshape(-1, len(EDGES))


def ops_of(codes: Codes) -> list[str]:
    """The table's form of `codes`, shape (n, 6): the inverse of `codes_of`."""
    digits = [str(OPERATIONS.index(name)) for name in _OPTIONS]
    return ["".join(digits[code] for code in row) for row in np.asarray(codes).tolist()]
