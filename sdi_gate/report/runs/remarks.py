"""Collect what a run has to say about lines of the repository, the most important first.

Annotations and the check run are made of it. A remark stands at the line of the policy that
decided, or else at the line of the manifest that names the candidate; a policy of another
repository or of the Hub has no line here, and is named in the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sdi_gate.report.judgement import finding_sentence
from sdi_gate.report.numbers import plural
from sdi_gate.report.parts import clean
from sdi_gate.report.runs.headings import edit_words
from sdi_gate.report.runs.locations import (
    Location,
    is_inside,
    manifest_location,
    place_words,
    policy_location,
    repository_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.report.document import FindingEntry, ResultDocument, VerdictEntry, WaiverEntry
    from sdi_gate.report.judged import ModeWord, StatusWord
    from sdi_gate.report.runs.document import (
        ErrorEntry,
        PolicyEditEntry,
        RunDocument,
        SubjectEntry,
    )

Level = Literal["error", "warning", "notice"]

LEVELS: tuple[Level, ...] = ("error", "warning", "notice")
TITLE_LIMIT = 160
MESSAGE_LIMIT = 2000
_SEVERITY = ("fail", "inconclusive", "warn", "pass")
_NAME = 60
# Ranks within a level: of the whole run, of a candidate's verdict, of its other findings, the rest.
_RUN, _VERDICT, _FINDING, _REST = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Hold one thing that a reader of the pull request is told.

    Attributes:
        level: How much it matters: an error is what closes the gate, or keeps it from judging.
        title: One line of untrusted text without control characters, of bounded length.
        message: The same, longer.
        location: The line that it is about; None if there is none in the repository.
        rank: The lower the more important, among those of its level.
    """

    level: Level
    title: str
    message: str
    location: Location | None
    rank: tuple[int, int] = (_RUN, 0)


def level_of(status: StatusWord, mode: ModeWord) -> Level | None:
    """Say how much a finding matters under the policy's mode.

    Args:
        status: Status of the finding.
        mode: Mode of the policy.

    Returns:
        An error only where it closes the gate; None for a pass.
    """
    if status == "pass":
        return None
    match mode:
        case "enforce":
            return "warning" if status == "warn" else "error"
        case "warn":
            return "warning"
        case "observe":
            return "notice"


def not_passed(verdict: VerdictEntry) -> tuple[FindingEntry, ...]:
    """Return the findings that are not a pass, the deciding one first, then the worst.

    Args:
        verdict: The verdict.

    Returns:
        The findings, each once.
    """
    first = verdict.findings[verdict.deciding]
    found = [finding for finding in verdict.findings if finding.status != "pass"]
    return tuple(sorted(found, key=lambda each: (each is not first, _severity(each))))


def error_text(error: ErrorEntry) -> str:
    """Say why something was not judged.

    Args:
        error: The error.

    Returns:
        One line with the hint, if there is one.
    """
    hint = f". Hint: {error.hint}" if error.hint else ""
    return clean(f"{error.message}{hint}", MESSAGE_LIMIT)


def remarks_of(run: RunDocument) -> tuple[Remark, ...]:
    """Return everything that a run has to say about lines of the repository.

    Args:
        run: The run.

    Returns:
        Errors, then warnings, then notices; of each the most important first. Every finding that
        is not a pass, and every error, is in exactly one.
    """
    found = list(_all(run))
    return tuple(sorted(found, key=lambda each: (LEVELS.index(each.level), each.rank)))


def _all(run: RunDocument) -> Iterator[Remark]:
    if run.error is not None:
        yield Remark(
            level="error",
            title="Nothing was judged",
            message=error_text(run.error),
            location=None,
        )
    if run.edit is not None:
        yield _edit(run.edit, run)
    for subject in (run.subjects[index] for index in run.ranked):
        yield from _subject(subject, run)
    yield from _expiring(run)


def _subject(subject: SubjectEntry, run: RunDocument) -> Iterator[Remark]:
    name = clean(subject.name, _NAME)
    if subject.error is not None:
        yield Remark(
            level="error",
            title=f"{name}: not judged",
            message=error_text(subject.error),
            location=manifest_location(subject),
            rank=(_VERDICT, 0),
        )
    if subject.former_base is not None:
        base = "the one that the adapter names" if subject.base is None else clean(subject.base)
        message = f"The base was {clean(subject.former_base)} before this change, and is now {base}"
        yield Remark(
            level="warning",
            title=f"{name}: measured against another base than before",
            message=f"{message}: what is judged is the change from that one.",
            location=manifest_location(subject),
        )
    if subject.result is not None and subject.result.verdict is not None:
        for finding in not_passed(subject.result.verdict):
            yield _finding(finding, subject, subject.result, run)


