"""Write what each tier reached, and what its index is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.report.parts import ABSENT
from sdi_gate.study.document.axes import axes_table, intervals_table, silent_axes
from sdi_gate.study.document.parts import Table
from sdi_gate.study.document.targets import at_threshold
from sdi_gate.study.document.words import headline, interval, joined, percent, plain, rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.study.fit.result import (
        FitResult,
        FoldEntry,
        IndexEntry,
        TermEntry,
        TierEntry,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TierView:
    """Hold what is told of one tier.

    Attributes:
        name: The tier.
        problem: Why it has no index; empty if it has one.
        left_out: What was left out in turn.
        reached: Correlations and rates of its indices.
        within: The same within each family.
        axes: How sdi predicts the mean and each axis; no rows if no axis was fitted.
        intervals: What the intervals around these predictions reached.
        silent: For each axis that is not predicted the reason.
        terms: What the indices are made of.
        zero: For each signal without a weight the reason.
        folds: What was chosen without each group.
        not_measured: Metrics that not every row has.
    """

    name: str
    problem: str
    left_out: str
    reached: Table
    within: Table
    axes: Table
    intervals: Table
    silent: tuple[str, ...]
    terms: Table
    zero: tuple[str, ...]
    folds: Table
    not_measured: tuple[str, ...]


def tier_views(fit: FitResult) -> tuple[TierView, ...]:
    """Describe every tier.

    Args:
        fit: The fit.

    Returns:
        The highest tier first.
    """
    return tuple(_tier(fit, name, fit.tiers[name]) for name in reversed(fit.tiers))


def indices(tier: TierEntry) -> dict[str, IndexEntry]:
    """Return the indices of a tier.

    Args:
        tier: The tier.

    Returns:
        Those that there are, by name.
    """
    known = {"sdi": tier.sdi, "sdi_plus": tier.sdi_plus}
    return {name: index for name, index in known.items() if index is not None}


def _tier(fit: FitResult, name: str, tier: TierEntry) -> TierView:
    return TierView(
        name=name,
        problem=tier.reason or "",
        left_out=tier.left_out or ABSENT,
        reached=_reached(fit, tier),
        within=_within(tier),
        axes=axes_table(tier),
        intervals=intervals_table(tier),
        silent=silent_axes(tier),
        terms=_terms(tier),
        zero=tuple(_zero(tier)),
        folds=_folds(tier),
        not_measured=tier.not_measured,
    )


def _reached(fit: FitResult, tier: TierEntry) -> Table:
    found = indices(tier)
    shipped = {name: at_threshold(fit, index) for name, index in found.items()}
    lines = [
        ("rank correlation", [interval(index.evidence.rho) for index in found.values()]),
        ("misses", [rate(index.evidence.misses) for index in found.values()]),
        ("false alarms", [rate(index.evidence.false_alarms) for index in found.values()]),
        ("threshold on all pairs", [_threshold(index.threshold) for index in found.values()]),
        ("misses at that threshold", [rate(misses) for misses, _ in shipped.values()]),
        ("false alarms at that threshold", [rate(alarms) for _, alarms in shipped.values()]),
        (
            "predicted degradation, mean error",
            [plain(index.prediction.mean_error, 3) for index in found.values()],
        ),
        (
            "its interval, nominal level",
            [percent(index.prediction.level) for index in found.values()],
        ),
        ("its interval, coverage", [rate(index.prediction.coverage) for index in found.values()]),
        (
            "its interval, mean width",
            [plain(index.prediction.mean_width, 3) for index in found.values()],
        ),
    ]
    return Table(head=("", *found), rows=tuple((name, *cells) for name, cells in lines))


def _threshold(value: float | None) -> str:
    return "none: too few high regressions" if value is None else plain(value, 4)


def _within(tier: TierEntry) -> Table:
    found = indices(tier)
    families = sorted({name for index in found.values() for name in index.evidence.within})
    head = ["Family"]
    for name in found:
        head += [
            f"{name}: correlation",
            f"{name}: misses",
            f"{name}: false alarms",
            f"{name}: in the interval",
        ]
    return Table(
        head=tuple(head),
        rows=tuple(
            (family, *(cell for index in found.values() for cell in _in_family(index, family)))
            for family in families
        ),
    )


def _in_family(index: IndexEntry, family: str) -> tuple[str, ...]:
    evidence = index.evidence
    return (
        interval(evidence.within[family]),
        _short(evidence.misses_within[family].hits, evidence.misses_within[family].trials),
        _short(
            evidence.false_alarms_within[family].hits, evidence.false_alarms_within[family].trials
        ),
        _short(
            index.prediction.coverage_within[family].hits,
            index.prediction.coverage_within[family].trials,
        ),
    )


def _short(hits: int, trials: int) -> str:
    return f"{hits} of {trials}"


def _terms(tier: TierEntry) -> Table:
    return Table(
        head=(
            "Index",
            "Signal",
            "Headline",
            ">Weight",
            ">Scale",
            ">Power",
            ">Weight in folds",
            "Same headline",
        ),
        rows=tuple(
            (
                name,
                term.signal,
                headline(term),
                f"{term.weight:g}",
                f"{term.scale:.4g}",
                f"{term.power:g}",
                *_stability(index, term),
            )
            for name, index in indices(tier).items()
            for term in index.terms
        ),
    )


def _stability(index: IndexEntry, term: TermEntry) -> tuple[str, str]:
    own = [found for fold in index.folds for found in fold.terms if found.signal == term.signal]
    weights = [found.weight for found in own]
    if not weights:
        return ABSENT, ABSENT
    same = sum(found.weight > 0.0 and headline(found) == headline(term) for found in own)
    low, high = min(weights), max(weights)
    spread = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return spread, f"{same} of {len(index.folds)} folds"


def _zero(tier: TierEntry) -> Iterator[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for name, index in indices(tier).items():
        for term in index.terms:
            if not term.weight > 0.0:
                key = (term.signal, term.reason or "no reason was recorded")
                found.setdefault(key, []).append(name)
    for (signal, reason), names in found.items():
        yield f"{signal} in {joined(names)}: {reason}"


def _folds(tier: TierEntry) -> Table:
    return Table(
        head=("Index", "Left out", ">Pairs", "Headlines and weights", ">Threshold"),
        rows=tuple(
            (name, fold.left_out, str(fold.num_pairs), _chosen(fold), _threshold(fold.threshold))
            for name, index in indices(tier).items()
            for fold in index.folds
        ),
    )


def _chosen(fold: FoldEntry) -> str:
    return (
        "; ".join(
            f"{term.weight:g} × {term.signal}/{headline(term)}"  # noqa: RUF001 - a product
            for term in fold.terms
            if term.weight > 0.0
        )
        or ABSENT
    )
