"""What is made of no input is a constant of the workload, as runtimes take it for one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from search_spaces.trace import UnknownOperator, trace
from search_spaces.workload import Op


class Function(nn.Module):
    """A function of one tensor."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def causal(x: Tensor) -> Tensor:
    place = torch.arange(x.shape[1], device=x.device)
    return torch.where(place[:, None] >= place, 0.0, float("-inf"))


def angles(x: Tensor) -> Tensor:
    place = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
    return torch.outer(place, 10_000.0 ** -(torch.arange(4, device=x.device) / 4)).cos()


@pytest.mark.parametrize(
    "make",
    [
        causal,
        angles,
        lambda x: torch.full((4, 4), float("-inf"), device=x.device).triu(1),
        lambda x: torch.ones(4, 4, device=x.device).tril().log(),
        lambda x: torch.zeros(4, 4, device=x.device),
        lambda x: x.new_zeros(4, 4),
        lambda x: x.new_full((4, 4), 2.0),
        lambda x: torch.ones_like(x).view(4, 4),
    ],
)
def test_what_is_made_of_nothing_is_a_constant(make: Callable[[Tensor], Tensor]) -> None:
    ops = trace(Function(lambda x: torch.relu(x) + make(x)).to("meta"), ((1, 4, 4),)).ops
    assert ops[-1] == Op("add", (1,), (2,), ((1, 4, 4), (1, 4, 4)), ((4, 4),))
    assert [op.kind for op in ops] == ["relu", "add"]


def test_a_network_that_gives_a_constant_is_refused() -> None:
    with pytest.raises(UnknownOperator, match="the network gives one"):
        trace(Function(causal).to("meta"), ((1, 4, 4),))
