"""Put the indices, the signals and behaviour into words and rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.numbers import number, with_error
from sdi_gate.report.parts import ABSENT, SENTENCE_LIMIT, Section, Table, clean
from sdi_gate.report.words import (
    FOUR_SIGNALS,
    index_label,
    index_name,
    largest,
    meaning,
    outcome_clause,
    outcome_words,
    quantity,
    rows_by_layer,
    rows_by_stratum,
    where,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.report.document import (
        ContributionEntry,
        EstimateEntry,
        IndexEntry,
        ResultDocument,
        SignalEntry,
    )

_RANGE = (0.0, 1.0)
_NO_ENTRY = ("not-measured", "the result has no entry for it")
_BEHAVIOUR_METRICS = ("kl-divergence", "nll-change", "top1-flip-rate")
_MAX_CONTRIBUTIONS = 8


def index_section(document: ResultDocument) -> Section:
    """Return the two indices, what they rest on, and what each signal adds.

    Args:
        document: The result.

    Returns:
        The section.
    """
    return Section(
        title="Index",
        sentences=(
            _index_sentence("sdi", document.sdi, document),
            _index_sentence("sdi-plus", document.sdi_plus, document),
            *_tier_sentence(document),
            _calibration_sentence(document),
        ),
        tables=_contributions(document),
    )


def signals_section(document: ResultDocument) -> Section:
    """Return the four signals, measured or not.

    Args:
        document: The result.

    Returns:
        The section; each signal has its row.
    """
    table = Table(
        key="signals",
        nouns="signals",
        head=("Signal", "Headline", "Metric", "Largest in", "What it says"),
        rows=tuple(_signal_row(name, document.signal(name)) for name in FOUR_SIGNALS),
        total=len(FOUR_SIGNALS),
        essential=4,
        is_numeric=(False,) * 5,
    )
    return Section(title="Signals", tables=(table,))


def behaviour_section(document: ResultDocument) -> Section:
    """Return what changed in the predictions, beside the index.

    Args:
        document: The result.

    Returns:
        The section; a sentence with the reason if behaviour was not measured.
    """
    title, signal = "Behaviour", document.signal("behaviour")
    if signal is None:
        return Section(title=title, sentences=(f"Behaviour {outcome_clause(*_NO_ENTRY)}.",))
    if signal.headline is None:
        clause = outcome_clause(signal.outcome, signal.reason)
        return Section(title=title, sentences=(f"Behaviour {clause}.",))
    table = Table(
        key="behaviour",
        nouns="metrics",
        head=("Metric", "Worst stratum", "Value", "What it says"),
        rows=tuple(_behaviour_row(metric, signal) for metric in _BEHAVIOUR_METRICS),
        total=len(_BEHAVIOUR_METRICS),
        essential=3,
        is_numeric=(False,) * 4,
    )
    sentence = (
        "What the models predict on the probe texts. Behaviour is shown beside the index: it is "
        "part of sdi_plus, not of sdi."
    )
    return Section(title=title, sentences=(sentence,), tables=(table,))


def _index_sentence(metric: str, index: IndexEntry, document: ResultDocument) -> str:
    label = index_label(metric, document)
    if index.estimate is None:
        # The reason names the missing signal.
        return f"{label} {outcome_clause(index.outcome, index.reason)}."
    value = with_error(index.estimate.value, index.estimate.stderr, _RANGE)
    what = (
        "the index over structure alone, 0 for identical models and always below 1"
        if metric == "sdi"
        else "the same with behaviour"
    )
    return f"{label} is {value}: {what}."


def _tier_sentence(document: ResultDocument) -> tuple[str, ...]:
    tier = document.tier.ran
    if tier == "full":
        return ()
    known = {"weights": 2, "probe": 3}[tier]
    num_signals = len(document.sdi.contributions) or known
    sentence = (
        f"The scan ran at tier {tier}: its index is the tier's own, weaker formula over "
        f"{num_signals} of 4 signals. It does not compare with an index of another tier."
    )
    return (sentence,)


def _calibration_sentence(document: ResultDocument) -> str:
    calibration = document.calibration
    name = f"{clean(calibration.name, 60)}, version {calibration.version}"
    status = "" if calibration.calibrated else " (provisional)"
    return f"Calibration {name}{status}. {clean(calibration.note, SENTENCE_LIMIT)}"


def _contributions(document: ResultDocument) -> tuple[Table, ...]:
    sdi = {item.signal: item for item in document.sdi.contributions}
    plus = {item.signal: item for item in document.sdi_plus.contributions}
    names = tuple(dict.fromkeys((*sdi, *plus)))
    if not names:
        return ()
    parts = {"sdi": sdi, "sdi-plus": plus} if plus else {"sdi": sdi}
    head = ["Signal", "Headline s", "φ(s)"]
    for metric in parts:
        head += [f"Weight in {index_name(metric)}", f"Adds to {index_label(metric, document)}"]
    columns = tuple(parts.values())
    rows = tuple(_contribution_row(name, columns) for name in names[:_MAX_CONTRIBUTIONS])
    table = Table(
        key="contributions",
        nouns="signals",
        head=tuple(head),
        rows=rows,
        total=len(names),
        essential=5,
        is_numeric=(False, *(True,) * (len(head) - 1)),
    )
    return (table,)


def _contribution_row(
    name: str, columns: Sequence[dict[str, ContributionEntry]]
) -> tuple[str, ...]:
    known = next(column[name] for column in columns if name in column)
    row = [clean(name, 60), number(known.value), number(known.phi, _RANGE)]
    for column in columns:
        item = column.get(name)
        row += [ABSENT, "not part of it"] if item is None else _share(item)
    return tuple(row)


def _share(item: ContributionEntry) -> list[str]:
    return [number(item.weight, _RANGE), number(item.contribution, _RANGE)]


def _signal_row(name: str, signal: SignalEntry | None) -> tuple[str, ...]:
    if signal is None or signal.headline is None:
        metric = ABSENT if signal is None else clean(signal.metric, 60)
        return (name, _absence(signal), metric, ABSENT, meaning(name))
    layer = largest(rows_by_layer(signal))
    stratum = largest(rows_by_stratum(signal, signal.metric))
    return (
        name,
        quantity(signal.metric, signal.headline),
        clean(signal.metric, 60),
        where(layer, stratum),
        meaning(name),
    )


def _absence(signal: SignalEntry | None) -> str:
    if signal is None:
        return outcome_words(*_NO_ENTRY)
    return outcome_words(signal.outcome, signal.reason)


def _behaviour_row(metric: str, signal: SignalEntry) -> tuple[str, ...]:
    rows = rows_by_stratum(signal, metric)
    estimate = signal.headline if metric == signal.metric else _overall(signal, metric)
    value = "not measured" if estimate is None else quantity(metric, estimate)
    stratum = largest(rows)
    place = ABSENT if stratum is None else clean(stratum, 60)
    return (metric, place, value, meaning(metric))


def _overall(signal: SignalEntry, metric: str) -> EstimateEntry | None:
    return next(
        (
            row.estimate
            for row in signal.measurements
            if row.metric == metric and row.layer is row.tensor is row.stratum is None
        ),
        None,
    )
