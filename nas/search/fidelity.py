"""Evaluating a network on part of the images first, and on the rest only while it can still enter the front.

This is racing (Maron and Moore, NIPS 1993): the images come in a random order that is the same for all networks, and after
growing shares of them a test says whether the network can still be better than its best rival. The rival was judged on
the same images, so that the test is McNemar's (Psychometrika, 1947) and sees only the images on which the two differ.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from nas.search.limits import Limit
from nas.search.metrics import ACCURACY, Metric

Hits = NDArray[np.bool_]

#: Attributes of a trial: how far a stopped evaluation came, and which images a network on the front gets right.
STOPPED, HITS = "stopped", "hits"

#: Shares of the images after which it is decided whether to go on.
RUNGS = (1 / 8, 1 / 4, 1 / 2)


def is_complete(trial: FrozenTrial) -> bool:
    """Whether a finished trial's network saw all images."""
    return STOPPED not in trial.user_attrs


@dataclass(frozen=True)
class Bar:
    """What a network must reach to enter the front.

    Attributes:
        accuracy: that it must exceed when there is a rival; that of a limit, which it must reach, when there is none.
        rival: number of the most accurate network that is no worse in all other objectives and keeps the limits.
        hits: which images the rival classifies correctly, in the evaluator's order, shape (images,); where they are not
            known the accuracies are compared as if the images were others.
    """

    accuracy: float = 0.0
    rival: int | None = None
    hits: Hits | None = None

    def judge(self, hits: Hits, total: int, risk: float) -> Judgement:
        """What is known of a network after some images.

        Args:
            hits: which of the first images it classifies correctly, shape (seen,).
            total: all images.
            risk: probability with which its accuracy may lie above the upper bound.
        """
        seen = len(hits)
        if self.hits is None:
            accuracy, most = hits.mean(), most_marked(int(hits.sum()), seen, total, risk) / total
        else:
            rival = self.hits[:seen]
            better, worse = int((hits & ~rival).sum()), int((rival & ~hits).sum())
            accuracy = self.accuracy + (better - worse) / seen
            most = self.accuracy + most_gained(better, worse, seen, total, risk) / total
        hopeless = most <= self.accuracy + _EXACT if self.rival is not None else most < self.accuracy - _EXACT
        return Judgement(max(0.0, float(accuracy)), float(most), bool(hopeless))


#: Accuracies that differ by less are equal: they are multiples of one over the number of images.
_EXACT = 1e-9


@dataclass(frozen=True)
class Judgement:
    """Of a network that saw part of the images.

    Attributes:
        accuracy: estimated, on all images.
        upper: bound of it.
        hopeless: whether even the bound is too low.
    """

    accuracy: float
    upper: float
    hopeless: bool


@dataclass(frozen=True)
class Score:
    """The outcome of an evaluation.

    Attributes:
        accuracy: of the network on all images; of a stopped one an estimate that is below what it had to reach.
        attributes: JSON values for the trial.
    """

    accuracy: float
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> Mapping[str, float]:
        """The accuracy by its name."""
        return {ACCURACY.name: self.accuracy}


def most_marked(found: int, drawn: int, population: int, risk: float) -> int:
    """Upper confidence bound of the marked items in a population, of which some were drawn without replacement.

    Args:
        found: marked items among the drawn ones.
        drawn: items.
        population: all items.
        risk: probability that the bound is too low.

    Returns:
        The largest number of which at most `found` are drawn with a probability above `risk`.
    """
    from scipy.stats import hypergeom  # a quarter of what a command takes to start, and few searches stop evaluations

    low, high = found, population - (drawn - found)
    while low < high:
        middle = (low + high + 1) // 2
        if hypergeom.cdf(found, population, middle, drawn) > risk:
            low = middle
        else:
            high = middle - 1
    return low


def most_gained(better: int, worse: int, seen: int, total: int, risk: float) -> int:
    """Upper confidence bound of the difference of two networks, in correctly classified images of all.

    On how many images the two differ is bounded from both sides first, with a tenth of the risk each. Of these images
    the ones seen are a draw without replacement, of which some are better.

    Args:
        better: images seen that only the first network classifies correctly.
        worse: images seen that only the second one does.
        seen: images.
        total: all images.
        risk: probability that the bound is too low.
    """
    drawn = better + worse
    fewest = total - most_marked(seen - drawn, seen, total, risk / 10)
    most = most_marked(drawn, seen, total, risk / 10)
    return max(2 * most_marked(better, drawn, differing, 0.8 * risk) - differing for differing in (fewest, most))


