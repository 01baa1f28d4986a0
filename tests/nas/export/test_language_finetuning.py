"""Fine-tuning of language models: a step by hand, what decides, interruptions, and options of the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.config import FinetuneConfig, parse
from nas.export.finetuning import FineTuned, FineTuner
from nas.runs import Run
from nas.stages import Stages
from nas.testing.toy_language import VOCABULARY, ToyLanguage
from search_spaces import Architecture

BATCH = 32
SIZES: dict[str, Any] = {
    "vocabulary": VOCABULARY, "prefill": [8], "decode": [8], "widths": [8, 16], "depths": [1, 2], "heads": 2,
    "kv_heads": [2], "states": [4], "mixers": ["gated_linear_attention", "attention"], "ratios": [1], "meta_tokens": [0, 2],
}  # fmt: skip


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    return made(tmp_path)


def made(folder: Path, **training: Any) -> Stages:
    """A run with a supernet that was never trained."""
    execution = {"device": "cpu", "precision": "float32", "channels_last": False}
    config = parse(
        {
            "name": "run", "seed": 1, "directory": str(folder), "space": {"name": "hybrid-slm", "options": SIZES},
            "training": {"optimizer": "adamw", "batch_size": BATCH, "checkpoint_seconds": 1e-9, **execution, **training},
            "search": {"objectives": ["bits_per_byte", "macs_m"]},
        }
    )  # fmt: skip
    found = Stages(Run(folder), config, None, ToyLanguage())
    if not found.run.weights_file.exists():
        torch.manual_seed(0)
        found.run.save_supernet(found.space.build_supernet(), {})
    return found


def small_network(stages: Stages) -> Architecture:
    """Of another width and with other meta tokens than the largest one."""
    values = stages.space.largest().values | {"width": 8, "meta_tokens": 0, "layer1_mixer": "gated_linear_attention"}
    codes = stages.space.codes([Architecture(stages.space.name, tuple(values.items()))])
    return stages.space.architectures(codes)[0]


def tune(stages: Stages, progress: Callable[[int, int], None] | None = None, **settings: Any) -> FineTuned:
    defaults = {"epochs": 2.0, "learning_rate": 0.01}
    return FineTuner(stages, small_network(stages), FinetuneConfig(**defaults | settings)).run(progress)


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_step_is_that_of_a_loop_by_hand(stages: Stages, weight: float) -> None:
    """The labels are the tokens that follow; the teacher is the largest network, on the tokens that are judged."""
    task, architecture = ToyLanguage(), small_network(stages)
    student, teacher = (stages.judge.network(one) for one in (architecture, stages.space.largest()))
    tokens, target = next(task.train_batches(BATCH, torch.Generator().manual_seed(100_003)))
    with torch.no_grad():
        taught = teacher(tokens).softmax(-1)
    judged = target >= 0
    log_q = student(tokens).log_softmax(-1)
    labels = -log_q.gather(-1, target.clamp(min=0)[..., None])[..., 0][judged].mean()
    loss = (1 - weight) * labels - weight * (taught * log_q).sum(-1)[judged].mean()
    loss.backward()
    alone = {id(student.get_parameter("embedding.meta.weight"))}
    groups = [
        [p for p in student.parameters() if (p.dim() > 1 and id(p) not in alone) == wide] for wide in (True, False)
    ]
    nn.utils.clip_grad_norm_(student.parameters(), 5.0)
    rates = {"lr": 0.01, "betas": (0.9, 0.999)}
    torch.optim.AdamW(
        [{"params": params, "weight_decay": decay} for params, decay in zip(groups, (1e-4, 0.0), strict=True)], **rates
    ).step()
    tuner = FineTuner(stages, architecture, FinetuneConfig(epochs=1e-9, learning_rate=0.01, distillation_weight=weight))
    trained = tuner._train(stages.judge.network(architecture), None)
    for name, parameter in student.named_parameters():
        torch.testing.assert_close(trained.get_parameter(name), parameter, rtol=1e-4, atol=1e-5, msg=name)


def test_a_network_learns_and_the_supernet_stays(stages: Stages) -> None:
    before = weights(stages.supernet)
    tuned = tune(stages, epochs=4.0, distillation_weight=0.0)
    assert tuned.used
    assert tuned.after["bits_per_byte"] < tuned.before["bits_per_byte"] - 0.1
    assert tuned.metrics == tuned.after == stages.judge.figures(tuned.network, small_network(stages))
    assert tuned.after.keys() == {"bits_per_byte", "recall"}
    assert not tuned.network.training
    assert_same(weights(stages.supernet), before)
    document = tuned.document()
    assert document["bits_per_byte_after"] == tuned.after["bits_per_byte"]
    assert document["recall_before"] == tuned.before["recall"]
    assert str(tuned).startswith("fine-tuning took the validation bits per byte from 3.")


def test_worse_weights_are_not_delivered(stages: Stages) -> None:
    tuned = tune(stages, learning_rate=3.0, distillation_weight=0.0)
    assert tuned.after["bits_per_byte"] > tuned.before["bits_per_byte"]
    assert not tuned.used
    assert tuned.metrics == tuned.before
    assert_same(weights(tuned.network), weights(stages.judge.network(small_network(stages))))
    assert str(tuned).startswith("warning: fine-tuning raised the validation bits per byte from")
    assert "the inherited weights are kept" in str(tuned)


def test_the_head_stays_tied_to_its_embedding(stages: Stages) -> None:
    network: Any = tune(stages).network
    assert network.head.linear.weight is network.embedding.table.weight


def test_interrupted_fine_tuning_goes_on(stages: Stages, tmp_path: Path) -> None:
    def interrupt(step: int, total: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    expected = tune(stages)
    for file in stages.run.finetuning.iterdir():
        file.unlink()
    with pytest.raises(KeyboardInterrupt):
        tune(made(tmp_path), interrupt)
    steps: list[int] = []
    found = tune(made(tmp_path), lambda step, total: steps.append(step))
    assert steps[0] == 4
    assert_same(weights(found.network), weights(expected.network))
    assert found.after == expected.after


def test_options_of_the_training_are_those_that_fit_one_network(tmp_path: Path) -> None:
    """A supernet's layers of a kind that the network has not are no mistake, and its matrices keep their lengths."""
    multipliers = {"attention": 0.5, "gated_linear_attention": 0.25, "layer2_*": 0.1}
    stages = made(tmp_path, learning_rate_multipliers=multipliers, weight_normalization=True, ema=0.9)
    values = small_network(stages).values | {"depth": 1}
    codes = stages.space.codes([Architecture(stages.space.name, tuple(values.items()))])
    config = FineTuner(stages, stages.space.architectures(codes)[0], FinetuneConfig(epochs=1))._training()
    assert config.learning_rate_multipliers == {"gated_linear_attention": 0.25}
    assert not config.weight_normalization
    tuned = FineTuner(stages, stages.space.architectures(codes)[0], FinetuneConfig(epochs=0.1)).run()
    assert tuned.after.keys() == tuned.before.keys()
