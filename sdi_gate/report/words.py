"""Say in plain words what each metric is, and how an index is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.numbers import with_error
from sdi_gate.report.parts import ABSENT, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.report.document import (
        EstimateEntry,
        MeasurementEntry,
        ResultDocument,
        SignalEntry,
    )

FOUR_SIGNALS = (
    "spectral-divergence",
    "representation-drift",
    "curvature-shift",
    "weight-geometry",
)

# Headlines that a signal has where its own could not be measured.
STAND_INS = frozenset({"fisher-trace-shift"})

_UNITS = {
    "cka-angle": "rad",
    "kl-divergence": "nats per token",
    "nll-change": "nats per token",
}
_INDICES = {"sdi": "sdi", "sdi-plus": "sdi_plus"}

_MEANINGS = {
    "spectral-divergence": (
        "How far the singular values of the weights have shifted and the directions that the "
        "weights act along have turned. Identical weights give 0; there is no upper bound."
    ),
    "representation-drift": (
        "How far the activations after each layer have moved on the probe texts, as an angle: "
        "worst stratum, mean over layers. Identical models give 0, unrelated activations 1.57 "
        "(a right angle). A common rescaling or shift of all activations does not count."
    ),
    "curvature-shift": (
        "How much the sharpness of the loss at the weights has changed, mean over strata. The "
        "same sharpness gives 0; 1 means that one side is flat or that the sign differs. "
        "Sampling noise pushes it up."
    ),
    "fisher-trace-shift": (
        "How much the squared gradients of the loss (the trace of the Fisher matrix) have changed, "
        "mean over strata: taken in place of the Hessian's trace, and another number. The same "
        "size gives 0; 1 means that one side has no gradients. Sampling noise pushes it up."
    ),
    "weight-geometry": (
        "How far the weights have moved, relative to their size. 0 means that every compared "
        "weight is equal; there is no upper bound."
    ),
    "behaviour": (
        "How far the predicted next tokens have moved on the probe texts. Not part of sdi."
    ),
    "kl-divergence": (
        "How far the candidate's next-token probabilities are from the base's. Identical "
        "predictions give 0; there is no upper bound."
    ),
    "nll-change": (
        "How much less likely the candidate finds the probe texts than the base does. Above 0 is "
        "worse, below 0 is better."
    ),
    "top1-flip-rate": (
        "Share of positions at which the most likely next token is another one, from 0 to 1."
    ),
}


def meaning(name: str, metric: str = "") -> str:
    """Say what a signal or a behaviour metric is.

    Args:
        name: Name of the signal or metric.
        metric: The signal's headline, which can be a stand-in with a meaning of its own.

    Returns:
        One to three plain sentences.
    """
    return _MEANINGS[metric if metric in STAND_INS else name]


def unit(metric: str) -> str:
    """Return the unit of a metric.

    Args:
        metric: Name of the metric.

    Returns:
        The unit; empty if the metric is dimensionless.
    """
    return _UNITS.get(metric, "")


def quantity(metric: str, estimate: EstimateEntry, against: Sequence[float] = ()) -> str:
    """Write an estimate with its standard error and its unit.

    Args:
        metric: Name of the metric.
        estimate: The estimate.
        against: Numbers that a reader compares it with.

    Returns:
        Such as ``0.412 ± 0.021 nats per token``.
    """
    return f"{with_error(estimate.value, estimate.stderr, against)} {unit(metric)}".rstrip()


def is_index(metric: str) -> bool:
    """Say whether a metric of a finding is one of the two indices.

    Args:
        metric: Name of the metric, as policies have it.

    Returns:
        True for ``sdi`` and ``sdi-plus``.
    """
    return metric in _INDICES


def index_label(metric: str, document: ResultDocument) -> str:
    """Call an index by its name, with what a reader must know wherever its value is shown.

    Args:
        metric: ``sdi`` or ``sdi-plus``.
        document: The result.

    Returns:
        Such as ``sdi (provisional, tier weights)``.
    """
    calibration = document.calibration
    standing = "provisional" if calibration.status == "provisional" else "uncalibrated"
    known = () if calibration.calibrated else (standing,)
    tier = () if document.tier.ran == "full" else (f"tier {document.tier.ran}",)
    remarks = ", ".join((*known, *tier))
    return f"{_INDICES[metric]} ({remarks})" if remarks else _INDICES[metric]


def index_name(metric: str) -> str:
    """Return the name of an index.

    Args:
        metric: ``sdi`` or ``sdi-plus``.

    Returns:
        ``sdi`` or ``sdi_plus``.
    """
    return _INDICES[metric]


def where(layer: str | None, stratum: str | None) -> str:
    """Name a place.

    Args:
        layer: Layer group, if there is one.
        stratum: Stratum, if there is one.

    Returns:
        Such as ``layers.3, stratum code``; a dash if there is neither.
    """
    parts = [] if layer is None else [clean(layer, 60)]
    parts += [] if stratum is None else [f"stratum {clean(stratum, 60)}"]
    return ", ".join(parts) or ABSENT


def outcome_words(outcome: str, reason: str | None) -> str:
    """Say in a cell why there is no number.

    Args:
        outcome: ``not-measured`` or ``inconclusive``.
        reason: Why, if the document says so.

    Returns:
        Such as ``not measured: tier weights has no probe``.
    """
    return f"{outcome.replace('-', ' ')}: {clean(reason or 'no reason was recorded', 200)}"


def outcome_clause(outcome: str, reason: str | None) -> str:
    """Say in a sentence why there is no number.

    Args:
        outcome: ``not-measured`` or ``inconclusive``.
        reason: Why, if the document says so.

    Returns:
        Such as ``was not measured: tier weights has no probe``, to follow a subject.
    """
    verb = "was" if outcome == "not-measured" else "is"
    return f"{verb} {outcome_words(outcome, reason).rstrip('.')}"


def rows_by_layer(signal: SignalEntry) -> dict[str, MeasurementEntry]:
    """Return a signal's headline by layer group.

    Args:
        signal: The signal.

    Returns:
        Measurement of each layer group, in model order; empty if the signal has no headline.
    """
    if signal.headline is None:
        return {}
    return {
        row.layer: row
        for row in signal.measurements
        if row.metric == signal.metric
        and row.layer is not None
        and row.tensor is None
        and row.stratum is None
    }


def rows_by_stratum(signal: SignalEntry | None, metric: str) -> dict[str, MeasurementEntry]:
    """Return a metric by stratum.

    Args:
        signal: The signal, if the document has it.
        metric: Name of the metric.

    Returns:
        Measurement of each stratum; empty if the signal has no headline.
    """
    if signal is None or signal.headline is None:
        return {}
    return {
        row.stratum: row
        for row in signal.measurements
        if row.metric == metric
        and row.stratum is not None
        and row.layer is None
        and row.tensor is None
    }


def largest(rows: dict[str, MeasurementEntry]) -> str | None:
    """Return where a metric is largest.

    Args:
        rows: Measurements by place.

    Returns:
        The place, the first of several; None if there is none, or if all are equal.
    """
    values = {place: row.estimate.value for place, row in rows.items()}
    if len(set(values.values())) < 2:
        return None
    return max(values, key=lambda place: values[place])
