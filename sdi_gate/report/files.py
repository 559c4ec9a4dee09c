"""Write the report's files: each whole, or not at all."""

from __future__ import annotations

import os
import tempfile
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
        folder: Created if absent, with its parents.

    Raises:
        UsageError: If it cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        msg = f"cannot write to the output folder {str(folder)!r}: {exc.strerror}"
        raise UsageError(msg, hint="give another folder with --out") from exc


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files, each under another name first, so that no reader ever meets half of one.

    Args:
        folder: An existing folder.
        contents: Content of each file by its name.

    Raises:
        PublishError: If a file could not be written; what was there before is still there.
    """
    for name, content in contents.items():
        try:
            _write(folder / name, content)
        except OSError as exc:
            msg = f"cannot write {str(folder / name)!r}: {exc.strerror}"
            raise PublishError(msg, hint="free some room, and run again") from exc


def _write(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for their owner alone; a report is for whoever may read the folder.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
