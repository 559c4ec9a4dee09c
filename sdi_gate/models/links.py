"""Keep the files of a folder inside it, where symbolic links could lead anywhere."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdi_gate.models.ref import ModelRef

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"models--.+")


def check_links(folder: Path, names: Iterable[str], ref: ModelRef) -> None:
    """Refuse files that are links to somewhere else.

    A link could show a private file of this machine as part of a stranger's model, and it can be
    turned to another file without a trace in the folder. The Hub's cache holds nothing but links:
    there they may lead to the repository's own blobs, and from those to the store that all
    repositories of the cache share.

    Args:
        folder: Where the files lie; can itself be reached through a link.
        names: Which files or folders in it.
        ref: The model, for messages.

    Raises:
        FormatError: If one lies outside.
    """
    root = Path(os.path.realpath(folder))
    repository = _repository_around(root)
    for name in names:
        inside = _is_inside(root / name, root)
        if not inside and (repository is None or not _is_cached(root / name, repository)):
            msg = f"{name[:80]!r} of {ref} is a link that leaves the model's folder"
            hint = (
                "put a copy of the file in its place, if the file is known to belong to the model"
            )
            raise FormatError(msg, hint=hint)


def _repository_around(folder: Path) -> Path | None:
    snapshots, repository = folder.parent, folder.parent.parent
    is_snapshot = (
        _COMMIT.fullmatch(folder.name)
        and snapshots.name == "snapshots"
        and _REPOSITORY.fullmatch(repository.name)
    )
    return repository if is_snapshot else None


def _is_inside(path: Path, root: Path) -> bool:
    return root in Path(os.path.realpath(path)).parents


def _is_cached(path: Path, repository: Path) -> bool:
    # Where the link points, before any link behind it is followed.
    first = Path(os.path.normpath(path.parent / path.readlink())) if path.is_symlink() else path
    if Path(os.path.realpath(first.parent)) != repository / "blobs":
        return False
    end = Path(os.path.realpath(first))
    store = repository.parent
    if store not in end.parents:
        return False
    place = end.relative_to(store).parts[0]
    return place == "blobs" or _REPOSITORY.fullmatch(place) is not None
