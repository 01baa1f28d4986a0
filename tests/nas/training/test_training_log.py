"""The record of a training: on disk after each epoch, for people, programs and TensorBoard."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from logged_training import LOGS, config, interrupt, stages_of

from nas.errors import UsageError
from nas.report.gather import _training, _training_fact
from nas.tasks import ImageClassification
from nas.training.log import read_log, write_log
from search_spaces import SearchSpace


def test_log_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    for known in range(len(LOGS) + 1):
        write_log(file, LOGS[:known])
        assert read_log(file) == LOGS[:known]
    assert [json.loads(line) for line in file.read_text().splitlines()] == [asdict(log) for log in LOGS]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "5",
        "{}",
        '{"step": 1}',
        '{"step": "x", "epoch": 1, "seconds": 1, "learning_rate": 1, "losses": {}}',
        '{"step": 1, "epoch": 1, "seconds": 1, "learning_rate": 1, "losses": [1]}',
        '{"step": 1, "epoch": 1, "seconds": 1, "learning_rate": 1, "losses": {"a": "<b>"}}',
        "\udcff",
    ],
)
def test_damaged_log_is_told_in_a_sentence(tmp_path: Path, content: str) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=r"log\.jsonl cannot be read; delete it"):
        read_log(file)


def test_training_writes_every_epoch(tmp_path: Path, space: SearchSpace, task: ImageClassification) -> None:
    stages = stages_of(tmp_path, space, task)
    found: list[int] = []
    trainer = stages.trainer()

    def progress(step: int, total: int) -> None:
        found.append(len(read_log(stages.run.training_log_file)) if stages.run.training_log_file.exists() else 0)

    trainer.run(progress)
    assert found == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert read_log(stages.run.training_log_file) == trainer.logs
    assert not stages.run.tensorboard.exists()


def test_report_of_an_unfinished_training(tmp_path: Path, space: SearchSpace, task: ImageClassification) -> None:
    stages = stages_of(tmp_path, space, task, largest_share=1 / 3)
    assert _training(stages.run)["epochs"] == []
    interrupt(stages, 9)
    found = _training(stages.run)
    assert [row["epoch"] for row in found["epochs"]] == [1, 2]
    assert [set(row["losses"]) for row in found["epochs"]] == [{"largest"}, {"largest", "smallest", "random1"}]
    fact = _training_fact(stages.config.training, 1 / 3, found)
    assert fact.startswith("sandwich, 2 of 3 epochs (the first 33% on the largest network alone) in ")
    stages_of(tmp_path, space, task, largest_share=1 / 3).train()
    found = _training(stages.run)
    assert [row["epoch"] for row in found["epochs"]] == [1, 2, 3]
    assert [asdict(log) for log in read_log(stages.run.training_log_file)] == found["epochs"]
    assert found["execution"] == {"device": "cpu", "bfloat16": False, "channels_last": False}
    fact = _training_fact(stages.config.training, 1 / 3, found)
    assert fact.startswith("sandwich, 3 epochs (the first 33% on the largest")
    assert fact.endswith(" s, float32 on cpu")
    stages.run.weights_file.unlink()  # to be trained again
    assert "unfinished" in _training(stages.run)


def test_training_of_an_older_release_is_told(space: SearchSpace, tmp_path: Path) -> None:
    rows = [asdict(log) for log in LOGS]
    fact = _training_fact(config(tmp_path, space).training, 0.0, {"epochs": rows, "validation_accuracy": {}})
    assert fact == "sandwich, 3 epochs in 6 s"


def test_missing_tensorboard_is_told_before_anything(
    tmp_path: Path, space: SearchSpace, task: ImageClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    stages = stages_of(tmp_path / "run", space, task, tensorboard=True)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'nasmyth\[tensorboard\]'"), stages.exclusive():
        pass
    with pytest.raises(ModuleNotFoundError, match=r"training\.tensorboard=false"):
        stages.trainer()
    assert not (tmp_path / "run").exists()
    torch.manual_seed(0)
    stages.run.save_supernet(stages.space.build_supernet(), {})
    with stages.exclusive():  # nothing is left to train
        stages.train()
