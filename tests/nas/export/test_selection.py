from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

from nas.errors import CheckFailed
from nas.export.selection import select
from nas.search.limits import Limit
from nas.search.metrics import Direction
from nas.search.worker import Evaluation
from search_spaces import Architecture

Order = list[tuple[str, Direction]]
ANY = Architecture("any", ())


def evaluation(number: int, **metrics: float) -> Evaluation:
    names = {"high": "latency_high_ms.local", "latency": "latency_ms.local"}
    return Evaluation(number, ANY, {names.get(name, name): value for name, value in metrics.items()}, True)


def random_evaluations(rng: np.random.Generator, n: int) -> list[Evaluation]:
    """Few different values, so that there are many ties; in no order."""
    numbers = rng.permutation(100)[:n]
    rows = rng.integers(1, 4, size=(n, 3)).astype(float)
    return [
        evaluation(int(number), accuracy=a, latency=ms, high=ms + more)
        for number, (a, ms, more) in zip(numbers, rows, strict=True)
    ]


def keeps(found: Evaluation, limit: Limit) -> bool:
    if limit.metric == "accuracy":
        return found.metrics["accuracy"] >= limit.value
    return found.metrics["latency_high_ms.local"] <= limit.value


def wins(a: Evaluation, b: Evaluation, order: Order) -> bool:
    for metric, direction in order:
        if a.metrics[metric] != b.metrics[metric]:
            return (a.metrics[metric] > b.metrics[metric]) == (direction == "maximize")
    return a.number < b.number


ORDERS: list[Order] = [
    [("accuracy", "maximize"), ("latency_ms.local", "minimize")],
    [("latency_ms.local", "minimize"), ("accuracy", "maximize")],
    [("accuracy", "minimize")],
]


@pytest.mark.parametrize("order", ORDERS)
def test_selected_network_wins_against_all_others(order: Order) -> None:
    rng = np.random.default_rng(0)
    ties = refused = 0
    for _ in range(200):
        evaluations = random_evaluations(rng, int(rng.integers(1, 12)))
        limits = [
            Limit("latency_ms.local", 1, float(rng.integers(1, 7))),
            Limit("accuracy", -1, float(rng.integers(1, 4))),
        ]
        kept = [e for e in evaluations if all(keeps(e, limit) for limit in limits)]
        if not kept:
            refused += 1
            with pytest.raises(CheckFailed):
                select(evaluations, limits, order)
            continue
        chosen = select(evaluations, limits, order)
        assert chosen in kept
        assert all(wins(chosen, other, order) for other in kept if other is not chosen)
        ties += sum(all(a.metrics[m] == b.metrics[m] for m, _ in order) for a, b in itertools.combinations(kept, 2))
    assert ties > 50
    assert refused > 10


def test_upper_end_of_the_interval_must_keep_a_limit() -> None:
    wide = evaluation(0, accuracy=0.9, latency=4.0, high=6.0)
    narrow = evaluation(1, accuracy=0.8, latency=4.5, high=4.9)
    assert select([wide, narrow], [Limit("latency_ms.local", 1, 5.0)], [("accuracy", "maximize")]) is narrow


def test_message_says_what_comes_nearest() -> None:
    evaluations = [
        evaluation(3, accuracy=0.9, latency=8.0, high=9.0),
        evaluation(4, accuracy=0.7, latency=4.8, high=5.25),
        evaluation(5, accuracy=0.2, latency=1.0, high=1.1),
    ]
    limits = [Limit("latency_ms.local", 1, 5.0), Limit("accuracy", -1, 0.7)]
    message = (
        "none of the 3 evaluated networks keeps latency_ms.local <= 5 and accuracy >= 0.7; the nearest, network 4, "
        "has 5.25 for 'latency_ms.local <= 5'; loosen the limit or evaluate more networks"
    )
    with pytest.raises(CheckFailed, match=re.escape(message)):
        select(evaluations, limits, [("accuracy", "maximize")])


def test_nothing_evaluated_is_said() -> None:
    with pytest.raises(CheckFailed, match="no network was evaluated yet"):
        select([], [], [("accuracy", "maximize")])


def test_estimates_are_never_chosen() -> None:
    whole = evaluation(0, accuracy=0.6, latency=4.0)
    estimated = replace(evaluation(1, accuracy=0.9, latency=1.0), complete=False)
    limits = [Limit("latency_ms.local", 1, 5.0)]
    assert select([estimated, whole], limits, [("accuracy", "maximize")]) is whole
    with pytest.raises(
        CheckFailed, match=r"none of the 1 evaluated networks keeps .*; the nearest, network 0, has 4 for"
    ):
        select([estimated, whole], [Limit("latency_ms.local", 1, 2.0)], [("accuracy", "maximize")])
