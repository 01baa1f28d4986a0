"""Evaluation in stages: the bounds against simulation, the rule by hand, and searches that are killed."""

from __future__ import annotations

import itertools
import math
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from synthetic_search import fork, make_worker, synthetic_accuracy, trial_table

from nas.search.engines import LocalEvaluation
from nas.search.fidelity import (
    HITS,
    RUNGS,
    STOPPED,
    Bar,
    Race,
    Score,
    bar_of,
    is_complete,
    most_gained,
    most_marked,
    packed,
    unpacked,
)
from nas.search.journal import JournalStore
from nas.search.limits import Limit
from nas.search.metrics import ACCURACY, Metric
from nas.search.pareto import nondominated
from nas.search.standing import Standing, idle_batches
from nas.search.storage import load
from nas.search.worker import Worker, evaluations
from search_spaces import Architecture, SearchSpace

Hits = NDArray[np.bool_]


def in_batches(hits: Hits, size: int = 10) -> Iterator[Hits]:
    return (hits[start : start + size] for start in range(0, len(hits), size))


# ---------------------------------------------------------------- the bounds


@pytest.mark.parametrize(("population", "drawn"), [(20, 7), (31, 1), (12, 12), (40, 33)])
@pytest.mark.parametrize("risk", [0.003, 0.05, 0.4])
def test_marked_items_are_covered_exactly(population: int, drawn: int, risk: float) -> None:
    """All draws, with their probabilities as quotients of binomial coefficients."""
    ways = math.comb(population, drawn)

    def chance(found: int, marked: int) -> float:
        return math.comb(marked, found) * math.comb(population - marked, drawn - found) / ways

    bound = [most_marked(found, drawn, population, risk) for found in range(drawn + 1)]
    for marked in range(population + 1):
        missed = sum(chance(found, marked) for found in range(drawn + 1) if bound[found] < marked)
        assert missed <= risk + 1e-12
    for found in range(drawn + 1):  # and it is no larger than that takes
        likely = [m for m in range(population + 1) if sum(chance(f, m) for f in range(found + 1)) > risk]
        possible = [m for m in likely if found <= m <= population - (drawn - found)]
        assert bound[found] == max(possible)


@pytest.mark.parametrize(("better", "worse"), [(20, 19), (90, 89), (300, 299), (250, 130), (3, 0)])
@pytest.mark.parametrize("seen", [125, 250, 500])
def test_differences_are_covered(better: int, worse: int, seen: int) -> None:
    """Draws of images without replacement; on how many two networks differ is not known to the bound."""
    total, risk, draws = 1000, 0.02, 20_000
    rng = np.random.default_rng(seen)
    drawn = rng.multivariate_hypergeometric([better, worse, total - better - worse], seen, size=draws)
    pairs, counts = np.unique(drawn[:, :2], axis=0, return_counts=True)
    bounds = [most_gained(int(b), int(w), seen, total, risk) for b, w in pairs]
    missed = counts[np.array(bounds) < better - worse].sum() / draws
    assert missed <= risk + 3 * math.sqrt(risk / draws)


def test_nothing_is_concluded_from_equal_images() -> None:
    assert most_gained(0, 0, 100, 1000, 0.01) > 0
    assert most_gained(0, 1, 100, 1000, 0.01) > 0


def test_the_bound_of_all_images_is_the_difference() -> None:
    assert most_gained(7, 12, 100, 100, 0.01) == -5
    assert most_marked(31, 100, 100, 0.01) == 31


# ------------------------------------------------------------------ the rule


def a_pair(better: int, worse: int, total: int, rng: np.random.Generator) -> tuple[Hits, Hits]:
    """Two networks that differ on so many images; both classify four fifths of the others correctly."""
    first, second = (np.arange(total) < 0.8 * total for _ in range(2))
    first[:better], second[:better] = True, False
    first[better : better + worse], second[better : better + worse] = False, True
    order = rng.permutation(total)
    return first[order], second[order]


