"""Read what a workflow runs for, from the runner's variables and the payload of the event."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sdi_gate.errors import UsageError
from sdi_gate.integrations.runner.payload import (
    Payload,
    is_repository,
    is_sha,
    parse_payload,
    shown,
)

_NO_COMMIT: Final = "0" * 40
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
# The base may hold slashes, and parts that look like `pr-1-`; what follows it has no slash.
_QUEUED = re.compile(
    r"(?:refs/heads/)?gh-readonly-queue/(?P<base>.+)/pr-(?P<number>[1-9][0-9]{0,9})-[0-9a-f]{40}"
)


class Kind(StrEnum):
    """Say what the candidates of an event are.

    Attributes:
        PULL_REQUEST: What a pull request adds or changes.
        MERGE_GROUP: What a group of a merge queue adds or changes.
        PUSH: What a push adds or changes; of a new branch all that there is.
        WORKFLOW_RUN: Another workflow has ended; a comment can be made of what it found.
        OTHER: All that there is: a schedule, a dispatch, a release, and every event not named here.
    """

    PULL_REQUEST = "pull_request"
    MERGE_GROUP = "merge_group"
    PUSH = "push"
    WORKFLOW_RUN = "workflow_run"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Hold what a workflow runs for.

    Attributes:
        name: The event, as the runner calls it.
        kind: What its candidates are.
        repository: ``owner/name`` in which the workflow runs.
        head_sha: Commit whose candidates are judged.
        base_sha: Commit from which they are told apart; None where all are judged.
        policy_sha: Commit whose policy holds; None for the head of the default branch.
        default_branch: Name of the default branch, foreign text; None if the payload does not say.
        pull_request: Number of the pull request; None where there is none, or it is not known. Of
            a merge group it is the last that entered the group.
        is_fork: Whether the head is in another repository, or in one that is gone.
        head: ``owner:branch`` of the head, by which a pull request is found (``WORKFLOW_RUN``),
            foreign text; None if not known.
        run_id: Run of the other workflow (``WORKFLOW_RUN``).
    """

    name: str
    kind: Kind
    repository: str
    head_sha: str
    base_sha: str | None = None
    policy_sha: str | None = None
    default_branch: str | None = None
    pull_request: int | None = None
    is_fork: bool = False
    head: str | None = None
    run_id: int | None = None


def read_event(*, name: str, payload: bytes, repository: str, sha: str) -> Event:
    """Read what a workflow runs for.

    Every ``pull_request*`` event is judged from ``.pull_request.base.sha`` to ``.head.sha``, also
    of a pull request that was closed. A merge group is judged whatever its action is: a workflow
    starts on ``checks_requested`` alone, and the commit of a group that was destroyed is no longer
    found when it is asked for, which is an error and never a pass. A push is judged from what was
    there before; the policy is that of the default branch, which the push cannot have chosen. An
    event not named by `Kind` is judged at the commit of the runner.

    Args:
        name: ``GITHUB_EVENT_NAME``.
        payload: Bytes of the file that ``GITHUB_EVENT_PATH`` names.
        repository: ``GITHUB_REPOSITORY``.
        sha: ``GITHUB_SHA``.

    Returns:
        The event.

    Raises:
        UsageError: If a variable or a field that is used is missing or malformed, the payload is of
            another repository, or a branch or tag was deleted.
    """
    if not _NAME.fullmatch(name):
        msg = f"GITHUB_EVENT_NAME should be the name of an event; got {shown(name)}"
        raise UsageError(msg)
    if not is_repository(repository):
        msg = f"GITHUB_REPOSITORY should be a repository as owner/name; got {shown(repository)}"
        raise UsageError(msg)
    found = parse_payload(name, payload)
    match name:
        case "merge_group":
            return _merge_group(found, repository)
        case "push":
            return _push(found, repository)
        case "workflow_run":
            return _workflow_run(found, repository)
        case _ if name.startswith("pull_request"):
            return _pull_request(name, found, repository)
        case _:
            return _other(name, found, repository, sha)


def _pull_request(name: str, payload: Payload, repository: str) -> Event:
    _check_repository(name, payload, repository)
    target = payload.repository("pull_request.base.repo.full_name")
    if not _same(target, repository):
        msg = (
            f"the pull request of the event {name} is made to the repository {target}, and the"
            f" workflow runs in {repository}: its policy would not be that of the pull request"
        )
        raise UsageError(msg)
    base = payload.sha("pull_request.base.sha")
    return Event(
        name=name,
        kind=Kind.PULL_REQUEST,
        repository=repository,
        head_sha=payload.sha("pull_request.head.sha"),
        base_sha=base,
        policy_sha=base,
        default_branch=_default_branch(payload),
        pull_request=payload.number("pull_request.number"),
        is_fork=_is_fork(payload, "pull_request.head.repo", repository),
    )