def _finding(
    finding: FindingEntry, subject: SubjectEntry, document: ResultDocument, run: RunDocument
) -> Remark:
    verdict = document.verdict
    assert verdict is not None, "a finding is of a verdict"  # noqa: S101 - a law
    level = level_of(finding.status, verdict.mode)
    assert level is not None, "a pass is no remark"  # noqa: S101 - a law
    stands = policy_location(finding.origin, run)
    is_deciding = finding is verdict.findings[verdict.deciding]
    rule = clean(finding.rule.removeprefix("limits."), _NAME)
    return Remark(
        level=level,
        title=clean(f"{clean(subject.name, _NAME)}: {finding.status.upper()}: {rule}", TITLE_LIMIT),
        message=clean(_told(finding, document, is_placed=stands is not None), MESSAGE_LIMIT),
        location=manifest_location(subject) if stands is None else stands,
        rank=(_VERDICT if is_deciding else _FINDING, _severity(finding)),
    )


def _told(finding: FindingEntry, document: ResultDocument, *, is_placed: bool) -> str:
    verdict = document.verdict
    models = f"{clean(document.candidate.reference)} against {clean(document.base.reference)}"
    stands = "" if is_placed else place_words(finding.origin)
    parts = [finding_sentence(finding, document), f"This is {models}."]
    parts += [f"The rule stands at {stands}."] if stands else []
    if verdict is not None and verdict.mode != "enforce":
        parts.append(f"The policy is in {verdict.mode} mode: the gate stays open.")
    return " ".join(parts)


def _edit(edit: PolicyEditEntry, run: RunDocument) -> Remark:
    problem = edit.problem and f"The edited policy cannot be used: {edit.problem}"
    told = (edit_words(edit), problem, _proposed(run))
    path = repository_path(edit.files[0], run) or edit.files[0]
    return Remark(
        # What cannot be used, once it is merged, closes the gate for all that come after it.
        level="warning" if edit.problem or edit.loosens else "notice",
        title="The policy is edited",
        message=clean(" ".join(filter(None, told)), MESSAGE_LIMIT),
        location=Location(file=path, line=1) if is_inside(path) else None,
    )


def _proposed(run: RunDocument) -> str:
    proposed = [subject for subject in run.subjects if subject.proposed is not None]
    others = [each for each in proposed if each.proposed and each.proposed.status != each.decision]
    if not proposed:
        return ""
    judged = plural(len(proposed), "candidate")
    return f"By the edited policy {len(others)} of {judged} would come to another status."


def _expiring(run: RunDocument) -> Iterator[Remark]:
    # Every candidate that a waiver names has it; it is told once.
    told: set[tuple[str, str, int]] = set()
    for subject in run.subjects:
        verdict = None if subject.result is None else subject.result.verdict
        for waiver in () if verdict is None else verdict.waivers:
            key = (waiver.id, waiver.origin.file, waiver.origin.line)
            if waiver.expiring and key not in told:
                told.add(key)
                yield _waiver(waiver, subject, run)


def _waiver(waiver: WaiverEntry, subject: SubjectEntry, run: RunDocument) -> Remark:
    stands = policy_location(waiver.origin, run)
    place = place_words(waiver.origin) if stands is None else ""
    told = (
        f"It raises {clean(waiver.metric, _NAME)} and holds until {clean(waiver.expires, _NAME)},"
        f" for {plural(waiver.days_left, 'more day')}. Its owner is {clean(waiver.owner, _NAME)}."
    )
    return Remark(
        level="notice",
        title=clean(f"Waiver {clean(waiver.id, _NAME)} expires soon", TITLE_LIMIT),
        message=clean(f"{told} It stands at {place}." if place else told, MESSAGE_LIMIT),
        location=manifest_location(subject) if stands is None else stands,
        rank=(_REST, waiver.days_left),
    )


def _severity(finding: FindingEntry) -> int:
    return _SEVERITY.index(finding.status)
