"""Remove parts of profiles: old ones, those of one base, those that were not used for longest.

A runner that reads a part while it is removed finds it absent and computes it. Nothing is removed
that another runner may be about to finish, and nothing whose name is not one of ours.
"""

from __future__ import annotations

import itertools
import math
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.profiles.files import TEMPORARY, check_root
from sdi_gate.profiles.listing import base_folders, file_size, list_profiles

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sdi_gate.profiles.listing import Entry

_TENSORS = re.compile(r"[0-9a-f]{64}\.safetensors")
# Longer than anybody takes to write a part: what is older and belongs to nothing was left behind.
_STRAY_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Say what may stay.

    Attributes:
        keep_bytes: How much; None for all that is young enough.
        older_than_s: Parts that were not used for longer go; None for none.
        base: The base whose parts are looked at; None for all.
    """

    keep_bytes: int | None = None
    older_than_s: float | None = None
    base: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """Say what was removed.

    Attributes:
        parts: How many parts.
        freed_bytes: Size of all files removed.
    """

    parts: int
    freed_bytes: int


def prune(folder: Path, limits: Limits, now_s: float | None = None) -> Pruned:
    """Remove parts, and what runners that were ended left behind.

    Args:
        folder: A cache; may be absent.
        limits: What may stay.
        now_s: Seconds since 1970; the system's if None.

    Returns:
        What was removed.

    Raises:
        IntegrityError: If the folder is none, or is not to be trusted.
        OSError: If it cannot be read, or a file cannot be removed.
    """  # noqa: DOC502 - raised by the functions called
    now_s = time.time() if now_s is None else now_s
    try:
        owners = check_root(folder)
    except FileNotFoundError:
        return Pruned(parts=0, freed_bytes=0)
    inners = [f for f in base_folders(folder, owners) if limits.base in {None, _base_of(f)}]
    doomed = _doomed(folder, limits, now_s)
    orphaned = {path: _written(path) for path in _tensors_of(doomed)}
    freed_bytes = sum(_remove(entry.path) for entry in doomed)
    needed = _tensors_of(list_profiles(folder))
    for path in (path for inner in inners for path in inner.iterdir()):
        # Written again since: by somebody who describes it next.
        is_orphan = path in orphaned and orphaned[path] == _written(path)
        if _is_tensors(path) and path not in needed and (is_orphan or _is_stray(path, now_s)):
            freed_bytes += _remove(path)
    for inner in inners:
        with suppress(OSError):  # for most are not empty
            inner.rmdir()
    return Pruned(parts=len(doomed), freed_bytes=freed_bytes)


def make_room(folder: Path, limit_bytes: int) -> None:
    """Remove the parts that were not used for longest, if a cache has grown too large.

    Args:
        folder: A cache.
        limit_bytes: How much it may hold.

    Raises:
        IntegrityError: If the folder is none, or is not to be trusted.
        OSError: If it cannot be read, or a file cannot be removed.
    """  # noqa: DOC502 - raised by the functions called
    inners = base_folders(folder, check_root(folder))
    held = sum(file_size(path) or 0 for inner in inners for path in inner.iterdir())
    if held > limit_bytes:
        prune(folder, Limits(keep_bytes=limit_bytes))


def _doomed(folder: Path, limits: Limits, now_s: float) -> list[Entry]:
    entries = [entry for entry in list_profiles(folder) if limits.base in {None, entry.base}]
    if limits.keep_bytes is None and limits.older_than_s is None:
        return entries
    keep_bytes = math.inf if limits.keep_bytes is None else limits.keep_bytes
    older_than_s = math.inf if limits.older_than_s is None else limits.older_than_s
    youngest_first = sorted(entries, key=lambda entry: entry.last_used_s, reverse=True)
    reached = itertools.accumulate(entry.size_bytes for entry in youngest_first)
    return [
        entry
        for entry, size_bytes in zip(youngest_first, reached, strict=True)
        if size_bytes > keep_bytes or now_s - entry.last_used_s > older_than_s
    ]


def _base_of(folder: Path) -> str:
    return f"sha256:{folder.name}"


def _tensors_of(entries: Iterable[Entry]) -> set[Path]:
    return {
        entry.path.with_name(entry.document.tensors_file)
        for entry in entries
        if entry.document is not None
    }


def _is_tensors(path: Path) -> bool:
    return path.name.startswith(TEMPORARY) or _TENSORS.fullmatch(path.name) is not None


def _is_stray(path: Path, now_s: float) -> bool:
    written = _written(path)
    return written is not None and now_s - written / 1e9 > _STRAY_S


def _written(path: Path) -> int | None:
    try:
        return path.lstat().st_mtime_ns
    except FileNotFoundError:
        return None


def _remove(path: Path) -> int:
    size_bytes = file_size(path) or 0
    if path.is_dir() and not path.is_symlink():
        return 0  # None of ours, whatever its name, and nothing that is in the way of the others.
    try:
        path.unlink()
    except FileNotFoundError:
        return 0
    return size_bytes
