"""Samplers in a space of networks: limits on real costs, ends, exhaustion, generations; see also test_samplers.py."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray
from optuna.study import Study
from optuna.trial import TrialState
from synthetic_search import make_worker, objectives_of, synthetic_accuracy, trial_table

import search_spaces
from nas.search.encoding import distributions, trial_codes
from nas.search.limits import cheap_violation, parse_all
from nas.search.metrics import ACCURACY, cheap_metrics
from nas.search.pareto import hypervolume
from nas.search.problem import Problem, Violation
from nas.search.samplers import unique as sampler_module
from nas.search.samplers.by_optuna import NSGAII
from nas.search.samplers.unique import SpaceExhausted
from nas.search.worker import REASON
from search_spaces import Architecture, SearchSpace
from search_spaces.space import Codes

Matrix = NDArray[np.float64]


def problem(space: SearchSpace, violation: Violation) -> Problem:
    """Accuracy against MACs."""
    return Problem(space, tuple(objectives_of([ACCURACY, *cheap_metrics(space, {})])), violation)


def in_memory(space: SearchSpace, budget: int, limits: list[str], population: int = 6, seed: int = 0) -> Study:
    """A finished search of accuracy against MACs, without a file."""
    metrics = cheap_metrics(space, {})
    parsed = parse_all(limits, metrics, space)
    sampler = NSGAII(problem(space, lambda codes: cheap_violation(parsed, metrics, codes)), seed, population)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    accuracy = synthetic_accuracy(space)
    for _ in range(budget):
        trial = study.ask(dict(distributions(space)))
        codes = trial_codes(space, trial.params)
        study.tell(trial, [accuracy(space.architectures(codes)[0]), space.macs(codes)[0] / 1e6])
    return study


def proposals(space: SearchSpace, study: Study) -> Codes:
    return np.concatenate([trial_codes(space, trial.params) for trial in study.get_trials(deepcopy=False)])


def every_architecture(space: SearchSpace) -> list[Architecture]:
    """By brute force: all combinations of options, equal networks once."""
    indices = itertools.product(*(range(len(choice.options)) for choice in space.choices))
    return list(dict.fromkeys(space.architectures(np.array(list(indices)))))


@pytest.mark.parametrize("limits", [[], ["macs_m <= 40 %"], ["macs_m <= 50 % and macs_m >= 30 %", "memory_mb <= 60 %"]])
def test_proposals_are_new_canonical_and_within_the_limits(small: SearchSpace, limits: list[str]) -> None:
    study = in_memory(small, 80, limits)
    codes = proposals(small, study)
    assert len({row.tobytes() for row in codes}) == 80
    metrics = cheap_metrics(small, {})
    assert (cheap_violation(parse_all(limits, metrics, small), metrics, codes) == 0).all()
    for trial in study.get_trials(deepcopy=False):
        assert small.architectures(trial_codes(small, trial.params))[0].values == trial.params


def test_first_proposals_are_the_ends(small: SearchSpace) -> None:
    ends = small.codes([small.smallest(), small.largest()])
    np.testing.assert_array_equal(proposals(small, in_memory(small, 2, [])), ends)
    limited = proposals(small, in_memory(small, 2, ["macs_m <= 40 %"]))
    np.testing.assert_array_equal(limited[:1], ends[:1])
    assert (limited[1] != ends[1]).any()


@pytest.mark.parametrize("limits", [[], ["macs_m <= 80 %"]])
def test_a_tiny_space_is_exhausted_exactly(tmp_path: Path, tiny: SearchSpace, limits: list[str]) -> None:
    metrics = cheap_metrics(tiny, {})
    parsed = parse_all(limits, metrics, tiny)
    architectures = every_architecture(tiny)
    assert len(architectures) == 12
    kept = {a for a in architectures if cheap_violation(parsed, metrics, tiny.codes([a]))[0] == 0}
    assert 0 < len(kept) < 12 or not limits
    for _ in range(2):  # the second run finds it exhausted
        worker = make_worker(tmp_path, tiny, limits)
        worker.run(100)
        trials = worker.study.get_trials(deepcopy=False)
        complete = [trial.params for trial in trials if trial.state == TrialState.COMPLETE]
        found = tiny.architectures(np.concatenate([trial_codes(tiny, params) for params in complete]))
        assert len(found) == len(kept)
        assert set(found) == kept
        assert [trial.state for trial in trials if trial.number >= len(kept)] == [TrialState.FAIL]
        assert "no architecture was found" in trials[-1].user_attrs[REASON]


def test_a_large_space_is_given_up_without_enumeration(small: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_module, "ENUMERABLE", 10)
    monkeypatch.setattr(sampler_module, "all_codes", lambda space: pytest.fail("enumerated"))
    study = optuna.create_study(
        directions=["maximize", "minimize"],
        sampler=NSGAII(problem(small, lambda codes: np.ones(len(codes))), 0, 4),
    )
    with pytest.raises(SpaceExhausted):
        study.ask(dict(distributions(small)))


def test_a_space_of_one_architecture(tmp_path: Path) -> None:
    space = search_spaces.get(
        "convnet",
        resolutions=[8],
        in_channels=1,
        stem=8,
        widths=[[12]],
        strides=[1],
        depths=[[1]],
        blocks=["fused"],
        kernels=[3],
        expansions=[2],
        group_width=4,
        head=16,
    )
    worker = make_worker(tmp_path, space)
    worker.run(5)
    assert [trial.state.name for trial in worker.study.get_trials()] == ["COMPLETE", "FAIL"]


@pytest.mark.parametrize("limits", [[], ["macs_m <= 40 %"]])
def test_reloading_after_every_trial_changes_nothing(tmp_path: Path, small: SearchSpace, limits: list[str]) -> None:
    continuous = make_worker(tmp_path / "continuous", small, limits)
    continuous.run(20)
    for budget in range(1, 21):
        reloaded = make_worker(tmp_path / "reloaded", small, limits)
        reloaded.run(budget)
    assert trial_table(reloaded.study) == trial_table(continuous.study)


def test_population_decides_the_generations(small: SearchSpace) -> None:
    for population in (5, 10):
        trials = in_memory(small, 40, [], population).get_trials(deepcopy=False)
        generations = Counter(trial.system_attrs["NSGAIISampler:generation"] for trial in trials)
        assert generations == dict.fromkeys(range(40 // population), population)


def test_beats_random_search() -> None:
    """150 evaluations in a space of 39 choices, each of which adds to the gain when it has an effect."""
    space = search_spaces.get("convnet")
    shuffle = np.random.default_rng(9).permutation
    gains = [shuffle(len(choice.options)) / max(1, len(choice.options) - 1) for choice in space.choices]

    def values(codes: Codes) -> Matrix:
        active = space.active(codes)
        gain = sum(active[:, column] * table[codes[:, column]] for column, table in enumerate(gains))
        return np.stack([-np.asarray(gain), space.macs(codes) / 1e6], axis=1)

    ends = space.codes([space.smallest(), space.largest()])
    worst = np.array([0.0, values(ends)[:, 1].max()])
    ratios = []
    for seed in range(5):
        sampler = NSGAII(problem(space, lambda codes: np.zeros(len(codes))), seed, 20)
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        for _ in range(150):
            trial = study.ask(dict(distributions(space)))
            study.tell(trial, (values(trial_codes(space, trial.params))[0] * [-1, 1]).tolist())
        found = values(proposals(space, study))
        by_chance = values(np.concatenate([ends, space.codes(space.sample(148, seed))]))
        ratios.append(hypervolume(found, worst) / hypervolume(by_chance, worst))
    assert min(ratios) > 1.0
    assert np.mean(ratios) > 1.06
