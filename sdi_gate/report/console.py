"""Print a report on a terminal of 80 columns or more, with or without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table as Grid
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod

    from sdi_gate.report.parts import Bar, ReportView, Section, Table

_STYLES = {
    "pass": "bold green",
    "warn": "bold yellow",
    "inconclusive": "bold magenta",
    "fail": "bold red",
}
_BAR_WIDTH = 24
_MAX_NAME = 20
_GAP = 2


def print_report(view: ReportView, console: Console) -> None:
    """Print a report.

    Args:
        view: The report. Its strings are shown as they are: markup in them has no effect.
        console: Where to print.
    """
    _print(console, view.headline, _STYLES.get(view.status, "bold"))
    for sentence in view.deciding:
        _print(console, sentence)
    _print_findings(view, console)
    if view.waivers_brief.sentences:
        _print_section(view.waivers_brief, console)
    for section in (view.defects, view.notices):
        if section.tables:
            _print_section(section, console)
    if view.compared.sentences:
        _print_section(view.compared, console)
    _print_section(view.index, console)
    _print_section(view.signals, console)
    _print_bars(view, console)
    _print_section(view.strata_brief, console)
    _print_section(view.claims, console)
    if view.documentation.sentences:
        _print_section(view.documentation, console)


def _print(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), highlight=False, soft_wrap=False)


def _print_title(console: Console, title: str) -> None:
    console.print()
    _print(console, title, "bold")


def _print_findings(view: ReportView, console: Console) -> None:
    _print_title(console, view.findings.title)
    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for line in view.finding_lines:
        style = _STYLES[line.status.lower()]
        what = Text.assemble((line.rule, "bold"), ". ", line.sentence)
        grid.add_row(Text(line.status, style=style), what)
    console.print(grid)
    for sentence in (*view.findings.sentences, *_omissions(view.findings)):
        _print(console, sentence)


def _print_section(section: Section, console: Console) -> None:
    _print_title(console, section.title)
    for sentence in section.sentences:
        _print(console, sentence)
    for table in section.tables:
        console.print(_grid(table, console.width))
    for sentence in _omissions(section):
        _print(console, sentence)
    for statement in section.statements:
        _print(console, statement.title, "italic")
        for paragraph in statement.paragraphs:
            _print(console, paragraph)


def _omissions(section: Section) -> list[str]:
    return [table.omission for table in section.tables if table.omission]


def _grid(table: Table, width: int) -> Grid:
    grid = Grid(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        header_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    shown = table.essential
    columns = zip(table.head, table.is_numeric, strict=True)
    for (title, numeric), least in zip(columns, _least_widths(table, width), strict=False):
        justify: JustifyMethod = "right" if numeric else "left"
        grid.add_column(Text(title), justify=justify, overflow="fold", min_width=least)
    for row in table.rows:
        grid.add_row(*map(Text, row[:shown]))
    return grid


def _least_widths(table: Table, width: int) -> list[int]:
    """Return widths at which numbers are whole, and the names before them as far as there is room.

    Below its least width a column would lose its end.
    """
    columns = list(zip(table.head, *table.rows, strict=True))[: table.essential]
    words = [max(len(word) for cell in cells for word in cell.split()) for cells in columns]
    least = [word if table.is_numeric[i] else 1 for i, word in enumerate(words)]
    room = width - sum(least[1:]) - _GAP * len(least[1:])
    return [max(1, min(words[0], room, _MAX_NAME)), *least[1:]]


def _print_bars(view: ReportView, console: Console) -> None:
    if not view.worst_layers:
        return
    _print_title(console, view.worst_title)
    longest = max(bar.value for bar in view.worst_layers)
    block = "█" if console.encoding.startswith("utf") else "#"
    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="fold")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    for bar in view.worst_layers:
        grid.add_row(Text(bar.label), Text(bar.text), Text(block * _length(bar, longest)))
    console.print(grid)


def _length(bar: Bar, longest: float) -> int:
    return max(1, round(_BAR_WIDTH * bar.value / longest))
