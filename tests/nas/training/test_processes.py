"""Two real processes against one that has the whole batch."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from digits_training import make_trainer, small_space
from torch import Tensor, nn

import nas.training.execution
import nas.training.loop
from nas.errors import UsageError
from nas.tasks import ImageClassification, Mixing
from nas.training.execution import Execution
from nas.training.processes import Processes, check_divisible, threads_each
from nas.training.strategies.sandwich import Sandwich
from nas.training.strategy import Step
from nas.training.sync_batch_norm import SyncBatchNorm
from search_spaces.elastic.norm import ElasticBatchNorm2d
from search_spaces.supernet import Supernet

Work = Callable[[Processes], Any]


def together(folder: Path, work: Work, count: int = 2) -> list[Any]:
    """What `work` gives in each of several processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def one(rank: int) -> None:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        with Processes.joined() as processes:
            torch.save(work(processes), folder / f"rank-{rank}")

    context = multiprocessing.get_context("fork")
    started = [context.Process(target=one, args=(rank,)) for rank in range(count)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0] * count
    return [torch.load(folder / f"rank-{rank}") for rank in range(count)]


def refused(work: Work) -> Work:
    """The message of the error that `work` raises."""

    def attempt(processes: Processes) -> str:
        with pytest.raises((UsageError, RuntimeError)) as caught:
            work(processes)
        return f"{type(caught.value).__name__}: {caught.value}"

    return attempt


def trained(task: ImageClassification, checkpoint: Path, **options: Any) -> Work:
    def work(processes: Processes) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
        trainer = make_trainer(task, checkpoint, processes=processes, **options)
        logs = trainer.run()
        trainer.save()
        return trainer.network.state_dict(), [dict(log.losses) for log in logs]

    return work


def parameters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if "running" not in name}


@pytest.mark.parametrize("mixing", [Mixing(), Mixing(mixup=0.4)], ids=["classes", "shares"])
def test_two_processes_train_as_one(tmp_path: Path, task: ImageClassification, mixing: Mixing) -> None:
    task = ImageClassification.load("digits", mixing=mixing, label_smoothing=0.1)
    options: dict[str, Any] = {"ema": 0.5, "largest_steps": 2, "epochs": 1.5, "learning_rate": 0.02}
    alone, alone_losses = trained(task, tmp_path / "alone", **options)(Processes())
    options["sync_batch_norm"] = True
    (first, losses), (second, _) = together(tmp_path, trained(task, tmp_path / "both", **options))
    for name, tensor in parameters(first).items():
        assert torch.equal(tensor, second[name]), name
    torch.testing.assert_close(first, alone, rtol=1e-4, atol=1e-5)
    assert [log.keys() for log in losses] == [log.keys() for log in alone_losses]
    for found, expected in zip(losses, alone_losses, strict=True):
        assert found == pytest.approx(expected, rel=1e-4)


def test_interrupted_training_goes_on_in_another_number_of_processes(tmp_path: Path, task: ImageClassification) -> None:
    options: dict[str, Any] = {"learning_rate": 0.02, "sync_batch_norm": True, "epochs": 1}
    expected, _ = trained(task, tmp_path / "alone", **options)(Processes())

    def interrupted(processes: Processes) -> int:
        trainer = make_trainer(task, tmp_path / "c", processes=processes, **options)

        def stop(step: int, total: int) -> None:
            if step == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            trainer.run(stop)
        return trainer.step

    assert interrupted(Processes()) == 2
    (first, _), (second, _) = together(tmp_path, trained(task, tmp_path / "c", **options))
    assert all(torch.equal(tensor, second[name]) for name, tensor in parameters(first).items())
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_the_mean_of_those_of_the_parts(tmp_path: Path, task: ImageClassification) -> None:
    images, target = next(task.train_batches(63, torch.Generator().manual_seed(0)))

    def gradients(share: tuple[Tensor, Tensor], processes: Processes | None = None) -> dict[str, Tensor]:
        torch.manual_seed(0)
        network = small_space().build_supernet().train()
        Sandwich(1).step(network, *share, Step(0, 1, np.random.default_rng(0), task.loss))
        if processes:
            processes.average_gradients(network.parameters())
        return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}

    def work(processes: Processes) -> dict[str, Tensor]:
        return gradients((processes.share(images), processes.share(target)), processes)

    first, second = together(tmp_path, work)
    halves = [gradients((images[start:62:2], target[start:62:2])) for start in (0, 1)]
    for name, gradient in first.items():
        assert torch.equal(gradient, second[name])
        torch.testing.assert_close(gradient, (halves[0][name] + halves[1][name]) / 2)
    assert first.keys() == halves[0].keys()