def test_a_network_that_is_hardly_better_is_hardly_ever_stopped() -> None:
    """The worst case: better by a single image of 2,000. Every rung may stop it."""
    rng, draws, risk = np.random.default_rng(0), 400, 0.1
    stopped = 0
    for _ in range(draws):
        own, rival = a_pair(151, 150, 2000, rng)
        score = Race(risk=risk).run(in_batches(own, 50), 2000, Bar(float(rival.mean()), 0, rival))
        stopped += STOPPED in score.attributes
    assert 0 < stopped / draws <= risk + 2 * math.sqrt(risk / draws)


def test_much_worse_networks_are_stopped_at_the_first_rung() -> None:
    own, rival = a_pair(50, 350, 2000, np.random.default_rng(0))
    read = itertools.count()
    batches = (batch for batch, _ in zip(in_batches(own), read, strict=False))
    score = Race().run(batches, 2000, Bar(float(rival.mean()), 3, rival))
    assert score.attributes[STOPPED]["images"] == 2000 * RUNGS[0]
    assert score.attributes[STOPPED]["of"] == 2000
    assert score.attributes[STOPPED]["rival"] == 3
    assert score.accuracy <= score.attributes[STOPPED]["upper"] <= rival.mean()
    assert next(read) <= 2000 * RUNGS[0] / 10 + 1  # no further images were evaluated


def test_the_same_images_tell_more() -> None:
    """24 of 2,000 images worse and never better: seen from the images that differ; not from the two shares."""
    own, rival = a_pair(0, 24, 2000, np.random.default_rng(1))
    accuracy = float(rival.mean())
    assert STOPPED in Race().run(in_batches(own), 2000, Bar(accuracy, 0, rival)).attributes
    assert Race().run(in_batches(own), 2000, Bar(accuracy, 0)) == Score(float(own.mean()))


def test_estimates_are_of_all_images() -> None:
    """The first images are easy ones: the share of them that is correct would be above the rival's accuracy."""
    rival = np.arange(800) < 600
    own = rival & (np.arange(800) % 5 > 0)
    score = Race().run(in_batches(own), 800, Bar(0.75, 0, rival))
    assert score.attributes[STOPPED]["images"] == 100
    assert own[:100].mean() > 0.75
    assert score.accuracy == pytest.approx(0.75 - 0.2)


def test_a_network_that_is_not_stopped_has_its_accuracy() -> None:
    rng = np.random.default_rng(0)
    for seen in range(60):
        own, rival = a_pair(100 + seen, 100, 1501, rng)
        score = Race().run(in_batches(own), 1501, Bar(float(rival.mean()), 0, rival))
        if seen > 0:
            assert score == Score(int(own.sum()) / 1501, {HITS: packed(own)})
        elif STOPPED not in score.attributes:
            assert score == Score(
                int(own.sum()) / 1501
            )  # as good as the rival, which stays: no need to keep its images


@pytest.mark.parametrize(("accuracy", "stops"), [(0.6, True), (0.799, False), (0.8, False)])
def test_a_limit_alone_stops(accuracy: float, stops: bool) -> None:
    own = np.random.default_rng(0).permutation(np.arange(2000) < 2000 * accuracy)
    score = Race().run(in_batches(own), 2000, Bar(0.8))
    assert (STOPPED in score.attributes) == stops
    assert (HITS in score.attributes) == (accuracy >= 0.8)
    assert score.accuracy < 0.8 or not stops


def test_no_rival_and_no_limit_stops_nothing() -> None:
    assert Race().run(in_batches(np.zeros(100, dtype=np.bool_)), 100, Bar()) == Score(
        0.0, {HITS: packed(np.zeros(100, dtype=np.bool_))}
    )


def test_hits_go_through_json() -> None:
    hits = np.random.default_rng(0).random(1003) < 0.7
    assert np.array_equal(unpacked(packed(hits)), hits)
    assert len(packed(np.zeros(5000, dtype=np.bool_))["bits"]) < 900


