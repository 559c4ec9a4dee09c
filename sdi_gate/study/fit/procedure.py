"""Fit an index on some pairs, whole: headlines, phi, weights, threshold, prediction.

This is the one procedure by which a calibration is made. The evidence for it leaves each family
out in turn and runs the procedure on the others, so that whatever it chooses, it has not seen the
family that it is then held against: `fit_index` takes a sample and looks at nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sdi_gate.signals.interface import SignalName
from sdi_gate.study.fit.conformal import risk_threshold
from sdi_gate.study.fit.hill import choose_hills, hill, rank_target
from sdi_gate.study.fit.isotonic import Predictor, fit_predictor
from sdi_gate.study.fit.search import MARGIN, Search, weights_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdi_gate.study.fit.candidates import Candidate
    from sdi_gate.study.fit.hill import Hills
    from sdi_gate.study.fit.numerics import Mask, Vector
    from sdi_gate.study.fit.sample import Sample

_DIGITS = 6
_NUM_FOLDS = 5

Options = dict[SignalName, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedTerm:
    """Say how one signal enters an index.

    Attributes:
        column: Which candidate.
        candidate: The same, by name.
        weight: Its weight; 0 if it earns nothing.
        scale: Where phi is one half.
        power: How steeply phi rises there.
        reason: Why the weight is 0; None if it is not.
    """

    column: int
    candidate: Candidate
    weight: float
    scale: float
    power: float
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedIndex:
    """Hold an index with all that was fitted for it.

    Attributes:
        terms: One per signal that the tier measures, those of weight 0 last.
        rho: Rank correlation of the out-of-group scores within the sample it was fitted on. The
            headlines were chosen by it, so it is not evidence.
        scores: Out-of-group scores of that sample, shape ``[n]``.
        threshold: Index from which on a candidate is flagged; None if there are too few high
            regressions to set it.
        predictor: Degradation by index.
    """

    terms: tuple[FittedTerm, ...]
    rho: float
    scores: Vector
    threshold: float | None
    predictor: Predictor

    @property
    def is_empty(self) -> bool:
        """Return whether no signal earned a weight."""
        return not any(term.weight > 0.0 for term in self.terms)

    def score(self, sample: Sample) -> Vector:
        """Compute the index of any pairs.

        Args:
            sample: Pairs with the same candidates.

        Returns:
            Their index, shape ``[n]``.
        """
        parts = [
            term.weight
            * hill(sample.values[:, term.column], np.array(term.scale), np.array(term.power))
            for term in self.terms
        ]
        return np.asarray(sum(parts, np.zeros(len(sample))), dtype=np.float64)

    def flags(self, scores: Vector) -> Mask:
        """Say which candidates are flagged.

        Args:
            scores: Indices, shape ``[n]``.

        Returns:
            Which are at or above the threshold; all if there is none, since none is known safe.
        """
        if self.threshold is None:
            return np.ones(len(scores), dtype=np.bool_)
        return ~(scores < self.threshold)


def groups_of(sample: Sample) -> tuple[Literal["family", "base", "pair"], tuple[str, ...]]:
    """Choose what to leave out: families, or what there is instead.

    Args:
        sample: The pairs.

    Returns:
        ``family``, ``base`` or ``pair``, and the group of each pair: its family if there are two
        or more, else its base, else one of five groups of pairs.
    """
    if len(set(sample.families)) > 1:
        return "family", sample.families
    if len(set(sample.bases)) > 1:
        return "base", sample.bases
    return "pair", tuple(str(place % _NUM_FOLDS) for place in range(len(sample)))


def options_of(sample: Sample, signals: Sequence[SignalName]) -> Options:
    """Return the headlines that each signal may have.

    Args:
        sample: The pairs.
        signals: The signals to look at.

    Returns:
        Columns of the candidates, by signal; a signal without any is left out.
    """
    found = {
        signal: tuple(i for i, item in enumerate(sample.candidates) if item.signal is signal)
        for signal in signals
    }
    return {signal: columns for signal, columns in found.items() if columns}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Hold the pairs that indices are fitted on, with what all such fits share.

    Attributes:
        sample: The pairs.
        groups: Group of each, left out in turn within the fit.
        search: Scores sets of headlines on groups left out.
        target: The target.
        hills: Scale and power of each candidate, on all of the pairs.
    """

    sample: Sample
    groups: tuple[str, ...]
    search: Search
    target: Vector
    hills: Hills


def prepare(sample: Sample) -> Ground:
    """Prepare to fit on some pairs.

    Args:
        sample: The pairs; nothing else is seen.

    Returns:
        What every fit on them shares.
    """
    _, groups = groups_of(sample)
    target = rank_target(sample.degradation)
    return Ground(
        sample=sample,
        groups=groups,
        search=Search(sample, groups),
        target=target,
        hills=choose_hills(sample.values, target),
    )


def fit_index(ground: Ground, options: Mapping[SignalName, tuple[int, ...]]) -> FittedIndex:
    """Fit an index: everything is chosen on these pairs, and nothing else is seen.

    Args:
        ground: The pairs to fit on.
        options: The headlines that each signal may have.

    Returns:
        The index.
    """
    sample, search = ground.sample, ground.search
    chosen = search.choose(options)
    zeros = [
        _zero(ground, tuple(chosen.values()), columns)
        for signal, columns in options.items()
        if signal not in chosen
    ]
    columns = tuple(chosen.values())
    scores = search.out_of_group(columns) if columns else np.zeros(len(sample))
    threshold = risk_threshold(scores, sample.high) if columns else None
    return FittedIndex(
        terms=(*_terms(ground, chosen), *zeros),
        rho=search.rho(columns),
        scores=scores,
        threshold=None if threshold is None else float(np.floor(threshold * 1e6) / 1e6),
        predictor=fit_predictor(scores, sample.degradation, ground.groups),
    )


def _terms(ground: Ground, chosen: Mapping[SignalName, int]) -> list[FittedTerm]:
    sample, hills = ground.sample, ground.hills
    order = [name for name in SignalName if name in chosen]
    columns = tuple(chosen[name] for name in order)
    weights = weights_of(hills.map(sample.values)[:, columns], ground.target) if columns else ()
    terms = [
        FittedTerm(
            column=column,
            candidate=sample.candidates[column],
            weight=float(weight),
            scale=float(hills.scales[column]),
            power=float(hills.powers[column]),
            reason=None if weight > 0.0 else "the fit gives it no weight beside the others",
        )
        for column, weight in zip(columns, weights, strict=True)
    ]
    return sorted(terms, key=lambda term: term.weight == 0.0)


def _zero(ground: Ground, chosen: tuple[int, ...], columns: tuple[int, ...]) -> FittedTerm:
    column, gain = ground.search.best_beside(chosen, columns)
    reason = (
        f"beside the others its best metric changes the rank correlation on groups left out by "
        f"{gain:+.4f}; a weight takes more than {MARGIN:+}"
    )
    return FittedTerm(
        column=column,
        candidate=ground.sample.candidates[column],
        weight=0.0,
        scale=float(ground.hills.scales[column]),
        power=float(ground.hills.powers[column]),
        reason=reason,
    )
