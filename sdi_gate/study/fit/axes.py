"""Predict what each axis lost from the same index, and say how that did on groups left out.

The index is fitted to the mean, and one axis is one line more: the same scores, the same isotonic
regression, the same intervals. Nothing about the index is chosen for an axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sdi_gate.study.fit.conformal import LEVEL, LEVELS
from sdi_gate.study.fit.evidence import Judge, rate
from sdi_gate.study.fit.isotonic import FLOOR, fit_predictor
from sdi_gate.study.fit.procedure import groups_of
from sdi_gate.study.fit.result import AxisEntry, KnotEntry, LevelEntry

if TYPE_CHECKING:
    from sdi_gate.study.fit.crossfit import CrossFit
    from sdi_gate.study.fit.isotonic import Predictor
    from sdi_gate.study.fit.numerics import Mask, Vector
    from sdi_gate.study.fit.result import RateEntry
    from sdi_gate.study.fit.sample import Sample

# What hardly any pair lost has a narrow interval at 0, which says nothing about those who lose it.
# As many are asked for as a calibration asks of high regressions.
MIN_DEGRADED = 8
# Coverage over all pairs can be reached by missing the very ones that a limit is there for: what
# one pair in twenty loses may lie outside of every interval of 90 %. So there is no interval whose
# upper end was too low for more than this share of the high regressions.
MOST_EXCEEDED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Hold the lines from an index to one kind of degradation, on all pairs and without each group.

    Attributes:
        truth: What each pair lost, shape ``[n]``.
        high: Which pairs that makes high regressions, shape ``[n]``.
        whole: Fitted on all pairs.
        folds: Fitted without each group, in the order of the folds of the index.
    """

    truth: Vector
    high: Mask
    whole: Predictor
    folds: tuple[Predictor, ...]


def lines_to_mean(sample: Sample, fitted: CrossFit) -> Lines:
    """Return the lines to the mean over the axes, which belong to the index itself.

    Args:
        sample: The pairs.
        fitted: The fits of the index.

    Returns:
        The lines.
    """
    return Lines(
        truth=sample.degradation,
        high=sample.high,
        whole=fitted.index.predictor,
        folds=tuple(fold.predictor for _, fold in fitted.folds),
    )


def axis_entries(sample: Sample, fitted: CrossFit) -> dict[str, AxisEntry]:
    """Predict each axis from an index.

    Args:
        sample: The pairs.
        fitted: The fits of the index.

    Returns:
        An entry for each axis, by name.
    """
    return {axis: _axis(sample, fitted, which) for which, axis in enumerate(sample.axes)}


def levels_of(lines: Lines, fitted: CrossFit) -> tuple[LevelEntry, ...]:
    """Hold the intervals of lines against what was lost, at each level.

    Args:
        lines: The lines.
        fitted: The fits of the index.

    Returns:
        An entry for each of `LEVELS`, the lowest first.
    """
    return tuple(_level(lines, fitted, level) for level in LEVELS)


def explained(lines: Lines, fitted: CrossFit) -> float | None:
    """Return what the lines know beyond one number for all.

    Args:
        lines: The lines.
        fitted: The fits of the index.

    Returns:
        1 less the squared error of the lines over that of the mean of the pairs that each was
        fitted on; at most 1, below 0 where the mean does better, None where that has no error.
    """
    constant = np.zeros(len(lines.truth))
    for split, _ in fitted.folds:
        constant[split.test] = lines.truth[~split.test].mean()
    least = float(((lines.truth - constant) ** 2).sum())
    own = float(((lines.truth - _predicted(lines, fitted)) ** 2).sum())
    return 1.0 - own / least if least > 0.0 else None


def _axis(sample: Sample, fitted: CrossFit, which: int) -> AxisEntry:
    lines = _lines_to_axis(sample, fitted, which)
    levels = levels_of(lines, fitted)
    return AxisEntry(
        reason=_problem(lines, levels),
        num_degraded=int(lines.high.sum()),
        mean_loss=float(lines.truth.mean()),
        rho=Judge(replace(sample, degradation=lines.truth)).rho(fitted.scores),
        knots=tuple(KnotEntry(sdi=x, degradation=y) for x, y in lines.whole.line.knots),
        levels=levels,
        mean_error=float(np.abs(_predicted(lines, fitted) - lines.truth).mean()),
        explained=explained(lines, fitted),
    )


def _lines_to_axis(sample: Sample, fitted: CrossFit, which: int) -> Lines:
    return Lines(
        truth=sample.losses[:, which],
        high=sample.high_losses[:, which],
        whole=fit_predictor(fitted.index.scores, sample.losses[:, which], groups_of(sample)[1]),
        folds=tuple(
            fit_predictor(fold.scores, split.fitted.sample.losses[:, which], split.fitted.groups)
            for split, fold in fitted.folds
        ),
    )


def _predicted(lines: Lines, fitted: CrossFit) -> Vector:
    found = np.zeros(len(lines.truth))
    for (split, _), predictor in zip(fitted.folds, lines.folds, strict=True):
        found[split.test] = predictor.line.at(fitted.scores[split.test])
    return found


def _level(lines: Lines, fitted: CrossFit, level: float) -> LevelEntry:
    truth = lines.truth
    lower, upper = np.zeros(len(truth)), np.zeros(len(truth))
    for (split, _), predictor in zip(fitted.folds, lines.folds, strict=True):
        test = split.test
        lower[test], upper[test] = predictor.interval(fitted.scores[test], level)
    exceeded = rate(truth > upper, lines.high)
    width = None if _is_exceeded(exceeded) else _width(lines, level)
    return LevelEntry(
        level=level,
        offset=None if width is None else width * FLOOR,
        slope=width,
        coverage=rate((lower <= truth) & (truth <= upper), np.ones(len(truth), dtype=np.bool_)),
        exceeded=exceeded,
        mean_width=float((upper - lower).mean()),
    )


def _width(lines: Lines, level: float) -> float | None:
    # Where a fold has no interval, everything is covered, and the coverage reached says nothing.
    known = all(predictor.widths[level] is not None for predictor in lines.folds)
    return lines.whole.widths[level] if known else None


def _is_exceeded(exceeded: RateEntry) -> bool:
    return exceeded.hits > MOST_EXCEEDED * exceeded.trials


def _problem(lines: Lines, levels: tuple[LevelEntry, ...]) -> str | None:
    (main,) = (entry for entry in levels if entry.level == LEVEL)
    told = f"interval of {100 * LEVEL:.0f} %"
    num_high, exceeded = int(lines.high.sum()), main.exceeded
    if num_high < MIN_DEGRADED:
        return f"it makes {num_high} pairs high regressions; expected at least {MIN_DEGRADED}"
    if _is_exceeded(exceeded):
        return (
            f"{exceeded.hits} of the {exceeded.trials} pairs that it makes high regressions lost "
            f"more than the upper end of its {told}, on groups left out"
        )
    return f"{len(lines.truth)} pairs are too few for an {told}" if main.slope is None else None
