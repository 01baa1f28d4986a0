"""Distillation losses against their definitions, differentiated by torch in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.training.distillation import DISTILLATIONS, StudentLoss, alpha_divergence, soft_targets

NO_CLIP = float("inf")


def logits(spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Of a student, with gradient, and of a teacher."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (spread * torch.randn(40, 5, generator=generator) for _ in range(2))
    return student.requires_grad_(), teacher


def divergences(student: Tensor, teacher: Tensor, alpha: float) -> Tensor:
    """The definition, sample for sample; at 1 its limit, the divergence of Kullback and Leibler."""
    p, q = teacher.double().softmax(1), student.double().softmax(1)
    if alpha == 1:
        return (p * (p / q).log()).sum(1)
    return ((p**alpha * q ** (1 - alpha)).sum(1) - 1) / (alpha * (alpha - 1))


def slope(loss: Tensor, student: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, student)
    return gradient


class TestSoftTargets:
    def test_gradient_is_that_of_the_kullback_leibler_divergence(self) -> None:
        student, teacher = logits()
        expected = F.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="batchmean")
        torch.testing.assert_close(slope(soft_targets(student, teacher), student), slope(expected, student))

    def test_value_is_the_cross_entropy(self) -> None:
        student, teacher = logits()
        entropy = torch.distributions.Categorical(logits=teacher).entropy().mean()
        expected = divergences(student, teacher, 1).mean() + entropy
        torch.testing.assert_close(soft_targets(student, teacher).double(), expected, rtol=1e-5, atol=1e-6)


class TestAlphaDivergence:
    @pytest.mark.parametrize("alpha", [-2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0])
    def test_of_one_order_without_clipping(self, alpha: float) -> None:
        student, teacher = logits()
        found = alpha_divergence(student, teacher, (alpha, alpha), NO_CLIP)
        expected = divergences(student, teacher, alpha).mean()
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(slope(found, student), slope(expected, student), rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("orders", [(-1.0, 1.0), (1.0, -1.0), (-0.5, 2.0)])
    def test_the_larger_one_counts_sample_for_sample(self, orders: tuple[float, float]) -> None:
        student, teacher = logits()
        both = torch.stack([divergences(student, teacher, alpha) for alpha in orders])
        assert set(both.argmax(0).tolist()) == {0, 1}
        expected = both.amax(0).mean()
        found = alpha_divergence(student, teacher, orders, NO_CLIP)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(slope(found, student), slope(expected, student), rtol=1e-4, atol=1e-6)

    def test_a_clip_that_nothing_reaches_changes_nothing(self) -> None:
        student, teacher = logits(0.1)
        found, expected = (slope(alpha_divergence(student, teacher, clip=clip), student) for clip in (5.0, NO_CLIP))
        assert torch.equal(found, expected)

    def test_clipping_bounds_the_gradient(self) -> None:
        """The student allows a class that the teacher excludes: without clipping q / p takes over."""
        student = torch.tensor([[0.0, 0.0, 0.0]], requires_grad=True)
        teacher = torch.tensor([[-8.0, 0.0, 0.0]])
        free = slope(alpha_divergence(student, teacher, (-1.0, -1.0), NO_CLIP), student)
        clipped = slope(alpha_divergence(student, teacher, (-1.0, -1.0), 5.0), student)
        assert free.abs().max() > 100
        assert clipped.abs().max() <= 5.0

    def test_clipped_by_hand(self) -> None:
        """Two classes, order -1: ratios q / p of 0.9 / 0.1 = 9, clipped to 5, and 0.1 / 0.9."""
        student = torch.tensor([[0.9, 0.1]]).log().requires_grad_()
        teacher = torch.tensor([[0.1, 0.9]]).log()
        found = alpha_divergence(student, teacher, (-1.0, -1.0), 5.0)
        assert found.item() == pytest.approx((0.9 * (5 - 1) + 0.1 * (1 / 9 - 1)) / 2)
        weights = [-0.9 * (-5 + 0.5), -0.1 * (-1 / 9 + 0.5)]  # of log q
        total = sum(weights)
        expected = torch.tensor([[weights[0] - 0.9 * total, weights[1] - 0.1 * total]])
        torch.testing.assert_close(slope(found, student), expected)

    def test_probabilities_of_zero_are_finite(self) -> None:
        student = torch.tensor([[1e4, 0.0, -1e4], [0.0, 0.0, 1e4]], requires_grad=True)
        teacher = torch.tensor([[-1e4, 0.0, 1e4], [0.0, 1e4, -1e4]])
        for orders in ((-1.0, 1.0), (-1.0, -1.0)):
            found = alpha_divergence(student, teacher, orders)
            assert found.isfinite()
            assert slope(found, student).isfinite().all()


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_least_where_the_student_is_like_its_teacher(name: str) -> None:
    student, teacher = logits()
    with torch.no_grad():
        student.copy_(teacher)
    at_least = DISTILLATIONS[name](student, teacher)
    torch.testing.assert_close(slope(at_least, student), torch.zeros_like(student), rtol=0, atol=1e-6)
    for seed in range(5):
        other = teacher + torch.randn(teacher.shape, generator=torch.Generator().manual_seed(seed))
        assert DISTILLATIONS[name](other, teacher) > at_least


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_no_gradient_reaches_the_teacher(name: str) -> None:
    student, teacher = logits()
    DISTILLATIONS[name](student, teacher.requires_grad_()).backward()
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_half_precision_is_computed_in_float32(name: str) -> None:
    student, teacher = logits()
    low = DISTILLATIONS[name](student.bfloat16(), teacher.bfloat16())
    torch.testing.assert_close(low.float(), DISTILLATIONS[name](student, teacher), rtol=0.05, atol=0.01)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_the_labels_have_the_rest(weight: float) -> None:
    student, teacher = logits()
    target = torch.arange(40) % 5
    found = StudentLoss("soft", weight)(student, teacher, target, F.cross_entropy)
    expected = weight * soft_targets(student, teacher) + (1 - weight) * F.cross_entropy(student, target)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("name", "weight"), [("hard", 0.5), ("soft", 1.01), ("soft", -0.01), ("soft", float("nan"))])
def test_impossible_student_losses_raise(name: str, weight: float) -> None:
    with pytest.raises(ValueError, match=r"distillation.* is .*, give"):
        StudentLoss(name, weight)


@pytest.mark.parametrize("name", DISTILLATIONS)
@pytest.mark.parametrize("weight", [0.4, 1.0])
def test_tokens_that_are_judged_are_samples(name: str, weight: float) -> None:
    """The gradient of all others is zero, and the loss is that of the judged ones in a matrix."""
    flat, taught = logits()
    student, teacher = flat.detach().reshape(8, 5, 5).requires_grad_(), taught.reshape(8, 5, 5)
    target = torch.randint(5, (8, 5), generator=torch.Generator().manual_seed(1))
    target[:, :2] = -100
    target[3] = -100
    rows = (target != -100).flatten()

    def labels(found: Tensor, wanted: Tensor) -> Tensor:
        return F.cross_entropy(found.flatten(0, -2), wanted.flatten())

    loss = StudentLoss(name, weight)
    found = loss(student, teacher, target, labels)
    expected = loss(flat[rows], taught[rows], target.flatten()[rows], labels)
    torch.testing.assert_close(found, expected)
    gradient = slope(found, student)
    torch.testing.assert_close(gradient.flatten(0, 1), slope(expected, flat))
    assert (gradient[3] == 0).all()
    whole = loss(student, teacher, target.clamp(min=0), labels)
    torch.testing.assert_close(whole, loss(flat, taught, target.clamp(min=0).flatten(), labels))
