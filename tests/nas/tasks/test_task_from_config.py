"""What a configuration says about a task arrives there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from nas.config import AugmentationConfig, TaskConfig
from nas.stages import load_task
from nas.tasks import Augmentation, DataError, ImageClassification, Mixing


def test_defaults_are_those_of_the_classes() -> None:
    assert AugmentationConfig().model_dump() == asdict(Augmentation())
    task, default = load_task(TaskConfig(), 3), ImageClassification.load("digits", seed=3)
    assert task.fingerprint == default.fingerprint
    assert (task.augmentation, task.mixing, task.label_smoothing) == (default.augmentation, Mixing(), 0.0)
    assert (task.mean, task.std, task.class_weights) == (default.mean, default.std, None)


def test_every_key_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(2), (75, 25))
    np.savez(tmp_path / "a.npz", x_train=rng.integers(0, 256, (100, 9, 9, 3), np.uint8), y_train=labels)
    monkeypatch.setenv("NASMYTH_DATA", str(tmp_path))
    config = TaskConfig(
        data="a.npz",
        validation=0.5,
        label_smoothing=0.1,
        class_weights="balanced",
        mixup=0.2,
        cutmix=1.0,
        mean=[0.4, 0.5, 0.6],
        std=[0.1, 0.2, 0.3],
        augmentation=AugmentationConfig(trivial_augment=True, flip=True),
    )
    task = load_task(config, 0)
    assert (len(task.train), len(task.validation), len(task.test)) == (40, 40, 20)
    assert task.label_smoothing == 0.1
    assert task.class_weights is not None
    assert task.class_weights.tolist() == pytest.approx([40 / (2 * 30), 40 / (2 * 10)])
    assert task.mixing == Mixing(mixup=0.2, cutmix=1.0)
    assert (task.mean, task.std) == ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    assert task.augmentation == Augmentation(trivial_augment=True, flip=True)
    with pytest.raises(DataError, match="mean has 1 values, the images have 3 channels: give one for each"):
        load_task(config.model_copy(update={"mean": [0.5]}), 0)
