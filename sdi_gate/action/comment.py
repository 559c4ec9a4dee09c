"""Comment on a pull request of a fork: the command ``comment`` of the action.

The job of the fork has no token that may write, so it stores what it found; this job, which runs
nothing of the fork, makes the comment of it. What was stored is data of whoever wrote it: it is
read strictly, held to the event, and rendered anew. Nothing in it says where the comment goes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdi_gate.action.outcome import without_verdict
from sdi_gate.action.policies import locate_policy
from sdi_gate.action.posting import author_of, is_news
from sdi_gate.action.surroundings import event_of, github_of
from sdi_gate.cli.output import say
from sdi_gate.errors import PublishError, SdiGateError, UsageError
from sdi_gate.files import read_at_most
from sdi_gate.integrations.runner.event import Kind
from sdi_gate.report.runs.comment import comment_marker, render_comment
from sdi_gate.report.runs.document import MAX_BYTES, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdi_gate.action.inputs import ActionInputs
    from sdi_gate.action.session import Session
    from sdi_gate.integrations.github.client import GitHub
    from sdi_gate.integrations.runner.event import Event
    from sdi_gate.report.runs.document import RunDocument

_NOTE = (
    "The numbers here were reported by a job of the pull request's own workflow, and this comment"
    " shows them without having measured anything. It is no verdict: the required check is."
)

_CONTRADICTION = (
    "give the same policy as the first workflow, and the run.json of the run that was followed;"
    " else the artifact may be forged; nothing was posted"
)


def comment(inputs: ActionInputs, session: Session) -> int:
    """Make the comment of what a job of a fork has stored.

    Args:
        inputs: What the workflow gives.
        session: What the runner is told at the end.

    Returns:
        0, also where there is no open pull request any more.

    Raises:
        UsageError: If this is another event, or the document is none or is not of that event.
        PublishError: If the comment could not be made: this job has nothing else to do.
    """
    # 1. What the workflow runs for, and the policy whose comment may be touched.
    event = _event(session)
    github = github_of(inputs, session.environment)
    # Its key is the same at any commit: none needs to be looked up.
    key = locate_policy(inputs.policy, replace(event, policy_sha=event.head_sha), github).key
    # 2. What was stored, held to both.
    assert inputs.run is not None, "required for this command"  # noqa: S101 - seen by read_inputs
    run = _stored(inputs.run)
    problems = "; ".join(_contradictions(run, event, key))
    if problems:
        msg = f"the run document is not of the run that this workflow follows: {problems}"
        raise UsageError(msg, hint=_CONTRADICTION)
    # 3. The pull request, from the event or by API, and the comment.
    try:
        _post(run, inputs, event, github)
    except SdiGateError as exc:
        msg = f"the comment could not be made: {exc.message}"
        raise PublishError(msg, hint=exc.hint) from exc
    # 4. Nothing was judged here, and nothing that was stored gets into an output.
    return session.settle(without_verdict() | {"decision": "none"}, 0)


def _event(session: Session) -> Event:
    event = event_of(session.environment)
    if event.kind is not Kind.WORKFLOW_RUN:
        msg = f"command comment: expected the event workflow_run; got {event.name}"
        raise UsageError(msg, hint="docs/action.md shows both workflows")
    return event


def _stored(path: Path) -> RunDocument:
    try:
        content = read_at_most(path, MAX_BYTES)
    except OSError as exc:
        msg = f"run: the file cannot be read: {exc.strerror}"
        raise UsageError(msg, hint="give the path of run.json in the artifact") from exc
    return load(content, "run.json")


def _contradictions(run: RunDocument, event: Event, key: str) -> Iterator[str]:
    if run.event.head_sha != event.head_sha:
        yield "it is of another commit"
    if (run.event.repository or "").lower() != event.repository.lower():
        yield "it is of another repository"
    if run.policy.key != key:
        yield "it is of another policy"


def _post(run: RunDocument, inputs: ActionInputs, event: Event, github: GitHub) -> None:
    number = event.pull_request
    if number is None:
        number = github.pull_request_of(event.repository, head=event.head, head_sha=event.head_sha)
    if number is None:
        say("no comment: no open pull request has this commit as its head, or several have")
        return
    outcome = github.upsert_comment(
        event.repository,
        number,
        marker=comment_marker(run.policy.key, is_reported=True),
        body=render_comment(run, note=_NOTE),
        author=author_of(inputs, github),
        only_existing=not is_news(run, inputs.comment),
    )
    say(outcome.told)
