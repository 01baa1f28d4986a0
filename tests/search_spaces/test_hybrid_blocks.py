"""The blocks of hybrid networks against loops and explicit sums in float64, and their exports."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import ceil, exp, sqrt

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.export.onnx_model import to_onnx
from search_spaces.elastic import ElasticLayers
from search_spaces.hybrid.attention import attend
from search_spaces.hybrid.conv_attention import ConvAttention, SmallKernelAttention, heads_of
from search_spaces.hybrid.ends import HybridHead, Stem
from search_spaces.hybrid.single_head import ConvFeedForward, SingleHeadAttention, attended
from search_spaces.hybrid.small_kernel import SmallKernelMBConv, pad_before
from search_spaces.layers import Layers

Floats = NDArray[np.float64]

MIXERS: list[tuple[Callable[..., nn.Module], dict[str, int]]] = [
    (ConvAttention, {"stride": 1}), (ConvAttention, {"stride": 2}), (ConvAttention, {"stride": 4}),
    (SmallKernelAttention, {"stride": 1}), (SmallKernelAttention, {"stride": 2}),
    (ConvFeedForward, {}), (SingleHeadAttention, {}),
]  # fmt: skip


def scrambled(module: nn.Module) -> nn.Module:
    """In evaluation mode and float64, without initial values."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(
                    torch.rand(tensor.shape) + 0.5 if name.endswith("var") else 0.3 * torch.randn(tensor.shape)
                )
    return module.double().eval()


def numbers(tensor: Tensor) -> Floats:
    return np.asarray(tensor.detach(), dtype=np.float64)


