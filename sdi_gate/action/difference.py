"""Find what an event changes, between commits that nobody can move."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.integrations.github.errors import GitHubError
from sdi_gate.integrations.runner.event import Kind

if TYPE_CHECKING:
    from sdi_gate.integrations.github.client import GitHub
    from sdi_gate.integrations.runner.event import Event

_logger = logging.getLogger(__name__)

_UNKNOWN = frozenset({404, 409, 422})
# Events whose head goes on from the base, or takes something back.
_FROM_THE_BASE = frozenset({Kind.PUSH, Kind.MERGE_GROUP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Hold what lies between the base of an event and its head.

    Attributes:
        merge_base: Commit at which the head left the base's history.
        files: Paths of the files that differ since then, of renamed ones both; None if GitHub did
            not list all. Hostile text.
    """

    merge_base: str
    files: frozenset[str] | None


def difference_of(event: Event, github: GitHub) -> Difference | None:
    """Compare the base of an event with its head.

    The two commits are compared, never the pull request: its list of files is that of whatever
    head and base it has when it is asked for, and its author can change both while a job runs.

    Args:
        event: The event.
        github: Reads its repository.

    Returns:
        What differs; None if there is no base to compare with: the event has none, it is in no
        history that the head shares, or it is a push that does not go on from where it was.

    Raises:
        GitHubError: If GitHub cannot be asked or refuses.
    """
    if event.base_sha is None:
        return None
    repository, base_sha, head_sha = event.repository, event.base_sha, event.head_sha
    try:
        merge_base = github.merge_base(repository, base_sha, head_sha)
        changed = github.changed_files(
            repository, pull_request=None, base_sha=base_sha, head_sha=head_sha
        )
    except GitHubError as exc:
        if exc.status not in _UNKNOWN:
            raise
        # A branch that was pushed by force has no history with what it was.
        _logger.info("%s and %s cannot be compared", base_sha[:12], head_sha[:12])
        return None
    if event.kind in _FROM_THE_BASE and merge_base != base_sha:
        # Pushed by force: against what both sides share, what is taken back would not show.
        return None
    files = frozenset(changed.names) if changed.is_complete else None
    return Difference(merge_base=merge_base, files=files)
