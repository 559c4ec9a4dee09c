"""Say first what was decided on a run, what follows for its check, and what must not be missed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sdi_gate.report.numbers import count, plural
from sdi_gate.report.parts import clean, listed
from sdi_gate.report.runs.candidates import (
    MESSAGE,
    NAME,
    base_words,
    decision_words,
    reference_words,
    verdict_of,
    words,
)
from sdi_gate.report.runs.document import CLOSED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.report.runs.document import PolicyEditEntry, RunDocument

_MAX_ALERTS = 5
_MAX_FILES = 3
_FILES = 200
_RUN = re.compile(
    r"https://[A-Za-z0-9.-]{1,255}(?::\d{1,5})?/([\w.-]+/[\w.-]+)/actions/runs/\d+"
    r"(?:/attempts/\d+)?",
    re.ASCII,
)
# What one candidate, or several, are under the policy.
_STANDING = {
    "fail": ("is beyond", "are beyond"),
    "inconclusive": ("cannot be judged by", "cannot be judged by"),
    "error": ("could not be judged by", "could not be judged by"),
    "warn": ("needs a look under", "need a look under"),
    "pass": ("keeps", "keep"),
}


def heading(run: RunDocument) -> str:
    """Return the first line: the decision, on how many candidates, under which policy.

    Args:
        run: The run.

    Returns:
        Such as ``FAIL: 1 of 3 candidates is beyond policy production``.
    """
    if run.error is not None:
        return "ERROR: nothing could be judged"
    if run.deciding is None:
        return "NOTHING TO JUDGE: no candidate was added or changed"
    worst = run.subjects[run.deciding]
    same = [subject for subject in run.subjects if subject.decision == run.decision]
    one, many = _STANDING[run.decision]
    if len(run.subjects) == 1:
        who, verb = clean(worst.name, NAME), one
    elif len(same) == len(run.subjects):
        who, verb = f"all {count(len(same))} candidates", many
    else:
        who = f"{count(len(same))} of {count(len(run.subjects))} candidates"
        verb = one if len(same) == 1 else many
    return f"{decision_words(worst)}: {who} {verb} {policy_words(run)}"


def policy_words(run: RunDocument) -> str:
    """Name the policy of a run.

    Args:
        run: The run.

    Returns:
        Such as ``policy production``.
    """
    return "the policy" if run.policy.name is None else f"policy {clean(run.policy.name, NAME)}"


def lead(run: RunDocument, *, is_reported: bool = False) -> tuple[str, ...]:
    """Return what decided, and what follows for the check.

    Args:
        run: The run.
        is_reported: Whether another job says so; of the check nothing is said then.

    Returns:
        One paragraph each.
    """
    return (*_decided(run), *(() if is_reported else (_check(run),)))


def alerts(run: RunDocument) -> tuple[str, ...]:
    """Return what a reviewer must not miss: another base, and an edit of the policy.

    Args:
        run: The run.

    Returns:
        One paragraph each.
    """
    moved = [subject for subject in run.subjects if subject.former_base is not None]
    told = [
        f"{clean(subject.name, NAME)} has another base than before: "
        f"{base_words(subject)} in "
        f"place of {reference_words(subject.former_base or '')}. Drift is measured from the base: "
        "its numbers do not compare with those of before."
        for subject in moved[:_MAX_ALERTS]
    ]
    more = len(moved) - _MAX_ALERTS
    told += [f"{plural(more, 'further candidate')} with another base than before."][: max(more, 0)]
    return (*told, *(() if run.edit is None else (edit_words(run.edit),)))


def edit_words(edit: PolicyEditEntry) -> str:
    """Say that the policy is edited, and that nothing was judged by the edit.

    Args:
        edit: The edit.

    Returns:
        A paragraph.
    """
    loosens = {
        True: "The edit loosens the policy.",
        False: "The edit loosens nothing.",
        None: "Whether the edit loosens the policy could not be found out.",
    }
    files = listed(edit.files, _MAX_FILES, _FILES)
    return (
        f"The policy is edited here, too ({files}), and this check was judged by the policy as it "
        f"is without the edit. {loosens[edit.loosens]} It takes effect once it is merged."
    )


def run_address(run: RunDocument) -> str:
    """Return the address of a run's page, if it can be one.

    Args:
        run: The run.

    Returns:
        An https address of a run of the repository, of plain characters; else empty.
    """
    found = _RUN.fullmatch(run.event.run_url or "")
    return found[0] if found and found[1] == run.event.repository else ""


def _decided(run: RunDocument) -> Iterator[str]:
    if run.error is not None:
        yield clean(run.error.message, MESSAGE)
        if run.error.hint:
            yield f"Hint: {clean(run.error.hint, MESSAGE)}"
    elif run.deciding is None:
        held = f"{plural(run.num_unchanged, 'candidate')} of "
        left = "was left as it is" if run.num_unchanged == 1 else "were left as they are"
        yield (
            f"{held if run.num_unchanged else ''}"
            f"{clean(run.manifest or 'the manifest', _FILES)}"
            f"{f' {left}' if run.num_unchanged else ' has no entry to judge'}: "
            "nothing was measured."
        )
    else:
        told = words(run.subjects[run.deciding])
        named = f"{told.name}: " if len(run.subjects) > 1 else ""
        yield f"{named}{told.deciding}"


def _check(run: RunDocument) -> str:
    code = run.exit_code
    if code in CLOSED:
        return f"This check is red (exit code {code})."
    if code:
        return f"This check is red (exit code {code}): what could not be judged does not pass."
    lenient = [v.mode for v in map(verdict_of, run.subjects) if v is not None and v.would_close]
    if not lenient:
        return "This check is green (exit code 0)."
    modes = " and ".join(dict.fromkeys(lenient))
    return (
        f"This check is green nevertheless: the policy is in {modes} mode. In mode enforce it "
        "would have been red."
    )
