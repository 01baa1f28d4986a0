"""The feed-forward of language models: a gated hidden layer for each token."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.layers import Layers
from search_spaces.reordering import Reordering, falling_importance, reorder
from search_spaces.slm.initialisation import initialise
from search_spaces.slm.unit_norm import UnitNorm, unit_norms


class FeedForward(nn.Module):
    """SwiGLU (Shazeer, "GLU variants improve transformer", 2020) of normalised tokens; the input is added.

    The hidden units of a smaller one are the first of the largest one's (MatFormer, Devvrit et al., NeurIPS 2024).

    Args:
        layers: makes the layers.
        width: of a token.
        hidden: units between the layers.
        residuals: sums of the deepest network, see `initialise`.
        epsilon: of the normalisation.
    """

    def __init__(self, layers: Layers, width: int, hidden: int, residuals: int, epsilon: float) -> None:
        super().__init__()
        self.norm = layers.rms_norm(width, epsilon)
        self.gate, self.expand = (layers.linear(width, hidden, bias=False) for _ in range(2))
        self.output = layers.linear(hidden, width, bias=False)
        initialise(self, residuals)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, t, width), as `x` has."""
        y = self.norm(x)
        result: Tensor = x + self.output(F.silu(self.gate(y)) * self.expand(y))
        return result

    def sort_channels(self) -> list[Reordering]:
        """Order the hidden units by falling L1 norm of the weights that read them."""
        order = falling_importance(self.output)
        rows = [move for layer in (self.gate, self.expand) for move in reorder(layer, 0, order)]
        return rows + reorder(self.output, 1, order)

    def unit_norms(self) -> list[UnitNorm]:
        """What weight normalisation keeps at length one."""
        return unit_norms(self)
