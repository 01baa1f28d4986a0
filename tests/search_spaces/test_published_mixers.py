"""The smallest published network of every kind of mixer: its parameters and its multiply-accumulate operations.

Published figures have one or two digits; a network is right when it has them to within 3 %, or to within their rounding.
"""

from __future__ import annotations

from decimal import Decimal

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import search_spaces
from search_spaces import Architecture, SearchSpace
from search_spaces.hybrid.state_mixer import HiddenStateMixer

CLASSES = 1000


def assert_published(found: float, published: str) -> None:
    """Millions, with as many digits as were published."""
    figure = Decimal(published)
    rounding = 0.5 * 10.0 ** int(figure.as_tuple().exponent)
    assert found / 1e6 == pytest.approx(float(figure), rel=0, abs=max(0.03 * float(figure), rounding))


def macs_of_scans(per_state: int) -> int:
    """Of the four blocks of EfficientVMamba-T, when each state of each channel at each position of each sub-grid costs
    `per_state`."""
    return sum(2 * pixels**2 * hidden * 16 * per_state for pixels, hidden in ((56, 96), (28, 192)))


@pytest.mark.parametrize(
    ("name", "pixels", "millions", "mmacs", "counted_otherwise"),
    [
        # The authors count nine operations for each state; the product with C is one.
        ("efficientvmamba-t", 224, "6", "8e2", macs_of_scans(8)),
        ("efficientmod-xxs", 224, "4.7", "6e2", 0),
        ("affnet-et", 256, "1.4", "4e2", 0),
    ],
)
def test_figures(name: str, pixels: int, millions: str, mmacs: str, counted_otherwise: int) -> None:
    space = search_spaces.get("efficient-hybrid", preset=name)
    architecture = space.architecture(name)
    codes = space.codes([architecture])
    assert_published(space.parameters(codes)[0], millions)
    assert_published(space.macs(codes)[0] + counted_otherwise, mmacs)
    with torch.device("meta"):
        logits = space.build(architecture)(torch.empty(2, 3, pixels, pixels))
    assert logits.shape == (2, CLASSES)
    assert space.size > 1000


# -------------------------------------------------------------- EfficientViM


@pytest.fixture(scope="module")
def family() -> SearchSpace:
    return search_spaces.get("efficient-hybrid", preset="efficientvim")


@pytest.fixture(scope="module")
def without_fusion(family: SearchSpace) -> Architecture:
    """EfficientViM-M1 but for the classifiers of hidden states: the widest, with two state mixers in each stage."""
    values = dict(family.largest().values) | {f"stage{stage}_depth": 2 for stage in (1, 2, 3)}
    architecture = Architecture(family.name, tuple(values.items()))
    return family.architectures(family.codes([architecture]))[0]


class EfficientViM(nn.Module):
    """The network of the space, and a classifier of the states of each stage; the logits are a learned mean."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.network = network
        widths = (128, 192, 320)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.heads = nn.ModuleList(nn.Linear(width, CLASSES) for width in widths)
        self.shares = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        read = {}
        for name, module in self.network.named_children():
            if isinstance(module, HiddenStateMixer):
                x, states = module.with_states(x)
                read[name.partition("_")[0]] = states  # those of the last block of a stage
            else:
                x = module(x)
        logits = [
            head(norm(states).mean(1)) for states, norm, head in zip(read.values(), self.norms, self.heads, strict=True)
        ]
        return torch.einsum("h,hnc->nc", self.shares.softmax(0), torch.stack([*logits, x]))


@pytest.fixture(scope="module")
def efficientvim(family: SearchSpace, without_fusion: Architecture) -> EfficientViM:
    with torch.device("meta"):
        return EfficientViM(family.build(without_fusion)).eval()


def test_figures_of_efficientvim(efficientvim: EfficientViM) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = efficientvim(torch.empty(1, 3, 224, 224, device="meta"))
    assert logits.shape == (1, CLASSES)
    assert_published(parameters_of(efficientvim), "6.7")
    assert_published(counter.get_total_flops() / 2, "239")


def test_parameters_of_efficientvim_are_exactly_those_of_the_authors(efficientvim: EfficientViM) -> None:
    """But for the number of every state that softmax does not see, in six blocks; they have 6,679,458."""
    assert parameters_of(efficientvim) == 6_679_458 - 2 * (49 + 25 + 9)


def test_the_space_lacks_the_classifiers_of_states(
    family: SearchSpace, without_fusion: Architecture, efficientvim: EfficientViM
) -> None:
    """644,284 parameters (three of normalisation and classifier, four shares) and 644,000 MACs, 0.3 %."""
    codes = family.codes([without_fusion])
    assert parameters_of(efficientvim) - family.parameters(codes)[0] == (128 + 192 + 320) * 1002 + 3000 + 4
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        efficientvim(torch.empty(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() / 2 - family.macs(codes)[0] == (128 + 192 + 320) * 1000 + 4 * 1000
    assert not family.named


def parameters_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
