"""ProxylessNAS (Cai et al., ICLR 2019): binarised paths."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.training.differentiable.search import DifferentiableSearch
from nas.training.strategy import Step
from search_spaces.supernet import Supernet

#: Added to the probability of each variant, so that there are always two that can be drawn.
LEAST = 1e-9


class ProxylessNAS(DifferentiableSearch):
    """Weights are trained on one drawn network. For the probabilities two variants of every slot are drawn, of which
    one is active; the gradient of its binary gate stands for that of its probability among the two.

    A step costs about three times that of one network, however many variants the slots have.

    Args:
        cost: name of the metric that is held down; by default the latency on the first device.
        reference: of the metric; by default the mean over the space.
        penalty: `multiplied` (the published code's), `added` (the paper's) or `unreferenced`.
        alpha: of the penalty.
        beta: of the penalty.
        learning_rate: of the architecture parameters.
        warmup_share: of the steps, the first ones, which train the weights alone.
        architecture_share: of each batch, on which the architecture parameters are trained.

    Raises:
        ValueError: when an option is out of its range.
    """

    def __init__(
        self,
        cost: str = "",
        reference: float | None = None,
        penalty: str = "multiplied",
        alpha: float = 0.2,
        beta: float = 0.3,
        learning_rate: float = 0.006,
        warmup_share: float = 0.2,
        architecture_share: float = 0.2,
    ) -> None:
        super().__init__(
            cost, reference, penalty, alpha, beta, learning_rate, warmup_share, architecture_share
        )  # fmt: skip

    def train_weights(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step, warming: bool) -> float:
        space = network.space
        codes = space.random_codes(1, step.rng) if warming else self.distribution(space).sample(1, step.rng)
        network.activate(space.architectures(codes)[0])
        loss = step.loss(network(inputs), target)
        loss.backward()
        return float(loss.detach())

    def weigh(self, scores: Tensor, step: Step) -> tuple[list[int], Tensor]:
        """One for the active variant; the gradient is that of the softmax over the two drawn ones (section 3.2.1)."""
        p = scores.detach().double().softmax(0).numpy() + LEAST
        pair: list[int] = step.rng.choice(len(p), size=2, replace=False, p=p / p.sum()).tolist()
        among = scores[pair].softmax(0)
        active = torch.zeros(2)
        active[int(step.rng.random() >= float(among[0].detach()))] = 1.0
        return pair, active + among - among.detach()