@pytest.mark.parametrize("kind", ["static", "elastic", "plain"])
def test_batch_normalisation_over_all_processes(tmp_path: Path, kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images = 100 + torch.randn(6, 4, 3, 5, generator=generator)
    weights = torch.randn(6, 4, 3, 5, generator=generator)

    def layer() -> nn.Module:
        if kind == "elastic":
            elastic = ElasticBatchNorm2d(8)
            elastic.activate(nn.BatchNorm2d(4))
            return elastic
        made = nn.BatchNorm2d(4, momentum=0.3, affine=kind == "static", track_running_stats=kind == "static")
        if made.affine:
            nn.init.uniform_(made.weight, 0.5, 2.0, generator=torch.Generator().manual_seed(1))
        return made

    def normalise(norm: nn.Module, rows: slice) -> dict[str, Tensor]:
        given = images[rows].clone().requires_grad_()
        output = norm(given)
        (output * weights[rows]).sum().backward()
        assert given.grad is not None
        found = {"output": output.detach(), "gradient": given.grad}
        found |= {name: parameter.grad for name, parameter in norm.named_parameters() if parameter.grad is not None}
        return found | dict(norm.named_buffers())

    def work(processes: Processes) -> dict[str, Tensor]:
        norm = layer()
        with SyncBatchNorm():
            found = normalise(norm, slice(processes.rank, None, 2))
            if kind == "static":
                found["evaluated"] = norm.eval()(images).detach()
        return found

    parts = together(tmp_path, work)
    norm = layer()
    whole = normalise(norm, slice(None))
    for rank, part in enumerate(parts):
        torch.testing.assert_close(part["output"], whole["output"][rank::2], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(part["gradient"], whole["gradient"][rank::2], rtol=1e-3, atol=1e-4)
        for name, _ in norm.named_buffers():
            torch.testing.assert_close(part[name], whole[name], rtol=1e-5, atol=1e-5)
        if kind == "static":
            torch.testing.assert_close(part["evaluated"], norm.eval()(images))
    for name, _ in norm.named_parameters():
        torch.testing.assert_close(parts[0][name] + parts[1][name], whole[name], rtol=1e-4, atol=1e-3)


def test_the_first_process_chooses_the_way_of_execution(
    tmp_path: Path, task: ImageClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(processes: Processes) -> tuple[bool, bool]:
        monkeypatch.setattr(nas.training.execution, "computes_bfloat16", lambda device: True)
        monkeypatch.setattr(nas.training.loop, "fastest", lambda options, step: options[2 + processes.rank])
        trainer = make_trainer(
            task, tmp_path / "c", processes=processes, epochs=0.25, precision="auto", channels_last="auto"
        )
        trainer.run()
        assert trainer.execution is not None
        return trainer.execution.bfloat16, trainer.execution.channels_last

    chosen = Execution(bfloat16=True, channels_last=False)
    assert together(tmp_path, work) == [(chosen.bfloat16, chosen.channels_last)] * 2


def test_the_first_process_alone_writes(tmp_path: Path, task: ImageClassification) -> None:
    def work(processes: Processes) -> int:
        trainer = make_trainer(task, tmp_path / f"checkpoint-{processes.rank}", processes=processes, epochs=0.5)
        trainer.on_epoch = lambda logs: (tmp_path / f"epoch-{processes.rank}").touch()
        trainer.run()
        trainer.save()
        return trainer.step

    assert together(tmp_path, work) == [2, 2]
    assert {file.name for file in tmp_path.glob("*-0")} >= {"checkpoint-0", "epoch-0"}
    assert {file.name for file in tmp_path.glob("*-1")} == {"rank-1"}


def test_processes_that_drift_apart_are_stopped(tmp_path: Path, task: ImageClassification) -> None:
    class Different(Sandwich):
        def step(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
            loss = sum(p.sum() for p in list(network.parameters())[: 2 + dist.get_rank()])
            assert isinstance(loss, Tensor)
            loss.backward()
            return {"largest": 1.0}

    def work(processes: Processes) -> None:
        make_trainer(task, tmp_path / "c", strategy=Different(0), processes=processes).run()

    assert (
        together(tmp_path, refused(work))
        == ["RuntimeError: the processes trained different networks; a strategy must draw them with step.rng alone"] * 2
    )


def test_processes_that_do_not_see_one_checkpoint_are_stopped(tmp_path: Path, task: ImageClassification) -> None:
    checkpoint = tmp_path / "checkpoint-0"
    done = make_trainer(task, checkpoint, epochs=1)
    done.run()

    def work(processes: Processes) -> str:
        trainer = make_trainer(task, tmp_path / f"checkpoint-{processes.rank}", processes=processes, epochs=1)
        return "" if processes.rank == 0 and trainer.run() else refused(lambda _: trainer.run())(processes)

    first, second = together(tmp_path, work)
    assert first == ""
    assert second.startswith("UsageError: the processes of this training do not read the same ")


@pytest.mark.parametrize(("size", "count", "parts"), [(7, 1, [7]), (8, 2, [4, 4]), (7, 3, [2, 2, 2])])
def test_shares_are_equal_and_disjoint(size: int, count: int, parts: list[int]) -> None:
    batch = torch.arange(size)
    shares = [Processes(rank, count).share(batch) for rank in range(count)]
    assert [len(share) for share in shares] == parts
    assert sorted(torch.cat(shares).tolist()) == list(range(sum(parts)))


def test_batches_that_cannot_be_divided(tmp_path: Path, task: ImageClassification) -> None:
    with pytest.raises(UsageError, match=r"batch_size is 301, which 2 processes cannot divide.*a multiple of 2"):
        make_trainer(task, tmp_path / "c", processes=Processes(0, 2), batch_size=301)
    check_divisible(300, 3)


def test_threads_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert [threads_each(*given) for given in ((None, 2), (None, 3), (6, 2), (1, 2))] == [4, 2, 3, 1]


def test_without_torchrun_there_is_nobody_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(UsageError, match="start it with torchrun"), Processes.joined():
        pass
