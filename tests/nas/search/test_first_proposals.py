"""Networks with which a search begins: each is proposed once, whoever was killed, and none later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState
from synthetic_search import make_worker, trial_table

from nas.search.encoding import trial_codes
from nas.search.queue import PROPOSAL, propose_first
from nas.search.warm_start import WARM_START
from nas.search.worker import Worker
from search_spaces import SearchSpace
from search_spaces.space import Codes

REASON = {"source": "fbnet"}


@pytest.fixture
def first(small: SearchSpace) -> Codes:
    """Three different networks."""
    codes = small.random_codes(3, np.random.default_rng(7))
    assert len(np.unique(codes, axis=0)) == 3
    return codes


def trials_of(worker: Worker) -> list[FrozenTrial]:
    return worker.study.get_trials(deepcopy=False)


def codes_of(space: SearchSpace, trials: list[FrozenTrial]) -> list[list[int]]:
    return [trial_codes(space, trial.params).ravel().tolist() for trial in trials]


@pytest.mark.parametrize(
    ("sampler", "options"), [("nsga2", {"population": 6}), ("random", {"batch_size": 4}), ("screened", {"initial": 5})]
)
def test_a_search_begins_with_them(
    tmp_path: Path, small: SearchSpace, first: Codes, sampler: str, options: dict[str, int]
) -> None:
    worker = make_worker(tmp_path, small, sampler=sampler, options=options)
    propose_first(worker.study, small, first, REASON)
    worker.run(9)
    trials = [trial for trial in trials_of(worker) if trial.state == TrialState.COMPLETE]
    assert [trial.number for trial in trials] == list(range(9))
    found = codes_of(small, trials)
    assert found[:3] == first.tolist()
    assert len(np.unique(found, axis=0)) == 9
    assert [trial.user_attrs.get(PROPOSAL) == REASON for trial in trials] == [True] * 3 + [False] * 6


@pytest.mark.parametrize("evaluated", [0, 2])
def test_what_a_killed_process_left_out_is_added(
    tmp_path: Path, small: SearchSpace, first: Codes, evaluated: int
) -> None:
    """The study ends as if the process had not been killed."""
    for folder, parts in (("killed", (2, 3, 3)), ("undisturbed", (3,))):
        worker = make_worker(tmp_path / folder, small, sampler="random", options={"batch_size": 4})
        for part in parts:
            propose_first(worker.study, small, first[:part], REASON)
            worker.run(evaluated)
        assert codes_of(small, trials_of(worker)) == first.tolist()
        worker.run(9)
    tables = [trial_table(make_worker(tmp_path / folder, small).study) for folder in ("killed", "undisturbed")]
    assert tables[0] == tables[1]


def test_nothing_is_added_to_a_search_that_has_begun(tmp_path: Path, small: SearchSpace, first: Codes) -> None:
    worker = make_worker(tmp_path, small)
    worker.run(1)
    propose_first(worker.study, small, first, REASON)
    assert len(trials_of(worker)) == 1


def test_what_a_warm_start_knows_is_not_proposed(tmp_path: Path, small: SearchSpace, first: Codes) -> None:
    worker = make_worker(tmp_path, small)
    propose_first(worker.study, small, first[1:2], {WARM_START: "other"})
    (known,) = trials_of(worker)
    known.user_attrs[WARM_START] = {"run": "other", "trial": 0}
    other = make_worker(tmp_path / "other", small)
    other.study.add_trial(known)
    propose_first(other.study, small, first, REASON)
    assert codes_of(small, trials_of(other)) == first[[1, 0, 2]].tolist()


def test_no_networks_are_nothing(tmp_path: Path, small: SearchSpace, first: Codes) -> None:
    worker = make_worker(tmp_path, small)
    propose_first(worker.study, small, first[:0], REASON)
    assert not trials_of(worker)
