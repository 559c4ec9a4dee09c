"""Render a run as the summary of its job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.runs.pages import Limit, render_page

if TYPE_CHECKING:
    from sdi_gate.report.runs.document import RunDocument

# The runner drops a summary of more than 1,048,576 bytes; masking secrets can lengthen it.
MAX_BYTES = 1_000_000


def render_summary(run: RunDocument, *, note: str = "", max_bytes: int = MAX_BYTES) -> str:
    """Render a run as the summary of its job.

    Args:
        run: The run.
        note: A paragraph that is shown after the decision.
        max_bytes: Greatest length.

    Returns:
        Markdown, the decision first, of at most ``max_bytes`` bytes; where the whole would be
        longer, detail is left out by rank, and the text says which.
    """
    return render_page(run, Limit(size_bytes=max_bytes, told="a summary"), note=note)
