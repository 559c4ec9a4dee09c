"""Name a model: a scheme, a location and, where the scheme has them, a revision."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from sdi_gate.errors import UsageError

_HUB_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,95}(/[A-Za-z0-9_][A-Za-z0-9_.\-]{0,95})?")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./\-]{0,199}")
_HINT = "write hf:org/name, hf:org/name@revision or file:path/to/folder"


class Scheme(StrEnum):
    """Name the places that a model can come from."""

    FILE = "file"
    HUB = "hf"


def is_hub_name(text: str) -> bool:
    """Say whether a text can be the name of a repository on the Hub, with its organisation.

    Args:
        text: Such as ``org/name``.

    Returns:
        True if it can; a relative path of two parts can, too.
    """
    return is_repo_name(text) and "/" in text


def is_repo_name(text: str) -> bool:
    """Say whether a text can be the name of a repository on the Hub.

    Args:
        text: Such as ``org/name``, or ``name``, as the first models are called.

    Returns:
        True if it can.
    """
    return _HUB_NAME.fullmatch(text) is not None and ".." not in text


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """Name a model as a user writes it.

    Law: ``ModelRef.parse(str(ref)) == ref``.

    Attributes:
        scheme: Where the model lives.
        location: Folder (``file``) or repository (``hf``).
        revision: Branch, tag or commit on the Hub; None for the default branch and for folders.
    """

    scheme: Scheme
    location: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference.

        Args:
            text: ``file:DIR``, ``hf:org/name`` or ``hf:org/name@revision``.

        Returns:
            The reference.

        Raises:
            UsageError: If the text is not a reference.
        """
        scheme, colon, rest = text.partition(":")
        if not colon or scheme not in Scheme.__members__.values() or not rest:
            msg = f"not a model reference: {text!r}; expected a scheme (file: or hf:) and a name"
            raise UsageError(msg, hint=_HINT)
        if Scheme(scheme) is Scheme.FILE:
            if "\0" in rest:
                msg = f"not a folder name: {rest!r} holds a null character"
                raise UsageError(msg, hint=_HINT)
            return cls(scheme=Scheme.FILE, location=rest)
        name, at, revision = rest.partition("@")
        if not is_repo_name(name):
            msg = f"not a Hub repository name: {name!r}; expected org/name"
            raise UsageError(msg, hint=_HINT)
        if at and (not _REVISION.fullmatch(revision) or ".." in revision):
            msg = f"not a revision: {revision!r} in {text!r}; expected a branch, tag or commit"
            raise UsageError(msg, hint=_HINT)
        return cls(scheme=Scheme.HUB, location=name, revision=revision or None)

    def __str__(self) -> str:
        """Return the reference as a user writes it."""
        suffix = f"@{self.revision}" if self.revision else ""
        return f"{self.scheme}:{self.location}{suffix}"
