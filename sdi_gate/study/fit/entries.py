"""Write down a fitted index with its evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdi_gate.study.fit.axes import explained, levels_of, lines_to_mean
from sdi_gate.study.fit.conformal import LEVEL
from sdi_gate.study.fit.evidence import breaking, curve, rate, reliability
from sdi_gate.study.fit.isotonic import FLOOR
from sdi_gate.study.fit.result import (
    FoldEntry,
    IndexEntry,
    KnotEntry,
    PairScoreEntry,
    PredictionEntry,
    TermEntry,
)

if TYPE_CHECKING:
    from sdi_gate.study.fit.crossfit import CrossFit
    from sdi_gate.study.fit.evidence import Judge
    from sdi_gate.study.fit.procedure import FittedIndex


def index_entry(judge: Judge, fitted: CrossFit) -> IndexEntry:
    """Write down an index, fitted on all, with the evidence from groups left out.

    Args:
        judge: Knows what each pair lost.
        fitted: The fits.

    Returns:
        The entry.
    """
    index, width = fitted.index, fitted.index.predictor.width
    return IndexEntry(
        terms=_terms(index),
        inner_rho=index.rho,
        threshold=index.threshold,
        knots=tuple(KnotEntry(sdi=x, degradation=y) for x, y in index.predictor.line.knots),
        interval_offset=None if width is None else width * FLOOR,
        interval_slope=width,
        folds=tuple(
            FoldEntry(
                left_out=split.group,
                num_pairs=int(split.test.sum()),
                terms=_terms(fold),
                threshold=fold.threshold,
                inner_rho=fold.rho,
            )
            for split, fold in fitted.folds
        ),
        evidence=judge.evidence(fitted.scores, fitted.flags),
        prediction=_prediction(judge, fitted),
        curve=curve(fitted.scores, judge.sample.high),
        pairs=_pairs(judge, fitted),
        breaking=breaking(judge.sample, fitted.scores, fitted.flags),
    )


def _terms(index: FittedIndex) -> tuple[TermEntry, ...]:
    return tuple(
        TermEntry(
            signal=term.candidate.signal.value,
            metric=term.candidate.metric,
            aggregation=term.candidate.aggregation.value,
            weight=term.weight,
            scale=term.scale,
            power=term.power,
            reason=term.reason,
        )
        for term in index.terms
    )


def _prediction(judge: Judge, fitted: CrossFit) -> PredictionEntry:
    truth, lines = judge.sample.degradation, lines_to_mean(judge.sample, fitted)
    covered = (fitted.lower <= truth) & (truth <= fitted.upper)
    every = np.ones(len(truth), dtype=np.bool_)
    return PredictionEntry(
        level=LEVEL,
        coverage=rate(covered, every),
        coverage_within=judge.rate_within(covered, every),
        mean_width=float((fitted.upper - fitted.lower).mean()),
        mean_error=float(np.abs(fitted.predicted - truth).mean()),
        reliability=reliability(fitted.predicted, truth),
        levels=levels_of(lines, fitted),
        explained=explained(lines, fitted),
    )


def _pairs(judge: Judge, fitted: CrossFit) -> tuple[PairScoreEntry, ...]:
    return tuple(
        PairScoreEntry(
            pair=pair,
            score=float(fitted.scores[i]),
            flagged=bool(fitted.flags[i]),
            predicted=float(fitted.predicted[i]),
            lower=float(fitted.lower[i]),
            upper=float(fitted.upper[i]),
        )
        for i, pair in enumerate(judge.sample.pairs)
    )
