"""The kinds of tasks that a configuration can name: how each is loaded, and what it evaluates."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from nas.config import AnyTaskConfig, TaskConfig
from nas.errors import UsageError
from nas.task_config import LanguageTaskConfig, load_language_task
from nas.tasks import Augmentation, ImageClassification, Mixing, Task, TaskMetric
from nas.tasks.language_scores import BITS_PER_BYTE, RECALL


def load_task(config: AnyTaskConfig, seed: int) -> ImageClassification:
    """The images of a configuration; a relative path starts at the directory in `NASMYTH_DATA`, where that is set.

    Raises:
        UsageError: when the configuration is not of images.
        DataError: when the images or an option cannot be used.
    """
    if not isinstance(config, TaskConfig):
        raise UsageError(f"the task is {config.kind}, where images are needed")
    augmentation = Augmentation(**config.augmentation.model_dump()) if config.augmentation else None
    base = os.environ.get("NASMYTH_DATA")
    return ImageClassification.load(
        config.data,
        size=config.size,
        validation=config.validation,
        seed=seed,
        augmentation=augmentation,
        base=Path(base) if base else None,
        mixing=Mixing(config.mixup, config.cutmix),
        label_smoothing=config.label_smoothing,
        class_weights=config.class_weights,
        mean=config.mean,
        std=config.std,
    )


@dataclass(frozen=True)
class _Kind:
    """How a section of a configuration is used.

    Attributes:
        load: makes the task from the section and the seed of the run.
        metrics: of that task, without any data.
    """

    load: Callable[[Any, int], Task]
    metrics: Callable[[Any], Sequence[TaskMetric]]


def _language_metrics(config: LanguageTaskConfig) -> Sequence[TaskMetric]:
    return [BITS_PER_BYTE, RECALL] if config.recall.sequences else [BITS_PER_BYTE]


_KINDS: Mapping[type, _Kind] = MappingProxyType(
    {
        TaskConfig: _Kind(load_task, lambda _: ImageClassification.metrics),
        LanguageTaskConfig: _Kind(load_language_task, _language_metrics),
    }
)


def read_task(data: Any) -> AnyTaskConfig:
    """The section of a configuration that was written down as JSON values.

    Raises:
        pydantic.ValidationError: when it is of another release.
    """
    section: AnyTaskConfig = TypeAdapter(AnyTaskConfig).validate_python(data)
    return section


def make_task(config: AnyTaskConfig, seed: int) -> Task:
    """The task of a configuration.

    Raises:
        DataError: when the data or an option cannot be used.
    """
    return _KINDS[type(config)].load(config, seed)


def task_metrics(config: AnyTaskConfig) -> Sequence[TaskMetric]:
    """The metrics of the task of a configuration, the most important first; no data is read."""
    return _KINDS[type(config)].metrics(config)
