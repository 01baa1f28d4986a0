"""Choosing one of the evaluated networks."""

from __future__ import annotations

from collections.abc import Sequence

from nas.errors import CheckFailed
from nas.search.limits import Limit
from nas.search.metrics import Direction
from nas.search.worker import Evaluation


def select(
    evaluations: Sequence[Evaluation], limits: Sequence[Limit], order: Sequence[tuple[str, Direction]]
) -> Evaluation:
    """The best network within the limits.

    A limit on a latency is compared with the upper end of the predicted interval.

    Args:
        evaluations: to choose from; those that did not see all images are left out.
        limits: that must be kept.
        order: metrics and which way is better; each decides between networks that are equal in those before it, and
            at last the one that was evaluated first is taken.

    Raises:
        CheckFailed: when no network keeps all limits; the message tells how near the nearest one comes.
    """
    evaluations = [evaluation for evaluation in evaluations if evaluation.complete]
    if not evaluations:
        raise CheckFailed("no network was evaluated yet; 'nas search' does it")
    kept = [e for e in evaluations if all(limit.missed_by(e.metrics) <= 0 for limit in limits)]
    if not kept:
        nearest = min(evaluations, key=lambda e: sum(_shortfall(limit, e) for limit in limits))
        missed = [limit for limit in limits if _shortfall(limit, nearest)]
        found = " and ".join(
            f"{limit.value + limit.sign * limit.missed_by(nearest.metrics):.4g} for '{limit}'" for limit in missed
        )
        raise CheckFailed(
            f"none of the {len(evaluations)} evaluated networks keeps {' and '.join(map(str, limits))}; the nearest, "
            f"network {nearest.number}, has {found}; loosen the limit or evaluate more networks"
        )
    signs = [(metric, 1 if direction == "maximize" else -1) for metric, direction in order]
    return max(kept, key=lambda e: (*(sign * e.metrics[metric] for metric, sign in signs), -e.number))


def _shortfall(limit: Limit, evaluation: Evaluation) -> float:
    """By which share of a limit a network misses it; 0 when it is kept."""
    return max(0.0, limit.missed_by(evaluation.metrics)) / max(abs(limit.value), 1e-12)
