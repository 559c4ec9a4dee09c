"""Say where in the model and on which texts the change is: layer groups and strata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.numbers import number, with_error
from sdi_gate.report.parts import ABSENT, Bar, Chart, Section, Table, clean
from sdi_gate.report.words import (
    FOUR_SIGNALS,
    STAND_INS,
    index_label,
    outcome_clause,
    rows_by_layer,
    rows_by_stratum,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.report.document import MeasurementEntry, ResultDocument

_MAX_BARS = 24
_MAX_WORST = 8
_MAX_LAYERS = 200
_MAX_STRATA = 60
_CHART_DECIMALS = 6
_LABEL_LIMIT = 40

# Column, signal, whether the worst stratum is marked.
_STRATUM_METRICS = (
    ("cka-angle", "representation-drift", True),
    ("trace-shift", "curvature-shift", True),
    ("kl-divergence", "behaviour", True),
    ("nll-change", "behaviour", True),
    ("top1-flip-rate", "behaviour", True),
    ("base-nll", "behaviour", False),
    ("candidate-nll", "behaviour", False),
)


_IN_NATS = frozenset({"kl-divergence", "nll-change", "base-nll", "candidate-nll"})
_CURVATURE_BY_LAYER = (
    "curvature-shift by layer group does not average to the headline: the traces of the groups "
    "are added up before they are compared."
)


def worst_title(document: ResultDocument) -> str:
    """Return the heading of the layer groups that add most to the index.

    Args:
        document: The result.

    Returns:
        The heading.
    """
    return f"What the layer groups add to {index_label('sdi', document)}, most first"


def worst_layers(document: ResultDocument) -> tuple[Bar, ...]:
    """Return the layer groups that add most to the index.

    Args:
        document: The result.

    Returns:
        At most 8 bars, longest first; none if no layer adds anything.
    """
    ranked = sorted(_shares(document).items(), key=lambda item: -item[1])[:_MAX_WORST]
    return tuple(
        Bar(label=clean(layer, _LABEL_LIMIT), value=share, text=number(share))
        for layer, share in ranked
        if share > 0.0
    )


def layer_chart(document: ResultDocument) -> Chart | None:
    """Return the contribution to the index by layer group, from input to output.

    Args:
        document: The result.

    Returns:
        At most 24 bars; neighbouring layer groups are put together where there are more. None if
        there is nothing to draw.
    """
    shares = list(_shares(document).items())
    width = -(-len(shares) // _MAX_BARS) or 1
    runs = [shares[start : start + width] for start in range(0, len(shares), width)]
    bars = tuple(_bar(run) for run in runs)
    lengths = [bar.value for bar in bars]
    # A renderer's scale is made for an index from 0 to 1; a result from elsewhere may hold more.
    if not lengths or not 10**-_CHART_DECIMALS <= max(lengths) <= 1:
        return None
    axis = f"adds to {index_label('sdi', document)}"
    note = f"Each bar is the sum over up to {width} neighbouring layer groups."
    title = f"What each layer group {axis}"
    return Chart(title=title, axis=axis, bars=bars, note=note if width > 1 else "")


def layers_section(document: ResultDocument) -> Section:
    """Return the layer groups with their contribution and each signal's headline.

    Args:
        document: The result.

    Returns:
        The section, with the layer groups that add most first.
    """
    shares = _shares(document)
    columns = _signal_columns(document)
    names = dict.fromkeys((*shares, *(layer for rows in columns.values() for layer in rows)))
    ranked = sorted(names, key=lambda layer: -shares.get(layer, 0.0))
    if not ranked:
        return Section(title="Layers", sentences=("Nothing was measured by layer.",))
    label = index_label("sdi", document)
    head = ("Layer group", *((f"Adds to {label}",) if shares else ()), *columns)
    table = Table(
        key="layers",
        nouns="layer groups",
        head=head,
        rows=tuple(
            (
                clean(layer, 60),
                *((_amount(shares.get(layer)),) if shares else ()),
                *(_cell(rows.get(layer)) for rows in columns.values()),
            )
            for layer in ranked[:_MAX_LAYERS]
        ),
        total=len(ranked),
        essential=min(2, len(head)),
        is_numeric=(False, *(True,) * (len(head) - 1)),
    )
    sentence = (
        f"{ABSENT} means that the signal has no value for that layer group. The layer groups that "
        "add most come first."
    )
    curvature = (_CURVATURE_BY_LAYER,) if "curvature-shift" in columns else ()
    return Section(title="Layers", sentences=(sentence, *curvature), tables=(table,))


def strata_section(document: ResultDocument, *, errors: bool) -> Section:
    """Return the probe-based metrics per stratum, with the worst of each marked.

    Args:
        document: The result.
        errors: Whether standard errors are shown.

    Returns:
        The section; sentences if nothing was measured by stratum.
    """
    metrics = _stratum_metrics(document)
    marked = tuple(metric for metric, _, is_marked in metrics if is_marked)
    columns = {
        metric: rows
        for metric, signal, _ in metrics
        if (rows := rows_by_stratum(document.signal(signal), metric))
    }
    if not columns:
        return Section(title="Strata", sentences=("Nothing was measured by stratum.",))
    cells = {metric: (rows, metric in marked) for metric, rows in columns.items()}
    lines = _strata_lines(document, cells, errors=errors)
    table = Table(
        key="strata",
        nouns="strata",
        head=("Stratum", *columns, "samples"),
        rows=lines[:_MAX_STRATA],
        total=len(lines),
        essential=1 + sum(metric in columns for metric in marked),
        is_numeric=(False, *(True,) * (len(columns) + 1)),
    )
    shown = tuple(metric for metric in columns if errors or metric in marked)
    legend = _legend(shown)
    return Section(
        title="Strata", sentences=(legend, *_strata_sentences(document)), tables=(table,)
    )


def _strata_lines(
    document: ResultDocument,
    columns: dict[str, tuple[dict[str, MeasurementEntry], bool]],
    *,
    errors: bool,
) -> tuple[tuple[str, ...], ...]:
    entries = () if document.probe is None else document.probe.strata
    sizes = {entry.name: str(entry.num_samples) for entry in entries}
    places = (*sizes, *(name for rows, _ in columns.values() for name in rows))
    names = tuple(dict.fromkeys(places))
    cells = [_column(rows, names, marks=marks, errors=errors) for rows, marks in columns.values()]
    samples = [sizes.get(name, ABSENT) for name in names]
    labels = [clean(name, 60) for name in names]
    return tuple(zip(labels, *cells, samples, strict=True))


def _stratum_metrics(document: ResultDocument) -> tuple[tuple[str, str, bool], ...]:
    # A signal that has a stand-in for its headline has the strata of that.
    entries = {name: document.signal(name) for _, name, _ in _STRATUM_METRICS}
    heads: dict[str, str] = {
        entry.name: entry.metric
        for entry in entries.values()
        if entry is not None and entry.metric in STAND_INS
    }
    return tuple(
        (heads.get(name, metric), name, is_marked) for metric, name, is_marked in _STRATUM_METRICS
    )


def _signal_columns(document: ResultDocument) -> dict[str, dict[str, MeasurementEntry]]:
    return {
        signal.name: rows
        for name in FOUR_SIGNALS
        if (signal := document.signal(name)) is not None and (rows := rows_by_layer(signal))
    }


def _strata_sentences(document: ResultDocument) -> tuple[str, ...]:
    return tuple(
        f"{signal.name} {outcome_clause(signal.outcome, signal.reason)}."
        for name in ("representation-drift", "curvature-shift", "behaviour")
        if (signal := document.signal(name)) is not None and signal.headline is None
    )


def _legend(metrics: Sequence[str]) -> str:
    # Only the units of columns that a reader sees.
    nats = [metric for metric in metrics if metric in _IN_NATS]
    *first, last = nats or [""]
    listed = f"{', '.join(first)} and {last}" if first else last
    verb = "is" if len(nats) == 1 else "are"
    units = ["cka-angle is in rad"] if "cka-angle" in metrics else []
    units += [f"{listed} {verb} in nats per token"] if nats else []
    text = "* marks the worst stratum of a metric."
    return f"{text} {'; '.join(units)}." if units else text


def _column(
    rows: dict[str, MeasurementEntry], names: Sequence[str], *, marks: bool, errors: bool
) -> list[str]:
    values = {name: row.estimate.value for name, row in rows.items()}
    top = max(values.values())
    spread = marks and top > min(values.values())
    return [
        _cell(rows.get(name), errors=errors) + (" *" if spread and values.get(name) == top else "")
        for name in names
    ]


def _cell(row: MeasurementEntry | None, *, errors: bool = True) -> str:
    if row is None:
        return ABSENT
    return with_error(row.estimate.value, row.estimate.stderr if errors else None)


def _amount(share: float | None) -> str:
    return ABSENT if share is None else number(share)


def _shares(document: ResultDocument) -> dict[str, float]:
    return {entry.layer: entry.contribution for entry in document.sdi.by_layer}


def _bar(run: Sequence[tuple[str, float]]) -> Bar:
    first, last = run[0][0], run[-1][0]
    parent, _, leaf = last.rpartition(".")
    rest = leaf if first.rpartition(".")[0] == parent else last
    label = clean(first if len(run) == 1 else f"{first} to {rest}", _LABEL_LIMIT)
    value = sum(share for _, share in run)
    return Bar(label=label, value=value, text=f"{value:.{_CHART_DECIMALS}f}")
