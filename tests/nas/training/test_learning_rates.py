"""Learning rates of their own, against torch's optimisers with parameter groups made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from language_training import TRAINING, run_config, small_space, small_supernet, train
from torch import nn

import search_spaces
from nas.config import TrainingConfig, parse
from nas.errors import UsageError
from nas.pipeline import open_stages
from nas.testing.toy_language import ToyLanguage
from nas.training.learning_rates import NamedParameters, applicable, learning_rate_factors
from nas.training.optimizer import make_optimizer


def factors(network: nn.Module, **training: Any) -> dict[str, float]:
    """Other than 1, by name."""
    found = learning_rate_factors(network, TrainingConfig(**TRAINING | training))
    assert found.keys() == dict(network.named_parameters()).keys()
    return {name: factor for name, factor in found.items() if factor != 1}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_steps_are_those_of_parameter_groups_by_hand(tmp_path: Path, optimizer: str) -> None:
    space = small_space(depths=[1], mixers=["attention"], meta_tokens=[2])
    torch.manual_seed(2)
    found, expected = (space.build(space.largest()) for _ in range(2))
    expected.load_state_dict(found.state_dict())
    multipliers = {"attention": 0.5, "*.query": 0.1, "embedding": 0.0}
    options: dict[str, Any] = {"optimizer": optimizer, "weight_decay": 0.1, "warmup_epochs": 0.0, "clip_norm": 1e9}
    task = ToyLanguage()
    trainer = train(found, tmp_path, epochs=1.0, learning_rate_multipliers=multipliers, **options)

    groups: list[dict[str, Any]] = []
    for name, parameter in expected.named_parameters():
        factor = 0.5 if name.startswith("layer1_mixer") else 0.0 if name.startswith("embedding") else 1.0
        factor *= 0.1 if ".query." in name else 1.0
        decay = 0.1 if parameter.dim() > 1 and "meta" not in name else 0.0
        groups.append({"params": [parameter], "lr": factor * 0.01, "weight_decay": decay})
    by_hand: torch.optim.Optimizer = (
        torch.optim.AdamW(groups, betas=(0.9, 0.999)) if optimizer == "adamw"
        else torch.optim.SGD(groups, momentum=0.9, nesterov=True)
    )  # fmt: skip
    steps = trainer.total_steps
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(by_hand, steps)
    for tokens, target in task.train_batches(32, torch.Generator().manual_seed(0)):
        by_hand.zero_grad()
        task.loss(expected(tokens), target).backward()
        by_hand.step()
        schedule.step()
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(found.get_parameter(name), parameter, atol=1e-5, rtol=1e-4, msg=name)
    assert steps > 4


def test_every_operator_has_its_name_in_supernet_and_network() -> None:
    mixers = [
        "gated_linear_attention",
        "mamba2",
        "delta_net",
        "gated_delta_net",
        "retnet",
        "sliding_window",
        "attention",
    ]
    supernet = small_supernet(mixers=mixers, depths=[1], widths=[16], kv_heads=[2], ratios=[1])
    parameters = NamedParameters(supernet)
    for name in mixers:
        block = f"slots.layer1_mixer.{name.replace('_', '')}block."
        assert parameters.meant(name) == {full for full, _ in supernet.named_parameters() if full.startswith(block)}, (
            name
        )
    ends = ("layer1_feed_forward", "embedding", "head")
    for name, slot in zip(("feed_forward", "embedding", "head"), ends, strict=True):
        assert parameters.meant(name) == {full for full, _ in supernet.named_parameters() if f".{slot}." in full}
    network = supernet.extract(supernet.space.largest())
    static = NamedParameters(network)
    assert static.meant("attention") == {
        name for name, _ in network.named_parameters() if name.startswith("layer1_mixer")
    }
    assert static.meant("linear") == {name for name in static.meant("*.weight") if name.split(".")[-2] in (
        "query", "key", "value", "output", "gate", "expand")}  # fmt: skip
    assert not static.meant("mamba2")
    assert applicable(network, {"attention": 0.5, "mamba2": 0.1}) == {"attention": 0.5}


@pytest.mark.parametrize(
    ("pattern", "ends"),
    [
        ("log_decay", ["mamba2block.mixer.log_decay.weight"]),
        ("*.log_decay", ["mamba2block.mixer.log_decay.weight"]),
        ("mixer.log_decay.weight", ["mamba2block.mixer.log_decay.weight"]),
        ("*decay*", ["mamba2block.mixer.log_decay.weight"]),
        ("layer1_mixer.*.step_*", ["mamba2block.mixer.step_size.weight", "mamba2block.mixer.step_bias.weight"]),
    ],
)
def test_patterns_of_names(pattern: str, ends: list[str]) -> None:
    supernet = small_supernet(mixers=["mamba2"], depths=[1], widths=[16], ratios=[1])
    assert NamedParameters(supernet).meant(pattern) == {f"slots.layer1_mixer.{end}" for end in ends}


def test_matrices_by_their_inputs() -> None:
    """The rule of the maximal update parametrisation for Adam; the largest matrices of a supernet count."""
    supernet = small_supernet(mixers=["gated_linear_attention"], depths=[1], tied=False)
    found = factors(supernet, learning_rate_base_width=18)
    block = "slots.layer1_mixer.gatedlinearattentionblock.mixer"
    inner = {f"{block}.{name}.weight": 18 / 24 for name in ("query", "key", "value", "gate", "decay_down", "output")}
    feed_forward = "slots.layer1_feed_forward.feedforward"
    read = {f"{feed_forward}.{name}.weight": 18 / 24 for name in ("gate", "expand")}
    assert found == {
        **inner,
        **read,
        f"{feed_forward}.output.weight": 18 / 48,
        "slots.head.head.linear.weight": 18 / 24,
    }
    assert not factors(supernet, learning_rate_base_width=48)
    both = factors(supernet, learning_rate_base_width=18, learning_rate_multipliers={"feed_forward": 0.5})
    assert both[f"{feed_forward}.output.weight"] == 9 / 48


def test_width_does_not_change_the_first_step_of_the_outputs() -> None:
    """What the rule is for: of inputs of one size, outputs move by the learning rate times the width of the base, however
    wide the matrix is. The first step of Adam is the sign of the gradient."""
    moved = []
    for width in (64, 256):
        network = nn.Linear(width, 1, bias=False)
        optimizer = make_optimizer(network, TrainingConfig(optimizer="adamw", learning_rate=0.01, weight_decay=0.0,
                                                           learning_rate_base_width=64))  # fmt: skip
        x = torch.ones(1, width)
        before = network(x)
        before.sum().backward()
        optimizer.step()
        moved.append((network(x) - before).item())
    assert moved == pytest.approx([-0.64, -0.64], rel=1e-4)


def test_without_options_there_are_two_groups() -> None:
    groups = make_optimizer(small_supernet(mixers=["attention"]), TrainingConfig()).param_groups
    assert [(group["weight_decay"], group["multiplier"], group["lr"]) for group in groups] == [
        (1e-4, 1, 0.1),
        (0, 1, 0.1),
    ]


def test_a_pattern_that_means_nothing_is_told_before_any_work(tmp_path: Path) -> None:
    config = run_config(tmp_path, {"mixers": ["attention"]}, learning_rate_multipliers={"atention": 0.5})
    with pytest.raises(UsageError) as error:
        open_stages(config, task=ToyLanguage()).exclusive().__enter__()
    message = str(error.value)
    assert message.startswith("training.learning_rate_multipliers: 'atention' means no parameter; there are operators ")
    for part in ("attention, ", "feedforward, ", "slots.layer*_mixer.attentionblock.mixer.query.weight"):
        assert part in message
    assert message.count("query.weight") == 1  # not once for each layer
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (
            {"learning_rate_multipliers": {"attention": -1.0}},
            "learning_rate_multipliers.attention.*greater than or equal",
        ),
        ({"learning_rate_multipliers": {"attention": float("inf")}}, "learning_rate_multipliers.attention.*finite"),
        ({"learning_rate_multipliers": ["attention"]}, "learning_rate_multipliers.*dictionary"),
        ({"learning_rate_base_width": 0, "optimizer": "adamw"}, "learning_rate_base_width.*greater than 0"),
        ({"learning_rate_base_width": 64}, "learning_rate_base_width.*needs optimizer: adamw"),
    ],
)
def test_wrong_options(training: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse({"name": "x", "training": training})


def test_a_convolutional_network_has_names_too() -> None:
    supernet = search_spaces.get("convnet", resolutions=(4,), in_channels=1, stem=8, widths=((8,),), strides=(1,),
                                 depths=((1,),), expansions=(2,), head=16, group_width=4).build_supernet()  # fmt: skip
    found = factors(supernet, learning_rate_multipliers={"head": 0.5})
    assert set(found) == {name for name, _ in supernet.named_parameters() if name.startswith("slots.head.")}
