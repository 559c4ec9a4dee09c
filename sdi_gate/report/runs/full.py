"""Render a run without a limit: as report.md, and as lines for the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.measured import index_section
from sdi_gate.report.parts import ABSENT, clean
from sdi_gate.report.runs import headings
from sdi_gate.report.runs.candidates import MESSAGE, predicted_words, words
from sdi_gate.report.runs.facts import policy_sentence
from sdi_gate.report.runs.pages import Limit, render_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.report.runs.document import RunDocument, SubjectEntry

_NUM_INDICES = 2


def render_full(run: RunDocument) -> str:
    """Render all of a run.

    Args:
        run: The run.

    Returns:
        Markdown: as the comment, with every detail of every candidate.
    """
    return render_page(run, Limit())


def render_log(run: RunDocument) -> str:
    """Render a run for a log.

    Args:
        run: The run.

    Returns:
        Plain lines without control characters: a block for each candidate, the worst first, then
        the decision. None starts with a name; what a log reads as a command inside a line is for
        whoever writes it to break.
    """
    blocks = ["\n".join(_block(run.subjects[index])) for index in run.ranked]
    last = (f"Decision: {headings.heading(run)}", *headings.lead(run), policy_sentence(run))
    ends = (*last, *(f"Attention: {alert}" for alert in headings.alerts(run)))
    return "\n\n".join((*blocks, "\n".join(f"- {line}" for line in ends))) + "\n"


def _block(subject: SubjectEntry) -> Iterator[str]:
    told = words(subject)
    yield f"{told.decision}: {told.name}"
    lines = [told.compared, told.deciding, *told.remarks]
    if subject.result is not None:
        lines += index_section(subject.result).sentences[:_NUM_INDICES]
        predicted = predicted_words(subject.result)
        lines += [] if predicted == ABSENT else [f"Predicted degradation: {predicted}."]
    elif subject.error is not None and subject.error.hint:
        lines.append(f"Hint: {clean(subject.error.hint, MESSAGE)}")
    yield from (f"  - {line}" for line in lines)
