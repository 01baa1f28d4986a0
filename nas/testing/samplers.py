"""The contract of a sampler: new networks within the limits, decided by the study's content and the seed alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pytest
from optuna.trial import TrialState

from nas.search.encoding import trial_codes
from nas.search.feasibility import all_codes
from nas.search.limits import Limit
from nas.search.metrics import ACCURACY
from nas.search.pareto import hypervolume
from nas.search.queue import refill
from nas.search.samplers import make_sampler
from nas.search.samplers.batch import BatchSampler
from nas.search.samplers.unique import SpaceExhausted, UniqueSampler
from nas.testing.searches import MadeUp, Search, Values, made_up_space, single_space, tiny_space
from search_spaces import SearchSpace
from search_spaces.space import Codes


class SamplerContract:
    """Subclass it as `TestMySampler` with a `sampler`; `options` make it quick.

    Attributes:
        sampler: name for `nas.search.samplers.make_sampler`.
        options: of the sampler.
        budget: evaluations of a search, enough for everything that the sampler does to happen.
        searches: how many are compared with random draws.
        missed: how much of the hypervolume its searches may miss, of what random draws miss.
    """

    sampler: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    budget: ClassVar[int] = 40
    searches: ClassVar[int] = 5
    missed: ClassVar[float] = 0.9

    def new(self, search: Search, seed: int = 0) -> UniqueSampler:
        """A sampler that has seen nothing."""
        return make_sampler(self.sampler, self.options, search.problem, seed)

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return made_up_space()

    # --------------------------------------------------------------- proposals

    @pytest.mark.parametrize("objectives", [2, 3])
    @pytest.mark.parametrize("limit", [np.inf, 6.0])
    def test_proposals_are_new_canonical_and_within_the_limits(
        self, space: SearchSpace, objectives: int, limit: float
    ) -> None:
        cost = MadeUp(space).cost
        search = Search.begin(space, lambda codes: np.maximum(0, cost(codes) - limit), objectives=objectives)
        codes = search.run(self.new(search), self.budget)
        assert len(np.unique(codes, axis=0)) == self.budget
        assert (cost(codes) <= limit).all()
        for trial in search.study.get_trials(deepcopy=False):
            assert space.architectures(trial_codes(space, trial.params))[0].values == trial.params

    def test_rare_architectures_are_all_found(self, space: SearchSpace) -> None:
        """Those that keep the limits differ from each other in nearly all choices."""
        rare = np.unique(space.random_codes(6, np.random.default_rng(5)), axis=0)
        kept = {row.tobytes() for row in rare}
        search = Search.begin(space, lambda codes: np.array([float(row.tobytes() not in kept) for row in codes]))
        codes = search.run(self.new(search), len(rare))
        assert {row.tobytes() for row in codes} == kept
        with pytest.raises(SpaceExhausted):
            search.run(self.new(search), 1)

    @pytest.mark.parametrize("make", [tiny_space, single_space])
    def test_a_tiny_space_is_exhausted_exactly(self, make: Callable[[], SearchSpace]) -> None:
        search = Search.begin(make())
        size = search.problem.space.size
        assert len(np.unique(search.run(self.new(search), size), axis=0)) == size
        with pytest.raises(SpaceExhausted):
            search.run(self.new(search), 1)
        assert len(search.evaluated()) == size

    def test_limits_that_nothing_keeps(self, space: SearchSpace) -> None:
        search = Search.begin(space, lambda codes: np.ones(len(codes)))
        with pytest.raises(SpaceExhausted):
            search.run(self.new(search), 1)

    def test_it_finds_more_than_random_draws(self, space: SearchSpace) -> None:
        """100 evaluations of 1,872 networks; means over some searches, and over 200 random draws without repeats."""
        everything = all_codes(space)
        reference = _values(space, everything).max(axis=0)
        best = hypervolume(_values(space, everything), reference)
        rng = np.random.default_rng(0)
        draws = [rng.choice(len(everything), 100, replace=False) for _ in range(200)]
        by_chance = [hypervolume(_values(space, everything[rows]), reference) for rows in draws]
        searches = [(Search.begin(space), seed) for seed in range(self.searches)]
        found = [s.run(self.new(s, seed), 100) for s, seed in searches]
        volumes = [hypervolume(_values(space, codes), reference) for codes in found]
        assert best - np.mean(volumes) < self.missed * (best - np.mean(by_chance))

    # ------------------------------------------------------------------- goals

    @pytest.mark.parametrize("goal", [0.0, 0.6, 2.0])
    def test_goals_that_all_some_or_no_networks_reach(self, space: SearchSpace, goal: float) -> None:
        search = Search.begin(space, goals=[Limit(ACCURACY.name, -1, goal)])
        codes = search.run(self.new(search), self.budget)
        assert len(np.unique(codes, axis=0)) == self.budget

    # ----------------------------------------------------------- reproducibility

    @pytest.mark.parametrize("goals", [(), (Limit(ACCURACY.name, -1, 0.6),)])
    def test_reloading_after_every_trial_changes_nothing(self, space: SearchSpace, goals: tuple[Limit, ...]) -> None:
        continuous, reloaded = Search.begin(space, goals=goals), Search.begin(space, goals=goals)
        continuous.run(self.new(continuous), self.budget)
        for _ in range(self.budget):
            reloaded.run(self.new(reloaded), 1)
        assert reloaded.table() == continuous.table()

    def test_seed_decides(self, space: SearchSpace) -> None:
        searches = [Search.begin(space) for _ in range(3)]
        first, same, other = (s.run(self.new(s, seed), 20) for s, seed in zip(searches, (3, 3, 4), strict=True))
        np.testing.assert_array_equal(first, same)
        assert (first != other).any()

    def test_failed_trials_are_not_proposed_again(self) -> None:
        search = Search.begin(tiny_space())
        search.run(self.new(search), 5)
        trial = search.ask(self.new(search))
        search.study.tell(trial, state=TrialState.FAIL)
        codes = search.run(self.new(search), search.problem.space.size - 6)
        failed = trial_codes(search.problem.space, trial.params)
        assert len(np.unique(np.concatenate([codes, failed]), axis=0)) == search.problem.space.size

    def test_networks_that_others_evaluate_are_not_proposed_again(self) -> None:
        search = Search.begin(tiny_space())
        space = search.problem.space
        running = [search.ask(self.new(search)) for _ in range(space.size)]
        codes = np.concatenate([trial_codes(space, trial.params) for trial in running])
        assert len(np.unique(codes, axis=0)) == space.size
        with pytest.raises(SpaceExhausted):
            search.ask(self.new(search))


class BatchSamplerContract(SamplerContract):
    """For samplers that propose several networks at once."""

    def new(self, search: Search, seed: int = 0) -> BatchSampler:
        """A sampler that has seen nothing."""
        sampler = super().new(search, seed)
        assert isinstance(sampler, BatchSampler)
        return sampler

    def test_a_batch_depends_on_its_arguments_alone(self, space: SearchSpace) -> None:
        search = Search.begin(space)
        used = self.new(search)
        search.run(used, self.budget)
        history = used.history(search.study, self.budget)
        for n in (1, 7, 30):
            batch = used.batch(history, n, np.random.default_rng(3))
            again = self.new(search, seed=5).batch(history, n, np.random.default_rng(3))
            np.testing.assert_array_equal(batch.codes, again.codes)
            assert 1 <= len(batch.codes) <= n
            assert len(batch.reasons) == len(batch.codes)
            assert json.loads(json.dumps(batch.reasons)) == batch.reasons
            assert not history.seen & {row.tobytes() for row in batch.codes}

    def test_a_partially_added_batch_is_completed(self, space: SearchSpace) -> None:
        """As a process leaves it that was killed while it added the trials."""
        whole, cut = Search.begin(space), Search.begin(space)
        sampler = self.new(whole)
        whole.run(sampler, self.budget)
        refill(whole.study, sampler, whole.study.get_trials(deepcopy=False))
        trials = whole.study.get_trials()
        assert len(trials) > self.budget + 1
        for trial in trials[:-1]:
            cut.study.add_trial(trial)
        refill(cut.study, self.new(cut), cut.study.get_trials(deepcopy=False))
        assert cut.table() == whole.table()


def _values(space: SearchSpace, codes: Codes) -> Values:
    """Both to be minimised, shape (n, 2)."""
    made_up = MadeUp(space)
    return np.stack([-made_up.accuracy(codes), made_up.cost(codes)], axis=1)
