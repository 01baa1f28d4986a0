"""What calibration sequences tell of a pretrained model: which layers and which units matter."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from slm_checkpoints import logits, model, saved, supernet_of, tokens
from torch import Tensor
from torch.nn import functional as F

from search_spaces.slm.checkpoints import equalise_activity, export_checkpoint, keep_layers, rank_layers
from search_spaces.supernet import Supernet


@pytest.fixture
def supernet(tmp_path: Path) -> Supernet:
    return supernet_of(saved(model(num_hidden_layers=4), tmp_path), mixers=["attention"])


def targets() -> Tensor:
    found = tokens().roll(-1, dims=1)
    found[:, -1] = -100
    return found


def best_by_brute_force(layers: int, count: int, costs: np.ndarray) -> tuple[int, ...]:
    every = range(1, layers + 1)
    return min(combinations(every, count), key=lambda kept: sum(costs[n - 1] for n in every if n not in kept))


@pytest.mark.parametrize("seed", range(5))
def test_layers_are_the_best_when_losses_add_up(seed: int) -> None:
    costs = np.random.default_rng(seed).permutation(7) - 1.5  # some layers only do harm
    asked: list[tuple[int, ...]] = []

    def loss(kept: tuple[int, ...]) -> float:
        asked.append(kept)
        return float(sum(costs[n - 1] for n in range(1, 8) if n not in kept))

    found = keep_layers(7, loss)
    assert found == {count: best_by_brute_force(7, count, costs) for count in range(1, 8)}
    assert len(asked) == len(set(asked)) <= 28
    asked.clear()
    assert keep_layers(7, loss, fewest=5) == {count: found[count] for count in (5, 6, 7)}
    assert min(map(len, asked)) == 5


def test_one_layer_less_is_the_best_of_all(supernet: Supernet) -> None:
    """With one layer left out nothing is guessed: the loss of a network without it, made by hand."""
    (kept,) = rank_layers(supernet, [(tokens()[:1], targets()[:1]), (tokens()[1:], targets()[1:])], [3])
    network = supernet.extract(supernet.space.largest())
    losses = {}
    for layer in range(1, 5):
        x = tokens()
        for name, module in network.named_children():
            x = x if name.startswith(f"layer{layer}_") else module(x)
        losses[layer] = F.cross_entropy(x.flatten(0, 1), targets().flatten()).item()
    assert kept == sorted({1, 2, 3, 4} - {min(losses, key=losses.__getitem__)})
    assert len({round(loss, 3) for loss in losses.values()}) == 4


def test_layers_that_do_nothing_go_first(supernet: Supernet) -> None:
    with torch.no_grad():
        for name in ("layer2_mixer.attentionblock.mixer", "layer2_feed_forward.feedforward",
                     "layer3_mixer.attentionblock.mixer", "layer3_feed_forward.feedforward"):  # fmt: skip
            supernet.get_submodule(f"slots.{name}.output").get_parameter("weight").zero_()
    supernet.activate(supernet.space.largest())
    judged = logits(supernet, tokens()).argmax(-1)  # without them the network is as good as it can be
    supernet.train()
    assert rank_layers(supernet, [(tokens(), judged)], [4, 2]) == [[1, 2, 3, 4], [1, 4]]
    assert supernet.training


@pytest.mark.parametrize("depths", [[], [0], [5, 2]])
def test_impossible_depths(supernet: Supernet, depths: list[int]) -> None:
    with pytest.raises(ValueError, match="depths are 1 to 4"):
        rank_layers(supernet, [(tokens(), targets())], depths)


def test_nothing_to_judge(supernet: Supernet) -> None:
    with pytest.raises(ValueError, match="no token to judge"):
        rank_layers(supernet, [(tokens(), torch.full_like(tokens(), -100))], [2])
    with pytest.raises(ValueError, match="no batches"):
        equalise_activity(supernet, [])


@pytest.mark.parametrize("family", ["Qwen2", "Qwen3"])
def test_order_follows_what_units_pass_on(family: str, tmp_path: Path) -> None:
    """Activity times weights, from hooks of the model itself; its logits stay the same."""
    published = model(family)
    supernet = supernet_of(saved(published, tmp_path))
    passed: dict[str, Tensor] = {}
    for name in ("mlp.down_proj", "self_attn.o_proj"):
        layer = published.get_submodule(f"model.layers.1.{name}")
        layer.register_forward_pre_hook(
            lambda layer, inputs, name=name: passed.update(
                {name: inputs[0].abs().mean((0, 1)) * layer.weight.abs().sum(0)}
            )
        )
    expected = logits(published, tokens())
    equalise_activity(supernet, [(tokens(), targets())])
    torch.testing.assert_close(logits(supernet, tokens()), expected, rtol=0, atol=2e-5)
    block = supernet.get_submodule("slots.layer2_feed_forward.feedforward")
    found = block.get_parameter("output.weight").abs().sum(0)
    assert found.argsort().equal(passed["mlp.down_proj"].argsort())
    assert not found.argsort().equal(
        published.get_parameter("model.layers.1.mlp.down_proj.weight").abs().sum(0).argsort()
    )
    supernet.sort_channels()
    torch.testing.assert_close(logits(supernet, tokens()), expected, rtol=0, atol=2e-5)
    found = block.get_parameter("output.weight").abs().sum(0)
    assert found.equal(found.sort(descending=True).values)
    # A training that begins with the model as it is written now finds the same order.
    export_checkpoint(supernet.extract(supernet.space.largest()), tmp_path / "equalised", tmp_path)
    again = supernet_of(tmp_path / "equalised")
    again.sort_channels()
    assert again.get_parameter("slots.layer2_feed_forward.feedforward.output.weight").equal(
        block.get_parameter("output.weight")
    )


def test_units_that_are_never_active_stay_finite(supernet: Supernet) -> None:
    block = supernet.get_submodule("slots.layer1_feed_forward.feedforward")
    with torch.no_grad():
        block.get_parameter("gate.weight")[3] = 0
        supernet.get_submodule("slots.layer2_feed_forward.feedforward").get_parameter("gate.weight").zero_()
    before = logits(supernet, tokens())
    equalise_activity(supernet, [(tokens(), targets())])
    torch.testing.assert_close(logits(supernet, tokens()), before, rtol=0, atol=2e-5)
    supernet.sort_channels()
    assert not block.get_parameter("gate.weight")[-1].any()
