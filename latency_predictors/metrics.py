"""How far predicted latencies are from measured ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latency_predictors.predictor import Prediction


def errors(prediction: Prediction, measured_ms: ArrayLike) -> dict[str, float]:
    """All figures of a prediction against measurements, shape (n,) in milliseconds.

    Returns:
        `spearman` and `kendall` (rank correlations, -1 to 1), `mdape` (%), `coverage90` (share of the measurements
        inside the 90 % interval, 0 to 1).

    Raises:
        ValueError: when the shapes differ, there are fewer than two measurements, or one is not positive.
    """
    return {
        "spearman": spearman(prediction.mean_ms, measured_ms),
        "kendall": kendall(prediction.mean_ms, measured_ms),
        "mdape": mdape(prediction.mean_ms, measured_ms),
        "coverage90": coverage(prediction.low_ms, prediction.high_ms, measured_ms),
    }


def spearman(predicted: ArrayLike, measured: ArrayLike) -> float:
    """Spearman's rank correlation of two arrays, shape (n,); 0 when one is constant and so orders nothing.

    Raises:
        ValueError: when the shapes differ or there are fewer than two values.
    """
    from scipy.stats import spearmanr

    a, b = _pair(predicted, measured)
    return 0.0 if _constant(a, b) else float(spearmanr(a, b).statistic)


def kendall(predicted: ArrayLike, measured: ArrayLike) -> float:
    """Kendall's tau-b of two arrays, shape (n,); 0 when one is constant and so orders nothing.

    Raises:
        ValueError: when the shapes differ or there are fewer than two values.
    """
    from scipy.stats import kendalltau

    a, b = _pair(predicted, measured)
    return 0.0 if _constant(a, b) else float(kendalltau(a, b).statistic)


def mdape(predicted: ArrayLike, measured: ArrayLike) -> float:
    """Median over the rows of |predicted - measured| / measured, in %.

    Raises:
        ValueError: when the shapes differ, there are fewer than two values, or a measured one is not positive.
    """
    a, b = _pair(predicted, measured)
    if (b <= 0).any():
        raise ValueError("percentage errors need measured latencies above 0 ms")
    return float(100 * np.median(np.abs(a - b) / b))


def coverage(low: ArrayLike, high: ArrayLike, measured: ArrayLike) -> float:
    """Share of the measured values, shape (n,), inside their closed intervals, 0 to 1.

    Raises:
        ValueError: when the shapes differ or there are fewer than two values.
    """
    (a, c), (b, _) = _pair(low, measured), _pair(high, measured)
    return float(np.mean((a <= c) & (c <= b)))


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"expected two vectors of equal length, got shapes {first.shape} and {second.shape}")
    if len(first) < 2:
        raise ValueError("at least two measurements are needed to compare them with predictions")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a latency is not a finite number")
    return first, second


def _constant(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    return bool(np.ptp(a) == 0 or np.ptp(b) == 0)
