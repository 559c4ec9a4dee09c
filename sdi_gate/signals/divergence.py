"""Combine the signals to one index that explains itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sdi_gate.signals.interface import Estimate, Outcome, SignalName, SignalResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Aggregation(StrEnum):
    """Say how the strata of a metric become one number; a stratum below 0 counts as 0."""

    OVERALL = "overall"
    MEAN_OF_STRATA = "mean-of-strata"
    WORST_STRATUM = "worst-stratum"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """Say how one signal enters the index.

    Attributes:
        signal: The signal.
        metric: Which of its metrics; None for the signal's own headline.
        aggregation: How the strata become one number; OVERALL takes the signal's own.
        weight: Its weight, at least 0.
        scale: The value at which phi is one half; above 0, in the metric's unit.
        power: How steeply phi rises there; above 0.
        reason: Why the weight is 0, if it is.
    """

    signal: SignalName
    weight: float
    scale: float
    metric: str | None = None
    aggregation: Aggregation = Aggregation.OVERALL
    power: float = 1.0
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    r"""Define an index :math:`\sum_i w_i \varphi_i(s_i)`.

    Law: the weights sum to 1.

    Attributes:
        terms: One term per signal.
    """

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        """Refuse a formula that would not give an index from 0 to 1.

        Raises:
            ValueError: If weights are negative or do not sum to 1, a scale or a power is not above
                0, or a signal appears twice.
        """
        weights = [term.weight for term in self.terms]
        names = {term.signal for term in self.terms}
        sums_to_one = abs(math.fsum(weights) - 1.0) < 1e-9
        if not sums_to_one or not min(weights) >= 0.0 or len(names) != len(self.terms):
            msg = f"weights must be >= 0, sum to 1 and name each signal once; got {self.terms}"
            raise ValueError(msg)
        if not all(0.0 < term.scale < math.inf for term in self.terms):
            msg = f"scales must be finite and above 0; got {self.terms}"
            raise ValueError(msg)
        if not all(0.0 < term.power < math.inf for term in self.terms):
            msg = f"powers must be finite and above 0; got {self.terms}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """Say what one signal adds to the index, and where in the model it comes from.

    Attributes:
        signal: The signal.
        metric: The metric that was taken.
        aggregation: How its strata became one number.
        value: That number.
        phi: The number mapped to [0, 1].
        weight: The signal's weight.
        reason: Why the weight is 0, if it is.
        contribution: ``weight * phi``; the contributions sum to the index.
        by_layer: The contribution divided among the layer groups in proportion to the metric's
            rows by layer, aggregated over strata as the metric is, each times its layer weight if
            the signal has such; sums to ``contribution``, or empty if the metric has no such rows.
    """

    signal: SignalName
    metric: str
    aggregation: Aggregation
    value: float
    phi: float
    weight: float
    reason: str | None
    contribution: float
    by_layer: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Hold an index with its parts, or the reason why there is none.

    Law: ``outcome`` is MEASURED exactly if ``estimate`` is there; otherwise ``reason`` says why.

    Attributes:
        outcome: How it ended.
        estimate: The index, 0 to 1, with a standard error if a signal has one.
        contributions: One per term of the formula.
        reason: Why there is no index.
    """

    outcome: Outcome
    estimate: Estimate | None = None
    contributions: tuple[Contribution, ...] = ()
    reason: str | None = None


def phi(value: float, scale: float, power: float = 1.0) -> float:
    r"""Map a headline to [0, 1]: :math:`\varphi(s) = s^p / (s^p + c^p)`, the function of Hill.

    Args:
        value: The headline :math:`s`; below 0 counts as 0.
        scale: Where phi is one half, :math:`c`; above 0.
        power: How steeply it rises there, :math:`p`; above 0.

    Returns:
        Exactly 0 for 0; growing in ``value``, strictly so up to rounding; NaN for NaN.
    """
    if value <= 0.0:
        return 0.0
    if power == 1.0:
        return 1.0 / (1.0 + scale / value)
    t = power * (math.log(value) - math.log(scale))
    return 1.0 / (1.0 + math.exp(-t)) if t >= 0.0 else math.exp(t) / (1.0 + math.exp(t))


def combine(formula: Formula, results: Mapping[SignalName, SignalResult]) -> Divergence:
    r"""Compute the index :math:`\sum_i w_i \varphi_i(s_i)` with each signal's contribution.

    A signal or metric that was not measured is not imputed, and its weight is not given to the
    others: there is then no index. That holds for a weight of 0 too, whose value is shown.

    Args:
        formula: Metrics, weights and scales.
        results: The signals, by name.

    Returns:
        The index, exactly 0 if every headline is 0. Its standard error is propagated to first
        order from the signals' own. NOT_MEASURED if a signal or a metric of the formula was not
        measured, INCONCLUSIVE if a signal was inconclusive.
    """
    for term in formula.terms:
        if (missing := _missing(term, results.get(term.signal))) is not None:
            return missing
    readings = [(term, read_term(term, results[term.signal])) for term in formula.terms]
    contributions = tuple(
        _contribution(term, estimate.value, results[term.signal])
        for term, estimate in readings
        if estimate is not None
    )
    errors = [_phi_error(term, estimate) for term, estimate in readings if estimate is not None]
    known = [error for error in errors if error is not None]
    return Divergence(
        outcome=Outcome.MEASURED,
        estimate=Estimate(
            value=math.fsum(item.contribution for item in contributions),
            stderr=math.hypot(*known) if known else None,
        ),
        contributions=contributions,
    )


