"""Take a model from a folder on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sdi_gate.errors import NotFoundError
from sdi_gate.models.inspection import (
    check_contents,
    check_listing,
    pin_files,
    readable,
    regular_files,
)
from sdi_gate.models.snapshot import ModelSnapshot, select_wanted

if TYPE_CHECKING:
    from sdi_gate.models.ref import ModelRef
    from sdi_gate.progress import Progress


class FolderSource:
    """Check and pin models in folders (``file:``); nothing is copied."""

    def fetch(self, ref: ModelRef, progress: Progress) -> ModelSnapshot:
        """See `ModelSource.fetch`.

        Args:
            ref: A reference with scheme ``file``.
            progress: Told of every file that is hashed.

        Returns:
            The snapshot, without a commit: its digests are its identity.
        """
        folder = _folder_of(ref)
        with readable(ref):
            names = regular_files(folder)
        check_listing(names, ref)
        check_contents(folder, names, ref)
        files = pin_files(folder, select_wanted(names), ref, progress)
        return ModelSnapshot(ref=ref, commit=None, folder=folder, files=files)


def _folder_of(ref: ModelRef) -> Path:
    with readable(ref):
        folder = Path(ref.location).absolute()
        if folder.is_dir():
            return folder
        found = folder.exists()
    if found:
        msg = f"{ref} is a file; expected the folder that holds config.json and *.safetensors"
        raise NotFoundError(msg, hint="give the folder, without the file's name")
    hint = "check the path: it is taken relative to the working folder, and ~ is not expanded"
    raise NotFoundError(f"{ref}: no such folder: {str(folder)!r}", hint=hint)
