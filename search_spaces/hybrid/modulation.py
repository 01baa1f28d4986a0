"""Modulation: what a convolution sees around a pixel multiplies what the pixel is.

The smallest published network, EfficientMod-xxs (4.7 M parameters, 0.6 G MACs at 224 px), is made of

* a stem: 7 x 7 convolution with bias, stride 4, to 32 channels, layer normalisation over channels;
* four stages of 32, 64, 128, 256 channels with 2, 2, 6, 2 blocks, the hidden channels by turns 1 and 6 times the
  channels; kernel 7;
* after them, in the third stage 1 and in the fourth 2 transformer blocks: 8 heads of 32 dimensions, no bias of query,
  key and value, feed-forward part four times as wide, GELU, layer normalisation before both;
* between stages a 3 x 3 convolution with bias and stride 2, and layer normalisation;
* layer normalisation, mean over the image, classifier.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.hybrid.tokens import to_image, to_tokens
from search_spaces.layers import Layers


class Modulation(nn.Module):
    """Block of EfficientMod (Ma et al., "Efficient modulation for vision networks", ICLR 2024), with u the image after
    layer normalisation:

        context = W_g gelu(depthwise(W_f u)),    y = x + scale * W_2 (gelu(W_1 u) * context)

    The hidden channels are several copies of the channels, all of them multiplied by the same context. With one copy
    there is no GELU after W_1.

    Args:
        layers: makes the layers.
        channels: of the image.
        hidden: outputs of W_1, a multiple of `channels`.
        resolution: height and width of the image; the same weights serve all.
        kernel: of the depthwise convolution.

    Raises:
        ValueError: when `hidden` is not a multiple of `channels`.
    """

    def __init__(self, layers: Layers, channels: int, hidden: int, resolution: int, kernel: int = 7) -> None:
        super().__init__()
        if hidden % channels:
            raise ValueError(
                f"the hidden channels of modulation are a multiple of its {channels} channels, not {hidden}"
            )
        self.norm = layers.layer_norm(channels)
        self.reduce = layers.conv(channels, channels, bias=True)
        self.depthwise = layers.conv(channels, channels, kernel, groups=channels, bias=True)
        self.context = layers.conv(channels, channels, bias=True)
        self.expand = layers.conv(channels, hidden, bias=True)
        self.project = layers.conv(hidden, channels, bias=True)
        self.scale = layers.parameter(channels, 1, 1, fill=1e-4)

    def forward(self, x: Tensor) -> Tensor:
        _, channels, height, width = x.shape
        u = to_image(self.norm(to_tokens(x)), height, width)
        context = self.context(F.gelu(self.depthwise(self.reduce(u))))
        y: Tensor = self.expand(u)
        copies = y.shape[1] // channels
        if copies == 1:
            y = y * context
        else:
            y = (F.gelu(y).unflatten(1, (copies, channels)) * context.unsqueeze(1)).flatten(1, 2)
        result: Tensor = x + self.scale() * self.project(y)
        return result
