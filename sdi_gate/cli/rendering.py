"""Print a result document on standard output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console

from sdi_gate.report.console import print_report
from sdi_gate.report.markdown import render_markdown
from sdi_gate.report.view import build_view

if TYPE_CHECKING:
    from sdi_gate.report.document import ResultDocument

# A log has no width of its own; rich would guess 80.
_LOG_WIDTH = 100


def print_document(document: ResultDocument, form: str) -> None:
    """Print a report.

    Args:
        document: The result.
        form: ``console`` or ``markdown``.
    """
    view = build_view(document)
    if form == "markdown":
        sys.stdout.write(render_markdown(view))
        return
    width = None if sys.stdout.isatty() else _LOG_WIDTH
    print_report(view, Console(file=sys.stdout, width=width))
