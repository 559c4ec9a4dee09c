"""Judge what an event adds or changes: the command ``judge`` of the action."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from sdi_gate.action.checkout import Checkout
from sdi_gate.action.difference import difference_of
from sdi_gate.action.documents import (
    entry_of_error,
    entry_of_event,
    entry_of_policy,
    entry_of_subject,
    new_document,
)
from sdi_gate.action.environment import check_device, choose_out, has_gpu
from sdi_gate.action.folder import OutFolder
from sdi_gate.action.policies import locate_policy, open_policy
from sdi_gate.action.policy_access import PolicyAccess
from sdi_gate.action.policy_edit import InForce, propose, proposed_policy
from sdi_gate.action.publish import Publisher
from sdi_gate.action.scans import Scanner
from sdi_gate.action.subjects import find_subjects
from sdi_gate.action.surroundings import event_of, github_of, run_url_of
from sdi_gate.cli.output import fail, say
from sdi_gate.cli.precheck import check_endpoint, needs_hub
from sdi_gate.errors import SdiGateError
from sdi_gate.models.ref import ModelRef
from sdi_gate.policy.format.spelling import visible
from sdi_gate.report.runs.document import ErrorEntry, RunDocument

if TYPE_CHECKING:
    from sdi_gate.action.inputs import ActionInputs
    from sdi_gate.action.policies import LocatedPolicy
    from sdi_gate.action.policy_edit import PolicyEdit
    from sdi_gate.action.session import Session
    from sdi_gate.action.subjects import Subject, Subjects
    from sdi_gate.integrations.github.client import GitHub
    from sdi_gate.integrations.runner.event import Event
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.report.document import ResultDocument
    from sdi_gate.report.runs.document import ProposedEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    # What is to be judged, and by what.
    policy: LoadedPolicy
    edit: PolicyEdit | None
    subjects: Subjects


def judge(inputs: ActionInputs, session: Session) -> int:
    """Judge what an event adds or changes.

    Args:
        inputs: What the workflow gives.
        session: What the runner is told at the end.

    Returns:
        The exit code, which is the verdict.
    """
    # 1. What is found at once: no former verdict is left, there is an event, and a GPU if one is
    #    counted on.
    folder = OutFolder(choose_out(inputs, session.environment))
    folder.prepare()
    event = event_of(session.environment)
    check_device(inputs.device)
    # 2. Where the policy is: from here on even an error is published.
    github = github_of(inputs, session.environment)
    located = locate_policy(inputs.policy, event, github)
    publisher = Publisher(
        inputs=inputs, event=event, folder=folder, github=lambda: github, session=session
    )
    told = entry_of_event(event, run_url_of(session.environment, event.repository))
    run = new_document(told, entry_of_policy(located))
    # 3. The policy of the base side, what an edit of it would do, and what is to be judged.
    try:
        in_force = _open(inputs, event, located, session)
        run = run.model_copy(update={"policy": entry_of_policy(located, in_force.loaded)})
        case = _find(in_force, event, github)
    except SdiGateError as exc:
        fail(exc)
        return publisher.publish(run.model_copy(update={"error": entry_of_error(exc)}))
    # 4. Each candidate by itself; then all of them as one document, and published.
    scanner = Scanner(inputs, case.policy, folder, _checkout_of(event, session))
    found = scanner.scan_all(case.subjects.subjects)
    run = _judged(run, case, found)
    return publisher.publish(run, is_whole=scanner.is_published)


def _checkout_of(event: Event, session: Session) -> Checkout:
    variables = session.environment
    return Checkout.of(
        variables.get("GITHUB_WORKSPACE"), event, variables.get("GITHUB_SHA", event.head_sha)
    )


def _open(inputs: ActionInputs, event: Event, located: LocatedPolicy, session: Session) -> InForce:
    sources = PolicyAccess(
        repository=event.repository,
        api_url=session.environment.get("GITHUB_API_URL") or None,
        github_token=inputs.github_token,
        policy_token=inputs.policy_token,
        hf_token=inputs.hf_token,
    )
    loaded = open_policy(located, inputs, sources)
    say(f"policy: {loaded.name} ({loaded.digest}) from {located.ref}")
    return InForce(located=located, loaded=loaded, inputs=inputs, sources=sources)


def _find(in_force: InForce, event: Event, github: GitHub) -> _Case:
    inputs = in_force.inputs
    difference = difference_of(event, github)
    edit = proposed_policy(in_force, event, difference)
    subjects = find_subjects(inputs, event, difference, github)
    say(subjects.explanation)
    _look_ahead(inputs, subjects.subjects)
    return _Case(policy=in_force.loaded, edit=edit, subjects=subjects)


def _look_ahead(inputs: ActionInputs, subjects: tuple[Subject, ...]) -> None:
    # Of all candidates at once: an address of the Hub that is none is dropped where none of them
    # needs it, and must not be dropped for the first and missing for the second.
    if not subjects:
        say("nothing is to be judged: no candidate was added or changed")
        return
    references = [text for subject in subjects for text in (subject.base, subject.candidate)]
    check_endpoint(
        needed=needs_hub(None if text is None else ModelRef.parse(text) for text in references)
    )
    if inputs.device == "auto" and not has_gpu():
        say("no GPU was found; the candidates are scanned on the CPU")


def _judged(run: RunDocument, case: _Case, found: list[ResultDocument | ErrorEntry]) -> RunDocument:
    proposed = partial(_proposed, case.edit)
    entries = tuple(
        entry_of_subject(subject, each, proposed(each))
        for subject, each in zip(case.subjects.subjects, found, strict=True)
    )
    manifest = case.subjects.manifest
    # Made anew, not copied: what contradicts itself is refused.
    return RunDocument(
        schema=run.schema_,
        version=run.version,
        event=run.event,
        policy=run.policy,
        manifest=None if manifest is None else visible(manifest),
        num_unchanged=case.subjects.num_unchanged,
        subjects=entries,
        edit=None if case.edit is None else case.edit.entry,
    )


def _proposed(edit: PolicyEdit | None, found: ResultDocument | ErrorEntry) -> ProposedEntry | None:
    if edit is None or edit.loaded is None or isinstance(found, ErrorEntry):
        return None
    return propose(edit.loaded, found, datetime.now(UTC))
