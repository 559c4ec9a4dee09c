"""Predict degradation from the index: a line that never falls, with an interval around it.

The line starts at (0, 0), since identical models score exactly 0 and lose nothing, unless a pair
that is not identical scores 0 too. The width of the
interval grows with the prediction, since those who lose little are predicted more closely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sdi_gate.study.fit.conformal import LEVEL, LEVELS, conformal_quantile
from sdi_gate.study.fit.numerics import isotonic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdi_gate.study.fit.numerics import Vector

# An error of a prediction p counts relative to p + FLOOR: the bound on the mean degradation.
FLOOR = 0.05
_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Hold a line that never falls.

    Attributes:
        knots: Index and degradation where its slope changes; constant beyond the last.
    """

    knots: tuple[tuple[float, float], ...]

    def at(self, scores: Vector) -> Vector:
        """Read the line.

        Args:
            scores: Indices, shape ``[n]``.

        Returns:
            Predicted degradation, shape ``[n]``.
        """
        x, y = np.array(self.knots).T
        return np.asarray(np.interp(scores, x, y), dtype=np.float64)


def fit_line(scores: Vector, degradation: Vector) -> Line:
    """Fit the closest line that never falls.

    Args:
        scores: Indices, from 0 on, shape ``[n]``.
        degradation: What was lost, shape ``[n]``.

    Returns:
        The isotonic regression by least squares, straight between its steps, from (0, 0) if no
        pair scores 0.
    """
    x, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=degradation) / counts
    levels = np.round(isotonic(means, counts.astype(np.float64)), _DIGITS)
    starts = np.flatnonzero(np.diff(levels, prepend=-1.0) != 0.0)
    ends = np.append(starts[1:], len(levels)) - 1
    corners = sorted({*starts.tolist(), *ends.tolist()})
    knots = [(round(float(x[i]), _DIGITS), float(levels[i])) for i in corners]
    # Of two that are equal when rounded the later, which is the higher, stands.
    return Line(knots=tuple({0.0: 0.0, **dict(knots)}.items()))


def relative_errors(line: Line, scores: Vector, degradation: Vector) -> Vector:
    """Return the errors of a line, relative to what it predicts.

    Args:
        line: The line.
        scores: Indices of pairs that it has not seen, shape ``[n]``.
        degradation: What they lost, shape ``[n]``.

    Returns:
        Errors, from 0 on, shape ``[n]``.
    """
    predicted = line.at(scores)
    return np.asarray(np.abs(degradation - predicted) / (FLOOR + predicted), dtype=np.float64)


def cross_errors(scores: Vector, degradation: Vector, groups: Sequence[str]) -> Vector:
    """Return the error of each pair under a line fitted without its group.

    Args:
        scores: Indices, shape ``[n]``.
        degradation: What was lost, shape ``[n]``.
        groups: Group of each pair, at least two.

    Returns:
        Relative errors, shape ``[n]``.
    """
    labels = np.array(groups)
    errors = np.zeros(len(scores))
    for group in sorted(set(groups)):
        test = labels == group
        line = fit_line(scores[~test], degradation[~test])
        errors[test] = relative_errors(line, scores[test], degradation[test])
    return errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """Hold a line and how far around it the truth lies.

    Attributes:
        line: Degradation by index.
        widths: Half the width of the interval at each level, relative to the prediction plus
            `FLOOR`; None if there are too few pairs for the level.
    """

    line: Line
    widths: Mapping[float, float | None]

    @property
    def width(self) -> float | None:
        """Return half the relative width at `LEVEL`; None if there are too few pairs for it."""
        return self.widths[LEVEL]

    def interval(self, scores: Vector, level: float = LEVEL) -> tuple[Vector, Vector]:
        """Return the interval around the line.

        Args:
            scores: Indices, shape ``[n]``.
            level: Its level, one of `LEVELS`.

        Returns:
            Lower and upper ends, from 0 to 1, shape ``[n]`` each; all of it without a width.
        """
        predicted = self.line.at(scores)
        width = self.widths[level]
        if width is None:
            return np.zeros_like(predicted), np.ones_like(predicted)
        half = width * (FLOOR + predicted)
        return np.maximum(0.0, predicted - half), np.minimum(1.0, predicted + half)


def fit_predictor(scores: Vector, degradation: Vector, groups: Sequence[str]) -> Predictor:
    """Fit the line, and the interval by the errors on groups left out.

    Args:
        scores: Out-of-group indices, shape ``[n]``.
        degradation: What was lost, shape ``[n]``.
        groups: Group of each pair, at least two.

    Returns:
        The predictor.

    References:
        Barber et al. (2021), arXiv:1905.02928, for errors across folds; our folds are groups, and
        the coverage is measured, not promised.
    """
    errors = cross_errors(scores, degradation, groups)
    found = {level: conformal_quantile(errors, level) for level in LEVELS}
    return Predictor(
        line=fit_line(scores, degradation),
        widths={
            level: None if width is None else round(width, _DIGITS)
            for level, width in found.items()
        },
    )
