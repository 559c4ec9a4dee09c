"""Name the numbers that may become the headline of a signal, and read them from rows.

The list is explicit and ordered. It leaves out what does not compare between models of different
sizes or bases (raw traces and likelihoods) and what falls as models part (similarities).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from sdi_gate.signals.divergence import Aggregation
from sdi_gate.signals.interface import SignalName

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sdi_gate.study.row import Feature, Row

TierName: TypeAlias = Literal["weights", "probe", "full"]

TIERS: tuple[TierName, ...] = ("weights", "probe", "full")

# Tier from which on a metric is measured, by signal, in the order in which ties are resolved.
METRICS: dict[SignalName, tuple[tuple[str, str], ...]] = {
    SignalName.SPECTRAL_DIVERGENCE: (
        ("spectral-divergence", "weights"),
        ("spectrum-distance", "weights"),
        ("subspace-loss", "weights"),
        ("intruder-dimensions", "weights"),
        ("activation-weighted-spectrum-distance", "probe"),
        ("activation-weighted-subspace-loss", "probe"),
        ("loss-metric-spectrum-distance", "full"),
    ),
    SignalName.REPRESENTATION_DRIFT: (
        ("cka-angle", "probe"),
        ("cka-angle-late-third", "probe"),
        ("output-cka-angle", "probe"),
        ("output-activation-distance", "probe"),
        ("relative-activation-distance", "probe"),
    ),
    SignalName.CURVATURE_SHIFT: (
        ("trace-shift", "full"),
        ("weight-scaled-trace-shift", "full"),
        ("fisher-trace-shift", "full"),
        ("update-quadratic-form", "full"),
    ),
    SignalName.WEIGHT_GEOMETRY: (
        ("relative-distance", "weights"),
        ("pooled-relative-distance", "weights"),
        ("distance-per-parameter", "weights"),
        ("activation-weighted-distance", "probe"),
        ("loss-metric-distance", "full"),
        ("loss-metric-energy", "full"),
    ),
    SignalName.BEHAVIOUR: (
        ("kl-divergence", "probe"),
        ("nll-change", "probe"),
        ("top1-flip-rate", "probe"),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Name one number that may become a headline.

    Attributes:
        signal: The signal.
        metric: One of its metrics.
        aggregation: How the strata become one number.
    """

    signal: SignalName
    metric: str
    aggregation: Aggregation

    @property
    def key(self) -> str:
        """Return the name of the metric in a row's features."""
        return f"{self.signal.value}/{self.metric}"

    def __str__(self) -> str:
        """Return ``signal/metric, aggregation``."""
        return f"{self.key}, {self.aggregation.value}"


def tiers_up_to(tier: str) -> tuple[str, ...]:
    """Return the tiers that a tier includes.

    Args:
        tier: Name of a tier.

    Returns:
        From the lowest to the tier itself.
    """
    return TIERS[: TIERS.index(tier) + 1]


def candidates_of(tier: str, rows: Sequence[Row]) -> tuple[Candidate, ...]:
    """Return the candidates of a tier that every row has as a finite number.

    Args:
        tier: The tier.
        rows: Complete rows.

    Returns:
        Candidates in their fixed order.
    """
    known = tiers_up_to(tier)
    return tuple(
        candidate
        for signal, metrics in METRICS.items()
        for metric, since in metrics
        if since in known
        for aggregation in Aggregation
        if _is_measured(
            candidate := Candidate(signal=signal, metric=metric, aggregation=aggregation), rows
        )
    )


def value_of(feature: Feature | None, aggregation: Aggregation) -> float | None:
    """Read one number from a row's feature.

    Args:
        feature: The metric as the row has it, if it has it.
        aggregation: How the strata become one number.

    Returns:
        The number, from 0 on, as the index takes it; None if it is not there or not finite.
    """
    if feature is None:
        return None
    match aggregation:
        case Aggregation.OVERALL:
            numbers = [] if feature.overall is None else [feature.overall]
        case Aggregation.MEAN_OF_STRATA | Aggregation.WORST_STRATUM:
            numbers = [*feature.strata.values()]
    if not numbers or not all(math.isfinite(number) for number in numbers):
        return None
    positive = [max(0.0, number) for number in numbers]
    if aggregation is Aggregation.WORST_STRATUM:
        return max(positive)
    return math.fsum(positive) / len(positive)


def _is_measured(candidate: Candidate, rows: Iterable[Row]) -> bool:
    return all(
        value_of(row.features.get(candidate.key), candidate.aggregation) is not None for row in rows
    )
