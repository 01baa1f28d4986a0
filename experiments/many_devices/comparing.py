"""Networks against networks at equal latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, order=True)
class Point:
    """A network on a device.

    Attributes:
        ms: measured latency.
        accuracy: 0..1.
    """

    ms: float
    accuracy: float


def at_latency(front: Sequence[Point], ms: float) -> float:
    """Accuracy that some networks offer at a latency.

    Between two networks it is interpolated in the logarithm of the latency, between those that are next to each other in
    latency: none is left out for its accuracy, which would choose by the images that judge. Above the slowest network
    it is that one's; below the fastest there is none.

    Returns:
        0..1, or NaN below the fastest network.
    """
    ordered = sorted(front)
    if not ordered or ms < ordered[0].ms:
        return float("nan")
    return float(np.interp(np.log(ms), np.log([p.ms for p in ordered]), [p.accuracy for p in ordered]))


def advantage(own: Sequence[Point], others: Sequence[Point]) -> float:
    """How much more accurate `own` networks are than `others` at the latencies of the latter, on average.

    Returns:
        Difference of accuracies, 0..1; NaN when all others are faster than the fastest of `own`.
    """
    found = np.array([at_latency(own, other.ms) - other.accuracy for other in others])
    known = found[np.isfinite(found)]
    return float(known.mean()) if len(known) else float("nan")


def points(keys: Sequence[str], ms: Mapping[str, float], accuracy: Mapping[str, float]) -> list[Point]:
    """The networks of these keys that were measured, each once."""
    return [Point(ms[key], accuracy[key]) for key in dict.fromkeys(keys) if key in ms]


def specialisation(
    chosen: Mapping[str, Sequence[str]], ms: Mapping[str, Mapping[str, float]], accuracy: Mapping[str, float]
) -> NDArray[np.float64]:
    """What a device gains by its own choice over the choices for the others, at equal latency.

    Args:
        chosen: keys of the networks that were chosen for each device.
        ms: measured latency of the networks on each of these devices.
        accuracy: of the networks.

    Returns:
        Shape (devices, devices): row A, column B holds how much more accurate the choice for B is, on B, than the choice
        for A; NaN where they cannot be compared. The diagonal is 0.
    """
    return np.array(
        [
            [advantage(points(chosen[b], ms[b], accuracy), points(chosen[a], ms[b], accuracy)) for b in chosen]
            for a in chosen
        ]
    )


def spread(values: Sequence[float] | NDArray[np.float64], digits: int = 1) -> str:
    """Mean with the least and the greatest of accuracy differences, in points; `-` when none is known."""
    known = 100 * np.array([value for value in values if np.isfinite(value)])
    if not len(known):
        return "-"
    mean = f"{known.mean():+.{digits}f}"
    return mean if len(known) == 1 else f"{mean} ({known.min():+.{digits}f} to {known.max():+.{digits}f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))
