"""What is rounding, and what is not, in the classes that a device gives to images."""

from __future__ import annotations

from math import comb

import pytest
import torch
from torch import Tensor

from nas.export.agreement import Agreement

TOLERANCE = 0.1


def compared(expected: Tensor, found: Tensor, target: Tensor, tolerance: float = TOLERANCE) -> Agreement:
    """By batches of unequal sizes."""
    agreement = Agreement(tolerance)
    for some in torch.arange(len(target)).split(300):
        hits = [logits[some].argmax(1) == target[some] for logits in (expected, found)]
        agreement.add(expected[some], found[some], *hits)
    return agreement


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(2000, 10, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def target(logits: Tensor) -> Tensor:
    """As often of a class as the network says: right for about half of the images."""
    return torch.multinomial((2 * logits).softmax(1), 1, generator=torch.Generator().manual_seed(1))[:, 0]


def test_rounding_to_bfloat16_is_explained(logits: Tensor, target: Tensor) -> None:
    noise = 0.02 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    found = (logits + noise).to(torch.bfloat16).float()
    agreement = compared(logits, found, target)
    assert agreement.images == len(logits)
    assert agreement.accuracy == pytest.approx((logits.argmax(1) == target).double().mean().item())
    difference = int((found.argmax(1) == target).sum() - (logits.argmax(1) == target).sum())
    assert agreement.gained - agreement.lost == difference
    assert agreement.lost + agreement.gained > 5, "else the test compares nothing"
    assert agreement.explained
    assert "nearly tie" in agreement.text


def test_what_float32_does_not_explain(logits: Tensor, target: Tensor) -> None:
    noise = 0.02 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    agreement = compared(logits, logits + noise, target, tolerance=1e-4)
    assert agreement.beyond
    assert not agreement.explained
    assert f"{agreement.beyond} differ" in agreement.text


def test_one_image_of_another_class_is_enough(logits: Tensor, target: Tensor) -> None:
    found = logits.clone()
    found[7] = -found[7]
    agreement = compared(logits, found, target)
    assert agreement.beyond == 1
    assert not agreement.explained


def test_losses_alone_are_no_rounding(logits: Tensor, target: Tensor) -> None:
    """Every image that nearly ties goes to the wrong class, each by less than the tolerance."""
    found = logits.clone()
    rows = torch.arange(len(target))
    found[rows, target] -= 0.1 * TOLERANCE * logits.abs().max()
    agreement = compared(logits, found, target)
    assert not agreement.beyond
    assert agreement.lost > 5
    assert not agreement.gained
    assert not agreement.explained


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (7, 7), (3, 11), (12, 1)])
def test_p_value_is_that_of_mcnemars_exact_test(lost: int, gained: int) -> None:
    """Twice the smaller tail of a fair coin, at most one."""
    turned = lost + gained
    tail = sum(comb(turned, k) for k in range(min(lost, gained) + 1)) / 2**turned
    assert Agreement(TOLERANCE, turned, lost, lost, gained).p_value == pytest.approx(min(1.0, 2 * tail))
