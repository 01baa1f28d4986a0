"""Event files, read back with TensorBoard itself."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from logged_training import LOGS, interrupt, stages_of

from nas.tasks import ImageClassification
from nas.training.log import EpochLog, read_log
from nas.training.tensorboard import TensorBoard
from search_spaces import SearchSpace

pytest.importorskip("tensorboard", reason="the extra 'tensorboard' is not installed")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }


def raw_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Everything that is in the files, as no reader has tidied it."""
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for file in folder.iterdir():
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                found[value.tag].append((event.step, float(make_ndarray(value.tensor))))
    return found


def expected_scalars(logs: list[EpochLog]) -> dict[str, list[tuple[int, Any]]]:
    found: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    for log in logs:
        found["learning_rate"].append((log.step, pytest.approx(log.learning_rate)))
        for name, loss in log.losses.items():
            found[f"loss/{name}"].append((log.step, pytest.approx(loss)))
    return found


def test_tensorboard_reads_every_epoch_once(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path / "board")
    assert not (tmp_path / "board").exists()
    for known in range(1, len(LOGS) + 1):
        board(LOGS[:known])
        assert scalars(tmp_path / "board") == expected_scalars(LOGS[:known])
    assert raw_scalars(tmp_path / "board") == expected_scalars(LOGS)


def test_tensorboard_has_the_times_of_training(tmp_path: Path) -> None:
    TensorBoard(tmp_path)(LOGS)
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("loss/largest")
    assert [event.wall_time - events[0].wall_time for event in events] == pytest.approx([0, 2.5, 3.75], abs=1e-3)


def test_tensorboard_forgets_what_a_killed_process_did_after_its_checkpoint(tmp_path: Path) -> None:
    other = [replace(log, losses={"largest": 9.0}) for log in LOGS]
    TensorBoard(tmp_path)([LOGS[0], *other[1:]])
    (tmp_path / "note.txt").write_text("mine")
    resumed = TensorBoard(tmp_path)
    resumed(LOGS[:2])
    resumed(LOGS)
    (tmp_path / "note.txt").unlink()  # other files were left alone
    assert raw_scalars(tmp_path) == expected_scalars(LOGS)


def test_interrupted_training_is_on_the_board_once(
    tmp_path: Path, space: SearchSpace, task: ImageClassification
) -> None:
    stages = stages_of(tmp_path, space, task, tensorboard=True)
    for stop in (5, 9):
        interrupt(stages, stop)
        assert scalars(stages.run.tensorboard) == expected_scalars(read_log(stages.run.training_log_file))
    stages.train()
    logs = [EpochLog(**row) for row in stages.run.training()["epochs"]]
    assert len(logs) == 3
    assert raw_scalars(stages.run.tensorboard) == expected_scalars(logs)
