"""Render a report as GitHub's Markdown, within the length of a comment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.blocks import markdown_environment
from sdi_gate.report.ladder import LADDER, shorten

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

    from sdi_gate.report.parts import ReportView

MARKER = "<!-- sdi-gate:report:v1 -->"
# GitHub's limit for the body of a comment.
MAX_CHARACTERS = 65_536
_TEMPLATE = "report.md.j2"


class MissingMarkerError(AssertionError):
    """Say that the template lost its marker: the comment could not be found again."""


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
    return _render(markdown_environment(), view)


def _render(environment: SandboxedEnvironment, view: ReportView) -> str:
    template = environment.get_template(_TEMPLATE)
    text = template.render(view=view, shortened="")
    told: dict[str, None] = {}
    for cut in LADDER:
        if len(text) <= MAX_CHARACTERS:
            break
        shorter = shorten(view, cut)
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


def _shortened(told: dict[str, None]) -> str:
    parts = ", ".join(told)
    return f"Shortened to fit a comment; left out in part or whole: {parts}. result.json has all."
