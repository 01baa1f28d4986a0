"""What strategies of differentiable search have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.training.differentiable.distribution import Distribution
from nas.training.differentiable.mixture import Mixture, mixable
from nas.training.differentiable.penalty import PENALTIES
from nas.training.strategy import Cost, Step, Strategy
from search_spaces import Architecture, SearchSpace
from search_spaces.space import Codes
from search_spaces.supernet import Supernet

#: Networks drawn for an estimate of the expected cost, and for the cost that it is compared with.
DRAWN, REFERENCE_DRAWN = 16, 256

#: Logarithms are of microseconds (of other units, of thousandths), so that those of fast networks are positive too.
PER_UNIT = 1000.0

#: How quickly the baseline of the score function follows the loss.
FOLLOWING = 0.1


class DifferentiableSearch(Strategy[Supernet]):
    """Trains weights on one part of each batch and the distribution over networks on the other.

    The loss of the distribution joins that of the task with the expected latency, as the calibrated predictor tells
    it. Its gradient reaches the options of a slot through the mixture of the slot's variants; those of choices that
    several slots depend on, such as depth or width, through the score function (Williams, 1992) with a baseline.

    Args:
        cost: name of the metric that is held down; by default the latency on the first device (of the
            first of the measured phases, where the networks have several).
        reference: of the metric; by default the mean over the space.
        penalty: `multiplied`, `unreferenced` or `added`, see `nas.training.differentiable.penalty`.
        alpha: of the penalty.
        beta: of the penalty.
        learning_rate: of the logits, for Adam.
        warmup_share: of the steps, the first ones, which train weights alone on networks drawn uniformly.
        architecture_share: of each batch, on which the distribution is trained.

    Raises:
        ValueError: when an option is out of its range.
    """

    def __init__(
        self,
        cost: str,
        reference: float | None,
        penalty: str,
        alpha: float,
        beta: float,
        learning_rate: float,
        warmup_share: float,
        architecture_share: float,
    ) -> None:
        if penalty not in PENALTIES:
            raise ValueError(f"penalty is {penalty!r}, give one of {', '.join(PENALTIES)}")
        if reference is not None and reference <= 0:
            raise ValueError(f"reference is {reference}, give a positive value of the metric")
        for name, share, most in (("warmup_share", warmup_share, 1.0), ("architecture_share", architecture_share, 0.5)):
            if not 0 <= share <= most:
                raise ValueError(f"{name} is {share}, give a number from 0 to {most:g}")
        if alpha < 0 or learning_rate <= 0:
            raise ValueError(f"alpha is {alpha} and learning_rate {learning_rate}; give positive numbers")
        self.cost_name, self.reference = cost, reference
        self.penalty, self.alpha, self.beta = PENALTIES[penalty], alpha, beta
        self.learning_rate, self.warmup_share, self.architecture_share = learning_rate, warmup_share, architecture_share
        self.baseline: float | None = None
        self._cost: Cost | None = None
        self._distribution: Distribution | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._pending: Mapping[str, Any] = {}

    # ------------------------------------------------------------ what it knows

    @property
    def needs_costs(self) -> bool:
        return True

    def bind(self, costs: Mapping[str, Cost], space: SearchSpace) -> None:
        latencies = [name for name in costs if name.partition(".")[0].endswith("_ms")]
        name = self.cost_name or (latencies[0] if latencies else "")
        if name not in costs:
            raise ValueError(f"cost is {name!r}, give one of {', '.join(costs)}")
        self._cost = costs[name]

    @property
    def cost(self) -> Cost:
        """The metric that is held down.

        Raises:
            RuntimeError: before `bind`.
        """
        if self._cost is None:
            raise RuntimeError("a differentiable search needs `bind` before its first step")
        return self._cost

    def distribution(self, space: SearchSpace) -> Distribution:
        """The distribution over the networks of `space`, as it is now."""
        if self._distribution is None:
            self._distribution = Distribution(space)
            # Without momentum, as ProxylessNAS: options that were not drawn in a step are not moved by it.
            self._optimizer = torch.optim.Adam(self._distribution.logits, self.learning_rate, betas=(0.0, 0.999))
            if self._pending:
                for logits, stored in zip(self._distribution.logits, self._pending["logits"], strict=True):
                    logits.data.copy_(stored)
                self._optimizer.load_state_dict(self._pending["optimizer"])
        return self._distribution

    def parameters(self) -> list[nn.Parameter]:
        return self._distribution.logits if self._distribution else []

    def chosen(self, space: SearchSpace) -> Codes | None:
        return self.distribution(space).mode()

    def state(self) -> dict[str, Any]:
        if self._distribution is None or self._optimizer is None:
            return dict(self._pending)
        return {
            "logits": [logits.detach().clone() for logits in self._distribution.logits],
            "optimizer": self._optimizer.state_dict(),
            "baseline": math.nan if self.baseline is None else self.baseline,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        if not state:
            return
        self._pending = dict(state)
        self.baseline = None if math.isnan(state["baseline"]) else state["baseline"]
        self._distribution = self._optimizer = None

    # ------------------------------------------------------------------- a step

    def step(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        distribution = self.distribution(network.space)
        warming = step.number < self.warmup_share * step.total
        held_out = 0 if warming else round(self.architecture_share * len(inputs))
        rest = len(inputs) - held_out
        losses = {"network": self.train_weights(network, inputs[:rest], target[:rest], step, warming)}
        if held_out:
            losses |= self._train_distribution(network, distribution, inputs[rest:], target[rest:], step)
        network.activate(network.space.architectures(distribution.mode())[0])
        return losses

    @abstractmethod
    def train_weights(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step, warming: bool) -> float:
        """Add gradients to the weights; gives the loss. While `warming`, networks are drawn uniformly."""

    @abstractmethod
    def weigh(self, scores: Tensor, step: Step) -> tuple[list[int], Tensor]:
        """Which of a slot's variants are computed, and their weights, from the log-probabilities of all, shape
        (variants,); gradients flow back to these."""

    def _train_distribution(
        self, network: Supernet, distribution: Distribution, inputs: Tensor, target: Tensor, step: Step
    ) -> dict[str, float]:
        """Leave the gradients of the logits in them."""
        space = network.space
        fixed = distribution.sample(1, step.rng)
        mixed = mixable(space)
        outputs = self.mixed_outputs(network, inputs, space.architectures(fixed)[0], step, mixed)
        loss = step.loss(outputs, target)
        expected = distribution.expected(self.cost, DRAWN, step.rng)
        total = self.penalty(loss, PER_UNIT * expected, PER_UNIT * self._reference(space), self.alpha, self.beta)
        others = [column for column, choice in enumerate(space.choices) if choice.name not in mixed]
        advantage = float(loss.detach()) - (float(loss.detach()) if self.baseline is None else self.baseline)
        score = distribution.log_probability(fixed[0], others)
        objective = total + advantage * score * float(total.detach() / loss.detach())
        gradients = torch.autograd.grad(objective, distribution.logits, allow_unused=True)
        for logits, gradient in zip(distribution.logits, gradients, strict=True):
            logits.grad = torch.zeros_like(logits) if gradient is None else gradient
        return {"architecture": float(loss.detach()), "expected_cost": float(expected.detach())}

    def mixed_outputs(
        self, network: Supernet, inputs: Tensor, fixed: Architecture, step: Step, mixed: frozenset[str]
    ) -> Tensor:
        """Outputs of the supernet whose slots are mixed as `weigh` says; gradients flow to the logits."""
        distribution = self.distribution(network.space)
        names = [choice.name for choice in network.space.choices]
        logits = dict(zip(names, distribution.logits, strict=True))
        return Mixture(network, mixed)(inputs, fixed, logits, lambda scores: self.weigh(scores, step))

    def _reference(self, space: SearchSpace) -> float:
        if self.reference is None:
            self.reference = float(self.cost(space.random_codes(REFERENCE_DRAWN, np.random.default_rng(0))).mean())
        return self.reference

    def observe(self, network: Supernet, losses: Mapping[str, float]) -> None:
        if "architecture" not in losses or self._optimizer is None:
            return
        self._optimizer.step()
        found = losses["architecture"]
        self.baseline = found if self.baseline is None else (1 - FOLLOWING) * self.baseline + FOLLOWING * found
