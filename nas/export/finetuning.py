"""Fine-tuning: the chosen network is trained further, alone, before it is delivered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nas.config import FinetuneConfig, TrainingConfig
from nas.errors import UsageError
from nas.progress import Advance
from nas.report import labels
from nas.stages import Stages
from nas.tasks import TaskMetric
from nas.training.execution import candidates
from nas.training.learning_rates import applicable
from nas.training.loop import Trainer
from nas.training.strategies.alone import Alone
from search_spaces import Architecture
from search_spaces.supernet import resize


@dataclass(frozen=True)
class FineTuned:
    """What fine-tuning gave.

    Attributes:
        network: with the better weights of the two, in evaluation mode.
        settings: how it was trained.
        metric: that decides which weights are better, the most important one of the task.
        before: all metrics of the task on validation data with the inherited weights, by name.
        after: with those that training gave.
    """

    network: nn.Module
    settings: FinetuneConfig
    metric: TaskMetric
    before: Mapping[str, float]
    after: Mapping[str, float]

    @property
    def used(self) -> bool:
        """Whether `network` has the weights that training gave."""
        return is_no_worse(self.metric, self.after, self.before)

    @property
    def metrics(self) -> Mapping[str, float]:
        """Validation metrics of `network`."""
        return self.after if self.used else self.before

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        before = {f"{name}_before": value for name, value in self.before.items()}
        after = {f"{name}_after": value for name, value in self.after.items()}
        return {**self.settings.model_dump(mode="json"), **before, **after, "used": self.used}

    def __str__(self) -> str:
        label = labels.metric(self.metric.name, self.metric.unit)
        before, after = (label.show(figures[self.metric.name]) for figures in (self.before, self.after))
        change = f"the validation {label.text[:1].lower()}{label.text[1:]} from {before} to {after}"
        if self.used:
            return f"fine-tuning took {change}"
        verb = "lowered" if self.metric.direction == "maximize" else "raised"
        return f"warning: fine-tuning {verb} {change}; the inherited weights are kept"


def is_no_worse(metric: TaskMetric, one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether figures are at least as good as others by a metric."""
    sign = 1 if metric.direction == "maximize" else -1
    return sign * one[metric.name] >= sign * other[metric.name]


class FineTuner:
    """Trains one network of a run further on the labels (of texts, the tokens that follow) and on the outputs of the
    largest network of the supernet.

    Neither the supernet nor the test data take part. An interrupted training goes on exactly.

    Args:
        stages: of a run with a trained supernet.
        architecture: of the network.
        settings: with more than 0 epochs.
    """

    def __init__(self, stages: Stages, architecture: Architecture, settings: FinetuneConfig) -> None:
        self.stages, self.architecture, self.settings = stages, architecture, settings
        self.inherited = stages.judge.network(architecture)
        self.checkpoint = stages.run.finetuning / f"{self._identity()}.checkpoint"

    def run(self, progress: Advance | None = None) -> FineTuned:
        """Train, and judge both weights on validation data. The checkpoint stays until the caller deletes it.

        Raises:
            FloatingPointError: when training diverges.
        """
        judge, metric = self.stages.judge, self.stages.task.metrics[0]
        before = judge.figures(self.inherited, self.architecture)
        trained = self._train(deepcopy(self.inherited), progress)
        after = judge.figures(trained, self.architecture)
        network = trained if is_no_worse(metric, after, before) else self.inherited
        return FineTuned(network, self.settings, metric, before, after)

    def _train(self, network: nn.Module, progress: Advance | None) -> nn.Module:
        config = self._training()
        largest = self.stages.space.largest()
        teacher = self._resized(self.stages.judge.network(largest), largest)
        strategy = Alone(teacher.to(candidates(config)[0].device), self.settings.distillation_weight)
        student = self._resized(network, self.architecture)
        trainer = Trainer(student, self.stages.task, strategy, config, self.stages.config.seed, self.checkpoint)
        try:
            trainer.run(progress)
        except FloatingPointError as error:
            raise FloatingPointError(
                f"fine-tuning diverged at step {trainer.step}; lower export.finetune.learning_rate"
            ) from error
        # Measured on digits, against the running statistics that training leaves: as accurate after three epochs (within
        # 0.1 points), 1.5 to 2 points more accurate after half an epoch of a network that still learns much, and 5 to 8
        # points with mixup, whose blends of images are not what the network is then given.
        self.stages.judge.recalibrate(network.cpu(), self.architecture)
        return network

    def _training(self) -> TrainingConfig:
        """As the supernet was trained, but shorter and without what only pays in a long training from scratch: the
        cosine ends at a rate of zero, which leaves nothing for an average of weights to smooth. Without weight
        normalisation, too: it would make another network of one whose matrices are parts of those in the supernet."""
        update = {"epochs": self.settings.epochs, "learning_rate": self.settings.learning_rate}
        left_out = {"warmup_epochs": 0.0, "ema": 0.0, "weight_normalization": False}
        training = self.stages.config.training
        multipliers = {"learning_rate_multipliers": applicable(self.inherited, training.learning_rate_multipliers)}
        return training.model_copy(update=update | left_out | multipliers)

    def _resized(self, network: nn.Module, architecture: Architecture) -> Resized:
        return Resized(network, self._size(architecture))

    def _size(self, architecture: Architecture) -> tuple[int, ...]:
        space = self.stages.space
        return tuple(space.input_shapes(architecture)[space.input_name][2:])

    def _identity(self) -> str:
        """A hash of all that decides the training and may change between two exports; also of the weights, since a
        supernet that was trained again must not meet an old checkpoint."""
        known = [self.architecture.key, self.settings.model_dump(mode="json")]
        digest = hashlib.sha256(json.dumps(known).encode())
        for parameter in self.inherited.parameters():
            digest.update(parameter.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]


class Resized(nn.Module):
    """A static network that resizes its images first: one batch serves networks of different resolutions. Tokens stay as
    they are.

    Args:
        network: takes images of `size` alone, or tokens.
        size: height and width in pixels; nothing of tokens.
    """

    def __init__(self, network: nn.Module, size: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.size = network, size
        self.train(network.training)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (n, classes), of images of shape (n, channels, height, width); (n, t, vocabulary) of tokens (n, t)."""
        logits: Tensor = self.network(resize(images, self.size))
        return logits


def finetuning(settings: FinetuneConfig, epochs: float | None = None) -> FinetuneConfig:
    """The settings with another number of epochs, where one is given.

    Raises:
        UsageError: when it is not above 0.
    """
    if epochs is None:
        return settings
    if not 0 < epochs < float("inf"):
        raise UsageError(f"fine-tuning takes a number of epochs above 0, not {epochs:g}; leave it out for none")
    return settings.model_copy(update={"epochs": float(epochs)})
