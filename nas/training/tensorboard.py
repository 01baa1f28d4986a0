"""The record of a training for TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latency_predictors.files import writing
from nas.training.log import EpochLog

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Writes losses and learning rate as event files; an `on_epoch` of a `Trainer`.

    The first call replaces what earlier processes left by all epochs until then, so that epochs after the last
    checkpoint of a killed one are not there twice. Times are those of training, without interruptions.

    Args:
        folder: of the event files; made by the first call.

    Raises:
        ModuleNotFoundError: when TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        check_installed()
        self.folder = folder
        self._writer: SummaryWriter | None = None
        self._written = 0
        self._started = 0.0

    def __call__(self, logs: Sequence[EpochLog]) -> None:
        """Write the epochs that were not written yet."""
        with writing(self.folder):
            self._write(logs)

    def _write(self, logs: Sequence[EpochLog]) -> None:
        if self._writer is None:
            self._writer = self._new_writer()
            self._started = time.time() - logs[-1].seconds
        for log in logs[self._written :]:
            values = {"learning_rate": log.learning_rate, **{f"loss/{name}": loss for name, loss in log.losses.items()}}
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, log.step, walltime=self._started + log.seconds)
        self._writer.flush()
        self._written = len(logs)

    def _new_writer(self) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        for old in self.folder.glob("events.out.tfevents.*"):
            old.unlink()
        return SummaryWriter(str(self.folder))


def check_installed() -> None:
    """Raises `ModuleNotFoundError`, with what to do, when TensorBoard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "TensorBoard is not installed: pip install 'nasmyth[tensorboard]', or set training.tensorboard=false"
        ) from error
