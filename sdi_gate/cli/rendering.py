"""Render a result document for standard output."""

from __future__ import annotations

import sys
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console

from sdi_gate.report.console import print_report
from sdi_gate.report.markdown import render_markdown
from sdi_gate.report.view import build_view

if TYPE_CHECKING:
    from sdi_gate.report.document import ResultDocument

# A log has no width of its own; rich would guess 80.
_LOG_WIDTH = 100


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
    # Into a text first: rich ends the process itself when a reader has gone.
    text = StringIO()
    terminal = sys.stdout is not None and sys.stdout.isatty()
    console = Console(
        file=text, force_terminal=terminal or None, width=None if terminal else _LOG_WIDTH
    )
    print_report(view, console)
    return text.getvalue()
