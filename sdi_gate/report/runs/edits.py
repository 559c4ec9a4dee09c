"""Say what an edit of the policy would do, by which nothing was judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.parts import SENTENCE_LIMIT, Section, Table, clean
from sdi_gate.report.runs.candidates import MESSAGE, NAME, decision_words

if TYPE_CHECKING:
    from sdi_gate.report.runs.document import PolicyEditEntry, RunDocument, SubjectEntry

_TITLE = "What the edit of the policy would do"
_MAX_ROWS = 200


def edit_section(run: RunDocument) -> Section:
    """Return what the policy as it is edited would make of the candidates.

    Args:
        run: The run.

    Returns:
        The section; without sentences if the policy is not edited.
    """
    edit = run.edit
    if edit is None:
        return Section(title=_TITLE)
    found = [run.subjects[index] for index in run.ranked]
    proposals = [subject for subject in found if subject.proposed is not None]
    return Section(
        title=_TITLE,
        sentences=(_sentence(edit, judges=bool(proposals)),),
        tables=(
            *((_proposals(proposals),) if proposals else ()),
            *((_changes(edit),) if edit.changes else ()),
        ),
    )


def _sentence(edit: PolicyEditEntry, *, judges: bool) -> str:
    if edit.problem is not None:
        problem = clean(edit.problem, MESSAGE).rstrip(".")
        return f"The edited policy cannot be used, and would judge nothing: {problem}."
    if judges:
        return "The same numbers, held against the policy as it would be with the edit:"
    return "How it differs from the policy that judged:"


def _changes(edit: PolicyEditEntry) -> Table:
    return Table(
        key="edits",
        nouns="differences",
        head=("Difference",),
        rows=tuple((clean(change, SENTENCE_LIMIT),) for change in edit.changes[:_MAX_ROWS]),
        total=len(edit.changes),
        essential=1,
        is_numeric=(False,),
    )


def _proposals(subjects: list[SubjectEntry]) -> Table:
    return Table(
        key="proposals",
        nouns="candidates",
        head=("Candidate", "Judged", "With the edit", "Decided then by"),
        rows=tuple(map(_proposal, subjects)),
        total=len(subjects),
        essential=4,
        is_numeric=(False,) * 4,
    )


def _proposal(subject: SubjectEntry) -> tuple[str, ...]:
    then = subject.proposed
    assert then is not None, "only those with a proposal have a row"  # noqa: S101 - a law
    mode = "" if then.mode == "enforce" else f" ({then.mode} mode)"
    rule = clean(then.rule.removeprefix("limits."), NAME)
    return (
        clean(subject.name, NAME),
        decision_words(subject),
        f"{then.status.upper()}{mode}",
        f"{rule}: {clean(then.reason, SENTENCE_LIMIT)}",
    )
