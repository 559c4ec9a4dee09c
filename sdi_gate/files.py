"""Read small files that somebody names: never one that could keep the reader waiting."""

from __future__ import annotations

import errno
import os
import stat

# A pipe that nobody writes to is waited for, for ever, already when it is opened.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


def read_at_most(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """Read a file, or the beginning of one that is too large.

    Args:
        path: The file, or a link to it.
        max_bytes: How large it may be.

    Returns:
        Its content, cut one byte above that size, so that a file that is too large is seen to be.

    Raises:
        OSError: If it cannot be read, or is a folder, a pipe or a device.
    """
    with open(path, "rb", opener=_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
        return file.read(max_bytes + 1)


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | _AT_ONCE)
