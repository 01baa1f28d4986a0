"""The average of the weights against that of torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from digits_training import make_trainer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from nas.errors import UsageError
from nas.tasks import ImageClassification
from nas.training.ema import WeightAverage


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_average_is_that_of_torch(tmp_path: Path, task: ImageClassification, decay: float) -> None:
    def average(averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        share = min(decay, (1 + int(steps)) / (10 + int(steps)))
        return share * averaged + (1 - share) * current

    trainer = make_trainer(task, tmp_path / "c", ema=decay)
    model = AveragedModel(trainer.network, avg_fn=average)
    model.update_parameters(trainer.network)  # the first time it copies
    statistics: dict[str, Tensor] = {}

    def follow(step: int, total: int) -> None:
        model.update_parameters(trainer.network)
        statistics.update({name: buffer.clone() for name, buffer in trainer.network.named_buffers()})

    trainer.run(follow)
    for name, parameter in trainer.network.named_parameters():
        torch.testing.assert_close(parameter, model.module.get_parameter(name), msg=name)
    for name, buffer in trainer.network.named_buffers():
        assert torch.equal(buffer, statistics[name]), name


def test_first_steps_are_forgotten_quickly() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 0.0)
    average = WeightAverage(network, 0.999)
    nn.init.constant_(network.weight, 1.0)
    for step in range(1, 51):
        average.update(network, step)
    average.copy_to(network)
    left = torch.tensor([(1 + step) / (10 + step) for step in range(1, 51)], dtype=torch.float64).prod()
    assert network.weight.item() == pytest.approx(1 - left.item(), rel=1e-5)


def test_checkpoint_without_the_average_is_refused(tmp_path: Path, task: ImageClassification) -> None:
    make_trainer(task, tmp_path / "c").run()
    with pytest.raises(UsageError, match="not a checkpoint of this training"):
        make_trainer(task, tmp_path / "c", ema=0.9).run()
