"""Trainings within a run, and a made-up record of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.config import RunConfig, parse
from nas.runs import Run
from nas.stages import Stages
from nas.tasks import ImageClassification
from nas.training.log import EpochLog
from search_spaces import SearchSpace

LOGS = [
    EpochLog(4, 1, 2.5, 0.1, {"largest": 2.0}),
    EpochLog(8, 2, 5.0, 0.05, {"largest": 1.0, "smallest": 3.0}),
    EpochLog(10, 3, 6.25, 0.0, {"largest": 0.5, "smallest": 1.5}),
]


class Interrupted(Exception):
    """Stands for Ctrl-C."""


def config(folder: Path, space: SearchSpace, **training: Any) -> RunConfig:
    defaults = {"epochs": 3.0, "batch_size": 300, "checkpoint_seconds": 1e-9}
    defaults |= {"device": "cpu", "precision": "float32", "channels_last": False}
    return parse(
        {
            "name": "run",
            "directory": str(folder),
            "space": {"name": space.name, "options": dict(space.options)},
            "training": defaults | training,
            "search": {"recalibration_images": 100},
        }
    )


def stages_of(folder: Path, space: SearchSpace, task: ImageClassification, **training: Any) -> Stages:
    return Stages(Run(folder), config(folder, space, **training), None, task)


def interrupt(stages: Stages, stop: int) -> None:
    def progress(step: int, total: int) -> None:
        if step == stop:
            raise Interrupted

    with pytest.raises(Interrupted):
        stages.trainer().run(progress)
