"""Keep profiles of bases in a folder that several runners use at once.

The layout: ``<digest of the base>/<part>-<digest of the key>.json`` describes a part, and names
``<digest of its content>.safetensors`` beside it, which holds the tensors. Both are written under
other names, tensors first, and renamed when they are whole: a reader never sees half of a part,
and of two writers the later one wins with all of its own. The folder of a base can be copied to
another cache as it is.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from sdi_gate.errors import IntegrityError, SdiGateError, StorageError
from sdi_gate.profiles.documents import MAX_BYTES, Document, dump, parse
from sdi_gate.profiles.files import (
    check_folder,
    check_root,
    open_file,
    read_start,
    settle,
    staged,
    write_all,
)
from sdi_gate.profiles.parts import LayeredStore, NoStore, Part, PartKey, ProfileStore
from sdi_gate.profiles.pruning import make_room
from sdi_gate.profiles.tensors import read_tensors, size_of, write_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

__all__ = ["FolderStore", "LayeredStore", "NoStore", "Part", "PartKey", "ProfileStore", "Use"]

_logger = logging.getLogger(__name__)
# Whoever ships a profile must learn that it is of no use here.
_NOT_THERE = (
    "the profile in %r has no part %r for this scan: it was made by other settings, of another"
    " base, or on another kind of machine"
)


class Use(Enum):
    """Name what a folder of profiles is used for.

    Attributes:
        CACHE: Read and written; what cannot be kept is a warning.
        TARGET: Read and written; what cannot be kept is an error.
        SOURCE: Read only; nothing in it is touched.
    """

    CACHE = "cache"
    TARGET = "target"
    SOURCE = "source"


@dataclass(frozen=True, slots=True)
class FolderStore:
    """Keep parts in a folder.

    Laws: what is loaded is, to the bit, what some process saved under the same key; what is
    damaged, swapped, cut short or written by a stranger is absent.

    Attributes:
        folder: The cache; created when the first part is saved.
        limit_bytes: How much it may hold; the parts that were not used for longest go first. No
            part that is larger is saved or loaded.
        use: Whether it is written, and whether failing to is an error.
    """

    folder: Path
    limit_bytes: int
    use: Use = Use.CACHE

    def load(self, key: PartKey) -> Part | None:
        """See `ProfileStore.load`; one that is there and cannot be trusted is a warning.

        Returns:
            The part, or None.
        """
        try:
            return self._load(key)
        except FileNotFoundError:
            if self.use is Use.SOURCE:
                _logger.warning(_NOT_THERE, str(self.folder), key.part)
            return None
        except (OSError, SdiGateError) as exc:
            self._warn("is not used", key, exc)
        return None

    def save(self, key: PartKey, part: Part) -> None:
        """See `ProfileStore.save`; one that cannot be kept is a warning.

        Raises:
            StorageError: If it cannot be kept, and the folder is there to keep it.
        """
        if self.use is Use.SOURCE:
            return
        try:
            self._save(key, part)
        except (OSError, SdiGateError) as exc:
            if self.use is Use.TARGET:
                msg = f"cannot keep {key.part!r} in {str(self.folder)!r}: {_reason(exc)}"
                raise StorageError(msg, hint=getattr(exc, "hint", "")) from exc
            self._warn("was not kept", key, exc)
            return
        try:
            make_room(self.folder, self.limit_bytes)
        except (OSError, SdiGateError) as exc:
            _logger.warning("%r stays too large: %s", str(self.folder), _reason(exc))

    def _load(self, key: PartKey) -> Part:
        owners = check_root(self.folder)
        folder = self.folder / key.folder
        check_folder(folder, owners)
        path = folder / key.file
        with open_file(path, owners) as file:
            document = parse(read_start(file, MAX_BYTES + 1), repr(str(path)))
            if document.key != key:
                msg = f"{str(path)!r} describes another part, {document.key.part!r}"
                raise IntegrityError(msg)
            tensors = self._read(folder / document.tensors_file, owners, document)
            if self.use is not Use.SOURCE:
                # Its last use, by which parts are kept or go. Where it cannot be said, it is old.
                with suppress(OSError):
                    os.utime(file.fileno())
        return Part(tensors=tensors, facts=document.facts)

    def _read(self, path: Path, owners: frozenset[int], document: Document) -> dict[str, Tensor]:
        try:
            file = open_file(path, owners)
        except FileNotFoundError as exc:
            msg = f"{str(path)!r} is absent"
            raise IntegrityError(msg) from exc
        with file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes != document.size_bytes or size_bytes > self.limit_bytes:
                msg = f"{str(path)!r} has {size_bytes:,} bytes; expected {document.size_bytes:,}"
                raise IntegrityError(f"{msg}, and at most {self.limit_bytes:,}")
            tensors, sha256 = read_tensors(file, size_bytes, repr(str(path)))
        if sha256 != document.sha256:
            msg = f"{str(path)!r} has the digest {sha256}, which is not its name"
            raise IntegrityError(msg)
        return tensors

    def _save(self, key: PartKey, part: Part) -> None:
        needed = size_of(part.tensors)
        if needed > self.limit_bytes:
            msg = f"it takes {needed:,} bytes; expected at most {self.limit_bytes:,}"
            raise StorageError(msg)
        with staged(self.folder, key.folder) as (file, path):
            sha256, size_bytes = write_tensors(file, part.tensors)
            document = Document(key=key, sha256=sha256, size_bytes=size_bytes, facts=part.facts)
            content = dump(document)
            # In the place of a file of this name too: it could be damaged.
            settle(file, path, path.with_name(document.tensors_file))
        with staged(self.folder, key.folder) as (file, path):
            write_all(file, content)
            settle(file, path, path.with_name(key.file))

    def _warn(self, what: str, key: PartKey, exc: OSError | SdiGateError) -> None:
        message = "part %r of the base's profile in %r %s: %s"
        _logger.warning(message, key.part, str(self.folder), what, _reason(exc))


def _reason(exc: OSError | SdiGateError) -> str:
    return exc.message if isinstance(exc, SdiGateError) else str(exc.strerror or exc)
