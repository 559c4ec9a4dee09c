"""Render a report as GitHub's Markdown, within the length of a comment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jinja2 import BaseLoader, PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from sdi_gate.report.escaping import escape_markdown, escape_mermaid

if TYPE_CHECKING:
    from sdi_gate.report.parts import Chart, ReportView, Section, Table

MARKER = "<!-- sdi-gate:report:v1 -->"
# GitHub's limit for the body of a comment.
MAX_CHARACTERS = 65_536
_TEMPLATE = "report.md.j2"
_STATEMENTS = "statements"


class MissingMarkerError(AssertionError):
    """Say that the template lost its marker: the comment could not be found again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """Say how many rows of a table are kept, and how that is told."""

    table: str
    keep: int
    told: str


# What matters least goes first; each rung adds to those before it.
_LADDER = (
    _Cut(table="cost", keep=0, told="the cost by stage"),
    _Cut(table="files", keep=6, told="files of the models"),
    _Cut(table="set-aside", keep=0, told="stored tensors that were set aside"),
    _Cut(table="roles", keep=0, told="roles of the tensors"),
    _Cut(table="base-only", keep=5, told="tensors without a partner"),
    _Cut(table="candidate-only", keep=5, told="tensors without a partner"),
    _Cut(table="mismatched", keep=5, told="tensors without a partner"),
    _Cut(table=_STATEMENTS, keep=10, told="statements of the policy's authors"),
    _Cut(table="layers", keep=60, told="layer groups that add least"),
    _Cut(table="layers", keep=20, told="layer groups that add least"),
    _Cut(table="signal-ids", keep=0, told="the signals' parameters"),
    _Cut(table="files", keep=0, told="files of the models"),
    _Cut(table="strata", keep=20, told="strata"),
    _Cut(table="vocabulary", keep=4, told="rows of the vocabulary"),
    _Cut(table=_STATEMENTS, keep=0, told="statements of the policy's authors"),
    _Cut(table="waivers", keep=15, told="waivers"),
    _Cut(table="findings", keep=15, told="findings that matter less"),
    _Cut(table="notices", keep=5, told="notices"),
    _Cut(table="defects", keep=5, told="defects"),
    _Cut(table="layers", keep=5, told="layer groups that add least"),
    _Cut(table="base-only", keep=0, told="tensors without a partner"),
    _Cut(table="candidate-only", keep=0, told="tensors without a partner"),
    _Cut(table="mismatched", keep=0, told="tensors without a partner"),
    _Cut(table="strata", keep=9, told="strata"),
    _Cut(table="vocabulary", keep=0, told="rows of the vocabulary"),
    _Cut(table="waivers", keep=3, told="waivers"),
    _Cut(table="findings", keep=5, told="findings that matter less"),
    _Cut(table="layers", keep=0, told="layer groups that add least"),
    _Cut(table="strata", keep=5, told="strata"),
    _Cut(table="notices", keep=2, told="notices"),
    _Cut(table="defects", keep=2, told="defects"),
    _Cut(table="findings", keep=3, told="findings that matter less"),
    _Cut(table="waivers", keep=1, told="waivers"),
    _Cut(table="settings", keep=4, told="settings"),
)


def render_markdown(view: ReportView) -> str:
    """Render a report as Markdown.

    Args:
        view: The report.

    Returns:
        At most 65,536 characters. A hidden marker is in the first line, the verdict is the first
        that is visible. Where the whole would be too long, rows are left out by rank, and the
        text says which.

    Raises:
        MissingMarkerError: If the template has lost its marker, which is a bug.
    """  # noqa: DOC502 - raised by _render
    return _render(_environment(PackageLoader("sdi_gate.report")), view)


