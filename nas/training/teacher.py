"""A teacher that no longer changes: the largest network of a supernet as it was at one time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from search_spaces.supernet import Supernet, resize


class FrozenTeacher:
    """The largest network of a supernet, copied when it is first asked.

    Its batch normalisation uses the statistics of each batch, as in the code of once-for-all's authors. Running ones
    would trail behind weights that are learned at a high rate, and with several processes each has its own, of which
    a checkpoint keeps one.
    """

    def __init__(self) -> None:
        self._network: nn.Module | None = None
        self._weights: Mapping[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, supernet: Supernet, inputs: Tensor) -> Tensor:
        """Logits of images, shape (n, channels, height, width) of any size, or of tokens, shape (n, t)."""
        if self._network is None:
            self._network = self._copy(supernet)
            self._weights = self._network.state_dict()
        space = supernet.space
        shape = space.input_shapes(space.largest())[space.input_name]
        logits: Tensor = self._network(resize(inputs, shape[2:]))
        return logits

    def _copy(self, supernet: Supernet) -> nn.Module:
        network = supernet.extract(supernet.space.largest()).eval().requires_grad_(False)
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.running_mean = module.running_var = None
        if self._weights:
            network.load_state_dict(self._weights)
        return network

    def state(self) -> dict[str, Any]:
        """Its weights, as `Strategy.state`; none before it was first asked."""
        return {"teacher": dict(self._weights)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave; `KeyError` when it is something else."""
        self._network, self._weights = None, state["teacher"]
