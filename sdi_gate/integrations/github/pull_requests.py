"""Find a pull request, and the files that it changes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from sdi_gate.integrations.github.errors import GitHubError, shown
from sdi_gate.integrations.github.line import Request, commit_in, path_to

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdi_gate.integrations.github.fields import Fields
    from sdi_gate.integrations.github.line import Line
    from sdi_gate.integrations.github.repositories import Repositories

MOST_FILES = 3_000
MOST_COMPARED = 300

_UNKNOWN_COMMIT = frozenset({404, 409, 422})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFiles:
    """Hold which files were changed.

    Attributes:
        names: Their paths, and the paths that renamed ones had before; hostile text.
        is_complete: Whether these are all of them for certain.
    """

    names: tuple[str, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequests:
    """Read pull requests.

    Attributes:
        line: Asks the server.
        repositories: Compares commits.
    """

    line: Line
    repositories: Repositories

    def changed_files(
        self, repository: str, *, pull_request: int | None, base_sha: str, head_sha: str
    ) -> ChangedFiles:
        """See `GitHub.changed_files`.

        Args:
            repository: ``owner/name``.
            pull_request: Number of the pull request, if there is one.
            base_sha: 40 hex digits.
            head_sha: 40 hex digits.

        Returns:
            The files.
        """
        if pull_request is not None:
            return self._files_of(repository, pull_request, commit_in(head_sha))
        files = self.repositories.compared(repository, base_sha, head_sha).parts("files")
        return ChangedFiles(names=_names(files), is_complete=len(files) < MOST_COMPARED)

    def pull_request_of(self, repository: str, *, head: str | None, head_sha: str) -> int | None:
        """See `GitHub.pull_request_of`.

        Args:
            repository: ``owner/name``.
            head: ``owner:branch``, if it is known.
            head_sha: 40 hex digits.

        Returns:
            Its number; None if there is none, or there are several.
        """
        numbers = set()
        if head is not None:
            what = f"look for pull requests from {shown(head)!r} in {shown(repository)}"
            query = {"state": "open", "head": head}
            pulls = Request(what=what, path=path_to(repository, "pulls"), query=query)
            numbers = self._matching(pulls, repository, commit_in(head_sha))
        if not numbers:
            numbers = self._of_commit(repository, commit_in(head_sha))
        return numbers.pop() if len(numbers) == 1 else None

    def _of_commit(self, repository: str, head_sha: str) -> set[int]:
        what = f"look for pull requests of {head_sha[:12]} in {shown(repository)}"
        path = path_to(repository, "commits", head_sha, "pulls")
        try:
            return self._matching(Request(what=what, path=path), repository, head_sha)
        except GitHubError as exc:
            if exc.status in _UNKNOWN_COMMIT:
                return set()
            raise

    def _matching(self, request: Request, repository: str, head_sha: str) -> set[int]:
        # A filter that GitHub does not understand is one that it leaves out.
        return {
            pull.number("number")
            for pull in self.line.all(request)
            if pull.text("state") == "open"
            and pull.part("head").sha("sha") == head_sha
            and _home(pull) == repository.lower()
        }

    def _files_of(self, repository: str, number: int, head_sha: str) -> ChangedFiles:
        path = path_to(repository, "pulls", str(number))
        of = f"pull request {number} of {shown(repository)}"
        listing = Request(what=f"list the files of {of}", path=f"{path}/files")
        files = list(islice(self.line.all(listing), MOST_FILES))
        # Looked at after the list, which is of whatever was the head when it was made.
        pull = self.line.one(Request(what=f"look at {of}", path=path))
        is_complete = (
            len(files) < MOST_FILES
            and pull.number("changed_files") == len(files)
            and pull.part("head").sha("sha") == head_sha
        )
        return ChangedFiles(names=_names(files), is_complete=is_complete)


def _names(files: Iterable[Fields]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for file in files:
        names[file.text("filename")] = None
        if file.values.get("previous_filename") is not None:
            names[file.text("previous_filename")] = None
    return tuple(names)


def _home(pull: Fields) -> str:
    return pull.part("base").part("repo").text("full_name").lower()
