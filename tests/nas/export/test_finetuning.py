"""Fine-tuning: what a step of it does, that it goes on after an interruption, and when its weights are delivered."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nas
from nas import pipeline
from nas.config import ExportConfig, FinetuneConfig, parse
from nas.errors import UsageError
from nas.export.bundle import Bundle
from nas.export.finetuning import FineTuned, FineTuner
from nas.export.image_bundle import write_bundle
from nas.pipeline import existing_stages
from nas.progress import Reporter
from nas.runs import Run
from nas.search.evaluation import Evaluator
from nas.stages import Stages
from nas.tasks import ImageClassification
from search_spaces import Architecture

TINY = Path(__file__).parents[2] / "e2e" / "tiny.yaml"
BATCH = 300


class Interrupted(Exception):
    """Stands for Ctrl-C."""


@pytest.fixture(scope="module")
def task() -> ImageClassification:
    return ImageClassification.load("digits", seed=1)


@pytest.fixture
def make_stages(tmp_path: Path, task: ImageClassification) -> Callable[..., Stages]:
    """A run in a space of two resolutions, with a supernet that was never trained."""

    def make(task: ImageClassification = task, **training: Any) -> Stages:
        options = {"resolutions": [6, 8], "in_channels": 1, "stem": 8, "widths": [[12, 16]], "strides": [2]}
        options |= {"depths": [[1, 2]], "group_width": 4, "head": 32}
        execution = {"device": "cpu", "precision": "float32", "channels_last": False}
        config = parse(
            {
                "name": "run",
                "seed": 1,
                "directory": str(tmp_path),
                "space": {"name": "convnet", "options": options},
                "training": {"batch_size": BATCH, "checkpoint_seconds": 1e-9, **execution, **training},
                "search": {"recalibration_images": 200},
            }
        )
        stages = Stages(Run(tmp_path), config, None, task)
        if not stages.run.weights_file.exists():
            torch.manual_seed(0)
            stages.run.save_supernet(stages.space.build_supernet(), {})
        return stages

    return make


def small_network(stages: Stages) -> Architecture:
    """Of the lower resolution; the largest network has the higher one."""
    assert stages.space.largest().values["resolution"] == 8
    return next(a for a in stages.space.sample(50, seed=0) if a.values["resolution"] == 6)


def tune(stages: Stages, progress: Callable[[int, int], None] | None = None, **settings: Any) -> FineTuned:
    defaults = {"epochs": 2.0, "learning_rate": 0.05}
    return FineTuner(stages, small_network(stages), FinetuneConfig(**defaults | settings)).run(progress)


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


# ------------------------------------------------------------------ what is done


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_step_is_that_of_a_loop_by_hand(
    make_stages: Callable[..., Stages], task: ImageClassification, monkeypatch: pytest.MonkeyPatch, weight: float
) -> None:
    stages = make_stages(weight_decay=0.01, clip_norm=0.2, momentum=0.8)
    architecture = small_network(stages)
    student, teacher = stages.evaluator.network(architecture), stages.evaluator.network(stages.space.largest())
    images, labels = next(iter(task.train_batches(BATCH, torch.Generator().manual_seed(100_003))))
    small = F.interpolate(images, (6, 6), mode="bilinear", antialias=True)
    with torch.no_grad():
        targets = teacher(images).softmax(1)
    student.train()
    log_probabilities = student(small).log_softmax(1)
    loss = -(1 - weight) * log_probabilities[range(BATCH), labels].mean()
    loss = loss - weight * (targets * log_probabilities).sum(1).mean()
    gradients = torch.autograd.grad(loss, list(student.parameters()))
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    assert norm > 0.2 or weight
    expected = {}
    for (name, parameter), gradient in zip(student.named_parameters(), gradients, strict=True):
        decay = 0.01 * parameter.detach() if parameter.dim() > 1 else 0.0
        expected[name] = parameter.detach() - 0.05 * 1.8 * (gradient * min(1.0, 0.2 / float(norm)) + decay)

    monkeypatch.setattr(Evaluator, "accuracy", lambda *_: 0.5)  # equal: the trained weights are delivered
    tuned = tune(stages, epochs=BATCH / len(task.train), distillation_weight=weight)
    found = dict(tuned.network.named_parameters())
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name].detach(), expected[name], rtol=1e-4, atol=1e-6)


def test_batch_normalisation_is_measured_after_training(
    make_stages: Callable[..., Stages], task: ImageClassification
) -> None:
    network = tune(make_stages()).network
    assert not network.training
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    conv, norm = layers[0], layers[1]
    assert isinstance(norm, nn.BatchNorm2d)
    batches = [images for images, _ in task.recalibration_batches(200, 32, 1)]
    with torch.no_grad():
        outputs = [conv(F.interpolate(images, (6, 6), mode="bilinear", antialias=True)) for images in batches]
    expected = torch.stack([output.mean((0, 2, 3)) for output in outputs]).mean(0)
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, expected, rtol=1e-4, atol=1e-6)


def test_learning_rate_falls_without_a_warm_up_and_nothing_is_averaged(make_stages: Callable[..., Stages]) -> None:
    stages = make_stages(warmup_epochs=3.0, ema=0.9, learning_rate=0.4)
    config = FineTuner(stages, small_network(stages), FinetuneConfig(epochs=2, learning_rate=0.02))._training()
    kept = stages.config.training.model_dump()
    changed = {key for key, value in config.model_dump().items() if value != kept[key]}
    assert changed == {"epochs", "learning_rate", "warmup_epochs", "ema"}
    assert (config.epochs, config.learning_rate, config.warmup_epochs, config.ema) == (2, 0.02, 0, 0)


def test_an_untrained_network_learns_and_the_supernet_stays(make_stages: Callable[..., Stages]) -> None:
    stages = make_stages()
    before, file = weights(stages.supernet), stages.run.weights_file.read_bytes()
    tuned = tune(stages, epochs=4.0, distillation_weight=0.0)
    assert tuned.used
    assert tuned.after["accuracy"] > tuned.before["accuracy"] + 0.1
    assert tuned.metrics == tuned.after
    assert stages.evaluator.accuracy(tuned.network, small_network(stages)) == tuned.after["accuracy"]
    assert_same(weights(stages.supernet), before)
    assert stages.run.weights_file.read_bytes() == file


def test_test_images_take_no_part(make_stages: Callable[..., Stages], task: ImageClassification) -> None:
    expected = tune(make_stages())
    other = ImageClassification.load("digits", seed=1)
    other.test = replace(other.test, images=255 - other.test.images, labels=9 - other.test.labels)
    assert other.fingerprint != task.fingerprint
    found = tune(make_stages(other))
    assert_same(weights(found.network), weights(expected.network))
    assert found.after == expected.after


def test_divergence_names_its_own_learning_rate(make_stages: Callable[..., Stages]) -> None:
    with pytest.raises(FloatingPointError, match=r"step \d+; lower export\.finetune\.learning_rate"):
        tune(make_stages(), learning_rate=1e30)


# -------------------------------------------------------------- interruptions


def interrupt(stop: int) -> Callable[[int, int], None]:
    def progress(step: int, total: int) -> None:
        if step == stop:
            raise Interrupted

    return progress


def test_interrupted_fine_tuning_goes_on(make_stages: Callable[..., Stages]) -> None:
    expected = tune(make_stages())
    folder = make_stages().run.finetuning
    for file in folder.iterdir():
        file.unlink()
    for stop in (1, 5):
        with pytest.raises(Interrupted):
            tune(make_stages(), interrupt(stop))
    steps: list[int] = []
    found = tune(make_stages(), lambda step, total: steps.append(step))
    assert steps[0] == 6
    assert_same(weights(found.network), weights(expected.network))
    assert (found.before, found.after) == (expected.before, expected.after)


def test_each_fine_tuning_has_its_own_checkpoint(make_stages: Callable[..., Stages]) -> None:
    def checkpoint(stages: Stages, architecture: Architecture, **settings: Any) -> Path:
        return FineTuner(stages, architecture, FinetuneConfig(**{"epochs": 1.0} | settings)).checkpoint

    stages = make_stages()
    small, largest = small_network(stages), stages.space.largest()
    first = checkpoint(stages, small)
    assert checkpoint(make_stages(), small) == first
    others = {checkpoint(stages, largest), checkpoint(stages, small, epochs=2.0)}
    others |= {checkpoint(stages, small, learning_rate=0.1), checkpoint(stages, small, distillation_weight=0.1)}
    with torch.no_grad():
        for parameter in stages.supernet.parameters():
            parameter.mul_(1.01)  # as if the supernet had been trained again
    assert len({first, *others, checkpoint(stages, small)}) == 6


def test_checkpoint_outlives_a_killed_export(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is made after the training: whoever is killed between the two trains nothing again."""
    module = sys.modules["nas.export.kinds"]  # `nas.export` is a function
    steps: list[int] = []
    reporter = Reporter(quiet=True)
    monkeypatch.setattr(reporter, "progress", lambda _: nullcontext(lambda step, total: steps.append(step)))

    def export() -> Bundle:
        stages = existing_stages(copied, reporter)
        training = stages.config.training.model_copy(update={"checkpoint_seconds": 1e-9})
        stages.config = stages.config.model_copy(update={"training": training})
        return pipeline.export(stages, tmp_path / "bundle", finetune=0.5)

    monkeypatch.setattr(module, "to_onnx", lambda *_: interrupt(0)(0, 0))
    with pytest.raises(Interrupted):
        export()
    assert not (tmp_path / "bundle").exists()
    assert len(list((copied / "finetune").iterdir())) == 1
    trained = len(steps)
    monkeypatch.setattr(module, "to_onnx", lambda *_: b"model")
    assert export().manifest["finetuned"]["epochs"] == 0.5
    assert len(steps) == trained > 0
    assert list((copied / "finetune").iterdir()) == []


