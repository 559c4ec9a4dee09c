"""Call SciPy by typed names: the one place of the fit that imports it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def non_negative_least_squares(columns: Matrix, target: Vector) -> Vector:
    """Fit a target by columns with weights of at least 0, and an intercept.

    Args:
        columns: Predictors, shape ``[n, k]``.
        target: What they shall add up to, shape ``[n]``.

    Returns:
        Weights, shape ``[k]``. The intercept is free: columns and target are centred first.
    """
    centred = columns - columns.mean(axis=0)
    weights, _ = optimize.nnls(centred, target - target.mean())
    return np.asarray(weights, dtype=np.float64)


def isotonic(values: Vector, weights: Vector) -> Vector:
    """Fit the closest sequence that does not fall.

    Args:
        values: Numbers in the order of the predictor, shape ``[n]``.
        weights: Weight of each, above 0, shape ``[n]``.

    Returns:
        The fit by weighted least squares, shape ``[n]``.
    """
    found = optimize.isotonic_regression(values, weights=weights, increasing=True)
    return np.asarray(found.x, dtype=np.float64)


def clopper_pearson(num_hits: int, num_trials: int, level: float) -> tuple[float, float]:
    """Return the exact interval of a rate.

    Args:
        num_hits: How often it happened.
        num_trials: Out of how many, at least 1.
        level: Coverage, such as 0.95.

    Returns:
        Both ends, from 0 to 1.

    References:
        Clopper and Pearson (1934), Biometrika 26:404-413.
    """
    test = stats.binomtest(num_hits, num_trials)
    interval = test.proportion_ci(confidence_level=level, method="exact")
    return float(interval.low), float(interval.high)


def average_ranks(values: Vector) -> Vector:
    """Rank numbers from 1, equal ones by the mean of their ranks.

    Args:
        values: Finite numbers, shape ``[n]``.

    Returns:
        Ranks, shape ``[n]``.
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def correlation(left: Vector, right: Vector) -> float:
    """Return the correlation of Pearson.

    Args:
        left: Numbers, shape ``[n]``.
        right: Numbers, shape ``[n]``.

    Returns:
        From -1 to 1; NaN if either is constant.
    """
    a, b = left - left.mean(), right - right.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0.0 else float("nan")


def spearman(left: Vector, right: Vector) -> float:
    """Return the rank correlation of Spearman, with equal values ranked by their mean.

    Args:
        left: Numbers, shape ``[n]``.
        right: Numbers, shape ``[n]``.

    Returns:
        From -1 to 1; NaN if either is constant.
    """
    return correlation(average_ranks(left), average_ranks(right))
