"""The default sampler: its contract, batches against brute force, and unusual problems."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

import search_spaces
from nas.errors import UsageError
from nas.search.limits import Limit
from nas.search.metrics import ACCURACY, Metric
from nas.search.pareto import hypervolume
from nas.search.problem import Problem, Violation
from nas.search.samplers import make_sampler, screened
from nas.search.samplers.batch import Batch, History
from nas.search.samplers.screened import ScreenedSampler
from nas.search.surrogates.choice import SURROGATES, Kind, chosen
from nas.search.surrogates.descriptors import Described, Descriptors
from nas.search.surrogates.gaussian_process import GaussianProcess
from nas.search.surrogates.warping import Warping
from nas.testing.samplers import BatchSamplerContract
from nas.testing.searches import MadeUp, Values, anything, made_up_space
from search_spaces import SearchSpace
from search_spaces.space import Choice, Codes

SPACE = made_up_space()
TRUTH = MadeUp(SPACE)
MANY = SearchSpace("many", tuple(Choice(f"c{i}", (1, 2, 3, 4)) for i in range(20)), ())


class TestScreened(BatchSamplerContract):
    sampler = "screened"
    missed = 0.6


class TestScreenedFromTheBeginning(BatchSamplerContract):
    sampler = "screened"
    options = MappingProxyType({"initial": 2, "batch_size": 3})
    missed = 0.4


class TestScreenedByForest(BatchSamplerContract):
    sampler = "screened"
    options = MappingProxyType({"surrogate": "random_forest"})
    missed = 0.8


class TestScreenedByRidge(BatchSamplerContract):
    sampler = "screened"
    options = MappingProxyType({"surrogate": "ridge_ensemble"})
    missed = 0.6


class TestScreenedChoosingOften(BatchSamplerContract):
    """Searches of a few dozen networks in which surrogates change."""

    sampler = "screened"
    missed = 0.6

    @pytest.fixture(autouse=True)
    def often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(screened, "FIRST", 7)
        monkeypatch.setattr(screened, "chosen", by_content)


def by_content(known: Described, values: Values, order: NDArray[np.intp]) -> Kind:
    """Each in turn, by the number of networks and what they are."""
    return list(SURROGATES.values())[int(len(known) / 7 + np.abs(values).sum() * 1e6) % 3]


def sampler(problem: Problem, initial: int = 20, surrogate: str = "chosen") -> ScreenedSampler:
    made = make_sampler("screened", {"initial": initial, "surrogate": surrogate}, problem, 0)
    assert isinstance(made, ScreenedSampler)
    return made


def history(problem: Problem, n: int, values: Callable[[Codes], Values]) -> History:
    """Of random networks within the limits."""
    codes = np.unique(problem.space.random_codes(20 * n, np.random.default_rng(0)), axis=0)
    codes = np.random.default_rng(1).permutation(codes[problem.violation(codes) <= 0])[:n]
    return History(codes, values(codes), codes[:0])


def next_batch(problem: Problem, past: History, n: int = 10) -> Batch:
    return sampler(problem, min(20, len(past.codes))).batch(past, n, np.random.default_rng(0))


def test_the_batch_is_that_of_brute_force() -> None:
    """Of a hundred candidates, each in turn the one with the highest mean difference of hypervolumes."""
    kept = {row.tobytes() for row in SPACE.random_codes(120, np.random.default_rng(7))}
    problem = Problem(
        SPACE, TRUTH.metrics(2), lambda codes: np.array([float(row.tobytes() not in kept) for row in codes])
    )
    past = history(problem, 25, lambda codes: np.stack([TRUTH.accuracy(codes), TRUTH.cost(codes)], axis=1))
    batch = next_batch(problem, past, 4)
    codes = np.unique([np.frombuffer(row, dtype=np.int64) for row in sorted(kept - past.seen)], axis=0)

    losses = past.values * [-1, 1]
    warping = Warping.of(losses[:, 0], float(np.median(losses[:20, 0])))
    losses[:, 0] = warping(losses[:, 0])
    describe = Descriptors(SPACE)
    model = GaussianProcess(describe(past.codes), losses[:, 0])
    mean, covariance = model.joint(describe(codes))
    cost = TRUTH.cost(codes)
    every = np.concatenate([losses[:, 1], cost])
    reference = np.array([warping.bound, every.max() + 0.01 * np.ptp(every)])
    quantiles = norm.ppf((np.arange(60) + 0.5) / 60)
    chosen: list[int] = []
    for reason in batch.reasons:
        front = np.concatenate([losses, np.stack([mean[chosen], cost[chosen]], axis=1)])
        inner = covariance[np.ix_(chosen, chosen)]
        cross = covariance[:, chosen]
        deviation = np.sqrt(np.diag(covariance - cross @ np.linalg.solve(inner, cross.T)))
        before = hypervolume(front, reference)
        gains = [
            np.mean([hypervolume(np.vstack([front, [m + d * q, c]]), reference) - before for q in quantiles])
            for m, d, c in zip(mean, deviation, cost, strict=True)
        ]
        gains = np.where(np.isin(np.arange(len(gains)), chosen), -1, gains)
        chosen.append(int(np.argmax(gains)))
        assert reason["gain"] == pytest.approx(gains[chosen[-1]], rel=0.02)
        assert reason["among"] == len(codes)
        assert reason["predicted"]["cost"] == pytest.approx(cost[chosen[-1]])
        assert reason["predicted"][ACCURACY.name] == pytest.approx(
            -warping.inverse(mean[chosen[-1] : chosen[-1] + 1])[0], rel=1e-3
        )
    np.testing.assert_array_equal(batch.codes, codes[chosen])


def metrics(*cheap: bool) -> tuple[Metric, ...]:
    """Of `MadeUp`, the first one to be maximised; known without evaluation or not."""
    functions = (TRUTH.accuracy, TRUTH.cost, TRUTH.memory)
    directions = ("maximize", "minimize", "minimize")
    named = zip(("accuracy", "cost", "memory"), directions, functions, cheap, strict=False)
    return tuple(Metric(name, direction, "", f if known else None) for name, direction, f, known in named)


def run(problem: Problem, n: int) -> Codes:
    """Evaluated networks of a search by batches of 10 after 10 random ones."""
    functions = (TRUTH.accuracy, TRUTH.cost, TRUTH.memory)[: len(problem.objectives)]
    begun = sampler(problem, 10)
    codes = SPACE.random_codes(0, np.random.default_rng(0))
    while len(codes) < n:
        past = History(codes, np.stack([f(codes) for f in functions], axis=1), codes[:0])
        codes = np.concatenate([codes, begun.batch(past, 10, np.random.default_rng(len(codes))).codes])
    assert len(np.unique(codes, axis=0)) == len(codes) == n
    return codes


@pytest.mark.parametrize(
    "cheap",
    [(True, True), (False, False), (True, False), (True, True, True), (False, False, False), (False, True, False)],
)
def test_any_objectives_may_be_known(cheap: tuple[bool, ...]) -> None:
    """After 100 evaluations of 1,872 networks the search has most of what random draws miss."""
    problem = Problem(SPACE, metrics(*cheap), anything)
    functions = (TRUTH.accuracy, TRUTH.cost, TRUTH.memory)[: len(cheap)]
    everything = np.unique(SPACE.random_codes(60_000, np.random.default_rng(0)), axis=0)

    def volume(codes: Codes) -> float:
        values = np.stack([f(codes) for f in functions], axis=1) * problem.signs
        every = np.stack([f(everything) for f in functions], axis=1) * problem.signs
        return hypervolume(values, every.max(axis=0))

    found, best = volume(run(problem, 100)), volume(everything)
    by_chance = np.mean([volume(np.random.default_rng(seed).permutation(everything)[:100]) for seed in range(20)])
    assert best - found < 0.3 * (best - by_chance)


def test_numbers_of_real_networks() -> None:
    """Both objectives are known, in millions."""
    space = search_spaces.get("nasbench201", cells=1)
    both = Metric("macs", "minimize", "", space.macs), Metric("parameters", "minimize", "", space.parameters)
    problem = Problem(space, both, anything)
    past = history(problem, 30, lambda codes: np.stack([space.macs(codes), space.parameters(codes)], axis=1))
    batch = next_batch(problem, past)
    found = np.stack([space.macs(batch.codes), space.parameters(batch.codes)], axis=1)
    assert len(found) == 10
    assert (found.min(0) <= past.values.min(0)).all()
    assert batch.reasons[0]["gain"] > 0


def evolved(violation: Violation = anything) -> tuple[Problem, Callable[[Codes], Values]]:
    """In a space that is too large to be listed."""
    truth = MadeUp(MANY)
    return Problem(MANY, truth.metrics(2), violation), lambda codes: np.stack(
        [truth.accuracy(codes), truth.cost(codes)], 1
    )


def test_a_large_space_is_searched_for_better_networks() -> None:
    problem, values = evolved()
    past = history(problem, 100, values)
    batch = next_batch(problem, past)
    reference = np.array([-np.median(past.values[:, 0]), past.values[:, 1].max()])
    found = values(batch.codes) * problem.signs
    drawn = values(MANY.random_codes(10, np.random.default_rng(3))) * problem.signs
    before = past.values * problem.signs
    more, by_chance = (hypervolume(np.vstack([before, new]), reference) for new in (found, drawn))
    assert more > 1.05 * by_chance
    assert all(reason["source"] == "screened" and reason["among"] > 1000 for reason in batch.reasons)


@pytest.mark.parametrize("share", [0.0, 1e-3])
def test_limits_that_hardly_anything_keeps(share: float) -> None:
    """One network in a thousand: everything is found by chance; none but the evaluated ones: neighbours of those."""
    _, values = evolved()
    tight = float(np.quantile(MadeUp(MANY).cost(MANY.random_codes(20_000, np.random.default_rng(0))), 0.01))
    limited, _ = evolved(lambda codes: np.maximum(0, MadeUp(MANY).cost(codes) - tight * (1 - share)))
    past = history(limited, 12, values)
    batch = next_batch(limited, past)
    assert len(batch.codes) == 10
    assert (limited.violation(batch.codes) <= 0).all()
    assert not past.seen & {row.tobytes() for row in batch.codes}


@pytest.mark.parametrize("constant", [[0.5, np.nan], [np.nan, 3.0], [0.5, 3.0]])
@pytest.mark.parametrize("cheap", [True, False])
def test_objectives_that_are_constant(constant: list[float], cheap: bool) -> None:
    def values(codes: Codes) -> Values:
        true = np.stack([TRUTH.accuracy(codes), TRUTH.cost(codes)], axis=1)
        return np.where(np.isnan(constant), true, constant)

    both = (ACCURACY, Metric("cost", "minimize", "", (lambda codes: values(codes)[:, 1]) if cheap else None))
    problem = Problem(SPACE, both, anything)
    batch = next_batch(problem, history(problem, 30, values))
    assert len(np.unique(batch.codes, axis=0)) == 10
    for reason in batch.reasons:
        assert np.isfinite([reason["gain"], *reason["deviation"].values(), *reason["predicted"].values()]).all()
    if np.isnan(constant[0]):  # the cost does not matter: only the accuracy does
        assert TRUTH.accuracy(batch.codes).mean() > np.quantile(
            TRUTH.accuracy(SPACE.random_codes(999, np.random.default_rng(0))), 0.9
        )


@pytest.mark.parametrize("goal", [Limit(ACCURACY.name, -1, 0.85), Limit(ACCURACY.name, -1, 1e9), Limit("cost", 1, 5.0)])
def test_goals_say_what_matters(goal: Limit) -> None:
    """More of a batch reaches a goal than without it; one that nothing reaches, or on something cheap, does no harm."""
    whole = Problem(SPACE, TRUTH.metrics(2), anything)
    past = history(whole, 40, lambda codes: np.stack([TRUTH.accuracy(codes), TRUTH.cost(codes)], axis=1))
    aimed = next_batch(Problem(SPACE, whole.objectives, anything, (goal,)), past)
    assert len(aimed.codes) == 10
    if goal.value == 0.85:
        reaching = (TRUTH.accuracy(aimed.codes) >= 0.85).mean()
        assert reaching >= (TRUTH.accuracy(next_batch(whole, past).codes) >= 0.85).mean()
        assert reaching > (past.values[:, 0] >= 0.85).mean()


def test_too_few_networks_to_begin_with() -> None:
    with pytest.raises(UsageError, match="initial is 1"):
        sampler(Problem(SPACE, TRUTH.metrics(2), anything), 1)


def test_a_surrogate_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="no surrogate 'random_forrest'"):
        sampler(Problem(SPACE, TRUTH.metrics(2), anything), surrogate="random_forrest")


# -------------------------------------------------------------------- surrogates


def stepped(codes: Codes) -> Values:
    """Something of which a forest is the best model, and a sum."""
    a, b, c = (codes[:, column] for column in (2, 9, 17))
    gain = np.where(a < 2, np.where(b < 2, 0.0, 5.0), np.where(c < 2, 9.0, 2.0))
    return np.stack([gain, MadeUp(MANY).cost(codes)], axis=1)


@pytest.fixture(scope="module")
def both_expensive() -> tuple[Problem, History]:
    both = ACCURACY, Metric("cost", "minimize", "", None)
    problem = Problem(MANY, both, anything)
    return problem, history(problem, 230, stepped)


def surrogates(batch: Batch) -> dict[str, str]:
    (named,) = {tuple(reason["surrogates"].items()) for reason in batch.reasons}
    return dict(named)


def test_each_objective_has_the_surrogate_that_fits_it(both_expensive: tuple[Problem, History]) -> None:
    problem, past = both_expensive
    named = surrogates(next_batch(problem, past))
    assert named["accuracy"] == "random_forest"
    assert named["cost"] in {"gaussian_process", "ridge_ensemble"}
    assert set(surrogates(next_batch(problem, past.first(199))).values()) == {"gaussian_process"}


@pytest.mark.parametrize("name", SURROGATES)
def test_it_may_be_asked_for(both_expensive: tuple[Problem, History], name: str) -> None:
    problem, past = both_expensive
    batch = sampler(problem, surrogate=name).batch(past.first(60), 5, np.random.default_rng(0))
    assert surrogates(batch) == {"accuracy": name, "cost": name}


def test_cheap_objectives_have_none() -> None:
    problem = Problem(MANY, MadeUp(MANY).metrics(2), anything)
    past = history(problem, 40, stepped)
    assert list(surrogates(next_batch(problem, past))) == [ACCURACY.name]


def test_the_choice_is_made_by_the_first_networks_alone(
    both_expensive: tuple[Problem, History], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for all histories that begin with the same 200; a sampler that has seen others, more or fewer, agrees with a new
    one."""
    problem, past = both_expensive
    calls = []

    def counted(known: Described, values: Values, order: NDArray[np.intp]) -> Kind:
        calls.append(len(known))
        return chosen(known, values, order)

    monkeypatch.setattr(screened, "chosen", counted)
    used = sampler(problem)
    batches = {n: used.batch(past.first(n), 3, np.random.default_rng(n)) for n in (230, 200, 210)}
    assert calls == [200, 200]  # one by objective
    other = History(past.codes[::-1].copy(), past.values[::-1].copy(), past.others)
    changed = used.batch(other, 3, np.random.default_rng(0))
    assert len(calls) == 4
    for n, batch in batches.items():
        again = sampler(problem).batch(past.first(n), 3, np.random.default_rng(n))
        np.testing.assert_array_equal(batch.codes, again.codes)
        assert batch.reasons == again.reasons == used.batch(past.first(n), 3, np.random.default_rng(n)).reasons
    assert changed.reasons == sampler(problem).batch(other, 3, np.random.default_rng(0)).reasons
