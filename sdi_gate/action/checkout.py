"""Hold folders of the checkout to the commit that is judged.

The manifest is read through the API, at the commit of the event. Its folders are read from the
checkout, which a step before has made, of whatever commit it was told: at `pull_request_target`
that is the base's own unless the workflow says otherwise.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdi_gate.errors import NotFoundError, UsageError
from sdi_gate.files import read_at_most
from sdi_gate.manifest.references import path_problem
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.policy.format.places import quoted

if TYPE_CHECKING:
    from sdi_gate.action.subjects import Subject
    from sdi_gate.integrations.runner.event import Event

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_REF_BYTES = 4096
_MAX_PACKED_BYTES = 16_000_000
# At these the runner's own commit is the merge of head and base, which checkouts take unasked.
_OF_A_MERGE = frozenset({"pull_request", "pull_request_review", "pull_request_review_comment"})
_SHOWN_DIGITS = 12
_HINT = "check the repository out in a step before, with ref: the commit that is judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """Hold where folders of the repository are, and which commits they may be of.

    Attributes:
        workspace: The folder; None if the runner names none.
        commits: What is judged; of a pull request also its merge with the base.
    """

    workspace: Path | None
    commits: tuple[str, ...]

    @classmethod
    def of(cls, workspace: str | None, event: Event, sha: str) -> Checkout:
        """Return the checkout of an event.

        Args:
            workspace: The folder that the runner names; empty or None if it names none.
            event: What the workflow runs for.
            sha: The runner's own commit.

        Returns:
            The checkout; nothing is read yet.
        """
        merge = (sha,) if event.name in _OF_A_MERGE and sha != event.head_sha else ()
        return cls(
            workspace=Path(workspace) if workspace else None, commits=(event.head_sha, *merge)
        )

    def check(self, subject: Subject) -> None:
        """Refuse folders that are not there, or are of another commit than the one that is judged.

        Args:
            subject: A candidate. What a workflow names itself may be of any commit: a step before
                can have made it.

        Raises:
            NotFoundError: If base or candidate is a folder of the checkout that is not there.
            UsageError: If one of them has a link that leads out of it; or is one of a manifest,
                and the checkout is of another commit or of none that is known.
        """  # noqa: DOC502 - raised by the checks
        for text in (subject.base, subject.candidate):
            if text is None or not _is_in_checkout(text):
                continue
            self._check_folder(text)
            if subject.origin is not None:
                self._check_commit(text)

    def _check_folder(self, told: str) -> None:
        if self.workspace is None:
            return
        folder = self.workspace / ModelRef.parse(told).location
        if not folder.is_dir():
            msg = f"{quoted(told)}: the checkout has no such folder"
            hint = "check the path from the top of the repository; a model in a folder needs"
            raise NotFoundError(msg, hint=f"{hint} actions/checkout in a step before")
        # Folders laid out as the Hub's cache have links to files beside them, whose changes would
        # not be seen as changes of the folder.
        link = _link_out(folder)
        if link is not None:
            msg = f"{quoted(told)}: {quoted(link)} is a link out of the folder"
            raise UsageError(msg, hint="put the files themselves into the folder")

    def _check_commit(self, told: str) -> None:
        commit = None if self.workspace is None else commit_of(self.workspace)
        if commit in self.commits:
            return
        found = "nothing says of which commit" if commit is None else f"of {commit[:_SHOWN_DIGITS]}"
        wanted = " or ".join(each[:_SHOWN_DIGITS] for each in self.commits)
        msg = f"{quoted(told)}: expected a checkout of {wanted}, got one {found}"
        raise UsageError(msg, hint=_HINT)


def commit_of(workspace: Path) -> str | None:
    """Read of which commit a checkout is, without Git.

    Args:
        workspace: Its top folder.

    Returns:
        The commit; None if that cannot be read.
    """
    git = workspace / ".git"
    head = _line(git / "HEAD")
    if _COMMIT.fullmatch(head):
        return head
    name = head.removeprefix("ref: ")
    if name == head or path_problem(name) is not None:
        return None
    loose = _line(git / name)
    return loose if _COMMIT.fullmatch(loose) else _packed(git, name)


def _link_out(folder: Path) -> str | None:
    root = os.path.realpath(folder)
    for parent, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink() and Path(root) not in Path(os.path.realpath(path)).parents:
                return name
    return None


def _packed(git: Path, name: str) -> str | None:
    for line in _text(git / "packed-refs", _MAX_PACKED_BYTES).splitlines():
        commit, _, packed = line.partition(" ")
        if packed == name and _COMMIT.fullmatch(commit):
            return commit
    return None


def _line(path: Path) -> str:
    return _text(path, _MAX_REF_BYTES).strip()


def _text(path: Path, most: int) -> str:
    try:
        return read_at_most(path, most).decode("utf-8", "replace")
    except OSError:
        return ""


def _is_in_checkout(reference: str) -> bool:
    ref = ModelRef.parse(reference)
    return ref.scheme is Scheme.FILE and not Path(ref.location).is_absolute()