def loop_conv(x: Floats, conv: nn.Module, pads: tuple[int, int]) -> Floats:
    """A convolution of one image by its sum; `pads` are zeros before and after both dimensions."""
    assert isinstance(conv, nn.Conv2d)
    weight, (stride, _), groups = numbers(conv.weight), conv.stride, conv.groups
    x = np.pad(x, ((0, 0), pads, pads))
    out, per_group, kernel, _ = weight.shape
    sizes = [(size - kernel) // stride + 1 for size in x.shape[1:]]
    y = np.zeros((out, *sizes))
    for o, i, j in product(range(out), *map(range, sizes)):
        first = o // (out // groups) * per_group
        window = x[first : first + per_group, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
        y[o, i, j] = (window * weight[o]).sum() + (0 if conv.bias is None else float(conv.bias.detach()[o]))
    return y


def loop_conv_transpose(x: Floats, conv: nn.Module) -> Floats:
    """Every input pixel adds its window to the output, whose margins are cut off."""
    assert isinstance(conv, nn.ConvTranspose2d)
    weight, (stride, _), (margin, _) = numbers(conv.weight), conv.stride, conv.padding
    kernel = weight.shape[2]
    y = np.zeros((weight.shape[1], *((size - 1) * stride + kernel for size in x.shape[1:])))
    for c, i, j in np.ndindex(x.shape):
        y[:, i * stride : i * stride + kernel, j * stride : j * stride + kernel] += x[c, i, j] * weight[c]
    y = y[:, margin : y.shape[1] - margin, margin : y.shape[2] - margin]
    return y + (0 if conv.bias is None else numbers(conv.bias)[:, None, None])


def batch_norm(x: Floats, norm: nn.Module) -> Floats:
    scale, shift, mean, var = (
        numbers(norm.get_parameter(name) if name in ("weight", "bias") else norm.get_buffer(name))[:, None, None]
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * scale + shift


def group_norm(x: Floats, norm: nn.Module) -> Floats:
    """Over all values of the image."""
    scale, shift = (numbers(norm.get_parameter(name))[:, None, None] for name in ("weight", "bias"))
    return (x - x.mean()) / sqrt(x.var() + 1e-5) * scale + shift


def loop_attention(query: Floats, key: Floats, value: Floats) -> Floats:
    """Pixel by pixel; arrays of shape (channels, pixels)."""
    result = np.zeros_like(value)
    for pixel in range(query.shape[1]):
        scores = [float(query[:, pixel] @ key[:, other]) / sqrt(len(query)) for other in range(key.shape[1])]
        total = sum(exp(score) for score in scores)
        for other, score in enumerate(scores):
            result[:, pixel] += exp(score) / total * value[:, other]
    return result


def gelu(x: Floats) -> Floats:
    return numbers(torch.special.ndtr(torch.from_numpy(x))) * x


def test_attention_against_a_loop() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 3, 4, 6, dtype=torch.float64), torch.randn(2, 3, 4, 6, dtype=torch.float64)
    value = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    found = attend(query, key, value)
    for image, head in product(range(2), range(3)):
        expected = loop_attention(*(numbers(part[image, head]) for part in (query, key, value)))
        np.testing.assert_allclose(found[image, head], expected, rtol=1e-12)


@pytest.mark.parametrize("size", [4, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_small_kernels_keep_the_size_and_look_up_and_left(size: int, stride: int) -> None:
    """CPUBone pads its 2x2 kernels above and to the left with stride 1, and not at all with stride 2 (its images have
    even sizes): the pixel itself is in the last row and column of the kernel."""
    x = torch.randn(1, 3, size, size + 1, dtype=torch.float64)
    weight = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    y = torch.nn.functional.conv2d(pad_before(x, 2, stride), weight, stride=stride)
    assert y.shape[2:] == (ceil(size / stride), ceil((size + 1) / stride))
    for o, i, j in product(range(2), *map(range, y.shape[2:])):
        expected = 0.0
        # Of an even size and stride 2 the windows tile the image, otherwise the first one hangs over by a pixel.
        offsets = [0 if stride == 2 and side % 2 == 0 else -1 for side in x.shape[2:]]
        for c, di, dj in product(range(3), range(2), range(2)):
            row, column = i * stride + di + offsets[0], j * stride + dj + offsets[1]
            if row >= 0 and column >= 0:
                expected += float(x[0, c, row, column] * weight[o, c, di, dj])
        assert float(y[0, o, i, j]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("stride", "out", "size"), [(1, 6, 5), (1, 8, 4), (2, 6, 4), (2, 6, 5)])
def test_small_kernel_mbconv_against_sums(stride: int, out: int, size: int) -> None:
    block = scrambled(SmallKernelMBConv(Layers(), 6, out, 8, stride, "relu"))
    x = torch.randn(1, 6, size, size, dtype=torch.float64)
    before = 0 if stride == 2 and size % 2 == 0 else 1
    y = np.maximum(batch_norm(loop_conv(numbers(x[0]), block.fused, (before, 0)), block.fused_norm), 0)
    y = batch_norm(loop_conv(y, block.project, (0, 0)), block.project_norm)
    expected = y + numbers(x[0]) if (stride, out) == (1, 6) else y
    np.testing.assert_allclose(numbers(block(x)[0]), expected, atol=1e-10)


@pytest.mark.parametrize("module", [ConvAttention, SmallKernelAttention])
@pytest.mark.parametrize(("stride", "size"), [(1, 3), (2, 6), (2, 5), (4, 6)])
def test_conv_attention_against_loops(module: Callable[..., nn.Module], stride: int, size: int) -> None:
    channels = 120  # two heads of thirty channels
    block = scrambled(module(Layers(), channels, 130, stride))
    x = torch.randn(1, channels, size, size, dtype=torch.float64)
    image = numbers(x[0])
    small = ceil(size / stride)
    if module is ConvAttention:
        margin = block.reduce.kernel_size[0] // 2
        assert block.reduce.kernel_size[0] == {1: 3, 2: 5, 4: 7}[stride]
        pads = (margin, margin)
    else:
        pads = (max(0, (small - 1) * stride + 2 - size), 0)
    reduced = batch_norm(loop_conv(group_norm(image, block.norm), block.reduce, pads), block.reduce_norm)
    assert reduced.shape == (channels, small, small)
    qkv = loop_conv(reduced, block.qkv, (0, 0)).reshape(3, 2, 30, small**2)
    heads = [loop_attention(*qkv[:, head]) for head in range(2)]
    values = np.concatenate(heads).reshape(60, small, small)
    if module is ConvAttention:
        change = loop_conv_transpose(values, block.enlarge)
    else:
        change = loop_conv(values, block.project, (0, 0)).repeat(stride, axis=1).repeat(stride, axis=2)
    y = image + change[:, :size, :size]
    hidden = gelu(loop_conv(group_norm(y, block.mlp_norm), block.mlp_expand, (0, 0)))
    expected = y + loop_conv(hidden, block.mlp_project, (0, 0))
    np.testing.assert_allclose(numbers(block(x)[0]), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("channels", "heads", "size"),
    # LowFormer-B0 prints 64 and 128 channels attended to of 128 and 256; CPUBone-Nano has heads = C / 2 // 30.
    [(128, 2, 32), (256, 4, 32), (96, 1, 48), (192, 3, 32), (16, 1, 8)],
)
def test_heads(channels: int, heads: int, size: int) -> None:
    assert heads_of(channels) == (heads, size)


@pytest.mark.parametrize(
    ("channels", "part"),
    # The published `partial_dim` of all stages of SHViT-S1 to S4 that have attention.
    [(224, 48), (320, 68), (308, 66), (448, 96), (352, 75), (336, 72)],
)
def test_channels_attended_to(channels: int, part: int) -> None:
    assert attended(channels) == part


@pytest.mark.parametrize("module", [ConvFeedForward, SingleHeadAttention])
def test_blocks_of_shvit_against_loops(module: Callable[..., nn.Module]) -> None:
    block = scrambled(module(Layers(), 28, 20))
    x = torch.randn(1, 28, 4, 3, dtype=torch.float64)
    y = numbers(x[0])
    y = y + batch_norm(loop_conv(y, block.local, (1, 1)), block.local_norm)
    if module is SingleHeadAttention:
        normal = group_norm(y[:6], block.attention_norm)
        qkv = batch_norm(loop_conv(normal, block.qkv, (0, 0)), block.qkv_norm).reshape(38, 12)
        mixed = np.concatenate([loop_attention(qkv[:16], qkv[16:32], qkv[32:]).reshape(6, 4, 3), y[6:]])
        y = y + batch_norm(loop_conv(np.maximum(mixed, 0), block.merge, (0, 0)), block.merge_norm)
    hidden = np.maximum(batch_norm(loop_conv(y, block.expand, (0, 0)), block.expand_norm), 0)
    expected = y + batch_norm(loop_conv(hidden, block.project, (0, 0)), block.project_norm)
    np.testing.assert_allclose(numbers(block(x)[0]), expected, atol=1e-10)


def test_ends() -> None:
    """Several convolutions have activations between them only; a single one has one, too."""
    x = torch.randn(1, 3, 7, 7, dtype=torch.float64)
    stem = scrambled(Stem(Layers(), 3, (4, 6), (2, 1), "relu"))
    first, second = stem
    y = np.maximum(batch_norm(loop_conv(numbers(x[0]), first.conv, (1, 1)), first.norm), 0)
    expected = batch_norm(loop_conv(y, second.conv, (1, 1)), second.norm)
    np.testing.assert_allclose(numbers(stem(x)[0]), expected, atol=1e-10)
    assert float(scrambled(Stem(Layers(), 3, (4,), (2,), "relu"))(x).detach().min()) == 0
    head = scrambled(HybridHead(Layers(), 3, 0, 0, 5, "relu"))
    mean = batch_norm(numbers(x[0]).mean((1, 2))[:, None, None], head.norm)[:, 0, 0]
    expected = numbers(head.classifier.weight) @ mean + numbers(head.classifier.bias)
    np.testing.assert_allclose(numbers(head(x)[0]), expected, atol=1e-10)


@pytest.mark.parametrize(("module", "options"), MIXERS)
def test_fewer_channels_are_a_prefix_of_every_part(module: Callable[..., nn.Module], options: dict[str, int]) -> None:
    """The elastic block has the weights that it is said to have: the first of each dimension, of query, key and value
    each by themselves."""
    from search_spaces.elastic.layer import ElasticLayer

    large, small = module(ElasticLayers(()), 80, 96, **options), module(Layers(), 64, 48, **options)
    layers = dict(large.named_modules())
    for name, layer in small.named_modules():
        if isinstance(layers[name], ElasticLayer):
            layers[name].activate(layer)
            state = layers[name].active_state()
            for key, tensor in layer.state_dict().items():
                whole = layers[name].get_parameter(key) if key in ("weight", "bias") else None
                if whole is None:
                    continue
                if name == "qkv" and module is not SingleHeadAttention:
                    rows = [part * 40 + row for part in range(3) for row in range(32)]
                    expected = whole[rows, :64]
                else:
                    expected = whole[tuple(slice(size) for size in tensor.shape)]
                assert torch.equal(state[key], expected), (name, key)
            layer.load_state_dict(state)
    x = torch.randn(2, 64, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(large.eval()(x), small.eval()(x))


@pytest.mark.parametrize(("module", "options"), MIXERS)
def test_sorting_channels_keeps_the_function(module: Callable[..., nn.Module], options: dict[str, int]) -> None:
    block = scrambled(module(ElasticLayers(()), 64, 48, **options))
    x = torch.randn(2, 64, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        before = block(x)
        assert block.sort_channels()  # type: ignore[operator]
        torch.testing.assert_close(block(x), before)
    reader = block.get_parameter("mlp_project.weight" if hasattr(block, "mlp_project") else "project.weight")
    importance = reader.abs().sum((0, 2, 3))
    assert (importance.diff() <= 0).all()


def test_the_export_computes_the_same() -> None:
    """Of blocks with all operators one after the other, on images of odd size."""
    blocks = [module(Layers(), 64, 48, stride=2) for module in (ConvAttention, SmallKernelAttention)]
    blocks += [SingleHeadAttention(Layers(), 64, 48), SmallKernelMBConv(Layers(), 64, 64, 48, 1, "hardswish")]
    network = scrambled(nn.Sequential(*blocks)).float()
    content = to_onnx(network, {"x": torch.randn(1, 64, 7, 7)})
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        x = torch.randn(batch, 64, 7, 7)
        (found,) = session.run(None, {"x": x.numpy()})
        with torch.no_grad():
            expected = network(x).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
