"""The optimisers in closed form, and what they do not decay."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import search_spaces
from nas.config import TrainingConfig, parse
from nas.errors import UsageError
from nas.training.optimizer import make_optimizer


def steps_of(config: TrainingConfig, gradients: list[float]) -> list[float]:
    """How far a scalar moves in each step."""
    network = nn.Module()
    network.weight = nn.Parameter(torch.zeros(()))
    optimizer = make_optimizer(network, config)
    moved = []
    for gradient in gradients:
        before = network.weight.item()
        network.weight.grad = torch.tensor(gradient)
        optimizer.step()
        moved.append(network.weight.item() - before)
    return moved


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_steps_of_adamw(momentum: float) -> None:
    """The first step is the learning rate, whatever the gradient; then means of gradients over roots of mean squares."""
    config = TrainingConfig(optimizer="adamw", learning_rate=0.1, momentum=momentum)
    first, second = steps_of(config, [4.0, -1.0])
    mean = (momentum * 4 - 1) * (1 - momentum) / (1 - momentum**2)
    square = (0.999 * 16 + 1) * 0.001 / (1 - 0.999**2)
    assert first == pytest.approx(-0.1, rel=1e-4)
    assert second == pytest.approx(-0.1 * mean / square**0.5, rel=1e-4)


def test_steps_of_sgd() -> None:
    """Nesterov: the gradient and the momentum times the sum of gradients."""
    config = TrainingConfig(learning_rate=0.1, momentum=0.5, weight_decay=0.0)
    first, second = steps_of(config, [4.0, -1.0])
    assert first == pytest.approx(-0.1 * (4 + 0.5 * 4))
    assert second == pytest.approx(-0.1 * (-1 + 0.5 * (0.5 * 4 - 1)))


def test_adamw_decays_weights_alone() -> None:
    """With zero gradients a step scales what is decayed by one minus learning rate times decay."""
    supernet = search_spaces.get(
        "vit", resolutions=(8,), patches=(4,), widths=(8, 16), depths=(1,), heads=(1, 2), head_width=8, ratios=(1,)
    ).build_supernet()
    config = TrainingConfig(optimizer="adamw", learning_rate=0.5, weight_decay=0.1)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.normal_()
            parameter.grad = torch.zeros_like(parameter)
    before: dict[str, Tensor] = {name: parameter.detach().clone() for name, parameter in supernet.named_parameters()}
    make_optimizer(supernet, config).step()
    kept = set()
    for name, parameter in supernet.named_parameters():
        is_weight = name.endswith("weight") and not any(part in name for part in ("norm", "token.", "positions"))
        torch.testing.assert_close(parameter.detach(), before[name] * (0.95 if is_weight else 1.0))
        kept |= set() if is_weight else {name.rpartition(".")[0].rpartition(".")[2]}
    assert {"token", "positions", "norm"} <= kept


def test_an_unknown_optimizer_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"training.optimizer.*'sgd' or 'adamw'"):
        parse({"name": "x", "training": {"optimizer": "adam"}})
