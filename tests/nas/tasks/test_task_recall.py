"""A reader with a memory solves the generated sequences; one without does no better than chance."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from nas.tasks import DataError
from nas.tasks.recall import Recall

LENGTHS = (16, 17, 63, 64, 200, 512)


def generated(length: int, count: int = 40, seed: int = 0) -> tuple[Recall, Tensor, Tensor]:
    recall = Recall(600, 7, length)
    return recall, *recall.batch(count, torch.Generator().manual_seed(seed))


def solve(row: list[int], recall: Recall) -> list[int | None]:
    """The next token, of all that was read so far, by the two rules that a network has to find."""
    roles = recall.roles
    values = set(roles.values.tolist())
    answers: list[int | None] = []
    after: dict[int, int] = {}
    symbols: list[int] = []
    copying = False
    for place, token in enumerate(row):
        if token == roles.end:
            after, symbols, copying = {}, [], False
        elif token == roles.copy:
            copying = True
        elif token in values and not copying:
            symbols.append(token)
            after.setdefault(row[place - 1], token)
        answers.append(symbols.pop(0) if copying and symbols else after.get(token))
    return answers


@pytest.mark.parametrize("length", LENGTHS)
def test_a_reader_with_a_memory_answers_all(length: int) -> None:
    recall, tokens, targets = generated(length)
    assert tokens.shape == targets.shape == (40, length)
    assert tokens.dtype == targets.dtype == torch.int64
    for row, wanted in zip(tokens.tolist(), targets.tolist(), strict=True):
        answers = solve(row, recall)
        judged = [place for place, target in enumerate(wanted) if target != -100]
        assert [answers[place] for place in judged] == [wanted[place] for place in judged]
        assert [row[place + 1] for place in judged] == [wanted[place] for place in judged]
        assert len(judged) >= length // 16 - 3


def test_short_episodes_of_long_sequences() -> None:
    """Each begins with the end of documents; the values are as few as those of sequences of that length."""
    recall = Recall(600, 7, 200, span=64)
    tokens, targets = recall.batch(40, torch.Generator().manual_seed(0))
    assert len(recall.roles.values) == len(Recall(600, 7, 64).roles.values) < len(Recall(600, 7, 200).roles.values)
    assert {place for row in tokens for place in torch.nonzero(row == 7).flatten().tolist()} == {0, 64, 128}
    for row, wanted in zip(tokens.tolist(), targets.tolist(), strict=True):
        answers = solve(row, recall)
        assert all(answers[place] == target for place, target in enumerate(wanted) if target != -100)


@pytest.mark.parametrize("length", [64, 512])
def test_nothing_but_a_memory_answers(length: int) -> None:
    """The best guess from the last token alone, and the most frequent answer, learnt from these very sequences."""
    recall, tokens, targets = generated(length, 150)
    judged = targets != -100
    chance = 1 / len(recall.roles.values)
    answers = Counter(targets[judged].tolist())
    assert set(answers) <= set(recall.roles.values.tolist())
    assert max(answers.values()) / int(judged.sum()) < 2 * chance
    _, others, other_targets = generated(length, 150, seed=1)
    following: dict[int, Counter[int]] = {}
    for token, target in zip(tokens[judged].tolist(), targets[judged].tolist(), strict=True):
        following.setdefault(token, Counter())[target] += 1
    judged = other_targets != -100
    pairs = zip(others[judged].tolist(), other_targets[judged].tolist(), strict=True)
    right = sum(following[token].most_common(1)[0][0] == target for token, target in pairs if token in following)
    assert right / int(judged.sum()) < 2 * chance


def test_answers_lie_up_to_as_many_tokens_back_as_a_sequence_has() -> None:
    recall, tokens, targets = generated(512, 100)
    assert recall.spans == (64, 128, 256, 512)
    distances = []
    for row, wanted in zip(tokens.tolist(), targets.tolist(), strict=True):
        for place, target in enumerate(wanted):
            if target != -100 and recall.roles.copy not in row[: place + 1]:
                distances.append(place - row.index(row[place]))
    assert min(distances) < 16
    assert max(distances) > 400


def test_episodes_of_all_lengths_and_both_kinds_are_equally_frequent() -> None:
    recall, tokens, _ = generated(512, 300)
    lengths = [512 // int((row == recall.roles.end).sum()) for row in tokens]
    assert all(50 < Counter(lengths)[span] < 100 for span in recall.spans)
    copies = sum(int((row == recall.roles.copy).sum()) for row in tokens)
    assert 0.45 < copies / int((tokens == recall.roles.end).sum()) < 0.55


def test_no_token_has_two_roles_and_the_seed_decides_them() -> None:
    roles = [Recall(260, 7, 512, seed=seed).roles for seed in (0, 0, 1)]
    every = torch.cat([torch.from_numpy(part) for part in (roles[0].keys, roles[0].values, roles[0].fillers)]).tolist()
    assert sorted([*every, 7, roles[0].copy]) == list(range(260))
    assert (roles[0].keys == roles[1].keys).all()
    assert (roles[0].keys != roles[2].keys).any()


def test_the_generator_alone_decides() -> None:
    (_, first, _), (_, again, _), (_, other, _) = (generated(128, 5, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_bad_input_is_told() -> None:
    with pytest.raises(DataError, match="sequences of recall have 15 tokens, give at least 16"):
        Recall(600, 0, 15)
    with pytest.raises(DataError, match="episodes of recall have 15 tokens, give at least 16"):
        Recall(600, 0, 512, span=15)
    with pytest.raises(DataError, match="vocabulary is 100, sequences of recall so long need at least 195 tokens"):
        Recall(100, 0, 512)
