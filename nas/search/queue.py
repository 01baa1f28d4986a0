"""The queue of proposals: trials that wait in the study, so that any worker can take or refill it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.search.encoding import distributions
from nas.search.samplers.batch import Batch, BatchSampler
from nas.search.samplers.unique import SpaceExhausted
from nas.search.warm_start import WARM_START
from search_spaces import SearchSpace
from search_spaces.space import Codes

BATCH, PROPOSAL, ARCHITECTURE = "batch", "proposal", "architecture"


def refill(study: Study, sampler: BatchSampler, trials: Sequence[FrozenTrial]) -> None:
    """Put the next batch into the study when nothing waits among its trials; the caller holds the lock for asking.

    A batch of which a killed process added only a part is completed with what that process would have added. When
    nothing is left to propose nothing is added: whoever asks then is told so by the sampler.
    """
    start, present = _unfinished(trials)
    if not present and any(trial.state == TrialState.WAITING for trial in reversed(trials)):  # they are the last ones
        return
    try:
        batch = sampler.next_batch(study, start)
    except SpaceExhausted:
        return
    _add(study, sampler.space, batch, start, present)


def propose_first(study: Study, space: SearchSpace, codes: Codes, reason: Mapping[str, Any]) -> None:
    """Put networks into a study whose search has not begun; the caller holds the lock for asking.

    Each is a batch of its own, so that no sampler completes what a killed process added only in part; this does.

    Args:
        study: to which nothing is added when it has trials other than these and those of a warm start.
        space: of the networks.
        codes: of different networks, canonical, shape (n, choices).
        reason: why they are proposed (JSON values), for people.
    """
    trials = study.get_trials(deepcopy=False)
    if any(WARM_START not in trial.user_attrs and trial.user_attrs.get(PROPOSAL) != reason for trial in trials):
        return
    known = {trial.user_attrs[ARCHITECTURE] for trial in trials if ARCHITECTURE in trial.user_attrs}
    new = [architecture.to_json() not in known for architecture in space.architectures(codes)]
    for number, row in enumerate(codes[new], start=len(trials)):
        _add(study, space, Batch(row[None], [reason]), number, 0)


def _add(study: Study, space: SearchSpace, batch: Batch, start: int, present: int) -> None:
    """Add those of a batch of which `present` are in the study already, as waiting trials."""
    described: dict[str, BaseDistribution] = {**distributions(space)}
    for index, architecture in enumerate(space.architectures(batch.codes)):
        if index >= present:
            attributes = {
                BATCH: {"start": start, "size": len(batch.codes)},
                PROPOSAL: dict(batch.reasons[index]),
                ARCHITECTURE: architecture.to_json(),
            }
            study.add_trial(_waiting(architecture.values, described, attributes))


def _waiting(params: dict[str, Any], described: dict[str, BaseDistribution], attributes: dict[str, Any]) -> FrozenTrial:
    """As `optuna.create_trial` makes it, which compares every distribution with its form in older versions."""
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=TrialState.WAITING,
        value=None,
        datetime_start=None,
        datetime_complete=None,
        params=params,
        distributions=described,
        user_attrs=attributes,
        system_attrs={},
        intermediate_values={},
    )


def _unfinished(trials: Sequence[FrozenTrial]) -> tuple[int, int]:
    """Number of the first trial of the next batch, and how many trials of it are in the study already."""
    last = trials[-1].user_attrs.get(BATCH) if trials else None
    end = last["start"] + last["size"] if last else len(trials)
    return (last["start"], len(trials) - last["start"]) if last and len(trials) < end else (len(trials), 0)
