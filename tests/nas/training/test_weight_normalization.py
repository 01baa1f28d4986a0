"""Matrices on spheres: which, along which dimension, when, and what stays the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from language_training import run_config, small_space, small_supernet, train
from torch import Tensor, nn
from torch.nn import functional as F

from nas.config import parse
from nas.errors import UsageError
from nas.pipeline import open_stages
from nas.testing.toy_language import VOCABULARY, ToyLanguage
from nas.training.loop import Trainer
from nas.training.weight_normalization import WeightNormalization
from search_spaces.slm.mixers import KINDS

#: Of a layer, what is added to the tokens; all other matrices read them.
ADDED = "output.weight"


def is_matrix_of_layer(name: str, tensor: Tensor) -> bool:
    """Told apart by names: neither embedding, head, convolutions, normalisation nor numbers of heads."""
    others = ("embedding", "slots.head", ".convolution.", "norm", "bias", "log_decay", "skip", "scale")
    return tensor.dim() == 2 and not any(part in name for part in others)


def scrambled(network: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def test_lengths_of_every_kind_of_layer() -> None:
    supernet = scrambled(small_supernet(depths=[1], kv_heads=[2], ratios=[1]))
    before = {name: parameter.detach().clone() for name, parameter in supernet.named_parameters()}
    WeightNormalization(supernet).project()
    kinds = set()
    for name, parameter in supernet.named_parameters():
        if not is_matrix_of_layer(name, parameter):
            assert torch.equal(parameter, before[name]), name
            continue
        kinds.add(name.split(".")[2])
        dim = 0 if name.endswith(ADDED) else 1
        lengths = parameter.detach().double().square().sum(dim).sqrt()
        torch.testing.assert_close(lengths, torch.ones_like(lengths), atol=1e-6, rtol=0, msg=name)
        directions = F.cosine_similarity(parameter, before[name], dim=dim)
        torch.testing.assert_close(directions, torch.ones_like(directions))
    assert kinds == {kind.block.__name__.lower() for kind in KINDS.values()} | {"feedforward"}


def test_a_step_is_that_of_an_optimiser_by_hand(tmp_path: Path) -> None:
    """One step of AdamW on the labels, and then every row, or column, over its length; the head stays as it is."""
    space = small_space(depths=[1], mixers=["attention"], meta_tokens=[0])
    torch.manual_seed(2)
    found, expected = (space.build(space.largest()) for _ in range(2))
    expected.load_state_dict(found.state_dict())
    task = ToyLanguage()
    trained = train(found, tmp_path, epochs=1e-9, warmup_epochs=0.0, weight_decay=0.0, weight_normalization=True)
    assert trained.step == 1
    tokens, target = next(task.train_batches(32, torch.Generator().manual_seed(0)))
    optimizer = torch.optim.AdamW(expected.parameters(), lr=0.01, betas=(0.9, 0.999), weight_decay=0.0)
    task.loss(expected(tokens), target).backward()
    nn.utils.clip_grad_norm_(expected.parameters(), 5.0)
    optimizer.step()
    for name, parameter in expected.named_parameters():
        wanted = parameter.detach()
        if is_matrix_of_layer(name, parameter):
            dim = 0 if name.endswith(ADDED) else 1
            wanted = wanted / wanted.norm(dim=dim, keepdim=True)
        torch.testing.assert_close(found.get_parameter(name).detach(), wanted, msg=name)


def assert_unit(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        if is_matrix_of_layer(name, parameter):
            lengths = parameter.detach().norm(dim=0 if name.endswith(ADDED) else 1)
            torch.testing.assert_close(lengths, torch.ones_like(lengths), msg=name)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_supernet_has_the_lengths_after_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema: float
) -> None:
    lengths: list[float] = []

    def spy(self: Trainer[Any], inputs: Tensor, target: Tensor) -> None:
        step(self, inputs, target)
        assert_unit(self.network)
        lengths.append(float(self.network.get_parameter("slots.head.head.norm.weight").detach().norm()))

    step = Trainer._train_step
    monkeypatch.setattr(Trainer, "_train_step", spy)
    supernet = small_supernet(mixers=["gated_linear_attention", "attention"])
    trainer = train(supernet, tmp_path, ema=ema, weight_normalization=True, warmup_epochs=0.0)
    assert len(lengths) == trainer.total_steps > 4
    assert len(set(lengths)) > 1  # it learned
    assert_unit(supernet)  # with the average of the weights, too


def test_parts_of_matrices_in_a_narrower_network_are_those_of_the_supernet() -> None:
    """The largest network has the lengths; a smaller one has the first entries of the same vectors."""
    supernet = small_supernet(mixers=["attention"])
    WeightNormalization(supernet).project()
    largest, smallest = (supernet.extract(end()) for end in (supernet.space.largest, supernet.space.smallest))
    assert_unit(largest)
    for name, dim in (("layer1_mixer.mixer.key.weight", 1), ("layer1_feed_forward.output.weight", 0)):
        small = smallest.get_parameter(name)
        assert torch.equal(small, largest.get_parameter(name)[: small.shape[0], : small.shape[1]])
        assert float(small.detach().norm(dim=dim).max()) < 1


def test_the_function_stays_where_scales_have_no_effect(tmp_path: Path) -> None:
    """Queries and keys that are normalised in every head (Qwen3) may have any length, and hidden units that of what they
    get when it is taken from what reads them: such scales are undone, and the logits are the same throughout."""
    space = small_space(mixers=["attention"], attention_norm=True, epsilon=1e-12)
    network = scrambled(space.build(space.largest())).eval()
    normalization = WeightNormalization(network)
    normalization.project()
    tokens = torch.randint(VOCABULARY, (2, 8), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = network(tokens)
        for number in (1, 2):
            mixer = network.get_submodule(f"layer{number}_mixer.mixer")
            mixer.get_parameter("query.weight").mul_(7.0)
            mixer.get_parameter("key.weight").mul_(0.2)
            block = network.get_submodule(f"layer{number}_feed_forward")
            scale = torch.rand(block.get_parameter("expand.weight").shape[0]) + 0.5
            block.get_parameter("expand.weight").mul_(scale[:, None])
            block.get_parameter("output.weight").div_(scale)
        torch.testing.assert_close(network(tokens), expected, atol=1e-5, rtol=0)
        normalization.project()
        torch.testing.assert_close(network(tokens), expected, atol=1e-5, rtol=0)
        network.get_parameter("layer1_mixer.mixer.value.weight").mul_(2.0)  # which has an effect
        assert float((network(tokens) - expected).abs().max()) > 1e-3


def test_zeros_stay(tmp_path: Path) -> None:
    supernet = small_supernet(mixers=["attention"])
    weight = supernet.get_parameter("slots.layer1_feed_forward.feedforward.gate.weight")
    with torch.no_grad():
        weight[3] = 0.0
    WeightNormalization(supernet).project()
    assert not weight[3].any()
    assert weight.isfinite().all()


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"weight_normalization": True, "ema": 0.9, "checkpoint_seconds": 1e-9}
    expected, found = (small_supernet(mixers=["attention"]) for _ in range(2))
    train(expected, tmp_path, **options)
    (tmp_path / "checkpoint").unlink()
    with monkeypatch.context() as patch:
        save, saved = Trainer.save, []

        def stop(self: Trainer[Any]) -> None:
            save(self)
            saved.append(self.step)
            if len(saved) == 3:
                raise KeyboardInterrupt

        patch.setattr(Trainer, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            train(found, tmp_path, **options)
    again = small_supernet(mixers=["attention"])
    train(again, tmp_path, **options)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("space", "training", "message"),
    [
        (
            {"name": "convnet"},
            {},
            "training.weight_normalization: it is for the layers of language models .*; leave it out",
        ),
        (
            None,
            {"pretrained": {"source": "transformers", "path": "nowhere"}},
            "would make another network of the weights",
        ),
    ],
)
def test_what_it_does_not_suit_is_said_before_any_work(
    tmp_path: Path, space: dict[str, Any] | None, training: dict[str, Any], message: str
) -> None:
    config = run_config(tmp_path, weight_normalization=True, **training)
    if space is not None:
        config = parse({**yaml.safe_load(config.to_yaml()), "space": space})
    with pytest.raises(UsageError, match=message):
        open_stages(config, task=ToyLanguage()).exclusive().__enter__()
    assert not (tmp_path / "run").exists()


def test_a_run_trains_with_it(tmp_path: Path) -> None:
    stages = open_stages(run_config(tmp_path, {"mixers": ["attention"]}, weight_normalization=True), task=ToyLanguage())
    with stages.exclusive():
        stages.train()
    assert_unit(stages.supernet)
