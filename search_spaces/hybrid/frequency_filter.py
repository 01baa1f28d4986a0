"""Frequency filter: a filter as large as the image, computed from the image.

The smallest published network, AFFNet-ET (1.4 M parameters, 0.4 G MACs at 256 px), is made of inverted residuals
(`MBConv`, SiLU, expansion 2, kernel 3) and of these blocks:

* a stem: 3 x 3 convolution, stride 2, to 16 channels, normalised, SiLU;
* one inverted residual to 32 channels; then three to 48, the first with stride 2;
* three stages of 64, 104, 144 channels, on images of 32, 16, 8 pixels: an inverted residual with stride 2, then 2, 4, 3
  blocks, the hidden channels twice the channels, group normalisation with one group, a 1 x 1 convolution with
  batch normalisation, and another one with SiLU that reads what came into the blocks beside what comes out of it;
* 1 x 1 convolution to 576 channels, SiLU, mean over the image, classifier.
"""

from __future__ import annotations

from functools import partial
from math import tau

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.convnet.blocks import ConvNormAct, MBConv
from search_spaces.layers import Layers

#: Below this magnitude a coefficient of the filter is 0.
SHRINKAGE = 0.01


class FrequencyFilter(nn.Module):
    """Block of AFFNet (Huang et al., "Adaptive frequency filters as efficient global token mixers", ICCV 2023): an
    inverted residual, then, with F the two-dimensional Fourier transform of each channel,

        y = x + u + F^-1(shrink(W_2 relu(W_1 F(u) + b_1) + b_2) * F(u)),

    where u are the normalised outputs of the inverted residual, and W_1 and W_2 are complex matrices of `blocks` equal
    blocks. The ReLU and the shrinkage (everything is moved towards 0 by 0.01) act on real and imaginary part.

    The transforms are products with constant matrices: runtimes have no fast one for images of this size.

    Args:
        layers: makes the layers.
        channels: of the image, a multiple of `blocks`.
        hidden: channels of the inverted residual.
        resolution: height and width of the image; the same weights serve all.
        blocks: of W_1 and W_2.

    Raises:
        ValueError: when `blocks` does not divide `channels`.
    """

    def __init__(self, layers: Layers, channels: int, hidden: int, resolution: int, blocks: int = 8) -> None:
        super().__init__()
        if channels % blocks:
            raise ValueError(
                f"the channels of a frequency filter are a multiple of its {blocks} blocks, not {channels}"
            )
        self.norm = layers.group_norm(channels)
        self.local = MBConv(layers, channels, channels, hidden, 3, 1, "silu")
        self.filter_norm = layers.group_norm(channels)
        self.spectrum = RealSpectrum(layers, resolution, blocks)
        self.first = _ComplexBlocks(layers, blocks, channels // blocks)
        self.second = _ComplexBlocks(layers, blocks, channels // blocks)

    def forward(self, x: Tensor) -> Tensor:
        u: Tensor = self.filter_norm(self.local(self.norm(x)))
        return x + (u + self.filtered(u))

    def filtered(self, u: Tensor) -> Tensor:
        """What the filter that is computed from `u` makes of it."""
        spectrum = self.spectrum(u)
        filters = self.second(torch.relu(self.first(spectrum)))
        filters = filters - F.hardtanh(filters, -SHRINKAGE, SHRINKAGE)
        return self.spectrum.inverse(complex_product(filters, spectrum))


class FusedFilters(nn.Module):
    """A stage of AFFNet: blocks, and a convolution that reads what came into them beside what comes out of them.

    Args:
        layers: makes the layers.
        channels: of the image, a multiple of 8.
        hidden: channels of the inverted residual of each block.
        resolution: height and width of the image; the same weights serve all.
        depth: number of blocks.
    """

    def __init__(self, layers: Layers, channels: int, hidden: int, resolution: int, depth: int) -> None:
        super().__init__()
        self.filters = layers.repeat(partial(FrequencyFilter, layers, channels, hidden, resolution), depth)
        self.norm = layers.group_norm(channels)
        self.mix = ConvNormAct(layers, channels, channels, 1, 1, "identity")
        self.fuse = ConvNormAct(layers, 2 * channels, channels, 1, 1, "silu")

    def forward(self, x: Tensor) -> Tensor:
        y = self.mix(self.norm(self.filters(x)))
        result: Tensor = self.fuse(torch.cat([x, y], 1))
        return result


class RealSpectrum(nn.Module):
    """`torch.fft.rfft2` and `irfft2` with norm="ortho" of square images as products with constant matrices.

    A spectrum has the shape (n, blocks, (resolution // 2 + 1) * resolution, 2 * channels // blocks): the frequencies,
    those of columns first, and in the last dimension the real parts of a block of channels, then the imaginary ones.

    Args:
        layers: makes the matrices.
        resolution: height and width of the images.
        blocks: of channels.
    """

    def __init__(self, layers: Layers, resolution: int, blocks: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.rows = layers.constant(real_transform, resolution)
        self.columns = layers.constant(complex_transform, resolution)
        self.inverse_rows = layers.constant(inverse_real_transform, resolution)

    def forward(self, x: Tensor) -> Tensor:
        """Spectrum of images of shape (n, channels, resolution, resolution)."""
        size = x.shape[2]
        half = (x @ self.rows()).unflatten(3, (2, -1)).permute(0, 1, 4, 3, 2)
        whole = half.flatten(3) @ self.columns()
        parts: Tensor = whole.unflatten(3, (2, size)).unflatten(1, (self.blocks, -1))
        return parts.permute(0, 1, 3, 5, 4, 2).flatten(4).flatten(2, 3)

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Images of a spectrum."""
        # The matrix is orthogonal.
        columns = self.columns().t()
        size = columns.shape[0] // 2
        parts = spectrum.unflatten(3, (2, -1)).unflatten(2, (-1, size)).permute(0, 1, 5, 2, 4, 3)
        half = (parts.flatten(1, 2).flatten(3) @ columns).unflatten(3, (2, size))
        image: Tensor = half.permute(0, 1, 4, 3, 2).flatten(3) @ self.inverse_rows()
        return image


class _ComplexBlocks(nn.Module):
    """A complex affine map of each block of channels of a spectrum."""

    def __init__(self, layers: Layers, blocks: int, size: int) -> None:
        super().__init__()
        self.real, self.imaginary = (layers.parameter(blocks, size, size) for _ in range(2))
        self.real_bias, self.imaginary_bias = (layers.parameter(blocks, 1, size) for _ in range(2))
        for parameter in (self.real, self.imaginary, self.real_bias, self.imaginary_bias):
            nn.init.normal_(parameter.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        real, imaginary = self.real(), self.imaginary()
        weight = torch.cat([torch.cat([real, imaginary], 2), torch.cat([-imaginary, real], 2)], 1)
        return x @ weight + torch.cat([self.real_bias(), self.imaginary_bias()], 2)


def complex_product(a: Tensor, b: Tensor) -> Tensor:
    """Product of complex numbers whose real parts are the first half of the last dimension."""
    size = a.shape[-1] // 2
    real_a, imaginary_a, real_b, imaginary_b = (half for x in (a, b) for half in (x[..., :size], x[..., size:]))
    real = real_a * real_b - imaginary_a * imaginary_b
    return torch.cat([real, real_a * imaginary_b + imaginary_a * real_b], dim=-1)


def _waves(size: int, frequencies: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine, shape (size, frequencies), scaled so that transforms keep lengths; double precision."""
    turns = torch.outer(torch.arange(size), torch.arange(frequencies)) % size
    angle = turns.double() * (tau / size)
    return angle.cos() / size**0.5, angle.sin() / size**0.5


def real_transform(size: int) -> Tensor:
    """Matrix T such that `x @ T` are the real, then the imaginary parts of the transform of real x; its shape is
    (size, 2 * (size // 2 + 1))."""
    cosine, sine = _waves(size, size // 2 + 1)
    return torch.cat([cosine, -sine], dim=1).to(torch.get_default_dtype())


def inverse_real_transform(size: int) -> Tensor:
    """Matrix that turns those parts into x again, shape (2 * (size // 2 + 1), size)."""
    cosine, sine = _waves(size, size // 2 + 1)
    # All frequencies but the first and, of an even size, the last stand for their negative too.
    double = 2 - (torch.arange(size // 2 + 1) * 2 % size == 0).double()
    return torch.cat([(cosine * double).t(), -(sine * double).t()]).to(torch.get_default_dtype())


def complex_transform(size: int) -> Tensor:
    """The same for complex x, whose real parts come first too; shape (2 * size, 2 * size)."""
    cosine, sine = _waves(size, size)
    return torch.cat([torch.cat([cosine, -sine], 1), torch.cat([sine, cosine], 1)]).to(torch.get_default_dtype())
