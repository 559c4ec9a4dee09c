"""Take a model from a folder on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError, NotFoundError
from sdi_gate.models.inspection import check_contents, pin_files, readable, regular_files
from sdi_gate.models.links import check_links
from sdi_gate.models.listing import CONFIG, check_listing, check_size, is_large
from sdi_gate.models.shards import read_headers
from sdi_gate.models.snapshot import (
    ADAPTER_CONFIG,
    ModelSnapshot,
    SnapshotKind,
    kind_of,
    select_wanted,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from sdi_gate.models.ref import ModelRef
    from sdi_gate.progress import Progress

_MLFLOW = "MLmodel"
_MLFLOW_ADAPTER = "peft"
_MLFLOW_MODEL = "model"
_LARGE_BYTES = 1 << 30
_BLOCK_BYTES = 512


class FolderSource:
    """Check and pin models in folders (``file:``); nothing is copied.

    A folder as MLflow writes it for an adapter is a snapshot of its folder ``peft``, carried by
    the model in its folder ``model``, if there is one.
    """

    def fetch(self, ref: ModelRef, progress: Progress) -> ModelSnapshot:
        """See `ModelSource.fetch`.

        Args:
            ref: A reference with scheme ``file``.
            progress: Told of every file that is hashed.

        Returns:
            The snapshot, without a commit: its digests are its identity.

        Raises:
            FormatError: If it is a model as MLflow stores it, whose files lie in a subfolder.
        """
        folder = _folder_of(ref)
        with readable(ref):
            names = regular_files(folder)
            if _MLFLOW in names and (folder / _MLFLOW_ADAPTER / ADAPTER_CONFIG).is_file():
                return _fetch_mlflow(folder, ref, progress)
            if _MLFLOW in names and CONFIG not in names and (folder / _MLFLOW_MODEL).is_dir():
                msg = f"{ref} is a model as MLflow stores it; expected {CONFIG} in its root"
                raise FormatError(msg, hint=f"give its folder {str(folder / _MLFLOW_MODEL)!r}")
        return _fetch(folder, names, ref, progress)


def _fetch(
    folder: Path, names: Collection[str], ref: ModelRef, progress: Progress
) -> ModelSnapshot:
    check_listing(names, ref)
    wanted = select_wanted(names)
    check_links(folder, wanted, ref)
    _check_sizes(folder, wanted, ref)
    check_contents(folder, names, ref)
    # Before anything is hashed, which takes minutes where this takes a moment.
    read_headers(folder, wanted, ref)
    files = pin_files(folder, wanted, ref, progress)
    return ModelSnapshot(ref=ref, commit=None, folder=folder, files=files, kind=kind_of(wanted))


def _fetch_mlflow(folder: Path, ref: ModelRef, progress: Progress) -> ModelSnapshot:
    parts = [part for part in (_MLFLOW_ADAPTER, _MLFLOW_MODEL) if (folder / part).is_dir()]
    check_links(folder, parts, ref)
    adapter, *carriers = (
        _fetch(folder / part, regular_files(folder / part), _part_of(ref, part), progress)
        for part in parts
    )
    for carrier in carriers:
        if carrier.kind is not SnapshotKind.FULL:
            msg = f"{carrier.ref} holds weights of kind {carrier.kind}; expected a full model"
            raise FormatError(msg, hint=f"give {_part_of(ref, _MLFLOW_ADAPTER)}, without it")
    return replace(adapter, ref=ref, carrier=carriers[0] if carriers else None)


def _part_of(ref: ModelRef, part: str) -> ModelRef:
    return replace(ref, location=f"{ref.location}/{part}")


def _check_sizes(folder: Path, names: Collection[str], ref: ModelRef) -> None:
    for name in names:
        with readable(ref):
            stat = (folder / name).stat()
        check_size(name, stat.st_size, ref)
        # No blocks at all is what some network file systems say of every file.
        on_disk = stat.st_blocks * _BLOCK_BYTES
        if is_large(name) and stat.st_size > _LARGE_BYTES and 0 < on_disk < stat.st_size // 1000:
            msg = (
                f"{name!r} of {ref} is a file of holes: {stat.st_size:,} bytes, of which"
                f" {on_disk:,} are on the disk"
            )
            raise FormatError(msg, hint="copy or download the model again, every file of it")


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
