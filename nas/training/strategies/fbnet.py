"""FBNet (Wu et al., CVPR 2019): mixtures of blocks with Gumbel softmax weights."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.training.differentiable.mixture import mixable
from nas.training.differentiable.search import DifferentiableSearch
from nas.training.strategy import Step
from search_spaces.supernet import Supernet

#: The temperature begins at 5 and is multiplied by .956 in each of 90 epochs.
HOTTEST, COLDEST = 5.0, 5.0 * 0.956**90


class FBNet(DifferentiableSearch):
    """Every slot computes all its variants and adds them with weights drawn from a Gumbel softmax, whose temperature
    falls: towards the end nearly one of them is left. Weights and probabilities are trained on the same mixtures.

    A step costs as many times more than that of one network as slots have variants, so this is for spaces with few.

    Args:
        cost: name of the metric that is held down; by default the latency on the first device.
        reference: of the metric, for the penalties that have one; by default the mean over the space.
        penalty: `unreferenced` (the paper's), `multiplied` or `added`.
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
        penalty: str = "unreferenced",
        alpha: float = 0.2,
        beta: float = 0.6,
        learning_rate: float = 0.01,
        warmup_share: float = 0.1,
        architecture_share: float = 0.2,
    ) -> None:
        super().__init__(
            cost, reference, penalty, alpha, beta, learning_rate, warmup_share, architecture_share
        )  # fmt: skip

    def train_weights(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step, warming: bool) -> float:
        space = network.space
        fixed = space.random_codes(1, step.rng) if warming else self.distribution(space).sample(1, step.rng)
        architecture = space.architectures(fixed)[0]
        outputs = self.mixed_outputs(network, inputs, architecture, step, mixable(space))
        loss = step.loss(outputs, target)
        weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
        loss.backward(inputs=weights)
        return float(loss.detach())

    def weigh(self, scores: Tensor, step: Step) -> tuple[list[int], Tensor]:
        """Of all variants (equation 5)."""
        temperature = HOTTEST * (COLDEST / HOTTEST) ** (step.number / step.total)
        noise = torch.from_numpy(step.rng.gumbel(size=len(scores))).to(scores.dtype)
        return list(range(len(scores))), ((scores + noise) / temperature).softmax(0)