# ------------------------------------------------------------------- the bar

COST, GAIN = Metric("cost", "minimize", ""), Metric("gain", "maximize", "")


def trial(*values: float, violation: float = 0.0, **attributes: Any) -> FrozenTrial:
    return optuna.create_trial(values=list(values), constraints={"limit": violation}, user_attrs=attributes)


def numbered(*trials: FrozenTrial) -> list[FrozenTrial]:
    for number, one in enumerate(trials):
        one.number = number
    return list(trials)


def test_the_rival_is_the_most_accurate_that_is_no_worse_otherwise() -> None:
    hits = packed(np.array([True, False, True]))
    trials = numbered(
        trial(0.5, 1.0, 9.0),
        trial(0.7, 2.0, 9.0, **{HITS: hits}),
        trial(0.8, 3.0, 9.0),  # costs more
        trial(0.9, 2.0, 8.0),  # gains less
        trial(0.9, 1.0, 9.0, violation=0.1),
        trial(0.9, 1.0, 9.0, **{STOPPED: {}}),
        optuna.create_trial(state=TrialState.FAIL),
        optuna.create_trial(state=TrialState.RUNNING),
    )
    objectives = [ACCURACY, COST, GAIN]
    bar = bar_of(trials, objectives, [], {"cost": 2.0, "gain": 9.0})
    assert (bar.accuracy, bar.rival) == (0.7, 1)
    assert bar.hits is not None
    assert bar.hits.tolist() == [True, False, True]
    assert bar_of(trials, objectives, [], {"cost": 1.5, "gain": 9.0}) == Bar(0.5, 0)
    assert bar_of(trials, objectives, [], {"cost": 0.5, "gain": 9.0}) == Bar()
    assert bar_of(trials, objectives, [Limit("accuracy", -1, 0.6)], {"cost": 0.5, "gain": 9.0}) == Bar(0.6)
    assert bar_of(trials, objectives, [Limit("accuracy", 1, 0.6)], {"cost": 0.5, "gain": 9.0}) == Bar()
    assert bar_of([], [COST, GAIN], [Limit("accuracy", -1, 0.6)], {"cost": 0.5, "gain": 9.0}) == Bar(0.6)


# --------------------------------------------------------------- the searches

BUDGET, IMAGES = 30, 800


def synthetic_race(space: SearchSpace, race: Race | None = None) -> Callable[[Architecture, Bar], Score]:
    """Of networks that find the same images hard; an image's luck with a network depends on both alone."""
    accuracy = synthetic_accuracy(space)
    hardness = np.random.default_rng(0).random(IMAGES)

    def run(architecture: Architecture, bar: Bar) -> Score:
        luck = np.random.default_rng(list(architecture.key.encode())).normal(0, 0.1, IMAGES)
        hits = hardness + luck < accuracy(architecture)
        return (race or Race()).run(in_batches(hits, 20), IMAGES, bar)

    return run


def attributes(study: optuna.Study) -> list[Any]:
    return [{**t.user_attrs, "worker": None, "attempts": None} for t in study.get_trials(deepcopy=False)]


def front(worker: Worker) -> list[list[float]]:
    done = [t for t in worker.study.get_trials(deepcopy=False) if all(v <= 0 for v in t.constraints.values())]
    values = np.array([t.values for t in done]) * [-1, 1]
    return sorted(np.unique(values[nondominated(values)], axis=0).tolist())


