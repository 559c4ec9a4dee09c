"""What a GitHub on loopback holds: commits, pull requests, comments, check runs, accounts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from git_host import Told

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB_TOKEN = "ghs_TheTokenOfTheJob0123456789"  # noqa: S105 - of no account anywhere
JOB_LOGIN = "github-actions[bot]"


def told(status: int, body: object = None, **headers: str) -> Told:
    """Make an answer with JSON in it; `retry_after="1"` is the header ``retry-after``."""
    content = b"" if body is None else json.dumps(body).encode()
    all_headers = {"Content-Type": "application/json; charset=utf-8"}
    all_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Told(status, all_headers, [content] if content else [])


def refused(status: int, message: str, **headers: str) -> Told:
    """Make an answer that says no, as GitHub words it."""
    about = {"documentation_url": "https://docs.github.com/rest", "status": str(status)}
    return told(status, {"message": message, **about}, **headers)


def commit_named(text: str) -> str:
    """Make a commit's identifier out of a name, so that a test can be read."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def blob_id(content: bytes) -> str:
    """Name a content as git does."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(slots=True, kw_only=True)
class Account:
    """Whom a token speaks for.

    Attributes:
        login: Who its comments are by.
        permissions: Name -> ``read`` or ``write``, as under ``permissions:`` of a workflow.
        is_app: Whether it is a job's or an app's, which has no user.
        repositories: Private repositories that it may read.
        may_write_when_locked: Whether it may comment where a conversation is locked.
    """

    login: str = JOB_LOGIN
    permissions: dict[str, str] = field(
        default_factory=lambda: {
            "checks": "write",
            "contents": "read",
            "pull_requests": "write",
        }
    )
    is_app: bool = True
    repositories: frozenset[str] = frozenset()
    may_write_when_locked: bool = False

    def may(self, permission: str, level: str) -> bool:
        return self.permissions.get(permission) in (
            {"write"} if level == "write" else {level, "write"}
        )


@dataclass(slots=True, kw_only=True)
class Change:
    """A file of a difference."""

    name: str
    status: str = "modified"
    previous: str | None = None


@dataclass(slots=True, kw_only=True)
class PullRequest:
    """A pull request; its files are those of the difference unless they are given.

    Attributes:
        base_sha: Head of the branch that it asks to change.
        head: ``owner:branch`` it comes from.
        head_sha: Its newest commit.
        head_repository: Where its head is; None if that is gone. Its own if not given.
        files: Its files, all of them, however many the API would list.
        num_files: The number that it tells of itself, if another than that of the files.
    """

    base_sha: str
    head_sha: str
    head: str
    head_repository: str | None = ""
    state: str = "open"
    locked: bool = False
    files: list[Change] | None = None
    num_files: int | None = None


@dataclass(slots=True, kw_only=True)
class Comment:
    """A comment on an issue or a pull request."""

    id: int
    repository: str
    number: int
    author: str
    body: str


@dataclass(slots=True)
class State:
    """Everything that a GitHub holds; tests write into it as they like.

    Attributes:
        files: (repository, commit, path) -> content.
        kinds: (repository, commit, path) -> ``symlink`` or ``submodule``.
        parents: (repository, commit) -> commits before it. Commits without are allowed.
        branches: (repository, branch) -> commit.
        default_branches: Repository -> branch, where it is not ``main``.
        private: Repositories that exist for accounts that may read them, only.
        merge_bases: (repository, base, head) -> commit, where `parents` do not say it.
        differences: (repository, base, head) -> files, where `files` do not say it.
        pull_requests: (repository, number) -> pull request.
        gone: (repository, number) of conversations that were deleted.
        comments: All comments, oldest first. A comment that is deleted is taken out.
        check_runs: All check runs, with the annotations of all requests put together.
        accounts: Token -> whom it speaks for.
    """

    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    kinds: dict[tuple[str, str, str], str] = field(default_factory=dict)
    parents: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    branches: dict[tuple[str, str], str] = field(default_factory=dict)
    default_branches: dict[str, str] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    merge_bases: dict[tuple[str, str, str], str] = field(default_factory=dict)
    differences: dict[tuple[str, str, str], list[Change]] = field(default_factory=dict)
    pull_requests: dict[tuple[str, int], PullRequest] = field(default_factory=dict)
    gone: set[tuple[str, int]] = field(default_factory=set)
    comments: list[Comment] = field(default_factory=list)
    check_runs: list[dict[str, Any]] = field(default_factory=list)
    accounts: dict[str, Account] = field(default_factory=lambda: {JOB_TOKEN: Account()})

    def commit(
        self,
        repository: str,
        files: dict[str, bytes],
        *,
        parents: tuple[str, ...] = (),
        branch: str | None = None,
        commit: str | None = None,
    ) -> str:
        """Add a commit with all the files that it holds, and move a branch to it."""
        told_apart = repr((repository, sorted(files.items()), parents, len(self.parents)))
        commit = commit or commit_named(told_apart)
        self.parents[repository, commit] = parents
        for path, content in files.items():
            self.files[repository, commit, path] = content
        if branch is not None:
            self.branches[repository, branch] = commit
        return commit

    def repositories(self) -> set[str]:
        keys = [*self.files, *self.parents, *self.branches, *self.pull_requests]
        return {key[0] for key in keys} | self.private

    def has_commit(self, repository: str, commit: str) -> bool:
        keys = [*self.files, *self.kinds, *self.parents]
        tips = {v for (name, _), v in self.branches.items() if name == repository}
        return commit in tips | {key[1] for key in keys if key[0] == repository}

    def resolve(self, repository: str, ref: str) -> str | None:
        branch = self.default_branches.get(repository, "main") if ref == "HEAD" else ref
        branch = branch.removeprefix("heads/")
        found = self.branches.get((repository, branch))
        return found or (ref if self.has_commit(repository, ref) else None)

    def merge_base(self, repository: str, base: str, head: str) -> str | None:
        if (repository, base, head) in self.merge_bases:
            return self.merge_bases[repository, base, head]
        of_base = set(self._ancestors(repository, base))
        return next((one for one in self._ancestors(repository, head) if one in of_base), None)

    def difference(self, repository: str, base: str, head: str) -> list[Change]:
        """Return what changed between a merge base and a head."""
        if (repository, base, head) in self.differences:
            return self.differences[repository, base, head]
        before = self._files_at(repository, self.merge_base(repository, base, head) or base)
        after = self._files_at(repository, head)
        changes = [Change(name=name, status="removed") for name in before.keys() - after.keys()]
        changes += [Change(name=name, status="added") for name in after.keys() - before.keys()]
        both = before.keys() & after.keys()
        changes += [Change(name=name) for name in both if before[name] != after[name]]
        return sorted(changes, key=lambda change: change.name)

    def commits_to(self, repository: str, commit: str) -> set[str]:
        return set(self._ancestors(repository, commit))

    def files_of(self, repository: str, pull: PullRequest) -> list[Change]:
        if pull.files is not None:
            return pull.files
        return self.difference(repository, pull.base_sha, pull.head_sha)

    def comment(self, repository: str, number: int, author: str, body: str) -> Comment:
        """Add a comment, as somebody else would have."""
        newest = max((comment.id for comment in self.comments), default=1000)
        comment = Comment(
            id=newest + 1, repository=repository, number=number, author=author, body=body
        )
        self.comments.append(comment)
        return comment

    def _ancestors(self, repository: str, commit: str) -> Iterator[str]:
        todo, seen = [commit], set()
        while todo:
            one = todo.pop(0)
            if one not in seen:
                seen.add(one)
                yield one
                todo += self.parents.get((repository, one), ())

    def _files_at(self, repository: str, commit: str) -> dict[str, bytes]:
        return {p: v for (r, c, p), v in self.files.items() if (r, c) == (repository, commit)}
