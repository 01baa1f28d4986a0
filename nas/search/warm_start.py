"""Beginning a search with what another run evaluated with the same weights: nothing of it is evaluated again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.errors import UsageError
from nas.search.fidelity import is_complete

#: Attribute of the study (which trials of which run), and of each trial that was taken over.
WARM_START = "warm start"

#: What the accuracy of a network depends on, as keys of a study's identity, and for people.
_SAME = {
    "space": "another search space",
    "space fingerprint": "another search space",
    "data": "other data",
    "weights": "other trained weights",
    "evaluation": "another seed or other search.recalibration_images",
}


def check_same_supernet(run: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse accuracies of other networks.

    Args:
        run: path of the other run, for people.
        theirs: identity of its study.
        ours: identity of the study that begins.

    Raises:
        UsageError: when something differs that the accuracy depends on.
    """
    for key, name in _SAME.items():
        if theirs.get(key) != ours[key]:
            raise UsageError(
                f"search.warm_start: {run} has {name}, so its accuracies are not those of this run's "
                "networks; leave search.warm_start out, or begin in a new directory: the supernet is taken over there"
            )


def take_over(study: Study, run: str, source: Callable[[], Study], known: Callable[[FrozenTrial], FrozenTrial]) -> int:
    """Add the finished trials of another study, whose networks saw all images, to a new one; for `Lease.exclusively`.

    What is added is decided once and written into the study, so that a killed process is followed by one that adds
    the rest, and a run that has them all needs the other one no more.

    Args:
        study: that begins.
        run: path of the other run.
        source: opens its study.
        known: the trial to add, of one of `source`.

    Returns:
        How many were added.
    """
    planned = study.user_attrs.get(WARM_START)
    present = len(study.get_trials(deepcopy=False))
    if planned is not None and present >= len(planned["trials"]):
        return 0
    finished = source().get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    theirs = {trial.number: trial for trial in finished if is_complete(trial)}
    if planned is None:
        planned = {"run": run, "trials": sorted(theirs)}
        study.set_user_attr(WARM_START, planned)
    missing = planned["trials"][present:]
    for number in missing:
        study.add_trial(known(theirs[number]))
    return len(missing)
