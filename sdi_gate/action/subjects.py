"""Find what a run judges: the models that a workflow names, or those that a change touches."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sdi_gate.errors import UsageError
from sdi_gate.integrations.github.errors import GitHubError
from sdi_gate.manifest.changes import all_entries, changed_entries
from sdi_gate.manifest.reading import check_base, parse_manifest, with_base
from sdi_gate.manifest.references import path_problem, same_model
from sdi_gate.manifest.schema import MAX_NAME
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.policy.format.places import quoted
from sdi_gate.policy.format.reading import MAX_SIZE_BYTES
from sdi_gate.policy.format.spelling import visible

if TYPE_CHECKING:
    from sdi_gate.action.difference import Difference
    from sdi_gate.action.inputs import ActionInputs
    from sdi_gate.integrations.github.client import GitHub
    from sdi_gate.integrations.runner.event import Event
    from sdi_gate.manifest.changes import Change
    from sdi_gate.manifest.reading import ReadManifest
    from sdi_gate.policy.origins import Origin

_SHOWN_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Hold one candidate that is to be judged; all texts of a manifest are hostile.

    Attributes:
        name: What reports call it; no other subject of a run has it.
        base: Reference of its base, as it was given; None for the one that the adapter names.
        candidate: Its reference, as it was given; `located` says where it is.
        registered_name: Its name in a registry, if it has one.
        change: Why it is judged: named by the workflow, or as `ChangeKind` has it.
        origin: Where it stands in the manifest; None if the workflow names it.
        former_base: The base that it had before the change, if that is another one.
        former_candidate: The candidate that it was before the change, if that is another one.
    """

    name: str
    base: str | None
    candidate: str
    registered_name: str | None = None
    change: Literal["named", "added", "changed", "present"]
    origin: Origin | None = None
    former_base: str | None = None
    former_candidate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subjects:
    """Hold what a run judges.

    Attributes:
        subjects: In the order of the manifest; none if the change touches no candidate.
        num_unchanged: How many candidates of the manifest are as they were, and not judged.
        manifest: Its path; None if the workflow names the models.
        explanation: One sentence on why it is these.
    """

    subjects: tuple[Subject, ...]
    num_unchanged: int = 0
    manifest: str | None = None
    explanation: str


def find_subjects(
    inputs: ActionInputs, event: Event, difference: Difference | None, github: GitHub
) -> Subjects:
    """Find what a run judges.

    Args:
        inputs: What the workflow gives: a candidate, or the path of a manifest.
        event: What the workflow runs for.
        difference: What the event changes; None if that is not known, and then all of the
            manifest is judged.
        github: Reads the manifest, never from the checkout.

    Returns:
        The candidates.

    Raises:
        UsageError: If there is neither a candidate nor a manifest, or both, or the manifest is
            missing, was removed, is not valid, or has another base than the workflow gives.
        GitHubError: If GitHub cannot be asked or refuses.
    """  # noqa: DOC502 - the second is raised by the client
    if (inputs.candidate is None) == (inputs.manifest is None):
        msg = "candidate and manifest: exactly one of them says what is judged"
        raise UsageError(msg, hint="docs/action.md describes every input")
    if inputs.candidate is not None:
        return _named(inputs, inputs.candidate)
    path = (inputs.manifest or "").removeprefix("./")
    problem = path_problem(path)
    if problem is not None:
        msg = f"manifest: {problem}; the manifest is a file of the repository, read by its API"
        raise UsageError(msg, hint="give its path from the top of the repository")
    return _of_manifest(path, inputs.base, event, difference, github)


def located(reference: str, workspace: Path | None) -> str:
    """Say where a model is that a folder of the checkout is given for.

    Args:
        reference: A reference as it was given, valid in its form.
        workspace: The checkout, if there is one.

    Returns:
        The same for a model on the Hub or at an absolute path; else with an absolute path.

    Raises:
        UsageError: If there is no checkout, or the path leads out of it or through a link. Whether
            there is such a folder is the scan's to say.
    """
    ref = ModelRef.parse(reference)
    if ref.scheme is not Scheme.FILE or Path(ref.location).is_absolute():
        return reference
    if workspace is None:
        msg = f"{quoted(reference)}: there is no checkout, since GITHUB_WORKSPACE is not set"
        raise UsageError(msg, hint="check the repository out in a step before")
    root = Path(os.path.realpath(workspace))
    folder = Path(os.path.normpath(root / ref.location))
    # Through a link another folder is read than the one of which Git tells the changes.
    if root not in folder.parents or os.path.realpath(folder) != str(folder):
        msg = f"{quoted(reference)} leads out of the checkout, or through a link"
        raise UsageError(msg, hint="name the folder itself, by its path from the top")
    return f"file:{folder}"


