"""An evaluator that was sent gives the same figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import search_spaces
from nas.errors import UsageError
from nas.search import engines
from nas.search.engines import LocalEvaluation
from nas.search.evaluation import Evaluator
from nas.search.fidelity import Bar, Race
from nas.search.sending import check_sendable, parts, received
from nas.search.sequence_evaluation import SequenceEvaluator
from nas.tasks import Augmentation, ImageClassification
from nas.tasks.language_modelling import LanguageModelling
from nas.tasks.task import DataError
from nas.tasks.text_data import TextData
from nas.tasks.token_files import TokenFiles
from nas.testing.toy_language import ToyLanguage
from search_spaces import SearchSpace


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    """With two resolutions, so that images are resized."""
    options = {"resolutions": [6, 8], "in_channels": 1, "stem": 8, "widths": [[12, 16]], "strides": [2]}
    return search_spaces.get("convnet", **options, depths=[[1, 2]], group_width=4, head=32)


@pytest.fixture(scope="module")
def evaluator(space: SearchSpace) -> Evaluator:
    """Nothing of it is at its default."""
    torch.manual_seed(0)
    augmentation = Augmentation(rotation_degrees=20)
    task = ImageClassification.load("digits", validation=0.3, seed=4, augmentation=augmentation, mean=[0.4], std=[0.2])
    return Evaluator(space.build_supernet(), task, recalibration_images=70, batch_size=32, seed=5)


def frozen(value: Any) -> Any:
    """With arrays as they come out of Ray's store: in memory to which nobody can write."""
    if isinstance(value, np.ndarray):
        return np.frombuffer(value.tobytes(), value.dtype).reshape(value.shape)
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    return type(value)(map(frozen, value)) if isinstance(value, list | tuple) else value


@pytest.fixture
def sent(evaluator: Evaluator) -> dict[str, Any]:
    return dict(frozen(parts(evaluator, threads=1)))


def test_the_figures_are_the_same(evaluator: Evaluator, space: SearchSpace, sent: dict[str, Any]) -> None:
    architectures = [space.smallest(), *space.sample(4, seed=0), space.largest()]
    evaluate = received(**sent)
    found = [evaluate(architecture, None).metrics["accuracy"] for architecture in architectures]
    assert found == [evaluator.evaluate(architecture) for architecture in architectures]
    assert len(set(found)) > 3


def test_a_race_is_the_same(evaluator: Evaluator, space: SearchSpace, sent: dict[str, Any]) -> None:
    """Also the order of the images, of which a hopeless network sees only the first ones."""
    bar = Bar(1.0, 0, np.ones(len(evaluator.task.validation), dtype=np.bool_))
    evaluate = received(**{**sent, "race": Race(risk=0.5)})
    for architecture in (space.smallest(), space.largest()):
        assert evaluate(architecture, bar) == evaluator.race(architecture, bar, Race(risk=0.5))


def test_only_validation_images_are_sent(evaluator: Evaluator, space: SearchSpace, sent: dict[str, Any]) -> None:
    far = received(**sent).func.__self__  # type: ignore[attr-defined]
    network = far.network(space.smallest())
    with pytest.raises(DataError, match="the test images were not sent"):
        far.accuracy(network, space.smallest(), "test")


def test_another_release(sent: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^there is Nasmyth .*, not 0.0.1: install the same release on all machines$"):
        received(**{**sent, "release": "0.0.1"})


def test_another_space_of_that_name(sent: dict[str, Any]) -> None:
    other = {**sent["space"], "options": {**sent["space"]["options"], "widths": [[12, 20]]}}
    with pytest.raises(ValueError, match=r"^search space 'convnet' is another one here"):
        received(**{**sent, "space": other})


def test_an_unknown_space(sent: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^search space 'mine:own' cannot be imported: No module named 'mine'"):
        received(**{**sent, "space": {**sent["space"], "name": "mine:own"}})


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> SequenceEvaluator:
    pytest.importorskip("tokenizers", reason="pip install 'nasmyth[language]'")
    documents = tuple(b"%d green bottles and %d red ones. " % (n, n * n) * 20 for n in range(60))
    files = TokenFiles(tmp_path_factory.mktemp("tokens"))
    task = LanguageModelling(TextData("numbers", documents), 300, sequence_length=32, recall_sequences=24, files=files)
    options = {
        "mixers": ["attention", "short_convolution"],
        "heads": 2,
        "kv_heads": [1, 2],
        "states": [16],
        "ratios": [1],
    }
    space = search_spaces.get("hybrid-slm", vocabulary=300, widths=[16], depths=[1, 2], **options)
    torch.manual_seed(0)
    return SequenceEvaluator(space.build_supernet(), task, batch_size=7)


def test_the_figures_of_language_models_are_the_same(texts: SequenceEvaluator) -> None:
    space = texts.supernet.space
    evaluate = received(**frozen(parts(texts, threads=1)))
    architectures = [space.smallest(), *space.sample(3, seed=0), space.largest()]
    found = [dict(evaluate(architecture, None).metrics) for architecture in architectures]
    assert found == [dict(texts.score(architecture).metrics) for architecture in architectures]
    assert {name for metrics in found for name in metrics} == {"bits_per_byte", "recall"}
    assert len({metrics["bits_per_byte"] for metrics in found}) > 2


def test_only_validation_sequences_are_sent(texts: SequenceEvaluator) -> None:
    far = received(**frozen(parts(texts, threads=1))).func.__self__  # type: ignore[attr-defined]
    architecture = texts.supernet.space.smallest()
    with pytest.raises(DataError, match="the test sequences were not sent"):
        far.figures(far.network(architecture), architecture, "test")
    normalised = nn.Sequential(nn.BatchNorm2d(3))
    with pytest.raises(DataError, match="the training sequences were not sent"):
        far.recalibrate(normalised, architecture)


def test_a_task_of_ones_own() -> None:
    """Another process would not know how to take its figures."""
    with pytest.raises(UsageError, match="engine: ray cannot send ToyLanguage to other machines; set engine to local"):
        check_sendable(ToyLanguage)


def test_engines_by_name(evaluator: Evaluator) -> None:
    assert isinstance(engines.make("local", evaluator, None), LocalEvaluation)
    assert engines.names() == ["local", "ray"]
    with pytest.raises(ValueError, match=r"no engine 'rai' .did you mean 'ray'"):
        engines.make("rai", evaluator, None)
