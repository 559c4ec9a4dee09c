"""Decide from file names and small JSON files whether a checkpoint may be read at all."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sdi_gate.errors import AccessError, FormatError, IntegrityError
from sdi_gate.models.snapshot import SnapshotFile, is_pickle, is_wanted, sha256_of, stamp_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from sdi_gate.models.ref import ModelRef
    from sdi_gate.models.snapshot import ModelSnapshot
    from sdi_gate.progress import Progress

CONFIG = "config.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS_SUFFIX = ".safetensors"
_INDEX_SUFFIX = ".safetensors.index.json"
_MAX_CONFIG_BYTES = 10_000_000
# The index of a checkpoint with 92 000 tensors has 9 MB; this leaves room for ten times that.
_MAX_INDEX_BYTES = 100_000_000

_ELSEWHERE = frozenset({"configuration_files", "fast_tokenizer_files"})

_RESAVE = (
    "re-save it as safetensors: model = AutoModel….from_pretrained(…); "
    "model.save_pretrained(…, safe_serialization=True)"
)
_AGAIN = "copy or download the model again, every file of it"


def is_weights(name: str) -> bool:
    """Say whether a file of a snapshot holds weights.

    Args:
        name: File name relative to the model's root.

    Returns:
        True for safetensors files in the root.
    """
    return is_wanted(name) and name.endswith(_WEIGHTS_SUFFIX)


def is_index(name: str) -> bool:
    """Say whether a file of a snapshot maps tensors to shards.

    Args:
        name: File name relative to the model's root.

    Returns:
        True for safetensors indices in the root.
    """
    return is_wanted(name) and name.endswith(_INDEX_SUFFIX)


def is_inspected(name: str) -> bool:
    """Say whether `check_contents` reads a file, so that it must be fetched first.

    Args:
        name: File name relative to the model's root.

    Returns:
        True for the model's and the tokenizer's configuration and for indices.
    """
    return name in {CONFIG, _TOKENIZER_CONFIG} or is_index(name)


def check_listing(names: Collection[str], ref: ModelRef) -> None:
    """Refuse a model whose file names alone say that it cannot or must not be read.

    Args:
        names: Every file name of the model, wanted or not, relative to its root.
        ref: The model, for messages.

    Raises:
        FormatError: If there are no files, no configuration, no safetensors, an adapter, or an
            unsafe name.
    """
    if not names:
        msg = f"{ref} holds no files; expected {CONFIG} and *.safetensors"
        raise FormatError(msg, hint="check the name, and whether the upload was finished")
    for name in filter(is_wanted, names):
        # A line break in a name could forge `ModelSnapshot.digest`, which is made of lines.
        if not name.isprintable() or "\\" in name:
            msg = f"{ref} holds a file with a name that is not safe to use: {name!r}"
            raise FormatError(msg, hint="rename it, or use another copy of the model")
    if _ADAPTER_CONFIG in names:
        # Beside a full model too: transformers would load the adapter and the base that it
        # names, not the weights that we would have measured.
        msg = f"{ref} holds {_ADAPTER_CONFIG}: adapters are not supported yet"
        hint = (
            "merge the adapter into its base (merge_and_unload) and give the merged model,"
            f" without {_ADAPTER_CONFIG}"
        )
        raise FormatError(msg, hint=hint)
    if CONFIG not in names:
        msg = f"{ref} holds no {CONFIG}; expected a model in transformers format in its root"
        raise FormatError(msg, hint="give the folder or repository that save_pretrained wrote")
    if not any(is_weights(name) for name in names):
        pickles = sorted(filter(is_pickle, names))
        msg = f"{ref} holds {CONFIG} but no weights; expected *.safetensors beside it"
        if pickles:
            msg = f"{msg}, got {pickles[0]!r}, a format that can run code when it is loaded"
        raise FormatError(msg, hint=_RESAVE if pickles else _AGAIN)


def check_size(name: str, size_bytes: int, ref: ModelRef) -> None:
    """Refuse a JSON file that is too large to be what its name says.

    Args:
        name: File name relative to the model's root.
        size_bytes: Its size.
        ref: The model, for messages.

    Raises:
        FormatError: If the file is inspected and larger than its kind can be.
    """
    limit = _MAX_INDEX_BYTES if is_index(name) else _MAX_CONFIG_BYTES
    if is_inspected(name) and size_bytes > limit:
        msg = (
            f"{name!r} of {ref} is too large: expected at most {limit:,} bytes, got {size_bytes:,}"
        )
        raise FormatError(msg, hint="this is not a file that transformers wrote")


def check_contents(folder: Path, names: Collection[str], ref: ModelRef) -> None:
    """Refuse a model whose configuration or index says that it cannot or must not be read.

    Args:
        folder: Where the inspected files lie; the weights need not be there yet.
        names: Every file name of the model; `check_listing` has accepted them.
        ref: The model, for messages.

    Raises:
        FormatError: If a file is damaged, wants remote code, or names a shard that is not there.
    """
    for name in (CONFIG, _TOKENIZER_CONFIG):
        if name in names:
            _refuse_remote_code(folder / name, ref)
    for name in sorted(filter(is_index, names)):
        missing = sorted(shards_of(folder / name, ref) - set(names))
        if missing:
            msg = (
                f"{ref} lacks {missing[0]!r}, which {name!r} names;"
                f" {len(missing)} of its shards are missing"
            )
            raise FormatError(msg, hint=_AGAIN)


def _refuse_remote_code(path: Path, ref: ModelRef) -> None:
    plain = _read_object(path, ref)
    for key in _ELSEWHERE & plain.keys():
        # transformers would read these instead of the files that we have checked.
        msg = f"{path.name!r} of {ref} names other files to load ({key!r}); expected none"
        raise FormatError(msg, hint="re-save the model with save_pretrained")
    if plain.get("auto_map"):
        msg = (
            f"{ref} wants to run code from its own repository ('auto_map' in {path.name!r});"
            " sdi-gate never runs code from a model"
        )
        hint = (
            "if transformers ships the architecture, re-save the model with its own class"
            " and without auto_map; otherwise it cannot be compared"
        )
        raise FormatError(msg, hint=hint)


def shards_of(path: Path, ref: ModelRef) -> frozenset[str]:
    """Return the shards that an index names.

    Args:
        path: The index.
        ref: The model, for messages.

    Returns:
        File names, each of them a safetensors file in the model's root.

    Raises:
        FormatError: If the index is damaged or names anything else.
    """
    weight_map = _read_object(path, ref).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        msg = f"{path.name!r} of {ref} maps no tensors; expected an object 'weight_map'"
        raise FormatError(msg, hint=_AGAIN)
    shards = set()
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or not is_weights(shard):
            msg = (
                f"{path.name!r} of {ref} maps tensor {tensor!r} to {shard!r};"
                " expected the name of a safetensors file in the same folder"
            )
            raise FormatError(msg, hint="do not use this copy: its index points elsewhere")
        shards.add(shard)
    return frozenset(shards)


def _read_object(path: Path, ref: ModelRef) -> dict[str, object]:
    with readable(ref):
        check_size(path.name, path.stat().st_size, ref)
        content = path.read_bytes()
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as exc:
        reason = str(exc) if isinstance(exc, json.JSONDecodeError) else type(exc).__name__
        msg = f"{path.name!r} of {ref} is not JSON: {reason}"
        raise FormatError(msg, hint=_AGAIN) from exc
    if not isinstance(value, dict):
        msg = f"{path.name!r} of {ref} is not a JSON object; got {type(value).__name__}"
        raise FormatError(msg, hint=_AGAIN)
    return value


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
        The files, sorted by name.
    """
    files = []
    with readable(ref):
        for done, name in enumerate(sorted(names)):
            progress.advance("digest", done, len(names), name)
            path = folder / name
            stamp = stamp_of(path)
            digest = sha256_of(path)
            size_bytes = path.stat().st_size
            files.append(SnapshotFile(name=name, size_bytes=size_bytes, sha256=digest, stamp=stamp))
    progress.advance("digest", len(names), len(names))
    return tuple(files)


def verify_unchanged(*snapshots: ModelSnapshot) -> None:
    """Make sure that what was measured is what was hashed.

    Args:
        snapshots: Models whose files were read since they were pinned.

    Raises:
        IntegrityError: If a file is no longer the one that was hashed.
    """
    for snapshot in snapshots:
        with readable(snapshot.ref):
            changed = [f for f in snapshot.files if stamp_of(snapshot.folder / f.name) != f.stamp]
        if changed:
            msg = f"{changed[0].name!r} of {snapshot.ref} changed while it was measured"
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
