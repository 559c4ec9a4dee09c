"""List the profiles of a folder, without reading their tensors and without torch."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError, IntegrityError
from sdi_gate.profiles.documents import MAX_BYTES, Document, parse
from sdi_gate.profiles.files import check_folder, check_root, open_file, read_start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdi_gate.profiles.parts import PartKey

_BASE = re.compile(r"[0-9a-f]{64}")
_DESCRIPTION = re.compile(r"([a-z][a-z0-9-]{0,39})-[0-9a-f]{64}\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Say what is known of a part without reading its tensors.

    Attributes:
        path: The file that describes it.
        base: Digest of the base, ``sha256:`` and 64 hex digits, as the folder's name says.
        part: Name of the part, as the file's name says.
        size_bytes: Size of both files.
        last_used_s: When it was written or last loaded, in seconds since 1970.
        document: What the description says; None if it is damaged or cannot be read.
        problem: Why the part cannot be used; empty if nothing speaks against it.
    """

    path: Path
    base: str
    part: str
    size_bytes: int
    last_used_s: float
    document: Document | None = None
    problem: str = ""

    @property
    def key(self) -> PartKey | None:
        """Return everything that the part was computed from, if it says so."""
        return self.document.key if self.document is not None else None


def list_profiles(folder: Path) -> tuple[Entry, ...]:
    """List the parts in a folder.

    Args:
        folder: A cache or a profile; what is no part of one is passed over.

    Returns:
        Entries sorted by base, part and file name; none if the folder is absent.

    Raises:
        IntegrityError: If the folder is none, or is not to be trusted.
        OSError: If it cannot be read.
    """  # noqa: DOC502 - raised by the functions called
    try:
        owners = check_root(folder)
    except FileNotFoundError:
        return ()
    return tuple(
        entry for inner in base_folders(folder, owners) for entry in _entries_in(inner, owners)
    )


def base_folders(folder: Path, owners: frozenset[int]) -> Iterator[Path]:
    """Find the folders of bases.

    Args:
        folder: A cache.
        owners: See `check_root`.

    Yields:
        Those to be trusted, sorted by name.
    """
    for inner in sorted(folder.iterdir()):
        if _BASE.fullmatch(inner.name):
            try:
                check_folder(inner, owners)
            except (OSError, IntegrityError):
                continue
            yield inner


def _entries_in(folder: Path, owners: frozenset[int]) -> Iterator[Entry]:
    for path in sorted(folder.iterdir()):
        match = _DESCRIPTION.fullmatch(path.name)
        # A folder is no part, whatever its name: nobody could read or remove it as one.
        if match and not (path.is_dir() and not path.is_symlink()):
            try:
                yield _entry_of(path, match[1], owners)
            except FileNotFoundError:
                continue  # Somebody removed it just now.


def _entry_of(path: Path, part: str, owners: frozenset[int]) -> Entry:
    found = path.lstat()
    document, problem = _read(path, owners)
    size_bytes = found.st_size
    if document is not None:
        held = file_size(path.with_name(document.tensors_file))
        size_bytes += held or 0
        if held != document.size_bytes:
            problem = "its tensors are absent" if held is None else "its tensors are damaged"
    return Entry(
        path=path,
        base=f"sha256:{path.parent.name}",
        part=part,
        size_bytes=size_bytes,
        last_used_s=found.st_mtime,
        document=document,
        problem=problem,
    )


def _read(path: Path, owners: frozenset[int]) -> tuple[Document | None, str]:
    try:
        with open_file(path, owners) as file:
            document = parse(read_start(file, MAX_BYTES + 1), repr(str(path)))
    except FileNotFoundError:
        raise
    except (FormatError, IntegrityError) as exc:
        return None, exc.message
    except OSError as exc:
        return None, f"its description cannot be read: {exc.strerror}"
    key = document.key
    if (key.folder, key.file) != (path.parent.name, path.name):
        return None, "its description is that of another part"
    return document, ""


def file_size(path: Path) -> int | None:
    """Say how large a file is.

    Args:
        path: The file.

    Returns:
        Bytes; None if it is absent or no regular file.
    """
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
