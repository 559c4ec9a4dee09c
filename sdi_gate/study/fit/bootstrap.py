"""Draw intervals of rank correlations by a bootstrap that is clustered on bases.

Variants of one base are not independent: bases are drawn, and all their pairs come with them. A
draw is held as the number of times that each pair is in it, so that all draws are ranked at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.study.fit.numerics import Matrix, Vector

NUM_RESAMPLES = 2000
LEVEL = 0.95
SEED = 20240607
# Draws in which one side is constant have no correlation; of more than this share, no interval.
_MAX_UNDEFINED = 0.5


def draw_counts(bases: Sequence[str], num_resamples: int = NUM_RESAMPLES) -> Matrix:
    """Draw bases with replacement.

    Args:
        bases: Base of each pair.
        num_resamples: How many draws.

    Returns:
        How often each pair is in each draw, shape ``[num_resamples, n]``. Equal arguments give
        equal draws.
    """
    names, inverse = np.unique(np.array(bases), return_inverse=True)
    generator = np.random.default_rng(SEED)
    drawn = generator.integers(0, len(names), size=(num_resamples, len(names)))
    counts = np.zeros((num_resamples, len(names)))
    np.add.at(counts, (np.arange(num_resamples)[:, None], drawn), 1.0)
    return np.asarray(counts[:, inverse], dtype=np.float64)


class Draws:
    """Rank any score against one truth in every draw.

    Args:
        bases: Base of each pair.
        truth: What scores are held against, shape ``[n]``.
    """

    def __init__(self, bases: Sequence[str], truth: Vector) -> None:
        self._counts = draw_counts(bases)
        self._truth = centred_ranks(truth, self._counts)
        self._weighted = self._counts * self._truth
        self._norms = np.sqrt((self._weighted * self._truth).sum(axis=1))

    def rho(self, scores: Vector) -> Vector:
        """Compute the rank correlation in every draw.

        Args:
            scores: Numbers, shape ``[n]``.

        Returns:
            Correlation of Spearman, equal values ranked by their mean, shape ``[r]``; NaN where
            one side of a draw is constant.
        """
        ranks = centred_ranks(scores, self._counts)
        norms = np.sqrt(np.einsum("rn,rn,rn->r", self._counts, ranks, ranks)) * self._norms
        products = np.einsum("rn,rn->r", self._weighted, ranks)
        known = norms > 0.0
        return np.where(known, products / np.where(known, norms, 1.0), np.nan)


def percentile_interval(draws: Vector, level: float = LEVEL) -> tuple[float, float] | None:
    """Return the interval between two percentiles of the draws.

    Args:
        draws: A number for each draw, NaN where it is not defined.
        level: Coverage.

    Returns:
        Both ends; None if too many draws are undefined.
    """
    known = draws[np.isfinite(draws)]
    if len(known) <= _MAX_UNDEFINED * len(draws):
        return None
    low, high = np.quantile(known, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def centred_ranks(values: Vector, counts: Matrix) -> Matrix:
    """Rank values in every draw, less the mean rank.

    Args:
        values: Numbers, shape ``[n]``.
        counts: How often each is in each draw, shape ``[r, n]``.

    Returns:
        Ranks, equal values by their mean, shape ``[r, n]``; those of values that are not in a draw
        mean nothing.
    """
    # The mean rank of a value that is w times in a draw, after t smaller ones, is t + (w + 1) / 2.
    _, inverse = np.unique(values, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.flatnonzero(np.diff(inverse[order], prepend=-1))
    times = np.add.reduceat(counts[:, order], starts, axis=1)  # [r, distinct values]
    ranks = np.cumsum(times, axis=1) - times / 2.0
    total = counts.sum(axis=1, keepdims=True)
    # Ranks and a half of each draw have the mean (total + 1) / 2; the halves cancel.
    return np.asarray(ranks[:, inverse] - total / 2.0, dtype=np.float64)
