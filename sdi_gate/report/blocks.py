"""Turn the parts of a report into blocks of GitHub's Markdown, which any template puts together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from jinja2 import BaseLoader, PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from sdi_gate.report.escaping import escape_html, escape_markdown, escape_mermaid

if TYPE_CHECKING:
    from sdi_gate.report.parts import Chart, Section, Table

_STATEMENT_LEVEL = 3
_WHOLE = "result.json"


class Rendered(str):
    """Mark text that a renderer made, which is escaped already."""

    __slots__ = ()


def markdown_environment(
    loader: BaseLoader | None = None, *, whole: str = _WHOLE
) -> SandboxedEnvironment:
    """Return the environment of a template, in which every value is escaped without asking.

    Args:
        loader: Where templates are; None for the package's own.
        whole: Name of the file that has what tables leave out.

    Returns:
        The environment, with the filters ``body``, ``chart`` and ``summary``.
    """
    environment = SandboxedEnvironment(
        loader=loader or PackageLoader("sdi_gate.report"),
        autoescape=False,  # HTML is not Markdown; `finalize` escapes every value
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["body"] = partial(render_section, whole=whole)
    environment.filters["chart"] = render_chart
    environment.filters["summary"] = _summary
    return environment


def render_section(
    section: Section, level: int = _STATEMENT_LEVEL, *, whole: str = _WHOLE
) -> Rendered:
    """Render a section without its title.

    Args:
        section: The section.
        level: Of the headings of its statements.
        whole: Name of the file that has what its tables leave out.

    Returns:
        Its paragraphs, tables and statements.
    """
    blocks: list[str] = [escape_markdown(sentence) for sentence in section.sentences]
    for table in section.tables:
        blocks.extend(render_table(table, whole))
    for statement in section.statements:
        blocks.append(f"{'#' * level} {escape_markdown(statement.title)}")
        blocks.extend(escape_markdown(paragraph) for paragraph in statement.paragraphs)
    return Rendered("\n\n".join(blocks))


def render_table(table: Table, whole: str = _WHOLE) -> list[str]:
    """Render a table.

    Args:
        table: The table.
        whole: Name of the file that has the rows that are not shown.

    Returns:
        Its grid, if a row is shown, and a sentence on the rows that are not, if there are any.
    """
    rule = tuple("--:" if numeric else "---" for numeric in table.is_numeric)
    lines = [render_row(table.head), f"| {' | '.join(rule)} |", *map(render_row, table.rows)]
    grid = ["\n".join(lines)] if table.rows else []
    omission = table.omission_from(whole)
    return [*grid, escape_markdown(omission)] if omission else grid


def render_row(cells: tuple[str, ...]) -> str:
    """Render one row of a table.

    Args:
        cells: Its cells.

    Returns:
        One line.
    """
    return f"| {' | '.join(map(escape_markdown, cells))} |"


def render_chart(chart: Chart) -> Rendered:
    """Render a bar chart for mermaid.

    Args:
        chart: The chart.

    Returns:
        A fenced block.
    """
    longest = max(chart.bars, key=lambda bar: bar.value)
    labels = ", ".join(f'"{label}"' for label in _labels(chart))
    return Rendered(
        "```mermaid\n"
        "xychart-beta horizontal\n"
        f'    title "{escape_mermaid(chart.title)}"\n'
        f"    x-axis [{labels}]\n"
        f'    y-axis "{escape_mermaid(chart.axis)}" 0 --> {longest.text}\n'
        f"    bar [{', '.join(bar.text for bar in chart.bars)}]\n"
        "```"
    )


def _finalize(value: object) -> str:
    return value if isinstance(value, Rendered) else escape_markdown(str(value))


def _summary(text: str) -> Rendered:
    return Rendered(f"<summary>{escape_html(text)}</summary>")


def _labels(chart: Chart) -> dict[str, None]:
    # Names that differ in unfit characters alone become equal, and equal labels share a bar.
    labels: dict[str, None] = {}
    for bar in chart.bars:
        label = escape_mermaid(bar.label)
        labels[label if label not in labels else f"{label} no. {len(labels) + 1}"] = None
    return labels
