"""Say which line of the repository a remark is about, if it is about one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.report.parts import clean

if TYPE_CHECKING:
    from sdi_gate.report.document import OriginEntry
    from sdi_gate.report.runs.document import RunDocument, SubjectEntry

MAX_PATH = 1024
# A file of a repository on GitHub, as the loader of policies names it.
_FILE = re.compile(r"(?P<repository>[^/@:]+/[^/@:]+)//(?P<path>.+?)(?:@[0-9a-f]{40})?", re.DOTALL)
_COMMIT = re.compile(r"(@[0-9a-f]{7})[0-9a-f]{33}")
_NAME = 60
_FILE_LIMIT = 160
_NOT_IN_A_PATH = frozenset({"", ".", ".."})


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Hold one line of a file of the repository that the run is for.

    Attributes:
        file: Path in the repository, with ``/``; it never leads out of it.
        line: From 1.
        column: From 1; None if it is not known.
    """

    file: str
    line: int
    column: int | None = None


def policy_location(origin: OriginEntry | None, run: RunDocument) -> Location | None:
    """Return the line of the policy that an origin names.

    Args:
        origin: Where a demand stands; None if no file states it.
        run: The run.

    Returns:
        The line; None if it is of another repository, of the Hub, or a default.
    """
    if origin is None:
        return None
    path = repository_path(origin.file, run)
    return None if path is None else _located(path, origin)


def manifest_location(subject: SubjectEntry) -> Location | None:
    """Return the line of the manifest at which a candidate stands.

    Args:
        subject: The candidate.

    Returns:
        The line; None if the workflow names the candidate.
    """
    if subject.place is None or not is_inside(subject.place.file):
        return None
    return _located(subject.place.file, subject.place)


def place_words(origin: OriginEntry | None) -> str:
    """Say where a demand of a policy stands, wherever that is.

    Args:
        origin: Its place, if it is known.

    Returns:
        Such as ``owner/repo//policies/strict.yml@0123456:54, for family llama``; empty for a
        default, which no file states.
    """
    if origin is None or not origin.line:
        return ""
    block = f", for {clean(origin.block, _NAME)}" if origin.block else ""
    file = _COMMIT.sub(r"\1", origin.file)
    return f"{clean(file, _FILE_LIMIT)}:{origin.line}{block}"


def repository_path(file: str, run: RunDocument) -> str | None:
    """Return the path of a policy's file in the repository that the run is for.

    Args:
        file: Such as ``owner/repo//policies/strict.yml@<commit>``.
        run: The run.

    Returns:
        Such as ``policies/strict.yml``; None if it is a file of somewhere else.
    """
    match = _FILE.fullmatch(file)
    own = run.event.repository
    if match is None or own is None or match["repository"].lower() != own.lower():
        return None
    return match["path"] if is_inside(match["path"]) else None


def is_inside(path: str) -> bool:
    """Say whether a path can only be one of the repository.

    Args:
        path: Untrusted text.

    Returns:
        False if it is absolute, leads upwards, or is no path that anybody could read.
    """
    parts = path.split("/")
    printable = len(path) <= MAX_PATH and clean(path, MAX_PATH) == path
    return printable and "\\" not in path and _NOT_IN_A_PATH.isdisjoint(parts)


def _located(path: str, origin: OriginEntry) -> Location | None:
    # Line 0 is a default, which no file states.
    if not origin.line:
        return None
    return Location(file=path, line=origin.line, column=origin.column or None)
