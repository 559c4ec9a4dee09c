"""Combine the signals to one index that explains itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.signals.interface import Estimate, Outcome, SignalName, SignalResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """Say how one signal enters the index.

    Attributes:
        signal: The signal.
        weight: Its weight, at least 0.
        scale: The value of the headline at which phi is one half; above 0, in the headline's unit.
    """

    signal: SignalName
    weight: float
    scale: float


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
            ValueError: If weights are negative or do not sum to 1, a scale is not above 0, or a
                signal appears twice.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """Say what one signal adds to the index, and where in the model it comes from.

    Attributes:
        signal: The signal.
        metric: Its headline metric.
        value: The headline.
        phi: The headline mapped to [0, 1].
        weight: The signal's weight.
        contribution: ``weight * phi``; the contributions sum to the index.
        by_layer: The contribution divided among the layer groups in proportion to the headline's
            rows by layer, each times its layer weight if the signal has such; sums to
            ``contribution``, or empty if the signal has no such rows.
    """

    signal: SignalName
    metric: str
    value: float
    phi: float
    weight: float
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


def phi(value: float, scale: float) -> float:
    r"""Map a headline to [0, 1]: :math:`\varphi(s) = s / (s + c)`.

    Args:
        value: The headline; below 0 counts as 0.
        scale: Where phi is one half; above 0.

    Returns:
        Exactly 0 for 0; growing in ``value``, strictly so up to rounding; NaN for NaN.
    """
    return 0.0 if value <= 0.0 else 1.0 / (1.0 + scale / value)


def combine(formula: Formula, results: Mapping[SignalName, SignalResult]) -> Divergence:
    r"""Compute the index :math:`\sum_i w_i \varphi_i(s_i)` with each signal's contribution.

    A signal that was not measured is not imputed, and its weight is not given to the others:
    there is then no index.

    Args:
        formula: Weights and scales.
        results: The signals, by name.

    Returns:
        The index, exactly 0 if every headline is 0. Its standard error is propagated to first
        order from the signals' own. NOT_MEASURED if a signal of the formula was not measured,
        INCONCLUSIVE if one was inconclusive.
    """
    missing = [
        (term.signal, results.get(term.signal))
        for term in formula.terms
        if _estimate(results.get(term.signal)) is None
    ]
    if missing:
        name, result = missing[0]
        outcome = result.outcome if result is not None else Outcome.NOT_MEASURED
        reason = result.reason if result is not None else "it was not attempted"
        return Divergence(outcome=outcome, reason=f"{name} is {outcome.value}: {reason}")
    contributions = tuple(_contribution(term, results[term.signal]) for term in formula.terms)
    value = math.fsum(item.contribution for item in contributions)
    return Divergence(
        outcome=Outcome.MEASURED,
        estimate=Estimate(value=value, stderr=_stderr(formula, results)),
        contributions=contributions,
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


def _estimate(result: SignalResult | None) -> Estimate | None:
    return result.estimate if result is not None else None


def _contribution(term: Term, result: SignalResult) -> Contribution:
    assert result.estimate is not None  # noqa: S101 - combine() has looked
    mapped = phi(result.estimate.value, term.scale)
    amount = term.weight * mapped
    rows = result.by_layer(result.metric)
    weights = dict(result.layer_weights)
    layers = [(row.layer or "", row.estimate.value) for row in rows]
    parts = [(layer, value * weights.get(layer, 1.0)) for layer, value in layers]
    total = math.fsum(part for _, part in parts)
    return Contribution(
        signal=term.signal,
        metric=result.metric,
        value=result.estimate.value,
        phi=mapped,
        weight=term.weight,
        contribution=amount,
        by_layer=tuple(
            (layer, amount * part / total if total > 0.0 else 0.0) for layer, part in parts
        ),
    )


def _stderr(formula: Formula, results: Mapping[SignalName, SignalResult]) -> float | None:
    squares: list[float] = []
    for term in formula.terms:
        estimate = _estimate(results[term.signal])
        if estimate is not None and estimate.stderr is not None:
            slope = term.scale / (max(0.0, estimate.value) + term.scale) ** 2
            squares.append((term.weight * slope * estimate.stderr) ** 2)
    return math.sqrt(math.fsum(squares)) if squares else None
