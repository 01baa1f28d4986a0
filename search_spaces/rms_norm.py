"""Root mean square layer normalisation, in the form that runtimes recognise."""

from __future__ import annotations

from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` over the last dimension (Zhang & Sennrich, "Root mean square layer normalization", NeurIPS 2019).

    It divides by a square root, as ONNX Runtime's fusion of the whole into one kernel expects; torch's own form is
    exported with a reciprocal, and stays seven kernels. Numbers of half precision are squared in single precision.

    Args:
        features: entries of the last dimension.
        epsilon: added to the mean of the squares.
    """

    weight: nn.Parameter

    def __init__(self, features: int, epsilon: float) -> None:
        super().__init__(features, epsilon)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps or 0.0)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """`x` over the root of the mean of the squares of its last dimension, times `weight`; shape of `x`, float32."""
    x = x.float()
    return x / (x.pow(2).mean(-1, keepdim=True) + epsilon).sqrt() * weight