def bar_of(
    trials: Iterable[FrozenTrial], objectives: Sequence[Metric], limits: Sequence[Limit], cheap: Mapping[str, float]
) -> Bar:
    """What a network must reach beside the finished trials of a study.

    Args:
        trials: of the study.
        objectives: in the order of the trials' values.
        limits: of the study.
        cheap: the network's metrics that are known without evaluation.
    """
    names = [metric.name for metric in objectives]
    floor = max((limit.value for limit in limits if limit.metric == ACCURACY.name and limit.sign < 0), default=0.0)
    if ACCURACY.name not in names:
        return Bar(floor)
    column = names.index(ACCURACY.name)
    signs = np.array([1.0 if metric.direction == "minimize" else -1.0 for metric in objectives])
    own = signs * [cheap.get(name, np.nan) for name in names]
    rivals = [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE
        and is_complete(trial)
        and all(value <= 0 for value in trial.constraints.values())
        and (np.delete(signs * trial.values - own, column) <= 0).all()
    ]
    if not rivals:
        return Bar(floor)
    best = max(rivals, key=lambda trial: (trial.values[column], HITS in trial.user_attrs, -trial.number))
    hits = best.user_attrs.get(HITS)
    return Bar(best.values[column], best.number, None if hits is None else unpacked(hits))


@dataclass(frozen=True)
class Race:
    """Evaluates one network after the other, each only as far as it can still enter the front.

    Attributes:
        rungs: shares of the images after which it is decided, rising; without any all networks see all images.
        risk: probability, at most, with which a network that would enter the front is stopped, over all rungs.
    """

    rungs: Sequence[float] = RUNGS
    risk: float = 0.01

    def run(self, batches: Iterable[Hits], total: int, bar: Bar) -> Score:
        """Read batches until the network is hopeless, or to the end.

        Args:
            batches: which images the network classifies correctly, in the evaluator's order.
            total: images of all batches.
            bar: that the network must reach.
        """
        hits = np.zeros(0, dtype=np.bool_)
        risk, ahead = self.risk / max(1, len(self.rungs)), list(self.rungs)
        for batch in batches:
            hits = np.concatenate([hits, batch])
            if not ahead or len(hits) < ahead[0] * total or len(hits) == total:
                continue
            ahead = [rung for rung in ahead if rung * total > len(hits)]
            judged = bar.judge(hits, total, risk)
            if judged.hopeless:
                stopped = {"images": len(hits), "of": total, "upper": judged.upper, "rival": bar.rival}
                return Score(judged.accuracy, {STOPPED: stopped})
        accuracy = int(hits.sum()) / total
        enters = accuracy > bar.accuracy if bar.rival is not None else accuracy >= bar.accuracy
        return Score(accuracy, {HITS: packed(hits)} if enters else {})


def summary(trials: Sequence[FrozenTrial]) -> str:
    """How many of the finished trials were stopped and when, in one sentence; empty when none was."""
    stopped = [trial.user_attrs[STOPPED] for trial in trials if STOPPED in trial.user_attrs]
    if not stopped:
        return ""
    share = sum(one["images"] / one["of"] for one in stopped) / len(stopped)
    return (
        f"{len(stopped)} of {len(trials)} networks were stopped early, as they could not enter the front: after "
        f"{share:.0%} of the validation images on average"
    )


def packed(hits: Hits) -> dict[str, Any]:
    """As JSON values: 5,000 images take 834 characters."""
    return {"images": len(hits), "bits": base64.b64encode(np.packbits(hits).tobytes()).decode()}


def unpacked(value: Mapping[str, Any]) -> Hits:
    """The inverse of `packed`."""
    data = np.frombuffer(base64.b64decode(value["bits"]), dtype=np.uint8)
    return np.unpackbits(data, count=value["images"]).astype(np.bool_)