def _render(environment: SandboxedEnvironment, view: ReportView) -> str:
    template = environment.get_template(_TEMPLATE)
    text = template.render(view=view, shortened="")
    told: dict[str, None] = {}
    for cut in _LADDER:
        if len(text) <= MAX_CHARACTERS:
            break
        shorter = _shorten(view, cut)
        if shorter == view:
            continue
        view = shorter
        told[cut.told] = None
        text = template.render(view=view, shortened=_shortened(told))
    assert len(text) <= MAX_CHARACTERS, "the shortest report is bounded"  # noqa: S101 - a law
    if text.count(MARKER) != 1 or not text.startswith(MARKER):
        msg = f"expected {MARKER} once, at the start of {_TEMPLATE}; got {text[:80]!r}"
        raise MissingMarkerError(msg)
    return text


def _environment(loader: BaseLoader) -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        loader=loader,
        autoescape=False,  # HTML is not Markdown; `finalize` escapes every value
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["body"] = _body
    environment.filters["chart"] = _chart
    return environment


class _Rendered(str):
    """Mark text that a filter made, which is escaped already."""

    __slots__ = ()


def _finalize(value: object) -> str:
    return value if isinstance(value, _Rendered) else escape_markdown(str(value))


def _body(section: Section) -> _Rendered:
    blocks: list[str] = [escape_markdown(sentence) for sentence in section.sentences]
    for table in section.tables:
        blocks.extend(_table(table))
    for statement in section.statements:
        blocks.append(f"### {escape_markdown(statement.title)}")
        blocks.extend(escape_markdown(paragraph) for paragraph in statement.paragraphs)
    return _Rendered("\n\n".join(blocks))


def _table(table: Table) -> list[str]:
    rule = tuple("--:" if numeric else "---" for numeric in table.is_numeric)
    lines = [_row(table.head), f"| {' | '.join(rule)} |", *map(_row, table.rows)]
    grid = ["\n".join(lines)] if table.rows else []
    return [*grid, escape_markdown(table.omission)] if table.omission else grid


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(map(escape_markdown, cells))} |"


def _chart(chart: Chart) -> _Rendered:
    longest = max(chart.bars, key=lambda bar: bar.value)
    labels = ", ".join(f'"{label}"' for label in _labels(chart))
    return _Rendered(
        "```mermaid\n"
        "xychart-beta horizontal\n"
        f'    title "{escape_mermaid(chart.title)}"\n'
        f"    x-axis [{labels}]\n"
        f'    y-axis "{escape_mermaid(chart.axis)}" 0 --> {longest.text}\n'
        f"    bar [{', '.join(bar.text for bar in chart.bars)}]\n"
        "```"
    )


def _labels(chart: Chart) -> dict[str, None]:
    # Names that differ in unfit characters alone become equal, and equal labels share a bar.
    labels: dict[str, None] = {}
    for bar in chart.bars:
        label = escape_mermaid(bar.label)
        labels[label if label not in labels else f"{label} no. {len(labels) + 1}"] = None
    return labels


def _shorten(view: ReportView, cut: _Cut) -> ReportView:
    return replace(
        view,
        findings=_kept(view.findings, cut),
        waivers=_kept(view.waivers, cut),
        documentation=_kept(view.documentation, cut),
        compared=_kept(view.compared, cut),
        defects=_kept(view.defects, cut),
        notices=_kept(view.notices, cut),
        layers=_kept(view.layers, cut),
        strata=_kept(view.strata, cut),
        alignment=_kept(view.alignment, cut),
        provenance=_kept(view.provenance, cut),
        cost=_kept(view.cost, cut),
    )


def _kept(section: Section, cut: _Cut) -> Section:
    tables = tuple(
        replace(table, rows=table.rows[: cut.keep]) if table.key == cut.table else table
        for table in section.tables
    )
    keep = cut.keep if cut.table == _STATEMENTS else len(section.statements)
    return replace(section, tables=tables, statements=section.statements[:keep])


def _shortened(told: dict[str, None]) -> str:
    parts = ", ".join(told)
    return f"Shortened to fit a comment; left out in part or whole: {parts}. result.json has all."
