"""Linear mixers in the place of a pretrained model's attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import search_spaces
from nas.training.mixer_distillation import distil_mixers
from search_spaces import Architecture
from search_spaces.slm.checkpoints import copy_attention
from search_spaces.supernet import Supernet

OTHERS = ("based", "gated_linear_attention", "mamba2")


def made(**options: Any) -> Supernet:
    """Of one layer whose heads are 4 features wide in all mixers."""
    sizes = {"vocabulary": 12, "widths": (16,), "depths": (1,), "heads": 4, "kv_heads": (2,), "states": (2, 4),
             "ratios": (1,), "prefill": (6,), "decode": (5,), "mixers": (*OTHERS, "attention")}  # fmt: skip
    torch.manual_seed(0)
    supernet = search_spaces.get("hybrid-slm", **sizes | options).build_supernet()
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return supernet


def with_mixer(supernet: Supernet, mixer: str) -> Architecture:
    space, values = supernet.space, supernet.space.largest().values
    values |= {name: mixer for name in values if name.endswith("_mixer")} | {"layer1_state": 4}
    found = Architecture(space.name, tuple(values.items()))
    return space.architectures(space.codes([found]))[0]


def batches(count: int) -> list[Tensor]:
    draws = torch.Generator().manual_seed(2)
    return [torch.randint(12, (8, 12), generator=draws) for _ in range(count)]


def test_based_is_nearly_the_attention_that_it_copies() -> None:
    """For small queries, without rotation, its feature map is the exponential function to the second order."""
    supernet = made(rotary_base=1.0, rotary_stretch=(1e9, 1e8, 1e9, 1.0))  # turns that take forever
    attention = supernet.get_submodule("slots.layer1_mixer.attentionblock")
    with torch.no_grad():
        attention.get_parameter("mixer.query.weight").mul_(0.3)
    changed = {f"slots.layer1_mixer.{kind}block" for kind in ("based", "gatedlinearattention", "mamba2")}
    assert set(copy_attention(supernet)) == changed
    numbers = batches(1)[0]
    with torch.no_grad():
        expected = supernet.extract(with_mixer(supernet, "attention"))(numbers)
        found = supernet.extract(with_mixer(supernet, "based"))(numbers)
    assert (found - expected).std() < 0.02 * expected.std()


def test_mixers_learn_and_attention_stays() -> None:
    supernet = made().eval()
    copy_attention(supernet)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    teacher, check = with_mixer(supernet, "attention"), batches(1)[0]

    def distances() -> dict[str, float]:
        with torch.no_grad():
            expected = supernet.extract(teacher)(check)
            found = {mixer: supernet.extract(with_mixer(supernet, mixer))(check) for mixer in OTHERS}
        return {mixer: float((logits - expected).square().mean()) for mixer, logits in found.items()}

    first = distances()
    errors = distil_mixers(supernet, batches(120), learning_rate=1e-2)
    assert sum(errors[-20:]) < 0.5 * sum(errors[:20])
    assert all(after < first[mixer] for mixer, after in distances().items())
    changed = {name for name, tensor in supernet.state_dict().items() if not torch.equal(tensor, before[name])}
    blocks = {tuple(name.split(".")[1:3]) for name in changed}
    assert blocks == {("layer1_mixer", f"{kind}block") for kind in ("based", "gatedlinearattention", "mamba2")}
    assert not supernet.training


def test_the_same_seed_gives_the_same_mixers() -> None:
    runs = [distil_mixers(made(), batches(3), seed=seed) for seed in (4, 4, 5)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("mixers", [("attention",), ("based",), ("skip", "attention")])
def test_nothing_to_learn(mixers: tuple[str, ...], tmp_path: Path) -> None:
    supernet = made(mixers=mixers)
    with pytest.raises(ValueError, match="attention"):
        distil_mixers(supernet, batches(1))
    with pytest.raises(ValueError, match="attention and another mixer"):
        copy_attention(supernet)
