"""Put the indices, the signals and behaviour into words and rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.contributions import calibration_sentences, contributions
from sdi_gate.report.numbers import with_error
from sdi_gate.report.parts import ABSENT, Section, Table, clean
from sdi_gate.report.words import (
    FOUR_SIGNALS,
    index_label,
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
    from sdi_gate.report.document import (
        EstimateEntry,
        IndexEntry,
        ResultDocument,
        SignalEntry,
    )

_RANGE = (0.0, 1.0)
_NO_ENTRY = ("not-measured", "the result has no entry for it")
_BEHAVIOUR_METRICS = ("kl-divergence", "nll-change", "top1-flip-rate")


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
            *calibration_sentences(document),
        ),
        tables=contributions(document),
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
        meaning(name, signal.metric),
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
