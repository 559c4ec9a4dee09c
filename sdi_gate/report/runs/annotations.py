"""Make a run's annotations: at most ten of a level, for GitHub shows no more of one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.report.numbers import plural
from sdi_gate.report.runs.remarks import LEVELS, Level, Remark, remarks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.report.runs.document import RunDocument

MAX_PER_LEVEL = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """Hold one annotation.

    Its texts are one line each, without control characters and of bounded length, and they are
    untrusted: whoever writes a workflow command has to escape them.

    Attributes:
        level: ``error``, ``warning`` or ``notice``.
        title: What it is about.
        message: What there is to say.
        file: Path in the repository; None if it is about no line of it.
        line: From 1; None without a file.
        column: From 1; None if it is not known.
    """

    level: Level
    title: str
    message: str
    file: str | None
    line: int | None
    column: int | None


def annotations_of(run: RunDocument) -> tuple[Annotation, ...]:
    """Return the annotations of a run.

    Args:
        run: The run.

    Returns:
        At most 10 of a level, the most important first; where there are more, the tenth says how
        many are left out.
    """
    found = remarks_of(run)
    by_level = ([each for each in found if each.level == level] for level in LEVELS)
    return tuple(each for remarks in by_level for each in _bounded(remarks))


def _bounded(remarks: list[Remark]) -> Iterator[Annotation]:
    if len(remarks) <= MAX_PER_LEVEL:
        yield from map(_annotation, remarks)
        return
    shown = remarks[: MAX_PER_LEVEL - 1]
    yield from map(_annotation, shown)
    level = remarks[0].level
    more = plural(len(remarks) - len(shown), f"more {level}")
    yield Annotation(
        level=level,
        title=more,
        message=f"{more} of {len(remarks)} not shown here; the report has them all.",
        file=None,
        line=None,
        column=None,
    )


def _annotation(remark: Remark) -> Annotation:
    place = remark.location
    return Annotation(
        level=remark.level,
        title=remark.title,
        message=remark.message,
        file=None if place is None else place.file,
        line=None if place is None else place.line,
        column=None if place is None else place.column,
    )
