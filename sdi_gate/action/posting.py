"""Decide what of a run is posted on GitHub, and post it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.action.declared import AUTHOR
from sdi_gate.action.inputs import CommentMode
from sdi_gate.integrations.runner.event import Kind

if TYPE_CHECKING:
    from sdi_gate.action.inputs import ActionInputs
    from sdi_gate.integrations.github.client import GitHub
    from sdi_gate.integrations.runner.event import Event
    from sdi_gate.report.runs.document import RunDocument

_TARGET = "pull_request_target"
_CLOSED = frozenset({"fail", "inconclusive", "error"})
OF_A_FORK = (
    "the pull request comes from a fork, whose job may write nothing: a second workflow makes the"
    " comment of run.json (docs/action.md)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentPlan:
    """Say where a comment goes.

    Attributes:
        number: Number of the pull request.
        only_existing: Whether to bring ours up to date, but make none.
    """

    number: int
    only_existing: bool


def may_write(event: Event) -> bool:
    """Say whether the token of the job may write.

    Args:
        event: What the workflow runs for.

    Returns:
        False for a pull request of a fork, unless the workflow is that of the base.
    """
    return not event.is_fork or event.name == _TARGET


def plan_comment(run: RunDocument, event: Event, mode: CommentMode) -> CommentPlan | None:
    """Decide whether to comment, which never has to do with the verdict's exit code.

    Args:
        run: The run.
        event: What the workflow runs for.
        mode: When to comment.

    Returns:
        None at events without one pull request, in a merge queue (the pull request's own run has
        commented), for a fork, and in mode ``never``. What passes in mode ``on-failure``, and
        what had nothing to judge in any, makes no comment and corrects the one that is there; but
        an edit of the policy is told in mode ``always`` whatever was judged.
    """
    is_there = event.kind is Kind.PULL_REQUEST and event.pull_request is not None
    if mode is CommentMode.NEVER or not is_there or not may_write(event):
        return None
    assert event.pull_request is not None  # noqa: S101 - seen above
    return CommentPlan(number=event.pull_request, only_existing=not is_news(run, mode))


def is_news(run: RunDocument, mode: CommentMode) -> bool:
    """Say whether a run is worth a comment where there is none yet.

    Args:
        run: The run.
        mode: When to comment.

    Returns:
        Whether something was to be judged, or the policy is edited; in mode ``on-failure`` whether
        something is not as it should be, under a policy that closes no gate, too.
    """
    if mode is CommentMode.ON_FAILURE:
        return run.exit_code != 0 or run.decision in _CLOSED
    return run.decision != "none" or run.edit is not None


def author_of(inputs: ActionInputs, github: GitHub) -> str:
    """Find out whose comments are ours.

    Args:
        inputs: The inputs.
        github: The client with the job's token.

    Returns:
        The login that was given; else that of the token's user; else the job's own.

    Raises:
        GitHubError: If the server cannot be asked.
    """  # noqa: DOC502 - raised by the client
    return inputs.comment_author or github.viewer() or AUTHOR
