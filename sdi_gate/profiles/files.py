"""Open, make and replace files of a cache that others may have had their hands in.

Who can write to a cache can choose what is found there. So nothing is read that a stranger owns,
or that a stranger owns and others can write to, and no link is followed below the cache's own
folder. A folder of one's own is one's own affair, whatever its mode is.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import contextmanager, suppress
from io import FileIO
from typing import TYPE_CHECKING

from sdi_gate.errors import IntegrityError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPORARY = ".sdi-gate-"
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
# A pipe would wait for somebody to write to it. Not every system has these.
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def check_root(root: Path) -> frozenset[int]:
    """Refuse a cache that a stranger owns and others can write to.

    Args:
        root: The cache's folder; may be reached through a link.

    Returns:
        Whose files may be read in it: one's own, root's, and those of the folder's owner.

    Raises:
        IntegrityError: If it is no folder, or is not to be trusted.
        OSError: If it is absent or cannot be looked at.
    """  # noqa: DOC502 - raised by the functions called
    found = root.stat()
    owners = frozenset({_own_id(found), 0, found.st_uid})
    _check_folder(found, owners, root)
    return owners


def check_folder(folder: Path, owners: frozenset[int]) -> None:
    """Refuse a folder inside a cache that is a link, or is not to be trusted.

    Args:
        folder: The folder.
        owners: What `check_root` returned.

    Raises:
        IntegrityError: If it is no folder, or is not to be trusted.
        OSError: If it is absent or cannot be looked at.
    """  # noqa: DOC502 - raised by the functions called
    _check_folder(folder.lstat(), owners, folder)


def open_file(path: Path, owners: frozenset[int]) -> FileIO:
    """Open a file of a cache for reading.

    Args:
        path: The file, in a folder that was checked.
        owners: What `check_root` returned.

    Returns:
        The file, unbuffered; to be closed by the caller.

    Raises:
        IntegrityError: If it is no regular file, or is not to be trusted.
        OSError: If it is absent, a link, or cannot be read.
    """  # noqa: DOC502 - raised by the system
    file = FileIO(os.open(path, _READ | _BINARY), "rb")
    try:
        _check_file(os.fstat(file.fileno()), owners, path)
    except BaseException:
        file.close()
        raise
    return file


def make_folder(root: Path, name: str) -> Path:
    """Make sure that a cache has a folder, and that both are to be trusted.

    Args:
        root: The cache; created if absent, with its parents.
        name: The folder.

    Returns:
        The folder.

    Raises:
        IntegrityError: If one is no folder, or is not to be trusted.
        OSError: If one cannot be created.
    """  # noqa: DOC502 - raised by the functions called
    root.mkdir(parents=True, exist_ok=True)
    owners = check_root(root)
    folder = root / name
    # Not exist_ok, which takes a link to a folder for one.
    with suppress(FileExistsError):
        folder.mkdir()
    check_folder(folder, owners)
    return folder


@contextmanager
def staged(root: Path, name: str) -> Iterator[tuple[FileIO, Path]]:
    """Make a file under a name of its own, which is to be renamed when it is whole.

    Args:
        root: The cache.
        name: The folder in it.

    Yields:
        The file, unbuffered, and where it is. What has not been renamed is removed in the end.

    Raises:
        StorageError: If the folder is removed again and again.
        OSError: If it cannot be made.
    """  # noqa: DOC502 - raised by the functions called
    file, path = _new_file(root, name)
    try:
        with file:
            yield file, path
    finally:
        # On a disk that takes no changes any more, what went wrong first is what counts.
        with suppress(OSError):
            path.unlink()


def _new_file(root: Path, name: str) -> tuple[FileIO, Path]:
    for _ in range(5):
        path = make_folder(root, name) / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
        # Somebody who prunes may remove a folder while it is still empty.
        with suppress(FileNotFoundError):
            return FileIO(os.open(path, _WRITE | _BINARY, 0o666), "wb"), path
    msg = f"{str(root / name)!r} is removed as soon as it is made"
    raise StorageError(msg)


def read_start(file: FileIO, most_bytes: int) -> bytes:
    """Read from an unbuffered file, which may give less at a time.

    Args:
        file: The file.
        most_bytes: How much to read at most.

    Returns:
        What it holds, or the beginning of it.
    """
    content = bytearray()
    while piece := file.read(most_bytes - len(content)):
        content += piece
    return bytes(content)


def write_all(file: FileIO, content: bytes) -> None:
    """Write to an unbuffered file, which may take less at a time.

    Args:
        file: The file.
        content: All of it.
    """
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def settle(file: FileIO, path: Path, final: Path) -> None:
    """Give a staged file its name, when all of it is on the disk.

    Args:
        file: The file.
        path: Where it is.
        final: Where it is to be, in the same folder; what is there is replaced.
    """
    os.fsync(file.fileno())
    path.replace(final)


def _check_folder(found: os.stat_result, owners: frozenset[int], path: Path) -> None:
    if not stat.S_ISDIR(found.st_mode):
        msg = f"{str(path)!r} is no folder; links are not followed inside a cache"
        raise IntegrityError(msg, hint="give another folder")
    _check_owner(found, owners, path)


def _check_file(found: os.stat_result, owners: frozenset[int], path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        msg = f"{str(path)!r} is no regular file"
        raise IntegrityError(msg, hint="remove it")
    _check_owner(found, owners, path)


def _check_owner(found: os.stat_result, owners: frozenset[int], path: Path) -> None:
    if found.st_uid not in owners:
        msg = f"{str(path)!r} belongs to user {found.st_uid}, a stranger to this cache"
        raise IntegrityError(msg, hint="remove it, or give a cache of your own")
    if found.st_uid != _own_id(found) and found.st_mode & _WRITABLE_BY_OTHERS:
        msg = f"{str(path)!r} belongs to user {found.st_uid}, and others can write to it"
        raise IntegrityError(msg, hint="take that right away (chmod go-w), or give another cache")


def _own_id(found: os.stat_result) -> int:
    # Where there are no users, all is one's own.
    return os.geteuid() if hasattr(os, "geteuid") else found.st_uid
