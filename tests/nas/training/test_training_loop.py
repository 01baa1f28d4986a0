"""The training loop: resumed exactly, scheduled as torch would, stopped when it diverges."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digits_training import make_config, make_trainer, small_space
from torch import Tensor, nn

import nas.training.execution
import nas.training.loop
from nas.config import TrainingConfig
from nas.errors import UsageError
from nas.files import read_checkpoint, write_checkpoint
from nas.tasks import ImageClassification
from nas.training.ema import WeightAverage
from nas.training.execution import Execution
from nas.training.loop import Trainer
from nas.training.recalibration import recalibrate
from nas.training.strategies.alone import Alone
from nas.training.strategies.largest_first import LargestFirst
from nas.training.strategies.sandwich import Sandwich
from nas.training.strategy import Step, Strategy
from search_spaces import SearchSpace
from search_spaces.supernet import Supernet


class Interrupted(Exception):
    """Stands for Ctrl-C."""


class InterruptedSandwich(Sandwich):
    """Is interrupted between its forward and backward passes."""

    def __init__(self, at: int) -> None:
        super().__init__(1)
        self.left = at

    def step(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        self.left -= 1
        if self.left < 0:
            network.activate(network.space.largest())
            step.loss(network(inputs), target).backward()
            raise Interrupted
        return super().step(network, inputs, target, step)


def outcome(trainer: Trainer[Supernet]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    logs = [{name: value for name, value in asdict(log).items() if name != "seconds"} for log in trainer.logs]
    return trainer.network.state_dict(), logs


def assert_same(found: Trainer[Supernet], expected: Trainer[Supernet]) -> None:
    (weights, logs), (expected_weights, expected_logs) = outcome(found), outcome(expected)
    assert logs == expected_logs
    assert weights.keys() == expected_weights.keys()
    for name in weights:
        assert torch.equal(weights[name], expected_weights[name]), name


@pytest.fixture(scope="module")
def undisturbed(task: ImageClassification, tmp_path_factory: pytest.TempPathFactory) -> Trainer[Supernet]:
    trainer = make_trainer(task, tmp_path_factory.mktemp("undisturbed") / "checkpoint")
    trainer.run()
    return trainer


def test_interrupted_after_random_steps(
    tmp_path: Path, task: ImageClassification, undisturbed: Trainer[Supernet]
) -> None:
    assert undisturbed.total_steps == 12
    draw = random.Random(0)
    stops = [*sorted(draw.sample(range(1, 12), 4)), 12]

    def interrupt(stop: int) -> Any:
        def progress(step: int, total: int) -> None:
            if step == stop:
                raise Interrupted

        return progress

    for stop in stops:
        trainer = make_trainer(task, tmp_path / "checkpoint", seed=0)
        with pytest.raises(Interrupted):
            trainer.run(interrupt(stop))
        assert trainer.step == stop
    trainer = make_trainer(task, tmp_path / "checkpoint")
    trainer.run()
    assert_same(trainer, undisturbed)


def test_interrupted_within_steps(tmp_path: Path, task: ImageClassification, undisturbed: Trainer[Supernet]) -> None:
    for at in (0, 3, 4, 1):  # before the first checkpoint, after 3 steps, in the last step of an epoch, one later
        trainer = make_trainer(task, tmp_path / "checkpoint", strategy=InterruptedSandwich(at))
        with pytest.raises(Interrupted):
            trainer.run()
    assert trainer.step == 8
    trainer = make_trainer(task, tmp_path / "checkpoint")
    trainer.run()
    assert_same(trainer, undisturbed)


def test_resumed_from_an_old_checkpoint(
    tmp_path: Path, task: ImageClassification, undisturbed: Trainer[Supernet]
) -> None:
    """Steps after the last checkpoint are taken again."""
    first = make_trainer(task, tmp_path / "checkpoint", strategy=InterruptedSandwich(6))
    with pytest.raises(Interrupted):
        first.run()
    lost = make_trainer(task, tmp_path / "checkpoint", strategy=InterruptedSandwich(3), checkpoint_seconds=1e9)
    with pytest.raises(Interrupted):
        lost.run()
    trainer = make_trainer(task, tmp_path / "checkpoint", checkpoint_seconds=1e9)
    steps: list[int] = []
    trainer.run(lambda step, total: steps.append(step))
    assert steps == [7, 8, 9, 10, 11, 12]
    assert_same(trainer, undisturbed)


class Killed(Strategy[Supernet]):
    """Ends its process at once in a step, after all that precedes the step."""

    def __init__(self, strategy: Strategy[Supernet], at: int) -> None:
        self.strategy, self.at = strategy, at
        self.prepare = strategy.prepare

    def step(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        if step.number == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.strategy.step(network, inputs, target, step)


def train_until_killed(task: ImageClassification, checkpoint: Path, at: int, **options: Any) -> None:
    def train() -> None:
        trainer = make_trainer(task, checkpoint, **options)
        trainer.strategy = Killed(trainer.strategy, at)
        trainer.run()

    process = multiprocessing.get_context("fork").Process(target=train)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(("first", "ema"), [(0, 0.0), (0, 0.9), (5, 0.9), (5, 0.0)])
def test_killed_process(tmp_path: Path, task: ImageClassification, first: int, ema: float) -> None:
    """At random steps, and right before and after the channels are sorted."""
    expected = make_trainer(task, tmp_path / "undisturbed", largest_steps=first, ema=ema)
    expected.run()
    for at in sorted({first, first + 1, *random.Random(first).sample(range(12), 2)}):
        train_until_killed(task, tmp_path / "checkpoint", at, largest_steps=first, ema=ema)
    found = make_trainer(task, tmp_path / "checkpoint", largest_steps=first, ema=ema)
    found.run()
    assert_same(found, expected)


class InDouble(LargestFirst):
    """Precise enough to tell a small error from rounding."""

    def step(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        return super().step(network, inputs.double(), target, step)


def test_momentum_and_average_follow_the_sorted_channels(tmp_path: Path, task: ImageClassification) -> None:
    """A training of the largest network alone takes the same course whether its channels are sorted or not."""
    courses = {}
    for sort_at in (4, 100):
        strategy = InDouble(LargestFirst(Sandwich(1), 100), sort_at)
        trainer = make_trainer(task, tmp_path / str(sort_at), strategy=strategy, epochs=2)
        trainer.average = WeightAverage(trainer.network.double(), 0.8)
        logs = trainer.run()
        trainer.network.activate(trainer.network.space.largest())
        images, _ = next(task.batches("validation", 50))
        courses[sort_at] = ([log.losses["largest"] for log in logs], trainer.network.eval()(images.double()))
    torch.testing.assert_close(courses[4], courses[100])


def test_the_way_of_execution_is_kept(
    tmp_path: Path, task: ImageClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nas.training.execution, "computes_bfloat16", lambda device: True)
    chosen = Execution("cpu", bfloat16=True, channels_last=True)
    open_to_choice: dict[str, Any] = {"precision": "auto", "channels_last": "auto"}
    monkeypatch.setattr(nas.training.loop, "fastest", lambda options, step: options[options.index(chosen)])
    trainer = make_trainer(task, tmp_path / "c", strategy=InterruptedSandwich(2), **open_to_choice)
    with pytest.raises(Interrupted):
        trainer.run()
    monkeypatch.setattr(nas.training.loop, "fastest", lambda *_: pytest.fail("it was timed again"))
    again = make_trainer(task, tmp_path / "c", epochs=3, **open_to_choice)
    again.run()
    assert again.execution == chosen
    fixed = make_trainer(task, tmp_path / "d", precision="bfloat16", channels_last=True)
    fixed.run()
    assert_same(again, fixed)


def test_the_way_of_execution_is_timed_without_effect(
    tmp_path: Path, task: ImageClassification, undisturbed: Trainer[Supernet], monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(options: list[Execution], step: Callable[[Execution], None]) -> Execution:
        for option in options:
            step(option)
        return Execution()

    monkeypatch.setattr(nas.training.loop, "fastest", timed)
    trainer = make_trainer(task, tmp_path / "c", precision="auto", channels_last="auto")
    trainer.run()
    assert_same(trainer, undisturbed)


def test_a_checkpoint_of_another_machine_is_taken(tmp_path: Path, task: ImageClassification) -> None:
    with pytest.raises(Interrupted):
        make_trainer(task, tmp_path / "c", strategy=InterruptedSandwich(2)).run()
    state = read_checkpoint(tmp_path / "c")
    state["execution"]["device"] = "cuda"
    write_checkpoint(tmp_path / "c", state)
    trainer = make_trainer(task, tmp_path / "c")
    trainer.run()
    assert trainer.execution == Execution()


def test_a_part_of_an_epoch(tmp_path: Path, task: ImageClassification, undisturbed: Trainer[Supernet]) -> None:
    trainer = make_trainer(task, tmp_path / "c", epochs=2.5)
    logs = trainer.run()
    assert [(log.epoch, log.step) for log in logs] == [(1, 4), (2, 8), (3, 10)]
    assert trainer.learning_rate(10) == 0.0


def test_a_static_network_is_trained(tmp_path: Path, task: ImageClassification, space: SearchSpace) -> None:
    torch.manual_seed(0)
    network = space.build(space.largest())
    config = make_config(epochs=3, batch_size=40, ema=0.9)
    logs = Trainer(network, task, Alone(), config, 0, tmp_path / "c").run()
    assert logs[-1].losses["network"] < 0.5 * logs[0].losses["network"]
    recalibrate(network, [images for images, _ in task.batches("train", 500)])
    images, target = next(task.batches("validation", 1000))
    assert task.correct(network(images), target) > 0.8 * len(target)


def test_the_epochs_are_told_as_they_end(tmp_path: Path, task: ImageClassification) -> None:
    told: list[int] = []
    trainer = make_trainer(task, tmp_path / "c")
    trainer.on_epoch = lambda logs: told.append(len(logs))
    trainer.run()
    assert told == [1, 2, 3]


def test_seed_decides(tmp_path: Path, task: ImageClassification, undisturbed: Trainer[Supernet]) -> None:
    again, other = (make_trainer(task, tmp_path / f"{seed}", seed=seed) for seed in (0, 1))
    again.run()
    other.run()
    assert_same(again, undisturbed)
    assert other.logs[-1].losses != undisturbed.logs[-1].losses


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, task: ImageClassification) -> None:
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Interrupted):
        make_trainer(task, checkpoint, strategy=InterruptedSandwich(1)).run()
    other = make_trainer(task, checkpoint, small_space(widths=[[12, 20]]))
    with pytest.raises(UsageError, match=r"checkpoint is not a checkpoint of this training.*delete it"):
        other.run()
    torch.save({"step": 3}, checkpoint)
    with pytest.raises(UsageError, match="not a checkpoint of this training"):
        make_trainer(task, checkpoint).run()
    checkpoint.write_bytes(b"damaged")
    with pytest.raises(UsageError, match="damaged"):
        make_trainer(task, checkpoint).run()


@pytest.mark.parametrize(("epochs", "peak"), [(0.5, 0.05), (1.0, 0.1), (8.0, 0.8), (30.0, 1.0)])
def test_a_short_training_warms_up_for_a_tenth_of_it(epochs: float, peak: float) -> None:
    assert TrainingConfig(epochs=epochs).warmup == pytest.approx(peak)


@pytest.mark.parametrize(("epochs", "warmup", "batch"), [(3, 1.0, 100), (5, 0.0, 300), (4, 2.0, 64), (2, 0.5, 100)])
def test_learning_rate_is_that_of_torch(
    tmp_path: Path, task: ImageClassification, space: SearchSpace, epochs: int, warmup: float, batch: int
) -> None:
    trainer = make_trainer(task, tmp_path / "c", epochs=epochs, warmup_epochs=warmup, batch_size=batch)
    steps = round(warmup * trainer.steps_per_epoch)
    assert steps == warmup * trainer.steps_per_epoch
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedulers = torch.optim.lr_scheduler
    cosine = schedulers.CosineAnnealingLR(optimizer, trainer.total_steps - steps)
    schedule: torch.optim.lr_scheduler.LRScheduler = cosine
    if steps:
        linear = schedulers.LinearLR(optimizer, 1 / (steps + 1), 1.0, steps)
        schedule = schedulers.SequentialLR(optimizer, [linear, cosine], [steps])
    for step in range(trainer.total_steps):
        assert trainer.learning_rate(step) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        schedule.step()
    assert 0 < trainer.learning_rate(trainer.total_steps - 1) < 0.01 * 0.1 * trainer.total_steps


def test_the_optimizer_gets_the_learning_rate(tmp_path: Path, task: ImageClassification) -> None:
    trainer = make_trainer(task, tmp_path / "c", epochs=2)
    used = []
    trainer.run(lambda step, total: used.append({group["lr"] for group in trainer.optimizer.param_groups}))
    assert used == [{trainer.learning_rate(step)} for step in range(8)]
    assert [log.learning_rate for log in trainer.logs] == [trainer.learning_rate(3), trainer.learning_rate(7)]


class Fixed(Strategy[Supernet]):
    """A strategy whose gradients and losses are given."""

    def __init__(self, gradient: float, loss: float = 1.0) -> None:
        self.gradient, self.loss = gradient, loss

    def step(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, self.gradient)
        return {"largest": 0.5, "smallest": self.loss}


def test_each_step_draws_anew(tmp_path: Path, task: ImageClassification) -> None:
    drawn: list[tuple[int, ...]] = []

    class Drawing(Fixed):
        def step(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
            assert (step.number, step.total) == (len(drawn) % 12, 12)
            drawn.append(tuple(step.rng.integers(0, 1000, 4).tolist()))
            return super().step(network, inputs, target, step)

    for seed in (0, 1):
        make_trainer(task, tmp_path / str(seed), strategy=Drawing(0.0), seed=seed).run()
    assert len(set(drawn)) == len(drawn) == 24


@pytest.mark.parametrize(("gradient", "loss"), [(0.0, np.nan), (0.0, np.inf), (np.nan, 1.0), (np.inf, 1.0)])
def test_what_is_not_finite_raises_and_is_not_kept(
    tmp_path: Path, task: ImageClassification, gradient: float, loss: float
) -> None:
    trainer = make_trainer(task, tmp_path / "c", strategy=Fixed(gradient, loss))
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    with pytest.raises(FloatingPointError, match=r"not finite at step 0.*lower training.learning_rate"):
        trainer.run()
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.network.state_dict().items())
    assert not (tmp_path / "c").exists()


def test_divergence_raises(tmp_path: Path, task: ImageClassification) -> None:
    with pytest.raises(FloatingPointError, match="not finite at step"):
        make_trainer(task, tmp_path / "c", learning_rate=1e30, clip_norm=1e30).run()


def test_weight_decay_spares_vectors_and_kernel_matrices(tmp_path: Path, task: ImageClassification) -> None:
    """With zero gradients, one step of SGD with Nesterov momentum m scales a decayed weight by 1 - lr wd (1 + m)."""
    config = {"learning_rate": 0.3, "momentum": 0.8, "weight_decay": 0.01, "warmup_epochs": 0.0}
    trainer = make_trainer(task, tmp_path / "c", strategy=Fixed(0.0), batch_size=1000, epochs=1, **config)
    nn.init.normal_(next(p for name, p in trainer.network.named_parameters() if name.endswith("bias")))
    before = {name: parameter.detach().clone() for name, parameter in trainer.network.named_parameters()}
    trainer.run()
    scales = {True: 1 - 0.3 * 0.01 * 1.8, False: 1.0}
    decayed = {}
    for name, parameter in trainer.network.named_parameters():
        decayed[name] = parameter.dim() in (2, 4) and "kernel_matrices" not in name
        torch.testing.assert_close(parameter.detach(), before[name] * scales[decayed[name]])
    assert any("kernel_matrices" in name for name in decayed)
    assert 0 < sum(decayed.values()) < len(decayed)


def test_gradients_are_clipped(tmp_path: Path, task: ImageClassification) -> None:
    config = {"learning_rate": 1.0, "momentum": 0.0, "weight_decay": 0.0, "warmup_epochs": 0.0, "clip_norm": 0.5}
    trainer = make_trainer(task, tmp_path / "c", strategy=Fixed(3.0), batch_size=1000, epochs=1, **config)
    before = torch.cat([parameter.detach().flatten() for parameter in trainer.network.parameters()]).double()
    trainer.run()
    after = torch.cat([parameter.detach().flatten() for parameter in trainer.network.parameters()]).double()
    assert (after - before).norm() == pytest.approx(0.5, rel=1e-3)


def test_logs_are_means_of_the_epochs(
    tmp_path: Path, task: ImageClassification, undisturbed: Trainer[Supernet]
) -> None:
    recorded: list[dict[str, float]] = []

    class Recording(Sandwich):
        def step(self, *args: Any, **kwargs: Any) -> dict[str, float]:
            recorded.append(super().step(*args, **kwargs))
            return recorded[-1]

    trainer = make_trainer(task, tmp_path / "c", strategy=Recording(1))
    logs = trainer.run()
    assert [(log.epoch, log.step) for log in logs] == [(1, 4), (2, 8), (3, 12)]
    for epoch, log in enumerate(logs):
        for name in ("largest", "smallest", "random1"):
            steps = [losses[name] for losses in recorded[4 * epoch : 4 * epoch + 4]]
            assert log.losses[name] == pytest.approx(np.mean(steps))
    assert logs[0].seconds < logs[1].seconds < logs[2].seconds


@pytest.mark.parametrize("options", [{}, {"precision": "bfloat16", "channels_last": True}])
def test_the_loss_goes_down(tmp_path: Path, task: ImageClassification, options: dict[str, Any]) -> None:
    trainer = make_trainer(task, tmp_path / "c", epochs=3, batch_size=40, learning_rate=0.3, **options)
    first, *_, last = trainer.run()
    for name in ("largest", "smallest", "random1"):
        assert last.losses[name] < 0.7 * first.losses[name]
