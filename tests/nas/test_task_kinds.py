"""Sections of configurations that name images or texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.config import TaskConfig, load, parse
from nas.errors import UsageError
from nas.stages import load_task
from nas.task_config import LanguageTaskConfig
from nas.task_kinds import make_task, task_metrics
from nas.tasks import ImageClassification


def test_the_kind_decides(tmp_path: Path) -> None:
    images, texts = (
        parse({"name": "a", "task": {"validation": 0.2}}),
        parse({"name": "b", "task": {"kind": "language"}}),
    )
    assert isinstance(images.task, TaskConfig)
    assert isinstance(texts.task, LanguageTaskConfig)
    assert isinstance(make_task(images.task, 0), ImageClassification)
    for config in (images, texts):
        (tmp_path / "config.yaml").write_text(config.to_yaml())
        assert load(tmp_path / "config.yaml") == config
    changed = load(tmp_path / "config.yaml", ["task.sequence_length=64"]).task
    assert isinstance(changed, LanguageTaskConfig)
    assert changed.sequence_length == 64


def test_metrics_are_known_without_data() -> None:
    def names(**section: object) -> list[str]:
        return [metric.name for metric in task_metrics(parse({"name": "a", "task": section}).task)]

    assert names(data="/no/such/file") == ["accuracy"]
    assert names(kind="language", data="/no/such/file") == ["bits_per_byte", "recall"]
    assert names(kind="language", recall={"sequences": 0, "share": 0.0}) == ["bits_per_byte"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "langauge"}, r"'task' is \{'kind': 'langauge'\}: its kind is 'language' for texts, and is left out"),
        ({"kind": ["language"]}, "its kind is 'language' for texts, and is left out for images"),
        ({"kind": "language", "siz": 3}, "unknown key 'task.siz'; known here: kind, data, vocabulary, "),
        (
            {"kind": "language", "recall": {"shares": 0.5}},
            r"unknown key 'task.recall.shares' \(did you mean 'share'\?\)",
        ),
        ({"kind": "language", "sequence_length": 1}, "'task.sequence_length' is 1: input should be greater"),
        ({"vocabulary": 100}, "unknown key 'task.vocabulary'; known here: data, size, "),
        (5, "'task' is 5: "),
    ],
)
def test_what_is_wrong_is_said_of_the_kind_that_is_meant(section: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse({"name": "a", "task": section})


def test_images_are_not_loaded_from_texts() -> None:
    with pytest.raises(UsageError, match="the task is language, where images are needed"):
        load_task(LanguageTaskConfig(kind="language"), 0)
