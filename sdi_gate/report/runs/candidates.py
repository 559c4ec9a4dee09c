"""Put each candidate of a run into words: its row of the table, its heading, what decided."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.report import judgement, remarks
from sdi_gate.report.numbers import number, with_error
from sdi_gate.report.parts import ABSENT, SENTENCE_LIMIT, Section, Table, clean
from sdi_gate.report.words import index_label

if TYPE_CHECKING:
    from sdi_gate.report.document import ModelEntry, ResultDocument, VerdictEntry
    from sdi_gate.report.runs.document import RunDocument, SubjectEntry

NAME = 60
MESSAGE = 600
_REFERENCE = 100
_CELL = 200
_RANGE = (0.0, 1.0)
_COMMIT = re.compile(r"@([0-9a-f]{7})[0-9a-f]{33}$")
_CHANGES = {"named": "", "present": "", "added": " (added)", "changed": " (changed)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Hold what is said of one candidate before its numbers.

    Attributes:
        name: Its name.
        decision: Such as ``FAIL`` or ``FAIL (observe mode)``.
        compared: The two models.
        deciding: What decided, or why there is no verdict.
        remarks: What else a reader must know beside the numbers.
    """

    name: str
    decision: str
    compared: str
    deciding: str
    remarks: tuple[str, ...]


def verdict_of(subject: SubjectEntry) -> VerdictEntry | None:
    """Return the verdict on a candidate.

    Args:
        subject: The candidate.

    Returns:
        Its verdict; None if it was not judged.
    """
    return None if subject.result is None else subject.result.verdict


def words(subject: SubjectEntry) -> Words:
    """Put a candidate into words.

    Args:
        subject: The candidate.

    Returns:
        Plain text.
    """
    name, decision = clean(subject.name, NAME), decision_words(subject)
    if subject.result is None:
        return Words(
            name=name,
            decision=decision,
            compared=_asked(subject),
            deciding=f"It was not judged: {error_words(subject)}",
            remarks=(),
        )
    first, _, *rest = judgement.deciding(subject.result)
    return Words(
        name=name,
        decision=decision,
        compared=_measured(subject.result),
        deciding=first,
        remarks=(*rest, *remarks.unusual_settings(subject.result)),
    )


def decision_words(subject: SubjectEntry) -> str:
    """Say what was decided, and whether nothing follows from it.

    Args:
        subject: The candidate.

    Returns:
        Such as ``FAIL`` or ``FAIL (observe mode)``.
    """
    verdict = verdict_of(subject)
    mode = "" if verdict is None or verdict.enforced else f" ({verdict.mode} mode)"
    return f"{subject.decision.upper()}{mode}"


def error_words(subject: SubjectEntry) -> str:
    """Say why a candidate was not judged.

    Args:
        subject: The candidate.

    Returns:
        The error's message; empty if there is none.
    """
    return "" if subject.error is None else clean(subject.error.message, MESSAGE)


def candidates_section(run: RunDocument) -> Section:
    """Return the table of all candidates, the worst first.

    Args:
        run: The run.

    Returns:
        The section; without a table if there are none.
    """
    if not run.subjects:
        return Section(title="Candidates")
    table = Table(
        key="candidates",
        nouns="candidates",
        head=("Decision", "Candidate", "Compared", "sdi", "Predicted degradation", "Decided by"),
        rows=tuple(_row(run.subjects[index]) for index in run.ranked),
        total=len(run.subjects),
        essential=6,
        is_numeric=(False, False, False, True, True, False),
    )
    return Section(title="Candidates", tables=(table,))


def sdi_words(result: ResultDocument) -> str:
    """Return the index of a result with what a reader must know wherever it is shown.

    Args:
        result: The result.

    Returns:
        Such as ``0.416 ± 0.012 (provisional)``; a dash if there is none.
    """
    estimate = result.sdi.estimate
    if estimate is None:
        return ABSENT
    value = with_error(estimate.value, estimate.stderr, _RANGE)
    return f"{value}{index_label('sdi', result).removeprefix('sdi')}"


def predicted_words(result: ResultDocument) -> str:
    """Return the predicted degradation of a result with its interval.

    Args:
        result: The result.

    Returns:
        Such as ``0.083 (0.021 to 0.145)``; a dash if nothing is predicted.
    """
    found = result.prediction
    if found is None or found.value is None or found.lower is None or found.upper is None:
        return ABSENT
    return f"{number(found.value)} ({number(found.lower)} to {number(found.upper)})"


def reference_words(text: str) -> str:
    """Write a reference with its commit, if it has one, as short as people know it.

    Args:
        text: The reference.

    Returns:
        Such as ``hf:org/name@0123456``.
    """
    return clean(_COMMIT.sub(r"@\1", text), _REFERENCE)


def base_words(subject: SubjectEntry) -> str:
    """Name the base of a candidate, measured or not.

    Args:
        subject: The candidate.

    Returns:
        Such as ``hf:org/base@0123456``.
    """
    if subject.result is not None:
        return _model(subject.result.base)
    return "the base that it names" if subject.base is None else reference_words(subject.base)


def _row(subject: SubjectEntry) -> tuple[str, ...]:
    told = words(subject)
    name = f"{told.name}{_CHANGES[subject.change]}"
    if subject.result is None:
        reason = clean(error_words(subject), _CELL)
        return (told.decision, name, told.compared, ABSENT, ABSENT, reason)
    line = judgement.finding_lines(subject.result)[0]
    return (
        told.decision,
        name,
        told.compared,
        sdi_words(subject.result),
        predicted_words(subject.result),
        clean(f"{line.rule}: {line.sentence}", SENTENCE_LIMIT),
    )


def _asked(subject: SubjectEntry) -> str:
    return f"{reference_words(subject.candidate)} against {base_words(subject)}"


def _measured(result: ResultDocument) -> str:
    return f"{_model(result.candidate)} against {_model(result.base)}"


def _model(model: ModelEntry) -> str:
    plain = _COMMIT.sub("", model.reference)
    commit = "" if model.commit is None or "@" in plain else f"@{model.commit[:7]}"
    return clean(f"{plain}{commit}", _REFERENCE)
