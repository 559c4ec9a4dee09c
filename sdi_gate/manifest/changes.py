"""Find which candidates of a manifest a change adds or alters: those are to be judged."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sdi_gate.manifest.references import folder_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sdi_gate.manifest.reading import ReadEntry, ReadManifest

# It says how files are written when they are checked out.
_ATTRIBUTES = ".gitattributes"


class ChangeKind(StrEnum):
    """Say why an entry is judged.

    Attributes:
        ADDED: The manifest had no entry of its name.
        CHANGED: It names another model or another name in the registry, or files of its folder
            changed.
        PRESENT: It is there, and nobody can say that it is as it was.
    """

    ADDED = "added"
    CHANGED = "changed"
    PRESENT = "present"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Hold an entry that is to be judged.

    Attributes:
        entry: The entry, as it is now.
        kind: Why it is judged.
        former_base: The base that it named before, if that is another one.
        former_candidate: The candidate that it named before, if that is another one.
    """

    entry: ReadEntry
    kind: ChangeKind
    former_base: str | None = None
    former_candidate: str | None = None


def all_entries(manifest: ReadManifest) -> tuple[Change, ...]:
    """Return all entries as ones to be judged, for there is nothing to tell them apart by.

    Args:
        manifest: The manifest.

    Returns:
        Its entries in its order.
    """
    return tuple(Change(entry=entry, kind=ChangeKind.PRESENT) for entry in manifest.entries)


def changed_entries(
    before: ReadManifest | None, after: ReadManifest, changed_files: Collection[str] | None
) -> tuple[Change, ...]:
    """Return the entries that a change adds or alters.

    Laws: an entry is left out exactly if one of its name had the same base, candidate and name in
    the registry, the manifest's own base counted, and no changed file can bear on a folder that it
    names. The order of entries decides nothing, nor does where they stand.

    Args:
        before: The manifest before the change; None if there was none.
        after: The manifest after it.
        changed_files: Paths of all files that the change adds, alters, renames (both names) or
            removes; None if they are not all known, and then no entry is left out.

    Returns:
        The entries to be judged, in the order of the manifest; all others did not change.
    """
    former = {} if before is None else {entry.name: entry for entry in before.entries}
    found = (_change(former.get(entry.name), entry, changed_files) for entry in after.entries)
    return tuple(change for change in found if change is not None)


def _change(
    before: ReadEntry | None, after: ReadEntry, changed_files: Collection[str] | None
) -> Change | None:
    if before is None:
        return Change(entry=after, kind=ChangeKind.ADDED)
    if before.judged != after.judged:
        return Change(
            entry=after,
            kind=ChangeKind.CHANGED,
            former_base=before.base if before.base != after.base else None,
            former_candidate=before.candidate if before.candidate != after.candidate else None,
        )
    if changed_files is None:
        return Change(entry=after, kind=ChangeKind.PRESENT)
    folders = (folder_of(reference) for reference in (after.base, after.candidate) if reference)
    touched = any(_bears_on(folder, changed_files) for folder in folders if folder)
    return Change(entry=after, kind=ChangeKind.CHANGED) if touched else None


def _bears_on(folder: str, files: Iterable[str]) -> bool:
    # A submodule, or a link, is one file to Git: its path can be the folder's, or one above it.
    return any(
        _is_in(file, folder) or _is_in(folder, file) or _rules(file, folder) for file in files
    )


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _rules(file: str, folder: str) -> bool:
    around, name = posixpath.split(file)
    return name == _ATTRIBUTES and (not around or _is_in(folder, around))