def _merge_group(payload: Payload, repository: str) -> Event:
    _check_repository("merge_group", payload, repository)
    base = payload.sha("merge_group.base_sha")
    return Event(
        name="merge_group",
        kind=Kind.MERGE_GROUP,
        repository=repository,
        head_sha=payload.sha("merge_group.head_sha"),
        base_sha=base,
        policy_sha=base,
        default_branch=_default_branch(payload),
        pull_request=_queued_number(
            payload.branch("merge_group.head_ref"), payload.branch("merge_group.base_ref")
        ),
    )


def _queued_number(head_ref: str, base_ref: str) -> int | None:
    found = _QUEUED.fullmatch(head_ref)
    if found is None or found["base"] != base_ref.removeprefix("refs/heads/"):
        return None
    return int(found["number"])


def _push(payload: Payload, repository: str) -> Event:
    _check_repository("push", payload, repository)
    before, after = payload.sha("before"), payload.sha("after")
    if after == _NO_COMMIT or payload.flag("deleted"):
        msg = "the push deleted a branch or a tag: it leaves no commit that could be judged"
        raise UsageError(msg, hint="do not start the job when github.event.deleted is true")
    return Event(
        name="push",
        kind=Kind.PUSH,
        repository=repository,
        head_sha=after,
        base_sha=None if before == _NO_COMMIT else before,
        default_branch=_default_branch(payload),
    )


def _workflow_run(payload: Payload, repository: str) -> Event:
    _check_repository("workflow_run", payload, repository)
    head_sha = payload.sha("workflow_run.head_sha")
    return Event(
        name="workflow_run",
        kind=Kind.WORKFLOW_RUN,
        repository=repository,
        head_sha=head_sha,
        default_branch=_default_branch(payload),
        pull_request=_only_pull_request(payload, head_sha),
        is_fork=_is_fork(payload, "workflow_run.head_repository", repository),
        head=_head(payload),
        run_id=payload.number("workflow_run.id"),
    )


def _only_pull_request(payload: Payload, head_sha: str) -> int | None:
    # The list is empty for forks. It can name pull requests that are made to a fork of the
    # repository, and ones that have moved on since the run began.
    listed = payload.parts("workflow_run.pull_requests")
    if len(listed) != 1 or listed[0].sha("head.sha") != head_sha:
        return None
    if listed[0].number("base.repo.id") != payload.number("repository.id"):
        return None
    return listed[0].number("number")


def _head(payload: Payload) -> str | None:
    owner, branch = "workflow_run.head_repository.owner.login", "workflow_run.head_branch"
    if not (payload.has(owner) and payload.has(branch)):
        return None
    return f"{payload.owner(owner)}:{payload.branch(branch)}"


def _other(name: str, payload: Payload, repository: str, sha: str) -> Event:
    if payload.has("repository.full_name"):
        _check_repository(name, payload, repository)
    if not is_sha(sha):
        msg = f"GITHUB_SHA should be a commit of 40 hexadecimal digits; got {shown(sha)}"
        raise UsageError(msg)
    return Event(
        name=name,
        kind=Kind.OTHER,
        repository=repository,
        head_sha=sha,
        default_branch=_default_branch(payload),
    )


def _check_repository(name: str, payload: Payload, repository: str) -> None:
    found = payload.repository("repository.full_name")
    if not _same(found, repository):
        msg = (
            f"the payload of the event {name} is of the repository {found}, and GITHUB_REPOSITORY"
            f" is {repository}"
        )
        raise UsageError(msg, hint="set neither GITHUB_REPOSITORY nor GITHUB_EVENT_PATH by hand")


def _is_fork(payload: Payload, path: str, repository: str) -> bool:
    # The repository is null where a fork was deleted.
    return not payload.has(path) or not _same(payload.repository(f"{path}.full_name"), repository)


def _default_branch(payload: Payload) -> str | None:
    path = "repository.default_branch"
    return payload.branch(path) if payload.has(path) else None


def _same(one: str, other: str) -> bool:
    return one.lower() == other.lower()
