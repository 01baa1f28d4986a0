"""Evaluation: a pure function of supernet and architecture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import search_spaces
from nas.search.evaluation import Evaluator
from nas.search.fidelity import HITS, STOPPED, Bar, Score, unpacked
from nas.tasks import ImageClassification
from search_spaces import SearchSpace
from search_spaces.supernet import Supernet, resize


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    """With two resolutions, so that images are resized."""
    return search_spaces.get(
        "convnet",
        resolutions=[6, 8],
        in_channels=1,
        stem=8,
        widths=[[12, 16]],
        strides=[2],
        depths=[[1, 2]],
        group_width=4,
        head=32,
    )


@pytest.fixture(scope="module")
def task() -> ImageClassification:
    return ImageClassification.load("digits")


@pytest.fixture(scope="module")
def supernet(space: SearchSpace) -> Supernet:
    torch.manual_seed(0)
    return space.build_supernet()


@pytest.fixture
def evaluator(supernet: Supernet, task: ImageClassification) -> Evaluator:
    return Evaluator(supernet, task, recalibration_images=100, batch_size=60, seed=1)


def test_the_same_architecture_has_the_same_figure(
    evaluator: Evaluator, supernet: Supernet, task: ImageClassification, space: SearchSpace
) -> None:
    first, *others = space.sample(4, seed=0)
    accuracy = evaluator.evaluate(first)
    for other in others:
        evaluator.evaluate(other)
    supernet.activate(space.smallest())
    torch.manual_seed(99)
    assert evaluator.evaluate(first) == accuracy
    assert Evaluator(supernet, task, 100, 60, seed=1).evaluate(first) == accuracy


def test_the_supernet_stays_as_it_was(evaluator: Evaluator, supernet: Supernet, space: SearchSpace) -> None:
    for training in (True, False):
        supernet.train(training)
        before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
        for architecture in (space.smallest(), space.largest(), *space.sample(3, seed=1)):
            evaluator.evaluate(architecture)
        after = supernet.state_dict()
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], before[name]) for name in before)
        assert all(parameter.grad is None for parameter in supernet.parameters())


@pytest.mark.parametrize("split", ["validation", "test"])
def test_accuracy_is_a_count_by_hand(
    evaluator: Evaluator, task: ImageClassification, space: SearchSpace, split: str
) -> None:
    part = task.validation if split == "validation" else task.test
    for architecture in (space.smallest(), space.largest(), *space.sample(2, seed=2)):
        network = evaluator.network(architecture)
        assert not network.training
        pixels = part.images.numpy().astype(np.float32) / 255
        images = torch.from_numpy((pixels - np.float32(task.mean)) / np.float32(task.std))
        if architecture.values["resolution"] != 8:
            images = F.interpolate(images, (6, 6), mode="bilinear", antialias=True)
        with torch.no_grad():
            answers = [int(network(image[None]).argmax()) for image in images]
        hits = sum(answer == label for answer, label in zip(answers, part.labels.tolist(), strict=True))
        found = evaluator.accuracy(network, architecture, split)  # type: ignore[arg-type]
        assert found * len(answers) == pytest.approx(hits, abs=1.5)  # an answer on the edge may differ by the batch
        assert 0 < found < 1


def test_recalibration_uses_as_many_training_images_as_there_are(
    supernet: Supernet, task: ImageClassification, space: SearchSpace
) -> None:
    evaluator = Evaluator(supernet, task, recalibration_images=10**6, batch_size=250, seed=0)
    network = evaluator.network(space.largest())
    norm = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert norm.num_batches_tracked == -(-len(task.train) // 250)


def test_the_order_of_evaluations_does_not_matter(
    supernet: Supernet, task: ImageClassification, space: SearchSpace
) -> None:
    architectures = [space.smallest(), space.largest(), *space.sample(4, seed=3)]
    forwards, backwards = (Evaluator(supernet, task, 60, seed=2) for _ in range(2))
    figures = [forwards.evaluate(architecture) for architecture in architectures]
    assert [backwards.evaluate(architecture) for architecture in reversed(architectures)] == figures[::-1]
    assert [forwards.evaluate(architecture) for architecture in architectures] == figures


def test_no_more_images_are_kept_than_memory_allows(
    supernet: Supernet, task: ImageClassification, space: SearchSpace
) -> None:
    architectures = [space.smallest(), space.largest()]
    small, large = (4 * side**2 * len(task.validation) for side in (6, 8))
    unbounded = [Evaluator(supernet, task, 60).evaluate(architecture) for architecture in architectures]
    for memory, kept in (
        (0, 0),
        (small - 1, 0),
        (small, small),
        (small + large - 1, small),
        (small + large, small + large),
    ):
        evaluator = Evaluator(supernet, task, 60, memory=memory)
        for _ in range(2):
            assert [evaluator.evaluate(architecture) for architecture in architectures] == unbounded
            assert sum(images.nbytes for batches in evaluator._kept.values() for images, _ in batches) == kept


def test_a_race_to_the_end_gives_the_same_figure(
    supernet: Supernet, task: ImageClassification, space: SearchSpace
) -> None:
    evaluator = Evaluator(supernet, task, 100, 20, seed=1)
    for architecture in (space.smallest(), space.largest(), *space.sample(3, seed=5)):
        score = evaluator.race(architecture, Bar())
        assert score.accuracy == evaluator.evaluate(architecture)
        assert unpacked(score.attributes[HITS]).mean() == pytest.approx(score.accuracy)


def test_a_stopped_race_changes_no_later_figure(
    supernet: Supernet, task: ImageClassification, space: SearchSpace
) -> None:
    """Also where images are kept: they are all there after an evaluation that did not need them all."""
    architecture, images = space.smallest(), len(task.validation)
    expected = Evaluator(supernet, task, 100, 20, seed=1).evaluate(architecture)
    for memory in (0, 2**28):
        evaluator = Evaluator(supernet, task, 100, 20, seed=1, memory=memory)
        score = evaluator.race(architecture, Bar(1.0, 0, np.ones(images, dtype=np.bool_)))
        assert score.attributes[STOPPED]["images"] < images / 4
        assert score.accuracy < 1
        assert evaluator.evaluate(architecture) == expected
        assert evaluator.race(architecture, Bar(expected)) != Score(expected)  # it reaches its own accuracy: kept


def test_hits_are_of_the_images_in_a_fixed_random_order(
    evaluator: Evaluator, task: ImageClassification, space: SearchSpace
) -> None:
    architecture = space.smallest()
    network = evaluator.network(architecture)
    hits = np.concatenate(list(evaluator.hits(network, architecture)))
    size = space.input_shapes(architecture)[space.input_name][2:]
    images, target = next(task.batches("validation", len(task.validation), shuffled=True))
    with torch.inference_mode():
        expected = network(resize(images, size)).argmax(1) == target
    assert hits.tolist() == expected.tolist()
    assert target.tolist() != task.validation.labels.tolist()
