"""Render a result document for standard output."""

from __future__ import annotations

import sys
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from sdi_gate.report.console import print_report
from sdi_gate.report.markdown import render_markdown
from sdi_gate.report.view import build_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdi_gate.report.document import ResultDocument

# A log has no width of its own; rich would guess 80.
_LOG_WIDTH = 100


def render_lists(head: str, lists: Mapping[str, Sequence[str]]) -> str:
    """Render lists of sentences for standard output.

    Args:
        head: What stands above them.
        lists: Sentences under each title; a list without any is left out.

    Returns:
        The text; with colours if it is for a terminal.
    """
    text, console = _console()
    console.print(Text(head))
    for title, sentences in lists.items():
        if sentences:
            console.print(Text(f"\n{title}", style="bold"))
        grid = Grid.grid(padding=(0, 1, 0, 0))
        for sentence in sentences:
            grid.add_row(Text("-"), Text(sentence))
        console.print(grid)
    return text.getvalue()


def render_document(document: ResultDocument, form: str) -> str:
    """Render a report for standard output.

    Args:
        document: The result.
        form: ``console`` or ``markdown``.

    Returns:
        The text; with colours if it is for a terminal.
    """
    view = build_view(document)
    if form == "markdown":
        return render_markdown(view)
    text, console = _console()
    print_report(view, console)
    return text.getvalue()


def _console() -> tuple[StringIO, Console]:
    # Into a text first: rich ends the process itself when a reader has gone.
    text = StringIO()
    terminal = sys.stdout is not None and sys.stdout.isatty()
    width = None if terminal else _LOG_WIDTH
    return text, Console(file=text, force_terminal=terminal or None, width=width)
