"""Say what an index is made of, what that rests on, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.numbers import exact, number
from sdi_gate.report.parts import ABSENT, SENTENCE_LIMIT, Table, clean
from sdi_gate.report.words import index_label, index_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdi_gate.report.document import ContributionEntry, ResultDocument

_RANGE = (0.0, 1.0)
_MAX_CONTRIBUTIONS = 8
_PERCENT = 100


def contributions(document: ResultDocument) -> tuple[Table, ...]:
    """Return what each signal adds to the indices.

    Args:
        document: The result.

    Returns:
        One table; none if there is no index.
    """
    sdi = {item.signal: item for item in document.sdi.contributions}
    plus = {item.signal: item for item in document.sdi_plus.contributions}
    names = tuple(dict.fromkeys((*sdi, *plus)))
    if not names:
        return ()
    parts = {"sdi": sdi, "sdi-plus": plus} if plus else {"sdi": sdi}
    head = ["Signal", "Value s", "φ(s)"]
    for metric in parts:
        head += [f"Weight in {index_name(metric)}", f"Adds to {index_label(metric, document)}"]
    columns = tuple(parts.values())
    rows = tuple(_row(name, columns) for name in names[:_MAX_CONTRIBUTIONS])
    table = Table(
        key="contributions",
        nouns="signals",
        head=(*head, "Metric"),
        rows=rows,
        total=len(names),
        essential=5,
        is_numeric=(False, *(True,) * (len(head) - 1), False),
    )
    return (table,)


def calibration_sentences(document: ResultDocument) -> tuple[str, ...]:
    """Return what the index rests on, and what follows from it for these models.

    Args:
        document: The result.

    Returns:
        The calibration, the predicted degradation or why there is none, the threshold, and the
        reason for each weight of 0.
    """
    return (
        _calibration(document),
        *_prediction(document),
        *_threshold(document),
        *_metrics(document),
        *_weightless(document),
    )


def _calibration(document: ResultDocument) -> str:
    calibration = document.calibration
    name = f"{clean(calibration.name, 60)}, version {calibration.version}"
    note = clean(calibration.note, SENTENCE_LIMIT)
    if calibration.calibrated:
        return f"Calibration {name}. {note}"
    if calibration.status == "provisional":
        return f"Calibration {name} (provisional). {note}"
    reason = clean(calibration.reason or "no reason was recorded", SENTENCE_LIMIT)
    return f"Calibration {name} does not speak for these models: {reason.rstrip('.')}. {note}"


def _prediction(document: ResultDocument) -> Iterator[str]:
    found = document.prediction
    if found is None:
        return
    if found.value is None or found.lower is None or found.upper is None or found.level is None:
        reason = clean(found.reason or "no reason was recorded", SENTENCE_LIMIT)
        yield f"No degradation is predicted: {reason.rstrip('.')}."
        return
    level = f"{exact(round(_PERCENT * found.level, 6))} %"
    yield (
        f"Predicted degradation is {number(found.value)} ({level} interval {number(found.lower)} "
        f"to {number(found.upper)}): the mean loss over the axes that the calibration was fitted "
        "to, for models like those it was fitted on."
    )


def _threshold(document: ResultDocument) -> Iterator[str]:
    threshold, sdi = document.calibration.threshold, document.sdi.estimate
    if threshold is None or sdi is None:
        return
    value = exact(threshold.value)
    place = "below" if sdi.value < threshold.value else "at or above"
    bound = exact(round(_PERCENT * threshold.bound, 6))
    shown = number(sdi.value, [threshold.value])
    yield (
        f"The calibration's threshold is {value}, and this sdi, {shown}, is {place} it. It is set "
        f"to miss at most {bound} % of high regressions; on models that had no part in the fit, "
        f"{threshold.num_missed} of {threshold.num_degraded} were missed, and "
        f"{threshold.num_false_alarms} of {threshold.num_others} others were flagged."
    )


def _metrics(document: ResultDocument) -> Iterator[str]:
    # A narrow renderer has no column for them.
    found: dict[str, str] = {}
    for item in (*document.sdi.contributions, *document.sdi_plus.contributions):
        signal = document.signal(item.signal)
        own = signal.metric if signal is not None else item.metric
        if item.metric != own or item.aggregation != "overall":
            found[item.signal] = f"{clean(item.signal, 60)} by {_metric(item)}"
    named = "; ".join([*found.values()][:_MAX_CONTRIBUTIONS])
    if named:
        yield f"Signals that do not enter by their headline: {named}."


def _weightless(document: ResultDocument) -> Iterator[str]:
    indices = (("sdi", document.sdi), ("sdi-plus", document.sdi_plus))
    found: dict[tuple[str, str], list[str]] = {}
    for metric, index in indices:
        for item in index.contributions[:_MAX_CONTRIBUTIONS]:
            if item.weight == 0.0 and item.reason is not None:
                found.setdefault((item.signal, item.reason), []).append(index_name(metric))
    for (signal, reason), names in found.items():
        why = clean(reason, SENTENCE_LIMIT).rstrip(".")
        yield f"{clean(signal, 60)} has weight 0 in {' and '.join(names)}: {why}."


def _row(name: str, columns: Sequence[dict[str, ContributionEntry]]) -> tuple[str, ...]:
    known = next(column[name] for column in columns if name in column)
    row = [clean(name, 60), number(known.value), number(known.phi, _RANGE)]
    for column in columns:
        item = column.get(name)
        row += [ABSENT, "not part of it"] if item is None else _share(item)
    return (*row, _metric(known))


def _metric(item: ContributionEntry) -> str:
    metric = clean(item.metric, 60)
    if item.aggregation == "overall":
        return metric
    return f"{metric}, {item.aggregation.replace('-', ' ')}"


def _share(item: ContributionEntry) -> list[str]:
    return [number(item.weight, _RANGE), number(item.contribution, _RANGE)]
