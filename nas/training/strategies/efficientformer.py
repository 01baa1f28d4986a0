"""EfficientFormer (Li et al., NeurIPS 2022): latency-driven slimming of a supernet with Gumbel softmax importances."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nas.training.differentiable.slimming import check_limit, slim
from nas.training.strategies.fbnet import FBNet
from nas.training.strategy import Cost
from search_spaces import SearchSpace
from search_spaces.space import Codes


class EfficientFormer(FBNet):
    """Trains weights and probabilities as FBNet does, but for accuracy alone: latency enters when the training is over
    and the largest network is slimmed until it keeps a limit. The networks on the way there are chosen, too.

    A step costs as many times more than that of one network as slots have variants, so this is for spaces with few.

    Args:
        cost: name of the metric that is held down; by default the latency on the first device.
        limit: of the metric; by default half of the largest network's, or the smallest network's where that is more.
        networks: at most so many are chosen: the slimmed one, and others at even distances of the metric.
        learning_rate: of the architecture parameters.
        warmup_share: of the steps, the first ones, which train the weights alone.
        architecture_share: of each batch, on which the architecture parameters are trained.

    Raises:
        ValueError: when an option is out of its range.
    """

    def __init__(
        self,
        cost: str = "",
        limit: float | None = None,
        networks: int = 10,
        learning_rate: float = 0.01,
        warmup_share: float = 0.1,
        architecture_share: float = 0.2,
    ) -> None:
        super().__init__(
            cost, penalty="added", alpha=0.0, learning_rate=learning_rate, warmup_share=warmup_share,
            architecture_share=architecture_share,
        )  # fmt: skip
        if limit is not None and limit <= 0:
            raise ValueError(f"limit is {limit}, give a positive value of the metric")
        if networks < 1:
            raise ValueError(f"networks is {networks}, give 1 or more")
        self.limit, self.networks = limit, networks

    def bind(self, costs: Mapping[str, Cost], space: SearchSpace) -> None:
        super().bind(costs, space)
        if self.limit is not None:
            check_limit(space, self.cost, self.limit)

    def chosen(self, space: SearchSpace) -> Codes:
        """The slimmed network first, then those on the way to it, by their cost."""
        smallest, largest = self.cost(space.codes([space.smallest(), space.largest()])).tolist()
        limit = max(smallest, largest / 2) if self.limit is None else self.limit
        path = slim(self.distribution(space), self.cost, limit)[::-1]
        costs = self.cost(path)
        wanted = np.linspace(costs[0], costs[-1], self.networks)
        chosen: Codes = path[np.unique(np.abs(costs - wanted[:, None]).argmin(axis=1))]
        return chosen
