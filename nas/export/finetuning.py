"""Fine-tuning: the chosen network is trained further, alone, before it is delivered."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nas.config import FinetuneConfig, TrainingConfig
from nas.errors import UsageError
from nas.progress import Advance
from nas.stages import Stages
from nas.training.execution import candidates
from nas.training.loop import Trainer
from nas.training.recalibration import recalibrate
from nas.training.strategies.alone import Alone
from search_spaces import Architecture
from search_spaces.supernet import resize


@dataclass(frozen=True)
class FineTuned:
    """What fine-tuning gave.

    Attributes:
        network: with the better weights of the two, in evaluation mode.
        settings: how it was trained.
        accuracy_before: on validation images with the inherited weights, 0..1.
        accuracy_after: with those that training gave.
    """

    network: nn.Module
    settings: FinetuneConfig
    accuracy_before: float
    accuracy_after: float

    @property
    def used(self) -> bool:
        """Whether `network` has the weights that training gave."""
        return self.accuracy_after >= self.accuracy_before

    @property
    def accuracy(self) -> float:
        """Validation accuracy of `network`."""
        return max(self.accuracy_before, self.accuracy_after)

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        accuracies = {"accuracy_before": self.accuracy_before, "accuracy_after": self.accuracy_after}
        return {**self.settings.model_dump(mode="json"), **accuracies, "used": self.used}

    def __str__(self) -> str:
        change = f"from {self.accuracy_before:.2%} to {self.accuracy_after:.2%}"
        if self.used:
            return f"fine-tuning took the validation accuracy {change}"
        return f"warning: fine-tuning lowered the validation accuracy {change}; the inherited weights are kept"


class FineTuner:
    """Trains one network of a run further on the labels and on the outputs of the largest network of the supernet.

    Neither the supernet nor the test images take part. An interrupted training goes on exactly.

    Args:
        stages: of a run with a trained supernet.
        architecture: of the network.
        settings: with more than 0 epochs.
    """

    def __init__(self, stages: Stages, architecture: Architecture, settings: FinetuneConfig) -> None:
        self.stages, self.architecture, self.settings = stages, architecture, settings
        self.inherited = stages.evaluator.network(architecture)
        self.checkpoint = stages.run.finetuning / f"{self._identity()}.checkpoint"

    def run(self, progress: Advance | None = None) -> FineTuned:
        """Train, and judge both weights on the validation images. The checkpoint stays until the caller deletes it.

        Raises:
            FloatingPointError: when training diverges.
        """
        evaluator = self.stages.evaluator
        before = evaluator.accuracy(self.inherited, self.architecture)
        trained = self._train(deepcopy(self.inherited), progress)
        after = evaluator.accuracy(trained, self.architecture)
        return FineTuned(trained if after >= before else self.inherited, self.settings, before, after)

    def _train(self, network: nn.Module, progress: Advance | None) -> nn.Module:
        config = self._training()
        largest = self.stages.space.largest()
        teacher = self._resized(self.stages.evaluator.network(largest), largest)
        strategy = Alone(teacher.to(candidates(config)[0].device), self.settings.distillation_weight)
        student = self._resized(network, self.architecture)
        trainer = Trainer(student, self.stages.images, strategy, config, self.stages.config.seed, self.checkpoint)
        try:
            trainer.run(progress)
        except FloatingPointError as error:
            raise FloatingPointError(
                f"fine-tuning diverged at step {trainer.step}; lower export.finetune.learning_rate"
            ) from error
        self._recalibrate(network.cpu())
        return network

    def _training(self) -> TrainingConfig:
        """As the supernet was trained, but shorter and without what only pays in a long training from scratch: the
        cosine ends at a rate of zero, which leaves nothing for an average of weights to smooth. Without weight
        normalisation, too: it would make another network of one whose matrices are parts of those in the supernet."""
        update = {"epochs": self.settings.epochs, "learning_rate": self.settings.learning_rate}
        left_out = {"warmup_epochs": 0.0, "ema": 0.0, "weight_normalization": False}
        return self.stages.config.training.model_copy(update=update | left_out)

    def _recalibrate(self, network: nn.Module) -> None:
        """Measured on digits, against the running statistics that training leaves: as accurate after three epochs
        (within 0.1 points), 1.5 to 2 points more accurate after half an epoch of a network that still learns much,
        and 5 to 8 points with mixup, whose blends of images are not what the network is then given."""
        config, task, batch = self.stages.config, self.stages.images, self.stages.evaluator.batch_size
        images = task.recalibration_batches(config.search.recalibration_images, batch, config.seed)
        size = self._size(self.architecture)
        recalibrate(network, (resize(batch, size) for batch, _ in images))

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
    """A static network that resizes its images first: one batch serves networks of different resolutions.

    Args:
        network: takes images of `size` alone.
        size: height and width in pixels.
    """

    def __init__(self, network: nn.Module, size: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.size = network, size
        self.train(network.training)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (n, classes), of images of shape (n, channels, height, width)."""
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
