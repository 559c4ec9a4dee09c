"""Make the text of a run's check run, within the bounds that GitHub's API sets.

The check run is an extra: its conclusion follows from the exit code alone, and is never one that
a required check takes for a success without being one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sdi_gate.report.escaping import escape_markdown
from sdi_gate.report.numbers import count
from sdi_gate.report.parts import clean
from sdi_gate.report.runs.headings import heading
from sdi_gate.report.runs.pages import Limit, render_page
from sdi_gate.report.runs.remarks import Level, Remark, remarks_of

if TYPE_CHECKING:
    from sdi_gate.report.runs.document import RunDocument

MAX_ANNOTATIONS = 50
TITLE_LIMIT = 255
# GitHub says characters; as many bytes are never more.
TEXT_LIMIT = 65_535
_MESSAGE_LIMIT = 4000

_LEVELS: dict[Level, Literal["failure", "warning", "notice"]] = {
    "error": "failure",
    "warning": "warning",
    "notice": "notice",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckAnnotation:
    """Hold one annotation of a check run, as the API has it.

    Attributes:
        path: Path in the repository.
        start_line: From 1.
        end_line: The same line.
        annotation_level: ``failure``, ``warning`` or ``notice``.
        message: One line of untrusted text without control characters, at most 4,000.
        title: The same, at most 255 characters.
    """

    path: str
    start_line: int
    end_line: int
    annotation_level: Literal["failure", "warning", "notice"]
    message: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRunText:
    """Hold what a check run shows.

    Attributes:
        title: One line, at most 255 characters.
        summary: Markdown, at most 65,535 bytes.
        text: Markdown on what no line of the repository can be annotated with; empty if there is
            no such thing, at most 65,535 bytes.
        conclusion: ``success`` if and only if the run's exit code is 0.
        annotations: At most 50, the most important first.
    """

    title: str
    summary: str
    text: str
    conclusion: Literal["success", "failure"]
    annotations: tuple[CheckAnnotation, ...]


def check_run_of(run: RunDocument) -> CheckRunText:
    """Return the text of a run's check run.

    Args:
        run: The run.

    Returns:
        The text. What is not among its annotations is in ``text``.
    """
    remarks = remarks_of(run)
    placed = [remark for remark in remarks if remark.location is not None][:MAX_ANNOTATIONS]
    shown = {id(remark) for remark in placed}
    return CheckRunText(
        title=clean(heading(run), TITLE_LIMIT),
        summary=render_page(run, Limit(size_bytes=TEXT_LIMIT, told="a check run")),
        text=_text([remark for remark in remarks if id(remark) not in shown]),
        conclusion="success" if run.exit_code == 0 else "failure",
        annotations=tuple(map(_annotation, placed)),
    )


def _annotation(remark: Remark) -> CheckAnnotation:
    place = remark.location
    assert place is not None, "what is annotated has a place"  # noqa: S101 - a law
    return CheckAnnotation(
        path=place.file,
        start_line=place.line,
        end_line=place.line,
        annotation_level=_LEVELS[remark.level],
        message=clean(remark.message, _MESSAGE_LIMIT),
        title=clean(remark.title, TITLE_LIMIT),
    )


def _text(remarks: list[Remark]) -> str:
    # Whole lines alone, as many as there is room for.
    lines: list[str] = []
    room = TEXT_LIMIT - len(_more(len(remarks)))
    for remark in remarks:
        told = f"{remark.level}: {remark.title}: {remark.message}"
        line = f"- {escape_markdown(told)}\n"
        if len(line.encode()) > room:
            break
        room -= len(line.encode())
        lines.append(line)
    missing = len(remarks) - len(lines)
    return "".join(lines) + (_more(missing) if missing else "")


def _more(missing: int) -> str:
    return f"- {count(missing)} more: the report has them all.\n"
