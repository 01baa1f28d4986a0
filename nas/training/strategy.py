"""What a strategy of training is: it decides which networks a step trains, and on what."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from search_spaces import SearchSpace
from search_spaces.reordering import Reordering
from search_spaces.space import Codes

Loss = Callable[[Tensor, Tensor], Tensor]

#: A metric of many networks: from codes of shape (n, choices) to shape (n,).
Cost = Callable[[Codes], NDArray[np.float64]]
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Step:
    """One step of the optimiser, as a strategy sees it.

    Attributes:
        number: optimiser steps before this one.
        total: optimiser steps of the whole training.
        rng: the only source of chance; the same for this step in every process and after every interruption.
        loss: maps logits (n, classes), or (n, t, vocabulary) of sequences, and targets to a scalar, the mean over the batch.
        compiled: a compiled version of the network, to be called while it is activated as the largest one only.
    """

    number: int
    total: int
    rng: np.random.Generator
    loss: Loss
    compiled: Callable[[Tensor], Tensor] | None = None

    def forward_largest(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """The outputs of `network`, which is activated as the largest one."""
        outputs: Tensor = (self.compiled or network)(inputs)
        return outputs


class Strategy(ABC, Generic[Network]):
    """Decides which networks of the supernet a step trains, and on what.

    What it does may depend on the step, and on what it keeps in `state`, alone: then an interrupted training goes on
    exactly. With several processes each sees a part of the batch and must draw the same networks.
    """

    @property
    def needs_costs(self) -> bool:
        """Whether `bind` must be called before the first step."""
        return False

    def bind(self, costs: Mapping[str, Cost], space: SearchSpace) -> None:
        """Take the metrics that are known without evaluation, by name, such as `latency_ms.local`.

        Args:
            costs: of the networks of `space`.
            space: whose supernet will be trained.

        Raises:
            ValueError: when the one that it needs is not among them, or no network can be what is asked for.
        """

    def parameters(self) -> list[nn.Parameter]:
        """What it learns itself, beside the network: the gradients that `step` leaves there are averaged over all
        processes before `observe`."""
        return []

    def chosen(self, space: SearchSpace) -> Codes | None:
        """Codes of the networks that it found, the best one first, shape (n, choices), when it searches while it
        trains."""
        return None

    def prepare(self, network: Network, step: Step) -> list[Reordering]:
        """Called before each step; says what it moved among the weights of `network`, if anything."""
        return []

    @abstractmethod
    def step(self, network: Network, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        """Add the gradients of one step and return its losses by name; each graph is freed before the next is made.

        Args:
            network: in training mode.
            inputs: such as images, shape (n, channels, height, width), or tokens, shape (n, t).
            target: class indices, shape (n,), or probabilities, shape (n, classes); of tokens indices, shape (n, t).
            step: which step it is.
        """

    def observe(self, network: Network, losses: Mapping[str, float]) -> None:
        """Called after each step with the means over all processes of the losses that `step` returned."""

    def state(self) -> dict[str, Any]:
        """What must be kept for an exact resume: nested dictionaries of tensors and numbers."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave; `KeyError` when it is of another strategy."""
