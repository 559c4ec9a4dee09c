"""Say in sentences what a fit established, and what it could not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.study.fit.conformal import FALSE_NEGATIVE_BOUND, LEVEL
from sdi_gate.study.fit.evidence import MIN_PAIRS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.study.fit.result import (
        FitResult,
        IndexEntry,
        IntervalEntry,
        RateEntry,
        TierEntry,
    )

_ALONE = {
    "base": "how the index does on another family: all pairs are of one family, so bases were left "
    "out in its place",
    "pair": "how the index does on another base: all pairs are of one base, so pairs were left out "
    "in its place, and the figures are too good",
}


def established(fit: FitResult) -> tuple[str, ...]:
    """Return what a fit established.

    Args:
        fit: The fit.

    Returns:
        One sentence each, tier by tier.
    """
    return tuple(
        sentence for name, tier in fit.tiers.items() for sentence in _tier_sentences(name, tier)
    )


def not_established(fit: FitResult) -> tuple[str, ...]:
    """Return what a fit could not establish, and why.

    Args:
        fit: The fit.

    Returns:
        One clause each.
    """
    found = [f"an index for tier {n}: {t.reason}" for n, t in fit.tiers.items() if t.reason]
    kinds = {tier.left_out for tier in fit.tiers.values()}
    found += [sentence for kind, sentence in _ALONE.items() if kind in kinds]
    found += _families(fit)
    if fit.failures:
        found.append(f"anything on {len(fit.failures)} pairs that failed: {_named(fit)}")
    for name, tier in fit.tiers.items():
        found += [f"tier {name}: {sentence}" for sentence in _open(tier)]
    return tuple(found)


def interval(entry: IntervalEntry) -> str:
    """Write a rank correlation.

    Args:
        entry: The correlation.

    Returns:
        Such as ``0.83 [0.78, 0.88]``; ``not defined`` without a value.
    """
    if entry.value is None:
        return "not defined"
    if entry.lower is None or entry.upper is None:
        return f"{entry.value:.2f} (no interval: too few bases or pairs)"
    return f"{entry.value:.2f} [{entry.lower:.2f}, {entry.upper:.2f}]"


def rate(entry: RateEntry) -> str:
    """Write a rate.

    Args:
        entry: The rate.

    Returns:
        Such as ``12 of 100 (12 % [6 %, 20 %])``.
    """
    if entry.value is None or entry.lower is None or entry.upper is None:
        return "none to count"
    ends = f"[{100 * entry.lower:.0f} %, {100 * entry.upper:.0f} %]"
    return f"{entry.hits} of {entry.trials} ({100 * entry.value:.0f} % {ends})"


def _tier_sentences(name: str, tier: TierEntry) -> Iterator[str]:
    for label, index in (("sdi", tier.sdi), ("sdi_plus", tier.sdi_plus)):
        if index is None:
            continue
        evidence = index.evidence
        if not _is_above(evidence.rho):
            continue
        yield (
            f"tier {name}, {label}: rank correlation with degradation {interval(evidence.rho)} on "
            f"each {tier.left_out} left out; at the threshold it misses {rate(evidence.misses)} "
            f"and flags {rate(evidence.false_alarms)} of the others"
        )
    if tier.sdi is not None and _is_above(tier.sdi.evidence.rho):
        coverage = tier.sdi.prediction
        yield (
            f"tier {name}: the interval of {100 * coverage.level:.0f} % around the predicted "
            f"degradation holds {rate(coverage.coverage)}; its mean width is "
            f"{coverage.mean_width:.2f}"
        )
    if tier.sdi is not None:
        yield from _axis_sentences(name, tier.sdi)


def _axis_sentences(name: str, index: IndexEntry) -> Iterator[str]:
    for axis, entry in index.axes.items():
        if entry.reason is not None or not _is_above(entry.rho):
            continue
        main = next(found for found in entry.levels if found.level == LEVEL)
        yield (
            f"tier {name}, axis {axis}: rank correlation with what it lost {interval(entry.rho)}; "
            f"the interval of {100 * LEVEL:.0f} % holds {rate(main.coverage)}; of the high "
            f"regressions, {rate(main.exceeded)} lost more than its upper end"
        )


def _families(fit: FitResult) -> list[str]:
    counts = {family: sum(pair.family == family for pair in fit.pairs) for family in fit.families}
    few = [f"{family} ({count})" for family, count in counts.items() if count < MIN_PAIRS]
    if not few:
        return []
    return [f"how well it orders within a family of fewer than {MIN_PAIRS} pairs: {', '.join(few)}"]


def _named(fit: FitResult) -> str:
    named = ", ".join(failure.pair for failure in fit.failures[:5])
    return f"{named}, and others" if len(fit.failures) > 5 else named


def _open(tier: TierEntry) -> Iterator[str]:
    sdi = tier.sdi
    if sdi is None:
        return
    if not _is_above(sdi.evidence.rho):
        rho = interval(sdi.evidence.rho)
        yield f"that sdi orders candidates at all: its rank correlation is {rho}"
    upper = sdi.evidence.misses.upper
    if upper is None or not upper <= FALSE_NEGATIVE_BOUND:
        yield f"that at most {100 * FALSE_NEGATIVE_BOUND:.0f} % are missed: the interval is wider"
    if sdi.threshold is None:
        yield "a threshold: too few high regressions"
    yield from _weightless(sdi)
    yield from _unpredicted(sdi)
    for item in tier.differences:
        if item.name.startswith("sdi - KL") and not _is_above(item.difference):
            yield f"that sdi orders better than {item.name.removeprefix('sdi - ')} alone"


def _weightless(index: IndexEntry) -> Iterator[str]:
    for term in index.terms:
        if term.weight == 0.0:
            yield f"a use of {term.signal}: {term.reason}"


def _unpredicted(index: IndexEntry) -> Iterator[str]:
    for axis, entry in index.axes.items():
        if entry.reason is not None:
            yield f"a prediction for the axis {axis}: {entry.reason}"
        elif not _is_above(entry.rho):
            yield f"that sdi orders what {axis} lost: its rank correlation is {interval(entry.rho)}"


def _is_above(entry: IntervalEntry) -> bool:
    return entry.lower is not None and entry.lower > 0.0
