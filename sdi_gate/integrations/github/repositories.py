"""Read from a repository: its default branch, its commits, a file at a commit."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from sdi_gate.integrations.github.errors import GitHubError, shown
from sdi_gate.integrations.github.fields import Fields, is_sha
from sdi_gate.integrations.github.line import Request, commit_in, path_to

if TYPE_CHECKING:
    from sdi_gate.integrations.github.line import Line

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repositories:
    """Read from repositories.

    Attributes:
        line: Asks the server.
    """

    line: Line

    def default_branch(self, repository: str) -> str:
        """See `GitHub.default_branch`.

        Args:
            repository: ``owner/name``.

        Returns:
            Name of the branch.
        """
        what = f"look up the default branch of {shown(repository)}"
        answer = self.line.one(Request(what=what, path=path_to(repository)))
        name = answer.text("default_branch")
        if not name or not name.isprintable():
            raise answer.wrong("the default branch has no name that can be printed")
        return name

    def commit_of(self, repository: str, ref: str) -> str:
        """See `GitHub.commit_of`.

        Args:
            repository: ``owner/name``.
            ref: Branch, tag or commit.

        Returns:
            40 hex digits.

        Raises:
            GitHubError: If there is no such commit.
        """
        if not ref.isprintable() or any(part in {"", ".", ".."} for part in ref.split("/")):
            msg = f"{shown(ref)!r} is not the name of a branch or a commit"
            raise GitHubError(msg, hint="name a branch as heads/NAME")
        what = f"look up {shown(ref)!r} in {shown(repository)}"
        path = path_to(repository, "commits", ref)
        # The files of the commit come along, as many as a page has.
        answer = self.line.one(Request(what=what, path=path, query={"per_page": "1"}))
        commit = answer.sha("sha")
        if is_sha(ref) and commit != ref:
            raise answer.wrong("it is about another commit")
        return commit

    def merge_base(self, repository: str, base_sha: str, head_sha: str) -> str:
        """See `GitHub.merge_base`.

        Args:
            repository: ``owner/name``.
            base_sha: 40 hex digits.
            head_sha: 40 hex digits.

        Returns:
            40 hex digits.
        """
        return self.compared(repository, base_sha, head_sha).part("merge_base_commit").sha("sha")

    def compared(self, repository: str, base_sha: str, head_sha: str) -> Fields:
        """Compare a commit with where it left another's history.

        Args:
            repository: ``owner/name``.
            base_sha: 40 hex digits.
            head_sha: 40 hex digits.

        Returns:
            The comparison, with as few commits as possible.
        """
        pair = f"{commit_in(base_sha)}...{commit_in(head_sha)}"
        what = f"compare {base_sha[:12]} with {head_sha[:12]} in {shown(repository)}"
        # The files of the whole comparison stand on the first page of its commits.
        query = {"per_page": "1", "page": "1"}
        return self.line.one(
            Request(what=what, path=path_to(repository, "compare", pair), query=query)
        )

    def read_file(self, repository: str, path: str, commit: str, *, max_bytes: int) -> bytes | None:
        """See `GitHub.read_file`.

        Args:
            repository: ``owner/name``.
            path: Path in the repository.
            commit: 40 hex digits.
            max_bytes: Largest file that is read.

        Returns:
            The content; None if the commit has no such file.

        Raises:
            GitHubError: If it cannot be known, or is no file.
        """
        parts = path.split("/")
        if any(part in {"", ".", ".."} for part in parts):
            msg = f"{shown(path)!r} is not the path of a file in a repository"
            raise GitHubError(msg, hint="write folder/file, without '.', '..' and a first slash")
        what = f"read {shown(path)} of {shown(repository)} at {commit_in(commit)[:12]}"
        folder = path_to(repository, "contents")
        address = "/".join([folder, *(quote(part, safe="") for part in parts)])
        try:
            answer = self.line.any(Request(what=what, path=address, query={"ref": commit}))
        except GitHubError as exc:
            if exc.status != 404:
                raise
            # It is absent only if what it would be in is there, and may be seen.
            self.commit_of(repository, commit)
            return None
        return _content(answer, path, what, max_bytes)


def _content(answer: Fields | list[Fields], path: str, what: str, max_bytes: int) -> bytes:
    if isinstance(answer, list):
        msg = f"could not {what}: it is a folder"
        raise GitHubError(msg, hint="name a file")
    kind = answer.text("type")
    if kind != "file" or not {"target", "submodule_git_url"}.isdisjoint(answer.values):
        msg = f"could not {what}: it is a link or a submodule"
        raise GitHubError(msg, hint="name a file; what a link leads to is not followed")
    if answer.text("path") != path:
        raise answer.wrong("it is about another path")
    size = answer.number("size")
    # What is larger than 1 MiB comes without its content.
    if size > max_bytes or answer.text("encoding") == "none":
        msg = f"could not {what}: it has {size:,} bytes, at most {max_bytes:,} are read"
        raise GitHubError(msg, hint="name another file; GitHub sends at most 1 MiB of one")
    content = _decoded(answer)
    # Named by git, so that an answer that was cut off or exchanged on its way is found out.
    name = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if len(content) != size or name != answer.sha("sha"):
        raise answer.wrong("its content has another size or another name than it says")
    return content


def _decoded(answer: Fields) -> bytes:
    if answer.text("encoding") != "base64":
        raise answer.wrong("its content is encoded in another way than base64")
    try:
        return base64.b64decode(_SPACE.sub("", answer.text("content")), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise answer.wrong("its content is not base64") from exc
