"""A checkpoint of transformers whose attention teaches other mixers before a supernet is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_training import TRAINING, run_config, small_space, small_supernet
from slm_checkpoints import model, saved
from torch import Tensor
from torch.nn import functional as F

from nas.checkpoint_sections import checkpoint_sections
from nas.config import PretrainedConfig, TrainingConfig, parse
from nas.errors import UsageError
from nas.files import read_json
from nas.pipeline import open_stages
from nas.stages import Stages
from nas.testing.toy_language import VOCABULARY, ToyLanguage
from nas.training.loop import Trainer
from nas.training.mixer_distillation import Lessons
from nas.training.pretrained import load_pretrained
from nas.training.strategies import planned_strategy
from nas.training.strategies.largest_first import LargestFirst
from nas.training.strategies.mixers_first import MixersFirst
from nas.training.strategy import Step
from search_spaces.slm.checkpoints import checkpoint_options
from search_spaces.supernet import Supernet

OTHERS = ["gated_linear_attention", "mamba2"]
SHORT: dict[str, Any] = {"prefill": [8], "decode": [8]}


@pytest.fixture(scope="module")
def published() -> Any:
    """A random Llama of two layers."""
    return model(
        vocab_size=VOCABULARY,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )


@pytest.fixture(scope="module")
def directory(published: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(published, tmp_path_factory.mktemp("model"))


def stages_of(directory: Path, folder: Path, **training: Any) -> Stages:
    sections = checkpoint_sections(directory, OTHERS)
    options = sections["space"]["options"] | SHORT
    found = {"name": "run", "directory": str(folder / "run"), "threads": 1, "space": {"name": "hybrid-slm", "options": options},
             "training": TRAINING | sections["training"] | training,
             "search": {"objectives": ["bits_per_byte", "macs_m"]}}  # fmt: skip
    return open_stages(parse(found), task=ToyLanguage())


def tokens(rows: int = 16) -> Tensor:
    return torch.randint(VOCABULARY, (rows, 12), generator=torch.Generator().manual_seed(5))


def block_errors(supernet: Supernet) -> dict[str, float]:
    """By layer and mixer, at its only size: how far the block is from attention, as a share of what attention adds.

    What the blocks read is computed by the static network with attention in all layers."""
    network, x = supernet.extract(supernet.space.largest()).eval(), tokens()
    found = {}
    with torch.no_grad():
        for name, module in network.named_children():
            y = module(x)
            for kind in OTHERS if name.endswith("_mixer") else ():
                values = supernet.space.largest().values | {name: kind}
                codes = supernet.space.codes(
                    [type(supernet.space.largest())(supernet.space.name, tuple(values.items()))]
                )
                other = supernet.extract(supernet.space.architectures(codes)[0]).eval().get_submodule(name)
                found[f"{name} {kind}"] = float((other(x) - y).square().mean() / (y - x).square().mean())
            x = y
    return found


def test_errors_fall_and_the_largest_network_stays_the_model(published: Any, directory: Path, tmp_path: Path) -> None:
    stages = stages_of(
        directory, tmp_path, mixer_distillation_share=1.0, epochs=6.0, learning_rate=0.02, weight_decay=0.1
    )
    before = block_errors(stages._initial_supernet())
    with stages.exclusive():
        stages.train()
    after = block_errors(stages.supernet)
    assert len(after) == 4
    assert all(after[block] < 0.8 * before[block] for block in before), (before, after)
    with torch.no_grad():
        expected = published(tokens()).logits
        found = stages.supernet.extract(stages.space.largest()).eval()(tokens())
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)

    epochs = read_json(stages.run.training_file)["epochs"]
    assert all(list(epoch["losses"]) == ["mixers"] for epoch in epochs)
    assert epochs[-1]["losses"]["mixers"] < epochs[0]["losses"]["mixers"]
    record = read_json(stages.run.pretrained_file)
    assert {name.split(".")[2] for name in record["copied"]} == {"gatedlinearattentionblock", "mamba2block"}
    assert record["missing"] == record["unused"] == record["mismatched"] == []


def test_then_the_strategy_of_the_configuration(directory: Path, tmp_path: Path) -> None:
    stages = stages_of(directory, tmp_path, mixer_distillation_share=0.5)
    trainer = stages.trainer()
    names: list[list[str]] = []
    strategy = trainer.strategy
    assert isinstance(strategy, MixersFirst)
    for number in range(trainer.total_steps):
        step = Step(number, trainer.total_steps, np.random.default_rng(number), stages.task.loss)
        assert strategy.prepare(trainer.network, step) == []
        names.append(list(strategy.step(trainer.network, tokens(4), tokens(4), step)))
    half = round(trainer.total_steps / 2)
    assert names == [["mixers"]] * half + [["largest", "smallest", "random1"]] * (trainer.total_steps - half)


def test_a_training_of_the_largest_network_comes_before() -> None:
    space = small_space(mixers=["gated_linear_attention", "attention"])
    config = TrainingConfig(largest_share=0.25, mixer_distillation_share=0.5)
    strategy = planned_strategy(config, space, 100)
    assert isinstance(strategy, LargestFirst)
    assert isinstance(strategy.then, MixersFirst)
    assert (strategy.steps, strategy.then.steps) == (25, 75)
    assert not isinstance(planned_strategy(TrainingConfig(), space, 100), MixersFirst)


def test_only_the_drawn_mixers_have_gradients() -> None:
    """Those of a loss by hand: the mixer alone, on what the network with attention hands to it."""
    supernet = small_supernet(mixers=["gated_linear_attention", "attention"], depths=[1], widths=[16], ratios=[1])
    lessons = Lessons(supernet.space)
    error = lessons.teach(supernet, tokens(4), np.random.default_rng(0))
    found = {name: p.grad.clone() for name, p in supernet.named_parameters() if p.grad is not None}
    prefix = "slots.layer1_mixer.gatedlinearattentionblock."
    assert found.keys() == {name for name, _ in supernet.named_parameters() if name.startswith(prefix)}
    network = supernet.extract(supernet.space.largest())
    values = supernet.space.largest().values | {"layer1_mixer": "gated_linear_attention"}
    codes = supernet.space.codes([type(supernet.space.largest())(supernet.space.name, tuple(values.items()))])
    block = supernet.extract(supernet.space.architectures(codes)[0]).get_submodule("layer1_mixer")
    with torch.no_grad():
        x = network.get_submodule("embedding")(tokens(4))
        y = network.get_submodule("layer1_mixer")(x)
    loss = F.mse_loss(block(x), y) / (y - x).square().mean()
    loss.backward()
    assert error == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in block.named_parameters():
        torch.testing.assert_close(found[prefix + name], parameter.grad, msg=name)


def test_an_interrupted_training_ends_with_the_same_weights(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the first phase, and in the one after it."""
    options: dict[str, Any] = {"checkpoint_seconds": 1e-9, "mixer_distillation_share": 0.5}
    expected = stages_of(directory, tmp_path / "whole", **options)
    found = stages_of(directory, tmp_path / "parts", **options)
    with expected.exclusive():
        expected.train()
    save = Trainer.save
    for stop in (2, expected.trainer().total_steps - 1):

        def interrupt(self: Trainer[Any], stop: int = stop) -> None:
            save(self)
            if self.step >= stop:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, found.exclusive():
            patch.setattr(Trainer, "save", interrupt)
            with pytest.raises(KeyboardInterrupt):
                found.train()
    with found.exclusive():
        found.train()
    for name, tensor in expected.supernet.state_dict().items():
        assert torch.equal(found.supernet.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("space", "training", "message"),
    [
        ({"mixers": ["attention"]}, {"mixer_distillation_share": 0.3}, "no layer of the space chooses between attention"),
        ({"mixers": ["based", "retnet"]}, {"mixer_distillation_share": 0.3}, "no attention to learn from: layer1_mixer"),
        ({"mixers": ["based", "attention"]}, {"mixer_distillation_share": 0.7, "largest_share": 0.5},
         "more than the whole training; lower one of them"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_any_work(
    tmp_path: Path, space: dict[str, Any], training: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=f"training.mixer_distillation_share.*{message}"):
        open_stages(run_config(tmp_path, space, **training), task=ToyLanguage()).exclusive().__enter__()
    assert not (tmp_path / "run").exists()


def test_images_have_no_attention_to_learn_from(tmp_path: Path) -> None:
    config = parse({"name": "x", "directory": str(tmp_path / "run"), "training": {"mixer_distillation_share": 0.5}})
    with pytest.raises(
        UsageError, match="mixer_distillation_share: no layer of the space chooses between attention and"
    ):
        open_stages(config).exclusive().__enter__()


# ------------------------------------------------------------- beginning with the weights of attention


def of_model(directory: Path, **keys: Any) -> PretrainedConfig:
    return PretrainedConfig(source="transformers", path=str(directory), **keys)


def supernet_around(directory: Path, **options: Any) -> Supernet:
    return small_supernet(**checkpoint_options(directory, mixers=OTHERS) | SHORT | options)


def test_copied_weights_are_those_of_the_same_heads(directory: Path) -> None:
    """Keys of heads as wide as attention's, after its heads were ordered; shared by the queries of a group."""
    supernet = supernet_around(directory)
    load_pretrained(supernet, of_model(directory, copy_attention=True))
    attention, linear = (supernet.get_submodule(f"slots.layer2_mixer.{kind}block.mixer")
                         for kind in ("attention", "gatedlinearattention"))  # fmt: skip
    torch.testing.assert_close(linear.get_parameter("query.weight"), attention.get_parameter("query.weight"))
    keys = attention.get_parameter("key.weight")
    torch.testing.assert_close(linear.get_parameter("key.weight"), torch.cat([keys, keys]))


def test_nothing_else_may_be_missing(directory: Path) -> None:
    with pytest.raises(UsageError, match=r"does not match the supernet.*slots.layer1_mixer.gatedlinearattentionblock"):
        load_pretrained(supernet_around(directory), of_model(directory))
    longer = supernet_around(directory, depths=[3])
    with pytest.raises(UsageError, match=r"does not match the supernet.*slots.layer3_feed_forward") as error:
        load_pretrained(longer, of_model(directory, copy_attention=True))
    assert "gatedlinearattention" not in str(error.value)
    record = load_pretrained(longer, of_model(directory, copy_attention=True, partial=True))
    assert any(name.startswith("slots.layer3_feed_forward") for name in record["missing"])


def test_nothing_to_copy_to(directory: Path) -> None:
    supernet = small_supernet(**checkpoint_options(directory) | SHORT)
    with pytest.raises(UsageError, match=r"training\.pretrained\.copy_attention: no layer of the space chooses"):
        load_pretrained(supernet, of_model(directory, copy_attention=True))
