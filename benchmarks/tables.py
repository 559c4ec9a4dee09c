"""Print tables as text and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ABSENT = "-"
_STAGE_HEAD = ("stage", "seconds", "read", "peak host", "peak GPU", "x its floor")


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return columns of their own widths, the first to the left and the others to the right."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.ljust(width) if index == 0 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; cells hold no vertical bar."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows))


def stage_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return the table of the stages of one scan, as `benchmarks.scans.stage_rows` made them."""
    return text_table(_STAGE_HEAD, [_stage_cells(row) for row in rows])


def _stage_cells(row: Mapping[str, object]) -> tuple[str, ...]:
    name = str(row["stage"])
    return (
        f"  {name}" if "/" in name else name,
        number(row["seconds"], 2),
        size(row["bytes_read"]),
        size(row["peak_host_bytes"]),
        size(row["peak_device_bytes"]),
        number(row["ratio_to_floor"], 1),
    )


def number(value: object, digits: int) -> str:
    """Return a number; a dash where there is none."""
    return f"{value:,.{digits}f}" if isinstance(value, int | float) else ABSENT


def size(value: object) -> str:
    """Return bytes in MB; in GB from ten of those on."""
    if not isinstance(value, int | float):
        return ABSENT
    return f"{value / 1e9:,.1f} GB" if value >= 1e10 else f"{value / 1e6:,.0f} MB"
