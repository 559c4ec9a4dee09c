"""Find the files that hold a model's weights, and hold their headers to the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError
from sdi_gate.models.header import read_header
from sdi_gate.models.inspection import readable, weight_map_of
from sdi_gate.models.listing import is_weights

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from sdi_gate.models.header import StoredTensor
    from sdi_gate.models.ref import ModelRef

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_AGAIN = "copy or download the model again, every file of it"


def select_shards(folder: Path, names: Collection[str], ref: ModelRef) -> tuple[str, ...]:
    """Return the safetensors files that count, in shard order.

    The same that transformers loads: ``model.safetensors``, else the shards of its index; else
    all there are.

    Args:
        folder: Where the files lie.
        names: The files of the snapshot.
        ref: The model, for messages.

    Returns:
        File names, sorted, each of them in ``names``.

    Raises:
        FormatError: If the index names a file that is not among them.
    """
    if _SINGLE in names:
        return (_SINGLE,)
    if _INDEX not in names:
        return tuple(sorted(filter(is_weights, names)))
    shards = set(weight_map_of(folder / _INDEX, ref).values())
    if stray := sorted(shards - set(names)):
        msg = f"{_INDEX} of {ref} names {stray[0][:80]!r}; expected model-….safetensors beside it"
        raise FormatError(msg, hint=_AGAIN)
    return tuple(sorted(shards))


def read_headers(folder: Path, names: Collection[str], ref: ModelRef) -> dict[str, StoredTensor]:
    """Read the headers of all files that count.

    Args:
        folder: Where the files lie.
        names: The files of the snapshot.
        ref: The model, for messages.

    Returns:
        Every tensor by name, in shard order.

    Raises:
        FormatError: If a file is damaged, a tensor is there twice, or the index disagrees.
    """
    stored: dict[str, StoredTensor] = {}
    for shard in select_shards(folder, names, ref):
        where = f"{shard!r} of {ref}"
        with readable(ref):
            tensors = read_header(folder / shard, where)
        for tensor in tensors:
            name = tensor.info.name
            if name in stored:
                other = stored[name].info.shard
                msg = f"tensor {name[:80]!r} is in {other!r} and again in {where}; expected it once"
                raise FormatError(msg, hint=_AGAIN)
            stored[name] = tensor
    if _SINGLE not in names and _INDEX in names:
        _check_index(stored, weight_map_of(folder / _INDEX, ref), ref)
    return stored


def _check_index(
    stored: Mapping[str, StoredTensor], weight_map: Mapping[str, str], ref: ModelRef
) -> None:
    # Some loaders follow the index and some the shards: where both speak, they must agree.
    for name, shard in weight_map.items():
        found = stored[name].info.shard if name in stored else "no shard"
        if found != shard:
            msg = f"{_INDEX} of {ref} maps tensor {name[:80]!r} to {shard!r}; it is in {found!r}"
            raise FormatError(msg, hint=_AGAIN)
    for name, tensor in stored.items():
        if name not in weight_map:
            msg = f"{_INDEX} of {ref} does not map tensor {name[:80]!r}, which is in"
            raise FormatError(f"{msg} {tensor.info.shard!r}", hint=_AGAIN)
