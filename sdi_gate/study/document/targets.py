"""Hold a fit against the targets that were set before the study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sdi_gate.report.numbers import exact, number
from sdi_gate.study.document.ranks import Placed, placed, worst
from sdi_gate.study.document.words import (
    NOT_DEFINED,
    difference,
    is_defined,
    percent,
    plain,
    rate,
    signed,
)
from sdi_gate.study.fit.conformal import FALSE_NEGATIVE_BOUND
from sdi_gate.study.fit.evidence import rate as count_rate
from sdi_gate.study.fit.tier import KL_MEAN, KL_WORST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.study.fit.result import FitResult, IndexEntry, IntervalEntry, RateEntry, TierEntry

TIER: Literal["full"] = "full"
RHO = 0.80
RHO_LOWER = 0.70
RHO_WITHIN = 0.70
MISSES = FALSE_NEGATIVE_BOUND
FALSE_ALARMS = 0.25
_MOST_NAMED = 10
_MOST_WITHIN = 5
_UNMEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Hold one target and what came of it.

    Attributes:
        name: What was aimed at.
        wanted: The bound, in words.
        found: What was measured, in words.
        met: Whether the bound holds. What was not measured, or is not defined, does not hold it.
        breaks: The pairs that break it; none if it is met, or if there was nothing to measure.
    """

    name: str
    wanted: str
    found: str
    met: bool
    breaks: tuple[str, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Return whether there is anything to hold against the bound."""
        return self.found != _UNMEASURED


def judge(fit: FitResult) -> tuple[Target, ...]:
    """Hold a fit against every target.

    Args:
        fit: The fit.

    Returns:
        The targets, in the order in which they were set.
    """
    tier = fit.tiers.get(TIER)
    # A number on bases or pairs left out says nothing of a family that was not seen.
    if tier is None or tier.sdi is None or tier.left_out != "family":
        return _nothing()
    return (
        *_order(fit, tier.sdi),
        _within(fit, tier.sdi),
        _beside_kl(fit, tier),
        *_flags(fit, tier.sdi, tier.sdi.evidence.misses, tier.sdi.evidence.false_alarms, _OWN),
        *_flags(fit, tier.sdi, *at_threshold(fit, tier.sdi), _SHIPPED),
    )


def at_threshold(fit: FitResult, index: IndexEntry) -> tuple[RateEntry, RateEntry]:
    """Count misses and false alarms at the one threshold that was fitted on all pairs.

    Args:
        fit: The fit.
        index: One of its indices.

    Returns:
        Misses and false alarms of the scores that each group got from the fit without it.
    """
    high = np.array([item.pair.high for item in placed(fit, index)], dtype=np.bool_)
    below = np.array([_is_below(item, index) for item in placed(fit, index)], dtype=np.bool_)
    return count_rate(below, high), count_rate(~below, ~high)


_OWN = "each family at the threshold set without it"
_SHIPPED = "at the shipped threshold"


def _nothing() -> tuple[Target, ...]:
    names = (
        (f"rank correlation of sdi, tier {TIER}", f"at least {plain(RHO)}"),
        ("lower end of its interval", f"above {plain(RHO_LOWER)}"),
        ("rank correlation within each family", f"at least {plain(RHO_WITHIN)}"),
        ("sdi_plus less KL divergence alone", "at least 0"),
        *(
            (f"{name}, {where}", f"at most {percent(bound)}")
            for where in (_OWN, _SHIPPED)
            for name, bound in (("misses", MISSES), ("false alarms", FALSE_ALARMS))
        ),
    )
    return tuple(
        Target(name=name, wanted=wanted, found=_UNMEASURED, met=False) for name, wanted in names
    )


def _order(fit: FitResult, sdi: IndexEntry) -> Iterator[Target]:
    rho = sdi.evidence.rho
    for name, wanted, value, met, bound in (
        (
            f"rank correlation of sdi, tier {TIER}",
            f"at least {plain(RHO)}",
            rho.value,
            rho.value is not None and rho.value >= RHO,
            RHO,
        ),
        (
            "lower end of its interval",
            f"above {plain(RHO_LOWER)}",
            rho.lower,
            rho.lower is not None and rho.lower > RHO_LOWER,
            RHO_LOWER,
        ),
    ):
        breaks = () if met else _named(worst(placed(fit, sdi), _MOST_NAMED))
        yield Target(name=name, wanted=wanted, found=_shown(value, bound), met=met, breaks=breaks)


def _within(fit: FitResult, sdi: IndexEntry) -> Target:
    found = sdi.evidence.within
    low = [
        name
        for name in fit.families
        if name not in found or not _is_at_least(found[name].value, RHO_WITHIN)
    ]
    told = (
        f"{name} {_shown(found[name].value if name in found else None, RHO_WITHIN)}"
        for name in fit.families
    )
    return Target(
        name="rank correlation within each family",
        wanted=f"at least {plain(RHO_WITHIN)}",
        found=", ".join(told),
        met=bool(fit.families) and not low,
        breaks=tuple(
            name for family in low for name in _named(worst(placed(fit, sdi, family), _MOST_WITHIN))
        ),
    )


def _beside_kl(fit: FitResult, tier: TierEntry) -> Target:
    known = {item.name: item.difference for item in tier.differences}
    found = {name: known.get(f"sdi_plus - {name}") for name in (KL_MEAN, KL_WORST)}
    met = all(entry is not None and _is_at_least(entry.value, 0.0) for entry in found.values())
    told = (f"{_compared(entry)} against {name}" for name, entry in found.items())
    plus = tier.sdi_plus
    breaks = () if met or plus is None else _named(worst(placed(fit, plus), _MOST_NAMED))
    return Target(
        name="sdi_plus less KL divergence alone",
        wanted="at least 0",
        found="; ".join(told),
        met=met,
        breaks=breaks,
    )


def _flags(
    fit: FitResult, sdi: IndexEntry, misses: RateEntry, false_alarms: RateEntry, where: str
) -> Iterator[Target]:
    shipped = where == _SHIPPED
    pairs = placed(fit, sdi)
    flagged = {item.pair.pair: _is_flagged(item, sdi, shipped=shipped) for item in pairs}
    missed = [item for item in pairs if item.pair.high and not flagged[item.pair.pair]]
    alarms = [item for item in pairs if not item.pair.high and flagged[item.pair.pair]]
    for name, entry, bound, wrong in (
        ("misses", misses, MISSES, worst(missed, len(missed))),
        ("false alarms", false_alarms, FALSE_ALARMS, worst(alarms, _MOST_NAMED)),
    ):
        met = entry.value is not None and entry.value <= bound
        yield Target(
            name=f"{name}, {where}",
            wanted=f"at most {percent(bound)}",
            found=_counted(entry, bound),
            met=met,
            breaks=() if met else _named(wrong),
        )


def _is_flagged(item: Placed, sdi: IndexEntry, *, shipped: bool) -> bool:
    return not _is_below(item, sdi) if shipped else item.score.flagged


def _is_below(item: Placed, index: IndexEntry) -> bool:
    # Without a threshold nothing is known to be safe.
    return index.threshold is not None and item.score.score < index.threshold


def _is_at_least(value: float | None, bound: float) -> bool:
    return value is not None and value >= bound


def _shown(value: float | None, bound: float) -> str:
    if not is_defined(value):
        return NOT_DEFINED
    return exact(value) if value == bound else number(value, (bound,))


def _compared(entry: IntervalEntry | None) -> str:
    if entry is None or not is_defined(entry.value):
        return _UNMEASURED
    # Rounded to 0.00 the reader could not tell on which side of the bound it is.
    return difference(entry).replace(signed(entry.value), number(entry.value, (0.0,)), 1)


def _counted(entry: RateEntry, bound: float) -> str:
    if not is_defined(entry.value):
        return rate(entry)
    shown = _shown(100 * entry.value, 100 * bound)
    ends = f"{percent(entry.lower)} to {percent(entry.upper)}"
    return f"{entry.hits} of {entry.trials}: {shown} % ({ends})"


def _named(found: tuple[Placed, ...]) -> tuple[str, ...]:
    return tuple(item.pair.pair for item in found)
