"""Wrong use: exit code 2 and one sentence on standard error."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from cli_commands import TINY, Command, Outcome

from nas.runs import Run


def assert_refused(found: Outcome, sentence: str, code: int = 2) -> None:
    assert found.code == code
    last = found.err.rstrip("\n").splitlines()[-1]
    assert last.startswith("error: ")
    assert sentence in last
    assert "Traceback" not in found.err
    assert "{" not in found.out


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("space.name=convnett", "there is no search space 'convnett' (did you mean 'convnet'?)"),
        ("space.options.hed=32", "hed"),
        ("task.data=no-such-folder", "there is no such source of images"),
        ("search.objectives=[accuracy,latency_ms.lokal]", "there is no metric 'latency_ms.lokal'"),
        ("search.limits=[memory <= 3]", "there is no metric 'memory'"),
        ("search.limits=[macs_m < 3]", "a limit reads"),
        ("search.limits=[accuracy >= 50 %]", "a limit on accuracy is a number"),
        ("devices=[phone]", "there is no device 'phone'"),
        ("training.epoch=3", "unknown key 'training.epoch' (did you mean 'epochs'?)"),
        ("training.epochs=0", "'training.epochs' is 0"),
        ("training", "--set takes key=value"),
        ("search.storage=mysql://me:pw@host/db", "search.storage takes a URL such as postgresql://USER@HOST/DATABASE"),
        ("search.storage=study.db", "search.storage takes a URL"),
        ("search.warm_start=nowhere", "search.warm_start: nowhere is not a run"),
        ("search.attempts=0", "'search.attempts' is 0"),
        ("search.patience=0", "'search.patience' is 0"),
    ],
)
def test_wrong_configuration(calibrated: Path, command: Command, override: str, sentence: str) -> None:
    assert_refused(command("run", TINY, "--set", f"directory={calibrated}", "--set", override), sentence)
    assert not (calibrated / "training.checkpoint").exists()
    assert not (calibrated / "supernet.safetensors").exists()


@pytest.mark.parametrize("name", ["run", "train", "profile"])
@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("strategy.name=sandwhich", "there is no strategy 'sandwhich' (did you mean 'sandwich'?)"),
        ("strategy.options.random_path=2", "no option 'random_path' (did you mean 'random_paths'?)"),
        ("strategy.options.random_paths=-1", "random_paths is -1"),
        ("strategy.options.random_paths=1.5", "random_paths is 1.5"),
        ("strategy.options.distillation=3", "distillation is 3"),
        ("strategy.options.sampler=uniform", "no option 'sampler'"),
        ("device=cuda", "torch finds no GPU"),
        ("processes=3", "training.batch_size is 64, which 3 processes cannot divide among them"),
    ],
)
def test_wrong_training_is_told_before_any_work(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, override: str, sentence: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert_refused(command(name, TINY, "--set", f"training.{override}"), sentence)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "quickstrat"), "there is no configuration 'quickstrat'"),
        (("spaces", "vitt"), "there is no search space 'vitt'"),
        (("front", "nowhere"), "nowhere is not a run"),
        (("report", "nowhere"), "nowhere is not a run"),
        (("worker", "nowhere"), "nowhere is not a run"),
        (("worker", "nowhere", "--storage", "postgresql://host/db"), "nowhere is not a run"),
        (("dashboard", "nowhere"), "nowhere is not a run"),
        (("export", "nowhere", "--to", "bundle"), "nowhere is not a run"),
        (("verify", "nowhere"), "nowhere is not a bundle"),
        (("device", "check", "phone"), "there is no device 'phone'"),
        (("device", "add", "my phone"), "a device's name is made of letters"),
        (("device", "add", "phone", "--backend", "onnx"), "onnxruntime"),
        (("device", "add", "phone", "--option", "fast"), "--option takes KEY=VALUE"),
        (("device", "add", "local"), "built in"),
    ],
)
def test_wrong_arguments(command: Command, tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    assert_refused(command(*arguments), sentence)
    assert not list(tmp_path.iterdir())


def test_bound_without_evaluations(finished: Path, command: Command, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "study.journal").unlink()
    assert_refused(command("front", "run", "--bound"), "and there are 0: let 'nas search' evaluate more")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--where", "latency_ms.phone <= 3"), "there is no metric 'latency_ms.phone'"),
        (("--where", "accuracy = 3"), "a limit reads"),
        (("--maximize", "accurracy"), "there is no metric 'accurracy' (did you mean 'accuracy'?)"),
        (("--maximize", "accuracy", "--minimize", "macs_m"), "not both"),
        (("--finetune", "0"), "fine-tuning takes a number of epochs above 0, not 0"),
        (("--finetune", "-1"), "fine-tuning takes a number of epochs above 0, not -1"),
    ],
)
def test_wrong_export(finished: Path, command: Command, arguments: tuple[str, ...], sentence: str) -> None:
    assert_refused(command("export", finished, "--to", "bundle", *arguments), sentence)


def test_limit_that_no_evaluated_network_keeps(finished: Path, command: Command, tmp_path: Path) -> None:
    found = command("export", finished, "--to", "bundle", "--where", "accuracy >= 0.9999")
    assert_refused(found, "none of the 12 evaluated networks keeps", code=1)
    assert not (tmp_path / "bundle").exists()


def test_export_leaves_other_directories_alone(finished: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    assert_refused(command("export", finished, "--to", "mine"), "mine exists and is not a bundle")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "letter"]


@pytest.mark.parametrize(("key", "value"), [("training.epochs", "3"), ("seed", "4"), ("space.options.head", "40")])
def test_changed_configuration_is_refused(finished: Path, command: Command, key: str, value: str) -> None:
    before = (finished / "config.yaml").read_text()
    found = command("run", TINY, "--set", f"directory={finished}", "--set", f"{key}={value}")
    assert_refused(found, f"was made with {key} = ")
    assert (finished / "config.yaml").read_text() == before


def test_second_run_is_refused(finished: Path, command: Command) -> None:
    with Run(finished).exclusive():
        assert_refused(command("run", TINY, "--set", f"directory={finished}"), "another process is at work")


def test_diverged_training_is_told_in_a_sentence(calibrated: Path, command: Command) -> None:
    found = command("run", TINY, "--set", f"directory={calibrated}", "--set", "training.learning_rate=1e9")
    assert_refused(found, "lower training.learning_rate", code=1)


def test_zero_samples_are_not_the_default(calibrated: Path, command: Command) -> None:
    found = command("calibrate", TINY, "--set", f"directory={calibrated}", "--samples", "0")
    assert_refused(found, "needs 2 samples or more, not 0")


def test_no_study_no_dashboard(calibrated: Path, command: Command) -> None:
    assert command("profile", TINY, "--set", f"directory={calibrated}").code == 0
    assert_refused(command("dashboard", calibrated), "no search was started")
    assert not (calibrated / "study.journal").exists()


def test_traceback_is_shown_when_asked_for(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASMYTH_TRACEBACK", "1")
    with pytest.raises(ValueError, match="nowhere is not a run"):
        command("front", "nowhere")
