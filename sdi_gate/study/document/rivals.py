"""Hold the indices against numbers that are cheaper or simpler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.report.parts import ABSENT
from sdi_gate.study.document.parts import Table
from sdi_gate.study.document.results import indices
from sdi_gate.study.document.words import NOT_DEFINED, difference, interval, plain, rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.study.fit.result import EvidenceEntry, FitResult, TierEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Rivals:
    """Hold the rivals of the indices.

    Attributes:
        tier: The tier at which they are compared; empty if no tier has an index.
        alone: The indices and each rival.
        differences: How much better the indices order, tier by tier.
    """

    tier: str
    alone: Table
    differences: Table


def rivals(fit: FitResult) -> Rivals:
    """Hold the indices against their rivals.

    Args:
        fit: The fit.

    Returns:
        The comparison at the highest tier that has an index.
    """
    found = highest(fit)
    return Rivals(
        tier=found[0] if found else "",
        alone=_alone(found[1] if found else None),
        differences=_differences(fit),
    )


def highest(fit: FitResult) -> tuple[str, TierEntry] | None:
    """Return the highest tier that has an index.

    Args:
        fit: The fit.

    Returns:
        Its name and what was found, or None.
    """
    return next(
        ((name, fit.tiers[name]) for name in reversed(fit.tiers) if fit.tiers[name].sdi), None
    )


def _alone(tier: TierEntry | None) -> Table:
    head = (
        "Number",
        "Made of",
        "Rank correlation",
        ">Lowest in a family",
        "Misses",
        "False alarms",
    )
    return Table(head=head, rows=tuple(_compared(tier)) if tier is not None else ())


def _compared(tier: TierEntry) -> Iterator[tuple[str, ...]]:
    for name, index in indices(tier).items():
        used = sum(term.weight > 0.0 for term in index.terms)
        yield (name, f"{used} of {len(index.terms)} signals, fitted", *_evidence(index.evidence))
    for item in tier.baselines:
        yield (item.name, item.metric, *_evidence(item.evidence))


def _evidence(found: EvidenceEntry) -> tuple[str, ...]:
    values = [entry.value for entry in found.within.values()]
    known = [value for value in values if value is not None]
    lowest = plain(min(known)) if known and len(known) == len(values) else NOT_DEFINED
    return interval(found.rho), lowest, rate(found.misses), rate(found.false_alarms)


def _differences(fit: FitResult) -> Table:
    found = {
        name: {item.name: difference(item.difference) for item in tier.differences}
        for name, tier in fit.tiers.items()
    }
    names = dict.fromkeys(name for known in found.values() for name in known)
    tiers = [name for name in reversed(fit.tiers) if found[name]]
    return Table(
        head=("Difference", *(f"Tier {name}" for name in tiers)),
        rows=tuple(
            (_less(name), *(found[tier].get(name, ABSENT) for tier in tiers)) for name in names
        ),
    )


def _less(name: str) -> str:
    return name.replace(" - ", " less ", 1)