# ------------------------------------------------------------- what is delivered


def test_export_of_a_barely_trained_run_gains(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    supernet = hashlib.sha256((copied / "supernet.safetensors").read_bytes()).hexdigest()
    plain = nas.export(copied, tmp_path / "plain")
    bundle = pipeline.export(existing_stages(copied, Reporter()), tmp_path / "tuned", finetune=3)
    found = bundle.manifest["finetuned"]
    settings = {"epochs": 3.0, "learning_rate": 0.01, "distillation_weight": 0.5}
    assert found == {**settings, "accuracy_before": found["accuracy_before"], "accuracy_after": found["accuracy_after"], "used": True}  # fmt: skip
    assert found["accuracy_before"] == pytest.approx(plain.manifest["metrics"]["accuracy"], abs=0.01)
    assert found["accuracy_after"] > found["accuracy_before"] + 0.02
    assert bundle.manifest["metrics"] == {**plain.manifest["metrics"], "accuracy": found["accuracy_after"]}
    assert (plain.manifest["finetuned"], bundle.architecture) == (None, plain.architecture)
    assert "fine-tuned alone for 3 epoch(s)" in (bundle.path / "README.md").read_text()
    assert "not trained further" in (plain.path / "README.md").read_text()
    assert "fine-tuning took the validation accuracy from" in capsys.readouterr().err
    verification = nas.verify(bundle.path)
    assert verification.passed, verification.document()
    assert verification.measured["accuracy"] == pytest.approx(found["accuracy_after"], abs=0.005)
    assert hashlib.sha256((copied / "supernet.safetensors").read_bytes()).hexdigest() == supernet


def test_worse_weights_are_not_delivered(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At this rate, a few steps destroy what the supernet has learned."""
    stages = existing_stages(copied, Reporter())
    harmful = FinetuneConfig(learning_rate=3.0)
    export = stages.config.export.model_copy(update={"finetune": harmful})
    stages.config = stages.config.model_copy(update={"export": export})
    bundle = pipeline.export(stages, tmp_path / "bundle", finetune=0.3)
    found = bundle.manifest["finetuned"]
    assert found["accuracy_after"] < found["accuracy_before"]
    assert not found["used"]
    assert bundle.manifest["metrics"]["accuracy"] == found["accuracy_before"]
    assert_same(weights(bundle.network()), weights(stages.evaluator.network(bundle.architecture)))
    assert "not trained further" in (bundle.path / "README.md").read_text()
    said = capsys.readouterr().err
    assert "warning: fine-tuning lowered the validation accuracy from" in said
    assert "the inherited weights are kept" in said
    assert nas.verify(bundle.path).passed


def test_run_fine_tunes_once_for_each_setting(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_again() -> pipeline.Result:
        return nas.run(TINY, f"directory={copied}", "export.finetune.epochs=0.5")

    result = run_again()
    bundle = result.bundle
    assert result.verification.passed
    assert bundle.manifest["finetuned"]["epochs"] == 0.5
    facts = dict(result.report.facts)
    assert facts["fine-tuning of the chosen network"].startswith("0.5 epochs, validation accuracy from ")
    monkeypatch.setattr(pipeline, "deliver", lambda *_: pytest.fail("it was exported again"))
    assert run_again().bundle.manifest == bundle.manifest

    stages = existing_stages(copied)
    chosen, limits = pipeline.choose(stages)

    def intact(bundle: Bundle, **settings: float) -> bool:
        return pipeline._is_intact(bundle, chosen, limits, ExportConfig(finetune=FinetuneConfig(**settings)))

    assert intact(bundle, epochs=0.5)
    for other in ({"learning_rate": 0.02}, {"distillation_weight": 0.2}, {"epochs": 1.0}, {"epochs": 0.0}):
        assert not intact(bundle, **{"epochs": 0.5} | other), other
    manifest = {key: value for key, value in bundle.manifest.items() if key != "finetuned"}  # as before this release
    plain = write_bundle(bundle.path, bundle.model, bundle.network(), bundle.architecture, manifest)
    assert intact(plain)
    assert intact(plain, learning_rate=0.02)
    assert not intact(plain, epochs=0.5)


@pytest.mark.parametrize("epochs", [0, -1, 0.0, float("nan"), float("inf")])
def test_epochs_above_zero(finished: Path, tmp_path: Path, epochs: float) -> None:
    with pytest.raises(UsageError, match="takes a number of epochs above 0, not"):
        nas.export(finished, tmp_path / "bundle", finetune=epochs)
    assert not (tmp_path / "bundle").exists()
