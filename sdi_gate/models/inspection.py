"""Decide from small JSON files whether a checkpoint may be read at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any, NoReturn

from sdi_gate.errors import AccessError, FormatError, IntegrityError
from sdi_gate.models.listing import check_size, is_index, is_inspected, is_weights
from sdi_gate.models.snapshot import SnapshotFile, select_wanted, sha256_of, stamp_of
from sdi_gate.models.strict_json import parse_object

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from sdi_gate.models.ref import ModelRef
    from sdi_gate.models.snapshot import ModelSnapshot
    from sdi_gate.progress import Progress

_CODE = ("auto_map", "trust_remote_code")
_ELSEWHERE = frozenset({"configuration_files", "fast_tokenizer_files"})
# hashlib lets other threads run while it hashes; beyond four, disks are what is waited for.
_HASHING_THREADS = 4
_AGAIN = "copy or download the model again, every file of it"


def check_contents(folder: Path, names: Collection[str], ref: ModelRef) -> None:
    """Refuse a model whose configuration or index says that it cannot or must not be read.

    Args:
        folder: Where the inspected files lie; the weights need not be there yet.
        names: Every file name of the model; `check_listing` has accepted them.
        ref: The model, for messages.

    Raises:
        FormatError: If a file is damaged, wants remote code, or names a shard that is not there.
    """
    for name in sorted(filter(is_inspected, select_wanted(names))):
        if not is_index(name):
            _refuse_remote_code(read_json(folder, name, ref), name, ref)
            continue
        missing = sorted(shards_of(folder / name, ref) - set(names))
        if missing:
            msg = (
                f"{ref} lacks {missing[0][:80]!r}, which {name!r} names;"
                f" {len(missing)} of its shards are missing"
            )
            raise FormatError(msg, hint=_AGAIN)


def read_json(folder: Path, name: str, ref: ModelRef) -> dict[str, Any]:
    """Read a JSON object of a model, after a look at its size.

    Args:
        folder: Where it lies; for a snapshot, ``snapshot.folder``.
        name: File name.
        ref: The model, for messages.

    Returns:
        The object.

    Raises:
        FormatError: If the file is too large, no JSON or no object.
        AccessError: If it cannot be read.
    """  # noqa: DOC502 - raised by the functions called
    path = folder / name
    with readable(ref):
        check_size(name, path.stat().st_size, ref)
        content = path.read_bytes()
    return parse_object(content, f"{name!r} of {ref}")


def _refuse_remote_code(plain: dict[str, Any], name: str, ref: ModelRef) -> None:
    for key in sorted(_ELSEWHERE & plain.keys()):
        # transformers would read these instead of the files that we have checked.
        msg = f"{name!r} of {ref} names other files to load ({key!r}); expected none"
        raise FormatError(msg, hint="re-save the model with save_pretrained")
    for key in _CODE:
        if any(part.get(key) for part in _objects_in(plain)):
            msg = (
                f"{ref} wants to run code from its own repository ({key!r} in {name!r});"
                " sdi-gate never runs code from a model"
            )
            hint = (
                "if transformers ships the architecture, re-save the model with its own class"
                f" and without {key}; otherwise it cannot be compared"
            )
            raise FormatError(msg, hint=hint)


def _objects_in(value: dict[str, Any] | list[Any]) -> Iterator[dict[str, Any]]:
    # The nesting is bounded, by `parse_object`.
    children = value
    if isinstance(value, dict):
        yield value
        children = list(value.values())
    for child in children:
        if isinstance(child, (dict, list)):
            yield from _objects_in(child)


def shards_of(path: Path, ref: ModelRef) -> frozenset[str]:
    """Return the shards that an index names.

    Args:
        path: The index.
        ref: The model, for messages.

    Returns:
        File names, each of them a safetensors file in the model's root.
    """
    return frozenset(weight_map_of(path, ref).values())


def weight_map_of(path: Path, ref: ModelRef) -> dict[str, str]:
    """Return where an index says that each tensor is.

    Args:
        path: The index.
        ref: The model, for messages.

    Returns:
        Shards by tensor name, each of them the name of a safetensors file in the model's root.

    Raises:
        FormatError: If the index is damaged or names anything else.
    """
    weight_map = read_json(path.parent, path.name, ref).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        msg = f"{path.name!r} of {ref} maps no tensors; expected an object 'weight_map'"
        raise FormatError(msg, hint=_AGAIN)
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or not is_weights(shard):
            msg = (
                f"{path.name!r} of {ref} maps tensor {tensor[:80]!r} to {repr(shard)[:80]};"
                " expected the name of a safetensors file in the same folder"
            )
            raise FormatError(msg, hint="do not use this copy: its index points elsewhere")
    return weight_map


def regular_files(folder: Path) -> tuple[str, ...]:
    """List the files in a folder, not in its subfolders.

    Args:
        folder: A readable folder.

    Returns:
        Sorted names of regular files and of symbolic links that end at one: the Hub's cache
        holds nothing but such links. Pipes, devices and dangling links are left out.
    """
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_file()))


def pin_files(
    folder: Path, names: Collection[str], ref: ModelRef, progress: Progress
) -> tuple[SnapshotFile, ...]:
    """Measure and hash the files of a snapshot.

    Args:
        folder: Where the files lie.
        names: Which files.
        ref: The model, for messages.
        progress: Told of every file, in stage ``digest``.

    Returns:
        The files, sorted by name. Several are hashed at once; of several that cannot be read,
        the first by name is the one that is reported.
    """
    wanted, files = sorted(names), []
    stop = Event()
    workers = ThreadPoolExecutor(max_workers=_HASHING_THREADS, thread_name_prefix="digest")
    try:
        pinned = [workers.submit(_pin, folder / name, stop) for name in wanted]
        with readable(ref):
            for done, (name, file) in enumerate(zip(wanted, pinned, strict=True)):
                progress.advance("digest", done, len(wanted), name)
                files.append(file.result())
    finally:
        # At an interrupt too: a thread that hashes looks at this after every piece of a file.
        stop.set()
        workers.shutdown(cancel_futures=True)
    progress.advance("digest", len(wanted), len(wanted))
    return tuple(files)


def _pin(path: Path, stop: Event) -> SnapshotFile:
    stamp = stamp_of(path)
    digest = sha256_of(path, stop.is_set)
    size_bytes = path.stat().st_size
    return SnapshotFile(name=path.name, size_bytes=size_bytes, sha256=digest, stamp=stamp)


def verify_unchanged(*snapshots: ModelSnapshot) -> None:
    """Make sure that what was measured is what was hashed.

    Args:
        snapshots: Models whose files were read since they were pinned.

    Raises:
        IntegrityError: If a file is no longer the one that was hashed.
    """  # noqa: DOC502 - raised by refuse_changed()
    for snapshot in snapshots:
        with readable(snapshot.ref):
            changed = [f for f in snapshot.files if stamp_of(snapshot.folder / f.name) != f.stamp]
        if changed:
            refuse_changed(changed[0].name, snapshot.ref)
        if snapshot.carrier is not None:
            verify_unchanged(snapshot.carrier)


def refuse_changed(name: str, ref: ModelRef) -> NoReturn:
    """Say that a file is no longer the one that was hashed.

    Args:
        name: The file.
        ref: The model it belongs to.

    Raises:
        IntegrityError: Always.
    """
    msg = f"{name!r} of {ref} changed while it was measured"
    raise IntegrityError(msg, hint="let nothing write to the folder, and run again")


@contextmanager
def readable(ref: ModelRef) -> Iterator[None]:
    """Translate a failure to read into an error that names the file.

    Args:
        ref: The model, for messages.

    Yields:
        Nothing; read inside the block.

    Raises:
        AccessError: If a file or folder cannot be read.
    """
    try:
        yield
    except OSError as exc:
        msg = f"cannot read {exc.filename!r} of {ref}: {exc.strerror}"
        raise AccessError(msg, hint="check its permissions, and the disk it lies on") from exc
