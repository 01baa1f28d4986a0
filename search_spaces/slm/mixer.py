"""What every mixer of tokens can do: a whole sequence at once, and one token after the other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from search_spaces.workload import Shape


class Mixer(nn.Module):
    """Lets every token of a sequence see itself and those before it.

    Subclasses take a `Layers` factory first and are written once for static and elastic layers: they take sizes from
    tensors. They hold the linear maps from and to the width of the model; the block around them has the normalisation
    and the sum. `forward`, `prefill` and `step` compute the same function:

    * `forward` is what is trained;
    * `prefill` is the same for a whole prompt and also gives the state that it leaves; it exports to ONNX with a
      dynamic length;
    * `step` goes on by one token.

    State is a tuple of tensors whose first dimension is the batch, laid out as `state_shapes` says.

    Attributes:
        longest_prompt: most tokens that `prefill` takes at once, which an exported model does not check; `None` for any
            number.
        capacity: most tokens of a sequence, those of the prompt and those after it; `None` for any number.
    """

    longest_prompt: int | None = None
    capacity: int | None = None

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """The mixed tokens of whole sequences, which start from nothing; shape (n, t, width), as `x` has."""

    @abstractmethod
    def prefill(self, x: Tensor) -> tuple[Tensor, ...]:
        """What `forward` gives, then the state after the last token."""

    @abstractmethod
    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The mixed next token of each sequence, shape (n, 1, width), then the new state."""

    @staticmethod
    @abstractmethod
    def state_shapes(arguments: Mapping[str, Any], tokens: int) -> tuple[Shape, ...]:
        """Shapes of the state of one sequence after `tokens` tokens, batch 1, of the mixer made with `arguments`."""
