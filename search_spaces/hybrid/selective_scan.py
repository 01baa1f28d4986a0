"""Atrous selective scan: state space models that walk over every second pixel.

The smallest published network, EfficientVMamba-T (6 M parameters, 0.8 G MACs at 224 px), is made of

* a stem: 4 x 4 convolution with bias, stride 4, to 48 channels, layer normalisation over channels;
* two stages of two blocks: 48 and 96 channels, twice as many hidden ones, 16 states;
* two stages of four and two inverted residuals (ReLU): 192 and 384 channels, expansion 4, kernel 3, squeeze-excite with
  an eighth of the hidden channels (ReLU, sigmoid);
* between stages a patch merging: the pixels of a 2 x 2 square side by side, layer normalisation, a linear map without
  bias from four times to twice the channels;
* layer normalisation, mean over the image, classifier.
"""

from __future__ import annotations

from itertools import accumulate
from math import ceil, log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.hybrid.tokens import to_image, to_tokens
from search_spaces.layers import Layers

SCANS = 4


class AtrousSelectiveScan(nn.Module):
    """Block of EfficientVMamba (Pei, Huang and Xu, AAAI 2025): `x + gate(scan(u)) + gate(local(u))` with u the image
    after layer normalisation.

    * scan: two linear maps to the hidden channels. One, after a depthwise convolution and SiLU, goes through a
      selective scan of each of the four sub-grids of every second row and column; it is normalised, multiplied by
      SiLU of the other, and projected.
    * local: depthwise convolution, batch normalisation, GELU, 1 x 1 convolution.
    * gate: squeeze-excite of the layer-normalised channels; both branches have the same one.

    Args:
        layers: makes the layers.
        channels: of the image.
        hidden: channels of the scan.
        resolution: height and width of the image; the same weights serve all.
        states: of each hidden channel.
    """

    def __init__(self, layers: Layers, channels: int, hidden: int, resolution: int, states: int = 16) -> None:
        super().__init__()
        self.norm = layers.layer_norm(channels)
        self.value = layers.conv(channels, hidden)
        self.depthwise = layers.conv(hidden, hidden, 3, groups=hidden, bias=True)
        self.scan = SelectiveScan(layers, SCANS, hidden, rank=ceil(channels / 16), states=states)
        self.scan_norm = layers.layer_norm(hidden)
        self.multiplier = layers.linear(channels, hidden, bias=False)
        self.project = layers.linear(hidden, channels, bias=False)
        self.local = nn.Sequential(
            layers.conv(channels, channels, 3, groups=channels, bias=True),
            layers.norm(channels),
            nn.GELU(),
            layers.conv(channels, channels, bias=True),
        )
        self.gate = _ChannelGate(layers, channels)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        u = self.norm(to_tokens(x))
        image = to_image(u, height, width)
        scanned = self._scan(F.silu(self.depthwise(self.value(image))))
        y = self.gate(self.project(self.scan_norm(scanned) * F.silu(self.multiplier(u))))
        z = self.gate(to_tokens(self.local(image)))
        return x + to_image(y + z, height, width)

    def _scan(self, image: Tensor) -> Tensor:
        """Tokens of the image whose sub-grids were scanned. A row or column of zeros makes their number even."""
        height, width = image.shape[2:]
        image = F.pad(image, (0, width % 2, 0, height % 2))
        grids = join_grids(self.scan(sub_grids(image)), ceil(height / 2), ceil(width / 2))
        return grids[:, :height, :width].flatten(1, 2)


class SelectiveScan(nn.Module):
    """State space models with an input-dependent step (S6; Gu and Dao, "Mamba", 2023), several side by side.

    For each scan, hidden channel d and state s, over positions t:

        step = softplus(x W_down W_up + b),    h_t = exp(-step_t,d e^R_ds) h_{t-1} + step_t,d B_t,s x_t,d,
        y_t,d = sum_s C_t,s h_t + skip_d x_t,d,    B = x W_B,  C = x W_C

    Args:
        layers: makes the layers.
        scans: how many there are, with weights of their own.
        hidden: channels.
        rank: of the map from the input to the steps.
        states: of each channel.
    """

    def __init__(self, layers: Layers, scans: int, hidden: int, rank: int, states: int) -> None:
        super().__init__()
        self.down = layers.parameter(scans, hidden, rank)
        self.up = layers.parameter(scans, rank, hidden)
        self.bias = layers.parameter(scans, 1, hidden)
        self.input = layers.parameter(scans, hidden, states)
        self.output = layers.parameter(scans, hidden, states)
        self.log_rates = layers.parameter(scans, 1, hidden, states)
        self.skip = layers.parameter(scans, 1, hidden, fill=1.0)
        self._initialise(hidden, rank, states)

    @torch.no_grad()
    def _initialise(self, hidden: int, rank: int, states: int) -> None:
        """As Mamba: rates 1, 2, 3, ..., and steps between 0.001 and 0.1, uniform in their logarithm."""
        for parameter in (self.down, self.input, self.output):
            nn.init.uniform_(parameter.weight, -(hidden**-0.5), hidden**-0.5)
        nn.init.uniform_(self.up.weight, -(rank**-0.5), rank**-0.5)
        step = torch.empty_like(self.bias.weight).uniform_(log(0.001), log(0.1)).exp()
        self.bias.weight.copy_(step + torch.log(-torch.expm1(-step)))  # of which softplus is the step
        self.log_rates.weight.copy_(torch.arange(1, states + 1).log().expand_as(self.log_rates.weight))

    def forward(self, x: Tensor) -> Tensor:
        """Scan `x`, shape (n, scans, L, hidden), along L."""
        step = F.softplus(x @ self.down() @ self.up() + self.bias())
        decay = torch.exp((step * -1).unsqueeze(-1) * torch.exp(self.log_rates()))
        inputs = (step * x).unsqueeze(-1) * (x @ self.input()).unsqueeze(-2)
        states = linear_recurrence(decay.flatten(3), inputs.flatten(3)).unflatten(3, inputs.shape[3:])
        result: Tensor = (states @ (x @ self.output()).unsqueeze(-1)).flatten(3) + x * self.skip()
        return result


