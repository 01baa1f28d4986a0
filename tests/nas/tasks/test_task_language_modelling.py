"""Splits, batches, loss and metrics of language modelling."""

import inspect
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import log_loss
from torch import Tensor

from nas.task_config import LanguageTaskConfig, RecallConfig, load_language_task
from nas.tasks import DataError, LanguageModelling, Task
from nas.tasks.text_data import TextData, first_part
from nas.tasks.text_sources import load_text
from nas.tasks.token_files import TokenFiles
from nas.tasks.tokenizer import Tokenizer

pytest.importorskip("tokenizers")

VOCABULARY = 400
TOPICS = load_text("python-documentation").train
TRAIN, TEST = TOPICS[:6], TOPICS[8:10]
VALIDATION = (TOPICS[6], "naïve text\n".encode() * 30, b"to be or not to be\n" * 40, b"\xff\xfe no text\n" * 20)
Network = Callable[[Tensor], Tensor]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TokenFiles:
    return TokenFiles(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def make(files: TokenFiles) -> Callable[..., LanguageModelling]:
    def task(**options: Any) -> LanguageModelling:
        data = TextData("made up", TRAIN, VALIDATION, TEST)
        chosen = {"vocabulary": VOCABULARY, "sequence_length": 32, "recall_sequences": 64, "files": files} | options
        return LanguageModelling(data, **chosen)

    return task


def measured(task: Task, metric: str, network: Network, split: Any = "validation", batch_size: int = 50) -> float:
    total = count = 0.0
    for tokens, target in task.evaluation_batches(metric, split, batch_size):
        scores = task.score(metric, network(tokens), target)
        assert scores.total.shape == scores.count.shape == (len(tokens),)
        total, count = total + float(scores.total.sum()), count + float(scores.count.sum())
    return total / count


def stream(task: LanguageModelling, documents: tuple[bytes, ...]) -> list[int]:
    return [token for text in documents for token in (task.tokenizer.end, *task.tokenizer.encode(text).tolist())]


# ---- the text


def test_every_token_is_a_target_once_after_those_before_it_in_its_sequence(make: Any) -> None:
    task = make(evaluation_bytes=None)
    tokens = stream(task, VALIDATION)
    inputs, targets = map(torch.cat, zip(*task.batches("validation", 7), strict=True))
    assert inputs.dtype == targets.dtype == torch.int64
    assert inputs.shape == targets.shape == (task.evaluation_size("bits_per_byte", "validation"), 32)
    judged = targets != -100
    assert targets[judged].tolist() == tokens[1:]
    assert inputs[judged].tolist() == tokens[:-1]
    assert judged[:-1].all()
    assert (inputs.flatten()[len(tokens) :] == task.tokenizer.end).all()
    shuffled = torch.cat([part for part, _ in task.evaluation_batches("bits_per_byte", "validation", 9, shuffled=True)])
    assert not torch.equal(shuffled, inputs)
    assert sorted(shuffled.tolist()) == sorted(inputs.tolist())
    some = torch.cat([part for part, _ in task.batches("validation", 7, limit=10)])
    assert len(some) == 10
    assert {tuple(row) for row in some.tolist()} <= {tuple(row) for row in inputs.tolist()}


@pytest.mark.parametrize("length", [16, 50])
@pytest.mark.parametrize("limit", [None, 2000])
def test_bits_per_byte_of_a_network_that_knows_nothing(make: Any, length: int, limit: int | None) -> None:
    """All tokens are equally likely: log2 of the vocabulary for each."""
    task = make(sequence_length=length, evaluation_bytes=limit)
    texts = first_part(VALIDATION, limit)
    expected = (len(stream(task, texts)) - 1) * np.log2(VOCABULARY) / sum(map(len, texts))
    found = measured(task, "bits_per_byte", lambda tokens: torch.zeros(*tokens.shape, VOCABULARY))
    assert found == pytest.approx(expected, rel=1e-6)


def test_bits_per_byte_of_a_network_that_knows_the_frequencies(make: Any) -> None:
    """The entropy of the tokens, of which the text has so many for a byte."""
    task = make(evaluation_bytes=None)
    counts = np.bincount(stream(task, TEST)[1:], minlength=VOCABULARY)
    logits = torch.from_numpy(counts).log().float()
    found = measured(task, "bits_per_byte", lambda tokens: logits.expand(*tokens.shape, -1), "test")
    assert found == pytest.approx(entropy(counts, base=2) * counts.sum() / sum(map(len, TEST)), rel=1e-5)


def test_bits_per_byte_does_not_depend_on_batches_or_on_what_fills_up(make: Any) -> None:
    task = make()
    table = torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(0))
    found = [measured(task, "bits_per_byte", lambda tokens: table[tokens], batch_size=size) for size in (1, 50, 1000)]
    assert found == pytest.approx(found[:1] * 3, rel=1e-9)
    assert measured(task, "bits_per_byte", lambda tokens: table[tokens].bfloat16()) == pytest.approx(found[0], rel=0.01)