def _named(inputs: ActionInputs, candidate: str) -> Subjects:
    why = None if inputs.base is None else same_model(inputs.base, candidate)
    if why is not None:
        msg = f"base and candidate: {why}; a model is compared with itself, and always passes"
        raise UsageError(msg, hint="base is the model that the candidate was made from")
    name = inputs.registered_name or ModelRef.parse(candidate).location
    subject = Subject(
        name=visible(name)[:MAX_NAME],
        base=inputs.base,
        candidate=candidate,
        registered_name=inputs.registered_name,
        change="named",
    )
    return Subjects(subjects=(subject,), explanation="The workflow names the candidate.")


def _of_manifest(
    path: str, base: str | None, event: Event, difference: Difference | None, github: GitHub
) -> Subjects:
    after = _read(path, event.repository, event.head_sha, github)
    if after is None:
        raise _absent(path, event, difference, github)
    if base is not None:
        after = with_base(after, base)
        check_base(after, base)
    if difference is None:
        why = "nothing is known of how it was before"
        return _subjects(after, all_entries(after), f"All of {quoted(path)} is judged: {why}.")
    before, is_known = _former(path, event, difference, github)
    if before is not None and base is not None:
        before = with_base(before, base)
    if not is_known:
        why = f"it could not be read as it was at {difference.merge_base[:_SHOWN_DIGITS]}"
        return _subjects(after, all_entries(after), f"All of {quoted(path)} is judged: {why}.")
    changes = changed_entries(before, after, difference.files)
    return _subjects(after, changes, _explained(path, event, difference))


def _explained(path: str, event: Event, difference: Difference) -> str:
    if difference.files is None:
        return f"All of {quoted(path)} is judged: more files changed than GitHub lists."
    span = f"{difference.merge_base[:_SHOWN_DIGITS]} and {event.head_sha[:_SHOWN_DIGITS]}"
    return f"Judged is what differs in {quoted(path)} between the commits {span}."


def _subjects(after: ReadManifest, changes: tuple[Change, ...], explanation: str) -> Subjects:
    return Subjects(
        subjects=tuple(map(_subject, changes)),
        num_unchanged=len(after.entries) - len(changes),
        manifest=after.path,
        explanation=explanation,
    )


def _subject(change: Change) -> Subject:
    entry = change.entry
    return Subject(
        name=entry.name,
        base=entry.base,
        candidate=entry.candidate,
        registered_name=entry.registered_name,
        change=change.kind.value,
        origin=entry.origin,
        former_base=change.former_base,
        former_candidate=change.former_candidate,
    )


def _read(path: str, repository: str, commit: str, github: GitHub) -> ReadManifest | None:
    content = github.read_file(repository, path, commit, max_bytes=MAX_SIZE_BYTES)
    return None if content is None else parse_manifest(content, path)


def _former(
    path: str, event: Event, difference: Difference, github: GitHub
) -> tuple[ReadManifest | None, bool]:
    # The manifest as it was, and whether that is known: one that was broken must not keep a change
    # from mending it, and then all of it is judged.
    try:
        return _read(path, event.repository, difference.merge_base, github), True
    except UsageError:
        return None, False
    except GitHubError as exc:
        if exc.status is not None:
            raise
        return None, False


def _absent(path: str, event: Event, difference: Difference | None, github: GitHub) -> UsageError:
    where = f"{event.repository} at {event.head_sha[:_SHOWN_DIGITS]}"
    msg = f"manifest: there is no file {quoted(path)} in {where}"
    if difference is not None:
        commit = difference.merge_base
        former = github.read_file(event.repository, path, commit, max_bytes=MAX_SIZE_BYTES)
        if former is not None:
            msg = f"manifest: the change removes {quoted(path)}; nothing says what is to be judged"
            hint = "keep the manifest, or take it out of the workflow in a change of its own"
            return UsageError(msg, hint=hint)
    return UsageError(msg, hint="check its path, from the top of the repository")
