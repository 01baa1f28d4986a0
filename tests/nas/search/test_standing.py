"""How far a search is, and when it has stopped to gain."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from synthetic_search import make_worker, trial_table

from nas.search.pareto import hypervolume
from nas.search.standing import Standing, evaluated, idle_batches
from nas.search.warm_start import WARM_START
from search_spaces import SearchSpace

DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]


def trial(*values: float, violation: float = 0.0, known: bool = False) -> FrozenTrial:
    return optuna.create_trial(
        values=list(values), constraints={"limit": violation}, user_attrs={WARM_START: {}} if known else {}
    )


def test_standing_of_a_small_study() -> None:
    trials = [
        trial(0.0, 0.0),
        trial(1.0, 2.0),
        trial(0.4, 1.0),
        trial(0.3, 1.5),
        trial(1.5, 0.5, violation=1.0),  # the best, but not allowed; it widens the box
        trial(0.9, 4.0, known=True),
        optuna.create_trial(state=TrialState.FAIL),
    ]
    found = Standing.of(trials, DIRECTIONS)
    assert (found.evaluated, found.front) == (5, 3)
    # In shares of the box of 1.5 by 4, from its best corner: the reference is at (1.1, 1.1).
    points = [(1.0, 0.0), (1 / 3, 0.5), (1.1 / 1.5, 0.25)]
    area = 0.0
    for (x0, x1), (y0, y1) in itertools.product(
        itertools.pairwise(sorted({*(x for x, _ in points), 1.1})),
        itertools.pairwise(sorted({*(y for _, y in points), 1.1})),
    ):
        area += (x1 - x0) * (y1 - y0) * any(x <= x0 and y <= y0 for x, y in points)
    assert found.hypervolume == pytest.approx(area / 1.21)
    assert str(found) == f"front 3, hypervolume {area / 1.21:.3f}"


def test_standing_of_nothing() -> None:
    assert Standing.of([], DIRECTIONS) == Standing(0, 0, 0.0)
    assert Standing.of([trial(0.5, 1.0, violation=2.0)], DIRECTIONS) == Standing(1, 0, 0.0)
    assert Standing.of([trial(0.5, 1.0)], DIRECTIONS) == Standing(1, 1, 1.0)


def idle_by_hypervolume(trials: list[FrozenTrial], batch_size: int) -> int:
    """By its definition: whole batches at the end that left the hypervolume as it was."""
    known = sum(WARM_START in one.user_attrs for one in trials)
    reference = np.array([1.0, 11.0])

    def volume(count: int) -> float:
        kept = [one for one in trials[:count] if one.constraints["limit"] <= 0]
        values = np.array([[-one.values[0], one.values[1]] for one in kept]).reshape(-1, 2)
        return hypervolume(values, reference)

    batches = (len(trials) - known) // batch_size
    idle = 0
    for batch in range(batches):
        gained = volume(known + (batch + 1) * batch_size) > volume(known + batch * batch_size)
        idle = 0 if gained else idle + 1
    return idle


@pytest.mark.parametrize("known", [0, 7])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_idle_batches_are_those_without_a_gain_of_hypervolume(batch_size: int, known: int) -> None:
    rng = np.random.default_rng(batch_size)
    seen = set()
    for count in range(1, 60):
        trials = [
            trial(*rng.integers(1, 10, 2).astype(float), violation=float(rng.random() < 0.2), known=index < known)
            for index in range(known + count)
        ]
        whole = trials[: known + count // batch_size * batch_size]
        found = idle_batches(whole, DIRECTIONS, batch_size)
        assert found == idle_by_hypervolume(whole, batch_size)
        seen.add(found)
    assert len(seen) > 3


def test_a_search_ends_when_it_gains_no_more(tmp_path: Path, small: SearchSpace) -> None:
    options = {"sampler": "random", "options": {"batch_size": 5}}
    patient = make_worker(tmp_path / "patient", small, evaluate=lambda _: 0.5, **options)
    patient.run(150)
    worker = make_worker(tmp_path / "impatient", small, evaluate=lambda _: 0.5, patience=3, **options)
    worker.run(150)
    count = len(evaluated(worker.study.get_trials()))
    assert count < 150
    assert count % 5 == 0
    assert trial_table(worker.study) == trial_table(patient.study)[:count]
    macs = [one.values[1] for one in patient.study.get_trials()]
    assert min(macs[count - 15 : count]) >= min(macs[: count - 15])
    assert min(macs[count - 20 : count - 15]) < min(macs[: count - 20])
    longer = make_worker(tmp_path / "impatient", small, evaluate=lambda _: 0.5, patience=4, **options)
    longer.run(150)
    assert len(evaluated(longer.study.get_trials())) > count


@pytest.mark.parametrize(("sampler", "options", "size"), [("nsga2", {"population": 4}, 4), ("tpe", {}, 10)])
def test_samplers_without_batches_count_theirs(
    tmp_path: Path, small: SearchSpace, sampler: str, options: dict[str, int], size: int
) -> None:
    worker = make_worker(tmp_path, small, evaluate=lambda _: 0.5, sampler=sampler, options=options, patience=1)
    worker.run(100)  # the first network is the smallest one, which is the whole front
    assert len(evaluated(worker.study.get_trials())) == 2 * size