def test_loss_is_the_mean_over_what_is_judged(make: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 8, VOCABULARY, generator=generator)
    target = torch.randint(VOCABULARY, (3, 8), generator=generator)
    target[0, :] = target[2, 5:] = -100
    judged = target != -100
    shares = logits[judged].double().softmax(1).numpy()
    expected = log_loss(target[judged].numpy(), shares, labels=range(VOCABULARY))
    assert float(make().loss(logits, target)) == pytest.approx(expected, rel=1e-5)
    assert make().loss(logits.bfloat16(), target).dtype == torch.float32


# ---- training


def test_an_epoch_is_the_training_text_in_random_order_with_generated_sequences(make: Any) -> None:
    task = make(recall_share=0.25)
    tokens = torch.tensor(stream(task, TRAIN))
    offsets = set()
    for seed in range(3):
        batches = list(task.train_batches(16, torch.Generator().manual_seed(seed)))
        assert len(batches) == task.steps_per_epoch(16) == (len(tokens) // 32 - 1) // 12
        inputs, targets = map(torch.stack, zip(*batches, strict=True))
        assert inputs.shape == (len(batches), 16, 32)
        texts = (targets != -100).all(2)
        assert (texts.sum(1) == 12).all()
        assert not texts[:, :12].all(1).any()  # not always in the same places
        inputs, targets = inputs[texts], targets[texts]
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
        rows = [tuple(row) for row in torch.cat([inputs, targets[:, -1:]], 1).tolist()]
        windows = [[tuple(row) for row in tokens[offset:].unfold(0, 33, 32).tolist()] for offset in range(32)]
        (offset,) = (offset for offset in range(32) if Counter(rows) <= Counter(windows[offset]))
        assert [row for row in windows[offset] if row in rows] != rows  # not in their order
        offsets.add(offset)
    assert len(offsets) > 1


def test_training_goes_on_exactly_where_it_stopped(make: Any) -> None:
    task, again = make(), make()
    whole = list(task.train_batches(8, torch.Generator().manual_seed(5)))
    rest = list(islice(again.train_batches(8, torch.Generator().manual_seed(5)), 7, None))
    assert len(rest) == len(whole) - 7
    for (tokens, targets), (other_tokens, other_targets) in zip(whole[7:], rest, strict=True):
        assert torch.equal(tokens, other_tokens)
        assert torch.equal(targets, other_targets)


@pytest.mark.parametrize(("share", "batch", "texts"), [(0.0, 8, 8), (0.1, 4, 4), (0.5, 8, 4), (0.99, 8, 1)])
def test_the_share_of_generated_sequences_is_rounded(make: Any, share: float, batch: int, texts: int) -> None:
    _, targets = next(make(recall_share=share).train_batches(batch, torch.Generator().manual_seed(0)))
    assert int((targets != -100).all(1).sum()) == texts


@pytest.mark.parametrize("tokens", [33, 34, 64, 65])
def test_a_text_of_little_more_than_a_sequence_is_enough(files: TokenFiles, tokens: int) -> None:
    tokenizer = Tokenizer.train(TRAIN, VOCABULARY)
    text = tokenizer.decode(tokenizer.encode(TRAIN[0])[: tokens - 1].tolist())
    assert len(tokenizer.encode(text)) == tokens - 1
    data = TextData("x", (text,), (b"a",), (b"b",))
    task = LanguageModelling(data, tokenizer=tokenizer, sequence_length=32, recall_share=0, files=files)
    for seed in range(40):
        ((inputs, targets),) = task.train_batches(4, torch.Generator().manual_seed(seed))
        assert inputs.shape == (1, 32)
        assert (targets != -100).all()


def test_recalibration_is_on_training_text_and_repeats(make: Any) -> None:
    task = make()
    first, again, other = ([t for t, _ in task.recalibration_batches(20, 8, seed)] for seed in (1, 1, 2))
    assert [len(tokens) for tokens in first] == [7, 7, 6]
    assert torch.equal(torch.cat(first), torch.cat(again))
    assert not torch.equal(torch.cat(first), torch.cat(other))


# ---- recall


def test_recall_of_guesses_and_of_the_answers(make: Any) -> None:
    task = make(recall_sequences=400)
    values = torch.from_numpy(task._recall.roles.values)
    answers = torch.cat([targets for _, targets in task.evaluation_batches("recall", "validation", 400)])
    generator = torch.Generator().manual_seed(0)

    def guess(tokens: Tensor) -> Tensor:
        logits = torch.zeros(*tokens.shape, VOCABULARY)
        logits[:, :, values] = torch.rand(*tokens.shape, len(values), generator=generator) + 1
        return logits

    def know(tokens: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(answers.clamp(min=0), VOCABULARY).float()

    assert measured(task, "recall", guess, batch_size=37) == pytest.approx(1 / len(values), rel=0.2)
    assert measured(task, "recall", know, batch_size=400) == 1.0


def test_recall_is_on_sequences_of_its_own_that_never_change(make: Any) -> None:
    first, again = make(seed=0), make(seed=1)
    sequences = {s: next(first.evaluation_batches("recall", s, 64))[0] for s in ("train", "validation", "test")}
    assert sequences["test"].shape == (first.evaluation_size("recall", "test"), 32) == (64, 32)
    assert torch.equal(sequences["validation"], next(again.evaluation_batches("recall", "validation", 64))[0])
    assert len({tuple(row) for part in sequences.values() for row in part.tolist()}) == 3 * 64
    seen = torch.cat([tokens for tokens, _ in first.train_batches(16, torch.Generator().manual_seed(0))])
    assert not {tuple(row) for row in seen.tolist()} & {tuple(row) for row in sequences["validation"].tolist()}


def test_without_recall_sequences_there_is_no_such_metric(make: Any) -> None:
    assert [metric.name for metric in make().metrics] == ["bits_per_byte", "recall"]
    task = make(recall_sequences=0)
    assert [metric.name for metric in task.metrics] == ["bits_per_byte"]
    with pytest.raises(DataError, match="there is no metric 'recall' of this task, give one of bits_per_byte"):
        task.evaluation_batches("recall", "validation", 8)


# ---- construction


def test_the_fingerprint_tells_texts_tokenizers_and_lengths(make: Any) -> None:
    changes: list[dict[str, Any]] = [
        {}, {"vocabulary": 401}, {"sequence_length": 16}, {"evaluation_bytes": 900}, {"recall_sequences": 0},
    ]  # fmt: skip
    found = [make(**change).fingerprint for change in changes]
    assert len(set(found)) == len(found)
    assert make().fingerprint == found[0]
    assert len(found[0]) == 16


def test_every_key_of_a_configuration_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASMYTH_DATA", str(tmp_path))
    monkeypatch.setenv("NASMYTH_HOME", str(tmp_path / "home"))
    (tmp_path / "a.txt").write_bytes(TRAIN[5])
    config = LanguageTaskConfig(
        kind="language",
        data="a.txt",
        vocabulary=300,
        sequence_length=16,
        validation=0.5,
        evaluation_bytes=1000,
        recall=RecallConfig(share=0.5, sequences=3),
    )
    task = load_language_task(config, 0)
    assert task.space_options == {"vocabulary": 300}
    assert (task.sequence_length, task.recall_share, task.evaluation_size("recall", "test")) == (16, 0.5, 3)
    assert int(task.tokenizer.byte_counts[task._streams["validation"].tokens].sum()) == 1000
    (tmp_path / "tokenizer.json").write_text(task.tokenizer.to_json())
    given = load_language_task(config.model_copy(update={"vocabulary": None, "tokenizer": "tokenizer.json"}), 0)
    assert given.fingerprint == task.fingerprint
    assert sorted(path.suffix for path in (tmp_path / "home" / "tokens").iterdir()) == [".json", *[".npy"] * 3]
    with pytest.raises(DataError, match="vocabulary is 301, the given tokenizer has 300 tokens: leave it out"):
        load_language_task(config.model_copy(update={"vocabulary": 301, "tokenizer": "tokenizer.json"}), 0)


def test_defaults_of_the_configuration_are_those_of_the_class() -> None:
    config = LanguageTaskConfig(kind="language")
    parameters = inspect.signature(LanguageModelling).parameters
    for name in ("vocabulary", "tokenizer", "sequence_length", "validation", "evaluation_bytes"):
        assert getattr(config, name) == parameters[name].default
    recall = (parameters["recall_share"].default, parameters["recall_sequences"].default)
    assert (config.recall.share, config.recall.sequences) == recall


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequence_length": 15}, "sequence_length is 15, give at least 16"),
        ({"recall_share": 1.0}, "recall_share is 1.0, give a number from 0 to below 1"),
        ({"recall_sequences": -1}, "recall_sequences is -1, give 0 or more"),
        ({"evaluation_bytes": 0}, "evaluation_bytes is 0, give 1 or more"),
        (
            {"sequence_length": 100_000},
            "has [0-9]+ tokens, fewer than a sequence of 100000; set a smaller sequence_length",
        ),
        ({"vocabulary": 100}, "vocabulary is 100, give at least 257"),
    ],
)
def test_bad_options_are_told(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(**options)


def test_bad_arguments_are_told(make: Any) -> None:
    task = make()
    for call in (
        lambda: task.steps_per_epoch(0),
        lambda: next(task.batches("test", 0)),
        lambda: next(task.evaluation_batches("recall", "test", 0)),
        lambda: next(task.recalibration_batches(10, 0, 0)),
    ):
        with pytest.raises(DataError, match="batch_size is 0, give 1 or more"):
            call()
    with pytest.raises(DataError, match="there is no split 'dev', give one of train, validation, test"):
        task.evaluation_batches("recall", "dev", 8)
    with pytest.raises(DataError, match="limit is 0, give 1 or more"):
        next(task.batches("test", 8, limit=0))
