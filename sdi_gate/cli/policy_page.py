"""Lay out what the commands on policies say to a person."""

from __future__ import annotations

import sys
from io import StringIO
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from sdi_gate.policy.format.spelling import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sdi_gate.policy.verdict import Status

# A log has no width of its own; rich would guess 80.
_LOG_WIDTH = 100
_GAP = 2
_INDENT = 2
STYLES = {
    "pass": "bold green",
    "warn": "bold yellow",
    "inconclusive": "bold magenta",
    "fail": "bold red",
}


class Page:
    """Collect lines for a person at a terminal; no text can forge one or move the cursor."""

    def __init__(self) -> None:
        # Into a text first: rich ends the process itself when a reader has gone.
        self._text = StringIO()
        terminal = sys.stdout is not None and sys.stdout.isatty()
        width = None if terminal else _LOG_WIDTH
        self._console = Console(file=self._text, force_terminal=terminal or None, width=width)

    def __str__(self) -> str:
        """Return the page; with colours if it is for a terminal."""
        # Tables fill their cells with spaces, which a log need not hold.
        return "".join(f"{line.rstrip()}\n" for line in self._text.getvalue().splitlines())

    def line(self, text: str, *, style: str = "", indent: int = 0) -> None:
        """Add one paragraph.

        Args:
            text: Any text; it becomes one paragraph.
            style: How it is shown.
            indent: Columns to the left of it, also where it is wrapped.
        """
        shown = Text(visible(text), style=style, overflow="fold")
        self._console.print(Padding(shown, (0, 0, 0, indent), expand=False), highlight=False)

    def title(self, text: str) -> None:
        """Add an empty line and a title.

        Args:
            text: The title.
        """
        self._console.print()
        self.line(text, style="bold")

    def items(self, texts: Iterable[str]) -> None:
        """Add paragraphs under a title.

        Args:
            texts: The paragraphs.
        """
        for text in texts:
            self.line(text, indent=_INDENT)

    def findings(self, findings: Iterable[tuple[Status, str]]) -> None:
        """Add one paragraph for each finding, with its status before it.

        Args:
            findings: Status and sentence.
        """
        grid = Grid.grid(padding=(0, _GAP, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for status, sentence in findings:
            grid.add_row(Text(status.upper(), style=STYLES[status]), Text(visible(sentence)))
        if grid.rows:
            self._console.print(Padding(grid, (0, 0, 0, _INDENT), expand=False))

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table or, where it does not fit the width, a block of lines for each row.

        Args:
            head: Titles of the columns; the first two are the heading of a block.
            rows: The cells.
        """
        lines = [head, *([visible(cell) for cell in row] for row in rows)]
        widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]
        if _INDENT + sum(widths) + _GAP * (len(widths) - 1) <= self._console.width:
            grid = Grid.grid(padding=(0, _GAP, 0, 0))
            for cells in lines:
                style = "bold" if cells is head else ""
                grid.add_row(*(Text(cell, style=style) for cell in cells))
            self._console.print(Padding(grid, (0, 0, 0, _INDENT), expand=False))
            return
        for row in rows:
            self.line("  ".join(cell for cell in row[:2] if cell), style="bold", indent=_INDENT)
            for title, cell in zip(head[2:], row[2:], strict=True):
                if cell:
                    self.line(f"{title}: {cell}", indent=2 * _INDENT)
