"""Evaluating networks that read tokens."""

from __future__ import annotations

import pytest
import torch

from nas.search.evaluation import Evaluator
from nas.search.judging import make_evaluator
from nas.search.sequence_evaluation import SequenceEvaluator
from nas.tasks import ImageClassification
from nas.tasks.task import Batches
from nas.testing.toy_language import ToyLanguage, toy_space
from search_spaces.supernet import Supernet


class WithoutRecalibration(ToyLanguage):
    """Fails when somebody asks for what batch normalisation alone needs."""

    def recalibration_batches(self, images: int, batch_size: int, seed: int) -> Batches:
        raise AssertionError("there is no batch normalisation")


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    torch.manual_seed(0)
    return toy_space().build_supernet()


def test_figures_do_not_depend_on_the_batches_or_on_what_came_before(supernet: Supernet) -> None:
    task, (first, *others) = WithoutRecalibration(32), supernet.space.sample(4, seed=0)
    evaluators = [SequenceEvaluator(supernet, task, batch_size=size) for size in (1, 5, 16)]
    for other in others:
        evaluators[0].score(other)
    found = [evaluator.score(first).metrics for evaluator in evaluators]
    assert found[0].keys() == {"bits_per_byte", "recall"}
    for figures in found[1:]:
        assert figures == pytest.approx(found[0], rel=1e-5)
    again = evaluators[0].figures(evaluators[0].network(first), first)
    assert again == found[0]
    assert evaluators[0].figures(evaluators[0].network(first), first, "test") != found[0]


def test_a_network_in_training_mode_is_refused(supernet: Supernet) -> None:
    evaluator, largest = SequenceEvaluator(supernet, ToyLanguage(32)), supernet.space.largest()
    with pytest.raises(ValueError, match="judged in evaluation mode"):
        evaluator.figures(supernet.extract(largest).train(), largest)


def test_the_task_decides_who_evaluates(supernet: Supernet) -> None:
    assert isinstance(make_evaluator(supernet, ToyLanguage(32)), SequenceEvaluator)
    assert isinstance(make_evaluator(supernet, ImageClassification.load("digits")), Evaluator)
