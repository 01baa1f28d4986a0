"""Mixers against explicit loops, against torch's transforms, and by finite differences; all in double precision."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.hybrid.frequency_filter import SHRINKAGE, FrequencyFilter, RealSpectrum, complex_product
from search_spaces.hybrid.modulation import Modulation
from search_spaces.hybrid.selective_scan import (
    AtrousSelectiveScan,
    SelectiveScan,
    join_grids,
    linear_recurrence,
    sub_grids,
)
from search_spaces.hybrid.state_mixer import HiddenStateMixer
from search_spaces.layers import Layers


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def perturbed(module: nn.Module) -> nn.Module:
    """In evaluation mode, without initial values that hide something, such as a scale of zero."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    for name, buffer in module.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return module.eval()


def over_channels(norm: nn.Module, image: Tensor) -> Tensor:
    """Layer normalisation of every pixel, by its formula."""
    deviation = image - image.mean(1, keepdim=True)
    normal = deviation / (deviation.square().mean(1, keepdim=True) + 1e-5).sqrt()
    return normal * norm.get_parameter("weight")[:, None, None] + norm.get_parameter("bias")[:, None, None]


# ------------------------------------------------------------- selective scan


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 11, 12, 49, 66, 196])
def test_recurrence_is_that_of_one_step_after_the_other(length: int) -> None:
    decay, inputs = torch.rand(2, 3, length, 5), torch.randn(2, 3, length, 5)
    state = torch.zeros(2, 3, 5)
    states = []
    for t in range(length):
        state = decay[:, :, t] * state + inputs[:, :, t]
        states.append(state)
    torch.testing.assert_close(linear_recurrence(decay, inputs), torch.stack(states, dim=2))


@pytest.mark.parametrize("decay", [0.0, 1e-30, 1.0])
def test_recurrence_is_safe_in_single_precision(decay: float) -> None:
    """Where the closed form with cumulative sums divides by what has become 0."""
    decays = torch.full((1, 1, 196, 2), decay, dtype=torch.float32)
    inputs = torch.randn(1, 1, 196, 2, dtype=torch.float32)
    expected = inputs.cumsum(2) if decay == 1 else inputs
    torch.testing.assert_close(linear_recurrence(decays, inputs), expected, rtol=1e-5, atol=1e-4)


def scanned(scan: SelectiveScan, x: Tensor) -> Tensor:
    """The equations of Mamba, a position, channel and state at a time."""
    images, scans, length, hidden = x.shape
    y = torch.zeros_like(x)
    for n in range(images):
        for k in range(scans):
            state = torch.zeros(hidden, scan.input.weight.shape[2])
            for t in range(length):
                u = x[n, k, t]
                step = torch.log(1 + torch.exp(u @ scan.down.weight[k] @ scan.up.weight[k] + scan.bias.weight[k, 0]))
                for d in range(hidden):
                    rates = -torch.exp(scan.log_rates.weight[k, 0, d])
                    state[d] = torch.exp(step[d] * rates) * state[d] + step[d] * (u @ scan.input.weight[k]) * u[d]
                    y[n, k, t, d] = (u @ scan.output.weight[k]) @ state[d] + scan.skip.weight[k, 0, d] * u[d]
    return y


@pytest.mark.parametrize("length", [1, 9, 14])
def test_selective_scan_is_that_of_one_step_after_the_other(length: int) -> None:
    scan = SelectiveScan(Layers(), 2, hidden=4, rank=2, states=3)
    perturbed(scan)
    x = torch.randn(2, 2, length, 4)
    with torch.no_grad():
        torch.testing.assert_close(scan(x), scanned(scan, x))


def test_selective_scan_begins_with_the_steps_of_mamba() -> None:
    scan = SelectiveScan(Layers(), 4, hidden=32, rank=2, states=5)
    steps = F.softplus(scan.bias.weight)
    assert 0.001 <= steps.min() < 0.003
    assert 0.03 < steps.max() <= 0.1
    torch.testing.assert_close(scan.log_rates.weight.exp(), torch.arange(1.0, 6).expand(4, 1, 32, 5))


