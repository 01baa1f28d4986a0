"""What the simple samplers propose, where theory says it."""

from __future__ import annotations

import numpy as np
import pytest

from nas.errors import UsageError
from nas.search.limits import Limit
from nas.search.metrics import ACCURACY
from nas.search.pareto import nondominated
from nas.search.samplers import make_sampler
from nas.search.samplers.batch import History
from nas.testing.searches import MadeUp, Search, made_up_space
from search_spaces import SearchSpace
from search_spaces.space import Choice, Codes

SPACE = made_up_space()
TRUTH = MadeUp(SPACE)


def distance(a: Codes, b: Codes) -> int:
    """Choices in which two networks differ, of those that have an effect in both."""
    return int(((a != b) & SPACE.active(np.stack([a, b])).all(axis=0)).sum())


def history(n: int, seed: int = 0) -> History:
    """Of random networks."""
    codes = np.unique(SPACE.random_codes(n, np.random.default_rng(seed)), axis=0)
    codes = codes[np.random.default_rng(seed).permutation(len(codes))]
    return History(codes, np.stack([TRUTH.accuracy(codes), TRUTH.cost(codes)], axis=1), codes[:0])


def parents(children: Codes, candidates: Codes) -> list[set[int]]:
    """Rows of `candidates` from which each child differs in one choice."""
    return [{row for row, code in enumerate(candidates) if distance(child, code) == 1} for child in children]


def test_local_search_proposes_neighbours_of_the_front() -> None:
    past = history(60)
    front = past.codes[nondominated(past.values * [-1, 1])]
    sampler = make_sampler("local_search", {}, Search.begin(SPACE).problem, 0)
    batch = sampler.batch(past, 30, np.random.default_rng(0))
    assert [dict(reason) for reason in batch.reasons] == [{"source": "neighbour"}] * 30
    assert all(parents(batch.codes, front))


def test_local_search_with_a_goal_keeps_to_what_reaches_it() -> None:
    past = history(60)
    goal = float(np.quantile(past.values[:, 0], 0.8))
    reaching = past.values[:, 0] >= goal
    front = past.codes[reaching][nondominated(past.values[reaching] * [-1, 1])]
    problem = Search.begin(SPACE, goals=[Limit(ACCURACY.name, -1, goal)]).problem
    batch = make_sampler("local_search", {}, problem, 0).batch(past, 30, np.random.default_rng(0))
    assert all(parents(batch.codes, front))
    # While nothing reaches it, the most accurate network is the one to go on from.
    beyond = Search.begin(SPACE, goals=[Limit(ACCURACY.name, -1, 2.0)]).problem
    batch = make_sampler("local_search", {}, beyond, 0).batch(past, 5, np.random.default_rng(0))
    assert all(parents(batch.codes, past.codes[[past.values[:, 0].argmax()]]))


def test_local_search_ends_where_no_neighbour_is_better() -> None:
    """Only when all neighbours of its front were evaluated it goes on with random networks."""
    space = SearchSpace("plain", tuple(Choice(name, (1, 2, 3, 4)) for name in "abcde"), ())
    search = Search.begin(space)
    sampler = make_sampler("local_search", {}, search.problem, 0)
    search.run(sampler, 400)
    reasons = [trial.user_attrs["proposal"]["source"] for trial in search.study.get_trials(deepcopy=False)]
    first = reasons.index("random", 10)
    past = sampler.history(search.study, first // 10 * 10)
    evaluated = {tuple(row) for row in search.evaluated()[:first].tolist()}
    for row in past.codes[nondominated(past.values * [-1, 1])]:
        for column in range(5):
            for option in range(4):
                assert (*row[:column], option, *row[column + 1 :]) in evaluated


def test_evolution_forgets_the_old_and_prefers_the_best() -> None:
    past = history(60)
    young = past.codes[-20:]
    problem = Search.begin(SPACE).problem
    options = {"population": 20, "tournament": 20}  # everyone takes part: a parent is of the population's front
    batch = make_sampler("regularized_evolution", options, problem, 0).batch(past, 10, np.random.default_rng(0))
    front = young[nondominated(past.values[-20:] * [-1, 1])]
    assert all(parents(batch.codes, front))
    alone = {"population": 20, "tournament": 1}  # nobody is compared: parents are of the whole population
    batch = make_sampler("regularized_evolution", alone, problem, 0).batch(past, 40, np.random.default_rng(0))
    found = parents(batch.codes, young)
    assert all(found)
    assert len({next(iter(rows)) for rows in found if len(rows) == 1}) > 8


def test_evolution_begins_at_random() -> None:
    search = Search.begin(SPACE)
    search.run(make_sampler("regularized_evolution", {"population": 20}, search.problem, 0), 40)
    reasons = [trial.user_attrs["proposal"]["source"] for trial in search.study.get_trials(deepcopy=False)]
    assert reasons == ["random"] * 20 + ["child"] * 20


def test_an_impossible_tournament_is_refused() -> None:
    problem = Search.begin(SPACE).problem
    with pytest.raises(UsageError, match="tournament is between 1 and the population 5, not 10"):
        make_sampler("regularized_evolution", {"population": 5}, problem, 0)
    with pytest.raises(UsageError, match="tournament"):
        make_sampler("regularized_evolution", {"tournament": 0}, problem, 0)


def test_goals_missed_is_written_out() -> None:
    problem = Search.begin(
        SPACE, goals=[Limit("accuracy", -1, 0.5), Limit("cost", 1, 3.0), Limit("other", 1, 0)]
    ).problem
    values = np.array([[0.5, 3.0], [0.2, 2.0], [0.9, 7.0], [0.1, 4.0]])
    np.testing.assert_allclose(problem.goals_missed(values), [0, 0.3, 4, 1.4])