def read_term(term: Term, result: SignalResult) -> Estimate | None:
    """Read the number that a term takes from a signal.

    Args:
        term: Metric and aggregation.
        result: The signal.

    Returns:
        The number; None if the signal has no headline or lacks the metric. Strata below 0 count as
        0. The standard error of a mean takes the strata as independent; that of the worst stratum
        is its own.
    """
    if result.estimate is None:
        return None
    metric = term.metric or result.metric
    if term.aggregation is Aggregation.OVERALL:
        return result.overall(metric)
    rows = [row.estimate for row in result.by_stratum(metric)]
    if not rows:
        return None
    if term.aggregation is Aggregation.WORST_STRATUM:
        top = max(rows, key=lambda row: row.value)
        return Estimate(value=max(0.0, top.value), stderr=top.stderr, n=top.n)
    known = [row.stderr for row in rows if row.stderr is not None]
    return Estimate(
        value=math.fsum(max(0.0, row.value) for row in rows) / len(rows),
        stderr=math.hypot(*known) / len(rows) if known else None,
    )


def contributions_by_layer(contributions: Sequence[Contribution]) -> tuple[tuple[str, float], ...]:
    """Return what each layer group adds to the index, over all signals.

    Args:
        contributions: The parts of an index.

    Returns:
        Layer group and contribution, in order of first appearance; together the index, less the
        parts of signals that have no rows by layer.
    """
    total: dict[str, float] = {}
    for item in contributions:
        for layer, share in item.by_layer:
            total[layer] = total.get(layer, 0.0) + share
    return tuple(total.items())


def _missing(term: Term, result: SignalResult | None) -> Divergence | None:
    if result is None:
        outcome, reason = Outcome.NOT_MEASURED, "it was not attempted"
    elif result.estimate is None:
        outcome, reason = result.outcome, result.reason or "no reason was recorded"
    elif read_term(term, result) is None:
        outcome = Outcome.NOT_MEASURED
        where = "" if term.aggregation is Aggregation.OVERALL else " by stratum"
        reason = f"the scan has no {term.metric or result.metric}{where}"
    else:
        return None
    return Divergence(outcome=outcome, reason=f"{term.signal} is {outcome.value}: {reason}")


def _contribution(term: Term, value: float, result: SignalResult) -> Contribution:
    metric = term.metric or result.metric
    mapped = phi(value, term.scale, term.power)
    amount = term.weight * mapped
    weights = dict(result.layer_weights)
    layers = _layers(term, result)
    parts = [(layer, part * weights.get(layer, 1.0)) for layer, part in layers]
    total = math.fsum(part for _, part in parts)
    return Contribution(
        signal=term.signal,
        metric=metric,
        aggregation=term.aggregation,
        value=value,
        phi=mapped,
        weight=term.weight,
        reason=term.reason,
        contribution=amount,
        by_layer=tuple(
            (layer, amount * part / total if total > 0.0 else 0.0) for layer, part in parts
        ),
    )


def _layers(term: Term, result: SignalResult) -> list[tuple[str, float]]:
    metric = term.metric or result.metric
    # A metric of the whole model, such as that of the output, is divided as the headline is.
    own = result.by_layer(metric) or result.by_layer(result.metric)
    whole = [(row.layer or "", row.estimate.value) for row in own]
    if term.aggregation is Aggregation.OVERALL:
        return whole
    rows = result.by_stratum(metric)
    top = max(rows, key=lambda row: row.estimate.value).stratum
    grid: dict[str, list[float]] = {}
    for row in result.measurements:
        is_cell = row.metric == metric and row.layer and row.stratum and row.tensor is None
        if is_cell and (term.aggregation is Aggregation.MEAN_OF_STRATA or row.stratum == top):
            grid.setdefault(row.layer or "", []).append(max(0.0, row.estimate.value))
    # Where a metric has no rows by layer and stratum, its layers over all strata have to do.
    return [(layer, math.fsum(cells) / len(cells)) for layer, cells in grid.items()] or whole


def _phi_error(term: Term, estimate: Estimate) -> float | None:
    """Return the standard error of weight times phi, to first order in that of the value."""
    if estimate.stderr is None:
        return None
    value, error = max(0.0, estimate.value), estimate.stderr
    if term.power < 1.0:
        # The slope at 0 has no bound; half the change over two standard errors always has one.
        ends = [phi(end, term.scale, term.power) for end in (value - error, value + error)]
        return term.weight * (ends[1] - ends[0]) / 2.0
    ratio = value / term.scale
    outer = math.pow(min(ratio, 1.0 / ratio) if ratio > 0.0 else 0.0, term.power)
    inner = math.pow(ratio, term.power - 1.0) if ratio <= 1.0 else outer / ratio
    slope = term.power / term.scale * inner / (1.0 + outer) ** 2
    return term.weight * slope * error