def test_gradients_of_the_selective_scan() -> None:
    scan = SelectiveScan(Layers(), 1, hidden=2, rank=1, states=2)
    perturbed(scan)
    names = [name for name, _ in scan.named_parameters()]

    def function(x: Tensor, *weights: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(scan, dict(zip(names, weights, strict=True)), (x,))
        return result

    assert torch.autograd.gradcheck(function, (torch.randn(1, 1, 6, 2, requires_grad=True), *scan.parameters()))


def test_sub_grids() -> None:
    image = torch.arange(24.0).view(1, 1, 4, 6)  # rows of six pixels
    grids = sub_grids(image)
    assert grids[0, ..., 0].tolist() == [
        [0, 2, 4, 12, 14, 16],  # row by row
        [6, 18, 8, 20, 10, 22],  # column by column, from the second row on
        [1, 3, 5, 13, 15, 17],  # row by row, from the second column on
        [7, 19, 9, 21, 11, 23],  # column by column, from the second of both on
    ]
    images = torch.randn(2, 3, 4, 6)
    torch.testing.assert_close(join_grids(sub_grids(images), 2, 3), images.permute(0, 2, 3, 1))


@pytest.mark.parametrize("size", [4, 5])
def test_atrous_selective_scan(size: int) -> None:
    module = AtrousSelectiveScan(Layers(), 16, 8, size, states=3)
    perturbed(module)
    x = torch.randn(2, 16, size, size)
    even = size + size % 2
    with torch.no_grad():
        u = over_channels(module.norm, x)
        inner = F.silu(module.depthwise(module.value(u)))
        inner = F.pad(inner, (0, even - size, 0, even - size))
        y = torch.zeros(2, 8, even, even)
        for k, (row, column) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
            rows, columns = range(row, even, 2), range(column, even, 2)
            by_row, by_column = [(r, c) for r in rows for c in columns], [(r, c) for c in columns for r in rows]
            places = by_column if row else by_row
            one = SelectiveScan(Layers(), 1, hidden=8, rank=1, states=3)
            one.load_state_dict({name: weight[k : k + 1] for name, weight in module.scan.state_dict().items()})
            sequence = torch.stack([inner[:, :, r, c] for r, c in places], dim=1)[:, None]
            for place, (r, c) in enumerate(places):
                y[:, :, r, c] = scanned(one, sequence)[:, 0, place]
        y = over_channels(module.scan_norm, y[:, :, :size, :size])
        gate = F.silu(torch.einsum("oc,nchw->nohw", module.multiplier.get_parameter("weight"), u))
        branches = [
            torch.einsum("oc,nchw->nohw", module.project.get_parameter("weight"), y * gate),
            module.local(u),
        ]
        expected = x.clone()
        for branch in branches:
            mean = over_channels(module.gate.norm, branch).mean((2, 3))
            expected += branch * torch.sigmoid(module.gate.expand(F.gelu(module.gate.reduce(mean))))[:, :, None, None]
        torch.testing.assert_close(module(x), expected)


# --------------------------------------------------------- hidden-state mixer


def test_hidden_state_mixer() -> None:
    module = HiddenStateMixer(Layers(), 6, 9, 3, states=4)
    perturbed(module)
    x = torch.randn(2, 6, 3, 3)
    with torch.no_grad():
        image, states = module.mix(x)
        u = over_channels(module.norm, x)
        step, inputs, outputs = (
            role.depthwise(role.project(u)).flatten(2) for role in (module.step, module.input, module.output)
        )
        value, gate, project = (
            getattr(module, name).get_parameter("weight") for name in ("value", "gate", "project")
        )  # fmt: skip
        for n in range(2):
            for pixel in range(9):
                y = torch.zeros(6)
                for s in range(4):
                    share = torch.exp(step[n, s]) / torch.exp(step[n, s]).sum()
                    h = torch.zeros(6)
                    for other in range(9):
                        h += share[other] * inputs[n, s, other] * u[n, :, other // 3, other % 3]
                    h = project @ ((value @ h) * (F.silu(gate @ h) + module.skip.weight))
                    torch.testing.assert_close(states[n, s], h)
                    y += outputs[n, s, pixel] * h
                torch.testing.assert_close(image[n, :, pixel // 3, pixel % 3], y)


def test_block_of_the_hidden_state_mixer() -> None:
    module = HiddenStateMixer(Layers(), 6, 9, 3, states=4)
    perturbed(module)
    x = y = torch.randn(2, 6, 3, 3)
    share = torch.sigmoid(module.shares.weight)
    with torch.no_grad():
        parts = (module.before, lambda z: module.mix(z)[0], module.after, module.feed_forward)
        for index, part in enumerate(parts):
            y = torch.lerp(y, part(y), share[index][:, None, None])
        torch.testing.assert_close(module(x), y)
        ffn = module.feed_forward
        hidden = torch.relu(ffn.fused_norm(ffn.fused(x)))
        torch.testing.assert_close(ffn(x), ffn.project_norm(ffn.project(hidden)))


def test_the_state_mixer_sees_the_whole_image() -> None:
    module = HiddenStateMixer(Layers(), 6, 9, 5, states=4)
    perturbed(module)
    x = torch.randn(1, 6, 5, 5, requires_grad=True)
    module.mix(x)[0][0, 0, 4, 4].backward()
    assert x.grad is not None
    assert x.grad.abs().sum(1).min() > 0  # from the last pixel to the first, and to all others


# ----------------------------------------------------------------- modulation


@pytest.mark.parametrize("copies", [1, 3])
def test_modulation(copies: int) -> None:
    module = Modulation(Layers(), 4, 4 * copies, 5, kernel=3)
    perturbed(module)
    x = torch.randn(2, 4, 5, 5)

    def dense(name: str, z: Tensor) -> Tensor:
        layer = getattr(module, name)
        return torch.einsum("oc,nchw->nohw", layer.weight[:, :, 0, 0], z) + layer.bias[:, None, None]

    with torch.no_grad():
        u = over_channels(module.norm, x)
        context = dense("context", F.gelu(module.depthwise(dense("reduce", u))))
        hidden = dense("expand", u)
        hidden = hidden if copies == 1 else F.gelu(hidden)
        hidden = hidden * context.repeat(1, copies, 1, 1)
        torch.testing.assert_close(module(x), x + module.scale.weight * dense("project", hidden))


def test_modulation_of_a_part_of_the_channels_raises() -> None:
    with pytest.raises(ValueError, match="a multiple of its 4 channels, not 6"):
        Modulation(Layers(), 4, 6, 5)


# ----------------------------------------------------------- frequency filter


def as_complex(spectrum: Tensor, size: int) -> Tensor:
    """From the layout of `RealSpectrum` to that of torch: shape (n, channels, size, size // 2 + 1)."""
    parts = spectrum.unflatten(3, (2, -1)).unflatten(2, (-1, size))  # n, blocks, columns, rows, part, channels
    return torch.complex(parts[..., 0, :], parts[..., 1, :]).permute(0, 1, 4, 3, 2).flatten(1, 2)


def as_parts(spectrum: Tensor, blocks: int) -> Tensor:
    parts = spectrum.unflatten(1, (blocks, -1)).permute(0, 1, 4, 3, 2).flatten(2, 3)
    return torch.cat([parts.real, parts.imag], dim=3)


@pytest.mark.parametrize("size", [1, 2, 5, 8, 14])
def test_transforms_are_those_of_torch(size: int) -> None:
    transform = RealSpectrum(Layers(), size, blocks=3)
    x = torch.randn(2, 6, size, size)
    expected = torch.fft.rfft2(x, norm="ortho")
    torch.testing.assert_close(as_complex(transform(x), size), expected)
    torch.testing.assert_close(transform.inverse(transform(x)), x)
    # One that is not the spectrum of any real image.
    other = torch.randn_like(expected)
    image = torch.fft.irfft2(other, s=(size, size), norm="ortho")
    torch.testing.assert_close(transform.inverse(as_parts(other, 3)), image)


def test_product() -> None:
    a, b = torch.randn(2, 3, 4, dtype=torch.complex128), torch.randn(2, 3, 4, dtype=torch.complex128)
    found = complex_product(torch.cat([a.real, a.imag], -1), torch.cat([b.real, b.imag], -1))
    torch.testing.assert_close(found, torch.cat([(a * b).real, (a * b).imag], -1))


@pytest.mark.parametrize("size", [5, 8])
def test_frequency_filter(size: int) -> None:
    module = FrequencyFilter(Layers(), 8, 12, size, blocks=2)
    perturbed(module)
    x = torch.randn(2, 8, size, size)
    with torch.no_grad():
        u = module.filter_norm(module.local(module.norm(x)))
        spectrum = torch.fft.rfft2(u, norm="ortho")
        hidden = affine(module, "first", spectrum)
        hidden = torch.complex(torch.relu(hidden.real), torch.relu(hidden.imag))
        filters = affine(module, "second", hidden)
        filters = torch.complex(F.softshrink(filters.real, SHRINKAGE), F.softshrink(filters.imag, SHRINKAGE))
        assert (filters.real == 0).any()
        expected = x + u + torch.fft.irfft2(filters * spectrum, s=(size, size), norm="ortho")
        torch.testing.assert_close(module(x), expected)


def affine(module: FrequencyFilter, name: str, z: Tensor) -> Tensor:
    layer = getattr(module, name)
    weight = torch.complex(layer.real.weight, layer.imaginary.weight)
    bias = torch.complex(layer.real_bias.weight, layer.imaginary_bias.weight)[:, 0, :, None, None]
    return (torch.einsum("nkihw,kio->nkohw", z.unflatten(1, (2, 4)), weight) + bias).flatten(1, 2)


def test_a_frequency_filter_with_other_blocks_than_channels_raises() -> None:
    with pytest.raises(ValueError, match="a multiple of its 8 blocks, not 12"):
        FrequencyFilter(Layers(), 12, 12, 5)