SAMPLERS: dict[str, dict[str, Any]] = {"nsga2": {"population": 6}, "random": {"batch_size": 6}}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_killed_search_is_resumed_identically(tmp_path: Path, small: SearchSpace, sampler: str) -> None:
    def begin(folder: Path) -> Worker:
        options = {"sampler": sampler, "options": SAMPLERS[sampler]}
        return make_worker(folder, small, ["accuracy >= 0.3"], race=synthetic_race(small), **options)

    def die(after: int) -> None:
        worker, left = begin(tmp_path / "killed"), iter(range(after))

        def race(architecture: Architecture, bar: Bar | None) -> Score:
            if next(left, None) is None:
                os._exit(9)
            assert bar is not None
            return synthetic_race(small)(architecture, bar)

        replace(worker, engine=LocalEvaluation(race)).run(BUDGET)

    undisturbed = begin(tmp_path / "undisturbed")
    undisturbed.run(BUDGET)
    draw, exits = random.Random(0), list[int | None]()
    while not exits or exits[-1] != 0:
        after = draw.randrange(2, 12)
        process = fork(lambda after=after: die(after))  # type: ignore[misc]
        process.join(60)
        exits.append(process.exitcode)
    killed = load(JournalStore(tmp_path / "killed" / "study.journal"))
    assert exits.count(9) == len(exits) - 1 > 1
    assert trial_table(killed) == trial_table(undisturbed.study)
    assert attributes(killed) == attributes(undisturbed.study)
    assert any(STOPPED in found for found in attributes(killed))


def test_the_same_networks_have_the_same_front(tmp_path: Path, small: SearchSpace) -> None:
    """Random proposals do not depend on values: both searches evaluate the same networks."""
    workers = {
        name: make_worker(tmp_path / name, small, race=race, sampler="random", options={"batch_size": 10})
        for name, race in {
            "stages": synthetic_race(small),
            "complete": synthetic_race(small, Race(rungs=())),
        }.items()
    }
    for worker in workers.values():
        worker.run(120)
    found = {name: evaluations(worker.study) for name, worker in workers.items()}
    stopped = [one for one in found["stages"] if not one.complete]
    assert 30 < len(stopped) < 119
    assert all(one.complete for one in found["complete"])
    assert [one.architecture for one in found["stages"]] == [one.architecture for one in found["complete"]]
    for one, whole in zip(found["stages"], found["complete"], strict=True):
        assert one.complete is False or one.metrics == whole.metrics
    assert front(workers["stages"]) == front(workers["complete"])  # also of Optuna, which takes the estimates as values


def test_no_stopped_network_is_ever_on_a_front(tmp_path: Path, small: SearchSpace) -> None:
    """Even when nothing but its own mark says that it was stopped: another device may have other costs."""
    worker = make_worker(tmp_path, small, race=synthetic_race(small))
    worker.run(60)
    trials = worker.study.get_trials(deepcopy=False)
    assert all(is_complete(best) for best in worker.study.best_trials)
    stopped = [t for t in trials if not is_complete(t)]
    assert stopped
    for one in stopped:  # the rival that stopped it dominates what is recorded
        rival = trials[one.user_attrs[STOPPED]["rival"]]
        assert rival.values[0] > one.values[0]
        assert rival.values[1] <= one.values[1]


def test_standing_leaves_stopped_networks_out() -> None:
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    trials = numbered(trial(0.5, 1.0), trial(0.9, 0.5, **{STOPPED: {}}), trial(0.4, 0.9))
    assert Standing.of(trials, directions).front == 2
    assert Standing.of(trials, directions).evaluated == 3
    assert idle_batches(numbered(trial(0.5, 1.0), trial(0.9, 0.5, **{STOPPED: {}})), directions, 1) == 1


def test_several_workers_race(tmp_path: Path, small: SearchSpace) -> None:
    def begin() -> Worker:
        return make_worker(tmp_path, small, race=synthetic_race(small))

    begin()
    processes = [fork(lambda: begin().run(BUDGET)) for _ in range(2)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    found = evaluations(load(JournalStore(tmp_path / "study.journal")))
    assert len({one.architecture for one in found}) == len(found) == BUDGET
    exact = synthetic_race(small, Race(rungs=()))
    assert all(one.metrics["accuracy"] == exact(one.architecture, Bar()).accuracy for one in found if one.complete)
    assert not all(one.complete for one in found)
