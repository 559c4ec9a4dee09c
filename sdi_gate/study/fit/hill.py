r"""Map each candidate to [0, 1] by a function of Hill, with scale and power chosen on the rows.

The target is the rank of degradation, scaled to [0, 1], equal ones averaged. An index has to order
candidates, and the correlation of Spearman is that of Pearson between ranks: least squares on
ranks aims at what is reported. Degradation itself is skewed; a fit of it would serve the few models
that are wrecked and see nothing among those that lose little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sdi_gate.study.fit.numerics import average_ranks

if TYPE_CHECKING:
    from sdi_gate.study.fit.numerics import Matrix, Vector

POWERS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_SCALE_DIGITS = 4
# Differences below this are rounding: the first of such settings is taken.
_TIE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Hills:
    """Hold scale and power of each candidate.

    Attributes:
        scales: Where phi is one half, shape ``[k]``, above 0.
        powers: How steeply it rises there, shape ``[k]``, above 0.
    """

    scales: Vector
    powers: Vector

    def map(self, values: Matrix) -> Matrix:
        """Map values to [0, 1].

        Args:
            values: Values of all candidates, from 0 on, shape ``[n, k]``.

        Returns:
            Their phi, shape ``[n, k]``; exactly 0 for 0.
        """
        return hill(values, self.scales, self.powers)


def rank_target(degradation: Vector) -> Vector:
    """Return the rank of degradation, scaled to [0, 1].

    Args:
        degradation: What each pair lost, shape ``[n]``.

    Returns:
        Ranks, equal ones averaged, shape ``[n]``.
    """
    return (average_ranks(degradation) - 1.0) / max(1, len(degradation) - 1)


def hill(values: Matrix, scales: Vector, powers: Vector) -> Matrix:
    r"""Compute :math:`s^p / (s^p + c^p)`, as `sdi_gate.signals.divergence.phi` does.

    Args:
        values: Values from 0 on; broadcast against the others.
        scales: :math:`c`, above 0.
        powers: :math:`p`, above 0.

    Returns:
        From 0 to 1.
    """
    with np.errstate(divide="ignore", over="ignore"):
        t = powers * (np.log(values) - np.log(scales))  # -inf for 0
        return np.asarray(1.0 / (1.0 + np.exp(-t)), dtype=np.float64)


def choose_hills(values: Matrix, target: Vector) -> Hills:
    """Choose scale and power of each candidate by its correlation with the target.

    Args:
        values: Values of all candidates on the rows to fit, shape ``[n, k]``.
        target: The target, shape ``[n]``.

    Returns:
        For each candidate the setting of the grid that correlates best: scales are quantiles of
        its positive values. A candidate that is 0 throughout gets scale and power 1.
    """
    found = [_choose(column, target) for column in values.T]
    return Hills(
        scales=np.array([scale for scale, _ in found], dtype=np.float64),
        powers=np.array([power for _, power in found], dtype=np.float64),
    )


def _choose(column: Vector, target: Vector) -> tuple[float, float]:
    positive = column[column > 0.0]
    if not positive.size:
        return 1.0, 1.0
    known = [_rounded(scale) for scale in np.quantile(positive, QUANTILES)]
    grid = [(scale, power) for power in POWERS for scale in dict.fromkeys(known)]
    scales, powers = np.array(grid).T
    mapped = hill(column[:, None], scales, powers)  # [n, settings]
    centred = mapped - mapped.mean(axis=0)
    norms = np.sqrt((centred**2).sum(axis=0))
    products = (target - target.mean()) @ centred
    # Compared with the best, not sorted: two settings that differ by rounding are equal.
    score = np.where(norms > _TIE, products / np.maximum(norms, _TIE), -np.inf)
    best = int(np.flatnonzero(score >= score.max() - _TIE)[0])
    return grid[best]


def _rounded(scale: float) -> float:
    return float(f"{scale:.{_SCALE_DIGITS}g}")