def linear_recurrence(decay: Tensor, inputs: Tensor) -> Tensor:
    """All h_t = decay_t h_{t-1} + inputs_t with h_{-1} = 0, along the third of four dimensions.

    All chunks of a few positions are added up at once; then the states at their ends are a recurrence over so many
    fewer positions, and all other states follow from the end before them (Brent and Kung, 1982, who take chunks of two).
    There is no loop over positions: the operators that depend on each other are as many as a logarithm of the length.
    The decays that are multiplied lie between 0 and 1, so nothing overflows, as the closed form with cumulative sums does.
    """
    length, width = decay.shape[2:]
    size = _chunk(length)
    decays, parts = (x.unflatten(2, (length // size, size)).flatten(3) for x in (decay, inputs))
    places = [slice(k * width, (k + 1) * width) for k in range(size)]
    states = [parts[..., places[0]]]
    later = [decays[..., place] for place in places[1:]]
    for factor, place in zip(later, places[1:], strict=True):
        states.append(factor * states[-1] + parts[..., place])
    if length > size:
        factors = list(accumulate([decays[..., places[0]], *later], torch.mul))
        ends = linear_recurrence(factors[-1], states[-1])
        before = F.pad(ends[:, :, :-1], (0, 0, 1, 0))
        states = [factor * before + state for factor, state in zip(factors[:-1], states[:-1], strict=True)] + [ends]
    result: Tensor = torch.cat(states, dim=3).unflatten(3, (size, width)).flatten(2, 3)
    return result


def _chunk(length: int) -> int:
    """The largest divisor up to 8; if that is 1, the next one."""
    divisors = [size for size in range(1, length + 1) if length % size == 0]
    small = max(size for size in divisors if size <= 8)
    return small if small > 1 or length == 1 else divisors[1]


def sub_grids(image: Tensor) -> Tensor:
    """The four sub-grids of every second row and column as sequences, shape (n, 4, L, channels).

    They begin in the corner at the top left, one down, one to the right, and both; the first and the third are read
    row by row, the others column by column. Height and width are even.
    """
    height, width = image.shape[2:]
    grid = image.unflatten(3, (width // 2, 2)).unflatten(2, (height // 2, 2)).permute(0, 5, 3, 2, 4, 1)
    by_row, by_column = grid[:, :, :1], grid[:, :, 1:].transpose(3, 4)
    return torch.cat([by_row.flatten(3, 4), by_column.flatten(3, 4)], dim=2).flatten(1, 2)


def join_grids(sequences: Tensor, height: int, width: int) -> Tensor:
    """From sequences as of `sub_grids` back to one image, shape (n, 2 height, 2 width, channels), channels last.

    Args:
        sequences: shape (n, 4, height * width, channels).
        height: of a sub-grid.
        width: of a sub-grid.
    """
    corners = sequences.unflatten(1, (2, 2))
    by_row = corners[:, :, :1].unflatten(3, (height, width))
    by_column = corners[:, :, 1:].unflatten(3, (width, height)).transpose(3, 4)
    grid = torch.cat([by_row, by_column], dim=2).permute(0, 3, 2, 4, 1, 5)
    return grid.flatten(3, 4).flatten(1, 2)


class _ChannelGate(nn.Module):
    """Squeeze-excite of tokens, shape (n, L, channels), with layer normalisation before it."""

    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        squeeze = max(1, channels // 8)
        self.norm = layers.layer_norm(channels)
        self.reduce = layers.linear(channels, squeeze)
        self.expand = layers.linear(squeeze, channels)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.norm(x).mean(1, keepdim=True)
        return x * torch.sigmoid(self.expand(F.gelu(self.reduce(mean))))
