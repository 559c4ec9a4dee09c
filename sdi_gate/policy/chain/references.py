"""Read what ``extends`` names: a file, a file on the Hub, or a file on a Git host."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_REPOSITORY = re.compile(rf"{_NAME}/{_NAME}")
# No key of a file name that a URL or a shell reads in its own way.
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_.-]+)*")

_HUB_FORM = "hf:org/name@COMMIT//path.yml"
_GIT_FORM = "owner/repo//path.yml@COMMIT"


class Scheme(StrEnum):
    """Say where a policy is."""

    FILE = "file"
    HUB = "hf"
    GIT = "git"


class ReferenceFormError(ValueError):
    """Say what is wrong with a reference, and what to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRef:
    """Name a policy that another one extends.

    Attributes:
        scheme: Where it is.
        path: For a file, its path as it is written. Else its path in the repository: relative,
            with ``/``, never above the root.
        repository: ``owner/name``; empty for a file.
        commit: The 40 hex digits of the commit; empty for a file. Whoever extends a remote file
            names its very bytes.
    """

    scheme: Scheme
    path: str
    repository: str = ""
    commit: str = ""

    def __str__(self) -> str:
        """Return the reference as ``extends`` takes it."""
        match self.scheme:
            case Scheme.FILE:
                return self.path
            case Scheme.HUB:
                return f"hf:{self.repository}@{self.commit}//{self.path}"
            case Scheme.GIT:
                return f"{self.repository}//{self.path}@{self.commit}"

    def beside(self, path: str) -> PolicyRef:
        """Return the reference to a file that a remote file names.

        Args:
            path: What that file says, relative to its own folder.

        Returns:
            A file of the same repository at the same commit.

        Raises:
            ReferenceFormError: If the path leaves the repository or is not one of a remote file.
        """
        joined = posixpath.normpath(posixpath.join(posixpath.dirname(self.path), path))
        if path.startswith("/") or joined.split("/")[0] == "..":
            msg = f"{path!r} leaves the repository {self.repository}; name a file inside it"
            raise ReferenceFormError(msg)
        return PolicyRef(
            scheme=self.scheme,
            path=_checked_path(joined),
            repository=self.repository,
            commit=self.commit,
        )


class PolicySources(Protocol):
    """Fetch policies that are not files."""

    def read(self, ref: PolicyRef) -> bytes:
        """Return the whole file that a reference of scheme ``hf`` or ``git`` names."""
        ...


def parse_reference(text: str) -> PolicyRef:
    """Read a reference.

    Args:
        text: ``./base.yml``, ``hf:org/name@COMMIT//path.yml`` or ``owner/repo//path.yml@COMMIT``.

    Returns:
        The reference.

    Raises:
        ReferenceFormError: If it is none of these, or does not name a commit by 40 hex digits.
    """
    if "://" in text:
        msg = f"{text!r} is a URL; write {_GIT_FORM}, {_HUB_FORM} or the path of a file"
        raise ReferenceFormError(msg)
    if text.startswith("hf:"):
        place, slashes, path = text.removeprefix("hf:").partition("//")
        repository, _, commit = place.partition("@")
        return _remote(Scheme.HUB, (repository, commit, path if slashes else ""), text)
    if "//" in text:
        repository, _, rest = text.partition("//")
        path, _, commit = rest.rpartition("@") if "@" in rest else (rest, "", "")
        return _remote(Scheme.GIT, (repository, commit, path), text)
    return PolicyRef(scheme=Scheme.FILE, path=text)


def _remote(scheme: Scheme, parts: tuple[str, str, str], text: str) -> PolicyRef:
    repository, commit, path = parts
    form = _HUB_FORM if scheme is Scheme.HUB else _GIT_FORM
    if not _REPOSITORY.fullmatch(repository) or not path:
        msg = f"{text!r} is not a reference to a file of a repository; write {form}"
        raise ReferenceFormError(msg)
    if not _COMMIT.fullmatch(commit):
        got = f"{commit!r}" if commit else "none"
        msg = (
            f"a policy elsewhere must be pinned to a commit, which cannot be moved; write {form}"
            f" with all 40 hex digits of the commit, got {got}"
        )
        raise ReferenceFormError(msg)
    return PolicyRef(scheme=scheme, path=_checked_path(path), repository=repository, commit=commit)


def _checked_path(path: str) -> str:
    if _PATH.fullmatch(path) and not {".", ".."} & set(path.split("/")):
        return path
    msg = (
        f"{path!r} is not a path that can be fetched: letters, digits, dots, hyphens and"
        " underscores, with / between them, from the top of the repository"
    )
    raise ReferenceFormError(msg)
