"""Write the report's files: each whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sdi_gate.errors import PublishError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

RESULT = "result.json"
MARKDOWN = "report.md"


def prepare_folder(folder: Path) -> None:
    """Make sure that a folder can take files, before hours of work go into them.

    Args:
        folder: Created if absent, with its parents; a report of a former run in it is removed.

    Raises:
        UsageError: If it cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_reports(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        msg = f"cannot write to the output folder {str(folder)!r}: {exc.strerror}"
        raise UsageError(msg, hint="give another folder with --out") from exc


def remove_reports(folder: Path) -> None:
    """Remove the report of a former run, so that nobody takes it for that of a run that fails.

    Args:
        folder: May be absent.

    Raises:
        UsageError: If a file is there and cannot be removed.
    """
    try:
        _remove_reports(folder)
    except OSError as exc:
        msg = f"cannot remove the former report in {str(folder)!r}: {exc.strerror}"
        raise UsageError(msg, hint="give another folder with --out") from exc


def _remove_reports(folder: Path) -> None:
    for name in (RESULT, MARKDOWN):
        # Where a file stands in the folder's place there is no report either.
        with suppress(FileNotFoundError, NotADirectoryError):
            (folder / name).unlink()


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files, each under another name first, so that no reader ever meets half of one.

    All are written before the first takes its place: a disk that fills up changes nothing.

    Args:
        folder: An existing folder.
        contents: Content of each file by its name.

    Raises:
        PublishError: If a file could not be written; a file that is not new is as it was.
    """
    staged: dict[Path, Path] = {}
    path = folder
    try:
        for name, content in contents.items():
            path = folder / name
            check_replaceable(path)
            staged[path] = stage(path, content)
        for path, temporary in staged.items():
            temporary.replace(path)
    except OSError as exc:
        msg = f"cannot write {str(path)!r}: {exc.strerror}"
        raise PublishError(msg, hint="free some room, and run again") from exc
    finally:
        for temporary in staged.values():
            remove(temporary)


def check_replaceable(path: Path) -> None:
    """Refuse to put a file in the place of a folder, a device, a pipe or a link to one.

    Args:
        path: Where a file is to be written.

    Raises:
        PublishError: If something else than a regular file is there.
    """
    if path.exists() and not path.is_file():
        msg = f"cannot write {str(path)!r}: what is there is no regular file"
        raise PublishError(msg, hint="give the path of a file")


def stage(path: Path, content: bytes) -> Path:
    """Write a file under another name beside the one that it is to have.

    Args:
        path: The name that it is to have, in an existing folder.
        content: All of it.

    Returns:
        Where it is; to be renamed or removed.

    Raises:
        OSError: If it cannot be written; nothing is left then.
    """  # noqa: DOC502 - raised by the system
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for their owner alone; a report is for whoever may read the folder.
        temporary.chmod(0o644)
    except BaseException:
        remove(temporary)
        raise
    return temporary


def remove(temporary: Path) -> None:
    """Remove a staged file, if it is still there.

    Args:
        temporary: What `stage` returned.
    """
    # On a disk that takes no changes any more, what went wrong first is what counts.
    with suppress(OSError):
        temporary.unlink(missing_ok=True)
