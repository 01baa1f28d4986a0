"""Copies of modules against `deepcopy`."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from search_spaces.copies import copy_structure


class Awkward(nn.Module):
    """A child under two names, one that is missing, children in a list and in a tuple, a buffer that is not saved."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = self.again = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.nothing: nn.Module | None = None
        self.register_module("none", None)
        self.register_buffer("table", torch.ones(3), persistent=False)
        self.order = [self.norm, self.first]
        self.pair = (self.first, {"size": [1, 2]})
        self.names = {"a": (1, 2)}

    def forward(self, x: Tensor) -> Tensor:
        for part in (*self.order, self.again):
            x = part(x)
        return x * self.table


def test_it_is_a_deep_copy_that_shares_tensors() -> None:
    module = nn.Sequential(Awkward(), nn.ReLU()).eval()
    module[0].register_forward_pre_hook(lambda *_: None)
    copied, expected = copy_structure(module), deepcopy(module)
    x = torch.randn(2, 3)
    assert torch.equal(copied(x), expected(x))
    assert copied.state_dict().keys() == expected.state_dict().keys()
    assert repr(copied) == repr(expected)
    assert [type(part) for part in copied.modules()] == [type(part) for part in expected.modules()]
    assert {id(tensor) for tensor in copied.parameters()} == {id(tensor) for tensor in module.parameters()}
    parts = {id(part) for part in module.modules()}
    assert not parts & {id(part) for part in copied.modules()}
    awkward = copied.get_submodule("0")
    assert isinstance(awkward, Awkward)
    assert awkward.first is awkward.again is awkward.order[1] is awkward.pair[0]
    assert vars(awkward).keys() == vars(module[0]).keys()


def test_nothing_but_tensors_is_shared() -> None:
    module = Awkward()
    copied = copy_structure(module)
    assert isinstance(copied, Awkward)
    copied.register_forward_hook(lambda *_: None)
    copied.first.register_forward_hook(lambda *_: None)
    copied.register_buffer("other", torch.zeros(1))
    copied.first.weight = nn.Parameter(torch.zeros(3, 3))
    copied.names["b"] = (3, 4)
    copied.pair[1]["size"].append(3)
    copied.train(False)
    assert not module._forward_hooks
    assert not module.first._forward_hooks
    assert "other" not in dict(module.named_buffers())
    assert module.first.weight.any()
    assert module.names == {"a": (1, 2)}
    assert module.pair[1]["size"] == [1, 2]
    assert module.training
    assert module.first.training
