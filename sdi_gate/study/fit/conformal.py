"""Set a threshold and an interval that keep their promise on exchangeable data, whatever it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sdi_gate.study.fit.numerics import Mask, Vector

FALSE_NEGATIVE_BOUND = 0.15
LEVEL = 0.90
# More of them would rest on the few largest errors: 0.99 of 360 pairs is a matter of four.
LEVELS = (0.80, LEVEL, 0.95)


def risk_threshold(scores: Vector, high: Mask, bound: float = FALSE_NEGATIVE_BOUND) -> float | None:
    r"""Find the highest threshold whose expected false-negative rate keeps a bound.

    With the loss of a high regression that is below the threshold :math:`\lambda` as 1, and
    :math:`\hat R(\lambda)` its mean over the :math:`n` high regressions, the threshold is the
    largest :math:`\lambda` with :math:`\frac{n}{n + 1} \hat R(\lambda) + \frac{1}{n + 1} \le
    \alpha`. For a new high regression, exchangeable with these, the chance of being missed is then
    at most :math:`\alpha`.

    Args:
        scores: Index of each pair, shape ``[n]``; at or above the threshold is flagged.
        high: Which pairs are high regressions, shape ``[n]``.
        bound: The bound, :math:`\alpha`.

    Returns:
        The threshold; None if there are too few high regressions for any.

    References:
        Angelopoulos, Bates, Fisch, Lei and Schuster (2022), arXiv:2208.02814, equation 4.
    """
    positive = np.sort(scores[high])
    allowed = math.floor(bound * (len(positive) + 1) + 1e-12) - 1
    return float(positive[allowed]) if allowed >= 0 else None


def conformal_quantile(errors: Vector, level: float = LEVEL) -> float | None:
    """Return the error that a new one stays below with a given chance.

    Args:
        errors: Errors of pairs that the prediction had not seen, from 0 on, shape ``[n]``.
        level: The chance.

    Returns:
        The ``ceil((n + 1) * level)``-th smallest; None if there are too few for the level.

    References:
        Vovk, Gammerman and Shafer (2005), Algorithmic Learning in a Random World, chapter 2.
    """
    rank = math.ceil((len(errors) + 1) * level - 1e-12)
    return float(np.sort(errors)[rank - 1]) if 0 < rank <= len(errors) else None
