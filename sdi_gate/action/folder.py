"""Look after the folder for a run's files: no former verdict in it, and no file of root's."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sdi_gate.action.outcome import REPORT, RUN, Written
from sdi_gate.errors import UsageError
from sdi_gate.report.files import MARKDOWN, RESULT, prepare_folder, remove_reports, write_files

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMENT = "comment.md"
SARIF = "results.sarif"
JUNIT = "junit.xml"
_CANDIDATES = "candidates"
_logger = logging.getLogger(__name__)


class OutFolder:
    """Hold the files of one run.

    Args:
        path: The folder, outside the workspace.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Make sure that files can be written, and remove those of a former run of the same job.

        Raises:
            UsageError: If the folder cannot be used.
        """
        try:
            for name in (RUN, COMMENT, SARIF, JUNIT):
                (self.path / name).unlink(missing_ok=True)
        except OSError as exc:
            msg = f"cannot remove the former {name} in {str(self.path)!r}: {exc.strerror}"
            raise UsageError(msg, hint="give another folder with out") from exc
        for former in sorted((self.path / _CANDIDATES).glob("[0-9]*")):
            remove_reports(former)
        prepare_folder(self.path)

    def of_candidate(self, index: int) -> Path:
        """Return the folder of one candidate.

        Args:
            index: Its place among those that are judged, from 0. Its name is not used: a pull
                request chooses that.

        Returns:
            A folder that may not exist yet.
        """
        return self.path / _CANDIDATES / f"{index + 1:02d}"

    def write(self, contents: Mapping[str, bytes]) -> dict[str, Written]:
        """Write files, all whole or none.

        Args:
            contents: Content of each by its name.

        Returns:
            What was written, by name.

        Raises:
            PublishError: If they could not be written.
        """  # noqa: DOC502 - raised by the function called
        write_files(self.path, contents)
        return {name: Written.of(self.path / name, data) for name, data in contents.items()}

    def hand_over(self, temporary: str | None) -> None:
        """Give everything to whom the runner's temporary folder belongs, if this is root.

        Args:
            temporary: The runner's temporary folder; files of root there would be in the way of
                the runner, which is not root, when it cleans up.
        """
        if not temporary or os.geteuid() != 0:
            return
        with suppress(OSError):
            owner = os.stat(temporary)  # noqa: PTH116 - a text
            if owner.st_uid == 0 or not self.path.is_relative_to(Path(temporary).resolve()):
                return
            for path in (self.path, *self.path.rglob("*")):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


__all__ = ["COMMENT", "JUNIT", "MARKDOWN", "REPORT", "RESULT", "RUN", "SARIF", "OutFolder"]
