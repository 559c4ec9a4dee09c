"""Put what a run found into the run document."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from sdi_gate.report.document import OriginEntry
from sdi_gate.report.runs.document import (
    SCHEMA,
    ErrorEntry,
    RunDocument,
    RunEventEntry,
    RunPolicyEntry,
    SubjectEntry,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sdi_gate.action.policies import LocatedPolicy
    from sdi_gate.action.subjects import Subject
    from sdi_gate.errors import SdiGateError
    from sdi_gate.integrations.runner.event import Event
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.report.document import ResultDocument
    from sdi_gate.report.runs.document import ProposedEntry


def new_document(event: RunEventEntry, policy: RunPolicyEntry) -> RunDocument:
    """Return the document of a run that has judged nothing yet.

    Args:
        event: What it is for.
        policy: The policy.

    Returns:
        The document.
    """
    return RunDocument(schema=SCHEMA, version=version("sdi-gate"), event=event, policy=policy)


def entry_of_event(event: Event, run_url: str | None) -> RunEventEntry:
    """Say what a run is for.

    Args:
        event: The event.
        run_url: Address of the run's page, if it is known.

    Returns:
        The entry.
    """
    return RunEventEntry(
        name=event.name,
        repository=event.repository,
        pull_request=event.pull_request,
        base_sha=event.base_sha,
        head_sha=event.head_sha,
        is_fork=event.is_fork,
        run_url=run_url,
    )


def entry_of_policy(located: LocatedPolicy, loaded: LoadedPolicy | None = None) -> RunPolicyEntry:
    """Say what the policy of a run is.

    Args:
        located: Where it is.
        loaded: The policy; None if it could not be opened.

    Returns:
        The entry.
    """
    entry = RunPolicyEntry(
        reference=located.reference, key=located.key, commit=located.ref.commit or None
    )
    if loaded is None:
        return entry
    metadata = loaded.policy.metadata
    found = {
        "name": metadata.name,
        "digest": loaded.digest,
        "owner": metadata.owner,
        "contact": metadata.contact,
    }
    return entry.model_copy(update=found)


def entry_of_error(error: SdiGateError, workspace: Path | None = None) -> ErrorEntry:
    """Say why something was not judged.

    Args:
        error: The error.
        workspace: The checkout; a path in it is told as one in the repository, since where a
            runner keeps that is nobody's business.

    Returns:
        The entry.
    """
    root = "" if workspace is None else f"{workspace.resolve()}/"
    message, hint = one_line(error.message), error.hint
    if root:
        message, hint = message.replace(root, ""), hint.replace(root, "")
    return ErrorEntry(exit_code=int(error.exit_code), message=message, hint=hint)


def one_line(message: str) -> str:
    """Join the lines of a message, of which each report makes one.

    Args:
        message: A line, or several that list problems.

    Returns:
        The lines with ``; `` between them, and without the space at their ends.
    """
    return "; ".join(line.strip() for line in message.splitlines() if line.strip())


def entry_of_subject(
    subject: Subject, found: ResultDocument | ErrorEntry, proposed: ProposedEntry | None
) -> SubjectEntry:
    """Say what came of a candidate.

    Args:
        subject: The candidate.
        found: Its result with a verdict, or why there is none.
        proposed: What the policy as it is edited would make of it.

    Returns:
        The entry.
    """
    origin = subject.origin
    place = None
    if origin is not None:
        place = OriginEntry(file=origin.file, line=origin.line, column=origin.column)
    error = found if isinstance(found, ErrorEntry) else None
    return SubjectEntry(
        name=subject.name,
        base=subject.base,
        candidate=subject.candidate,
        registered_name=subject.registered_name,
        change=subject.change,
        place=place,
        former_base=subject.former_base,
        former_candidate=subject.former_candidate,
        result=None if isinstance(found, ErrorEntry) else found,
        error=error,
        proposed=proposed,
    )
