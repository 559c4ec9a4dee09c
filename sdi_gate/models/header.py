"""Read the header of a safetensors file strictly, before any library maps the file.

The format is one JSON object behind its own length, then the data
(https://github.com/huggingface/safetensors). The library takes a tensor's last description where
a name stands twice, and keys that nobody defined; readers that disagree read different models.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdi_gate.errors import FormatError
from sdi_gate.models.strict_json import parse_object
from sdi_gate.models.tensors import TensorInfo

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# Bits of one element, by the names that safetensors gives to types.
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
_LENGTH = struct.Struct("<Q")
# The library's own bound.
_MAX_HEADER_BYTES = 100_000_000
_METADATA = "__metadata__"
_KEYS = frozenset({"dtype", "shape", "data_offsets"})
_MAX_NAME = 500
_MAX_AXES = 16
_MAX_NUMEL = 2**63 - 1
# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md: a text that stands for a file.
_POINTER = b"version https://git-lfs.github.com/spec/v1"
_FETCH = "check out with lfs: true, or run git lfs pull"
_AGAIN = "copy or download the model again, every file of it"
_FOREIGN = "do not use this file: re-save the model with save_pretrained, or get another copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Say where in its file a tensor lies.

    Attributes:
        info: The tensor.
        begin: First byte, counted from the start of the file.
        end: Byte after the last.
    """

    info: TensorInfo
    begin: int
    end: int


def read_header(path: Path, where: str) -> tuple[StoredTensor, ...]:
    """Read and check the header of a safetensors file.

    Every byte of the data belongs to exactly one tensor, so that the file holds nothing else.

    Args:
        path: The file.
        where: Which file of which model, for messages.

    Returns:
        Every tensor, sorted by name.

    Raises:
        FormatError: If the file is too short, or its header is damaged or describes what cannot be.
        OSError: If the file cannot be read.
    """  # noqa: DOC502 - raised by the functions called
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if file.read(len(_POINTER)) == _POINTER:
            msg = f"{where} is a Git LFS pointer, not the weights"
            raise FormatError(msg, hint=_FETCH)
        file.seek(0)
        length = _length_of(file.read(_LENGTH.size), size_bytes, where)
        # One byte first: a file of holes has zeros where its header would be.
        content = file.read(min(length, 1))
        if content == b"{":
            file.seek(_LENGTH.size)
            content = file.read(length)
    plain = parse_object(content, f"the header of {where}")
    _check_metadata(plain.pop(_METADATA, {}), where)
    start = _LENGTH.size + length
    tensors = [_describe(name, entry, path.name, where) for name, entry in plain.items()]
    _check_coverage(tensors, size_bytes - start, where)
    return tuple(
        StoredTensor(info=info, begin=start + begin, end=start + end)
        for info, begin, end in sorted(tensors, key=lambda tensor: tensor[0].name)
    )


def _length_of(prefix: bytes, size_bytes: int, where: str) -> int:
    if len(prefix) < _LENGTH.size:
        msg = (
            f"{where} is not a whole safetensors file: expected at least {_LENGTH.size} bytes,"
            f" got {size_bytes}"
        )
        raise FormatError(msg, hint=_AGAIN)
    length: int = _LENGTH.unpack(prefix)[0]
    if length > _MAX_HEADER_BYTES:
        msg = (
            f"{where} announces a header of {length:,} bytes; expected at most"
            f" {_MAX_HEADER_BYTES:,}"
        )
        raise FormatError(msg, hint=_FOREIGN)
    if length > size_bytes - _LENGTH.size:
        msg = (
            f"{where} is not a whole safetensors file: it announces a header of {length:,} bytes,"
            f" and {size_bytes - _LENGTH.size:,} bytes follow"
        )
        raise FormatError(msg, hint=_AGAIN)
    return length


def _check_metadata(metadata: object, where: str) -> None:
    if isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values()):
        return
    msg = f"the header of {where} holds {_METADATA!r} that is not an object of texts"
    raise FormatError(msg, hint=_FOREIGN)


def _describe(name: str, entry: object, shard: str, where: str) -> tuple[TensorInfo, int, int]:
    if not name or len(name) > _MAX_NAME or not name.isprintable():
        msg = (
            f"{where} holds a tensor with a name that is not safe to use: {name[:80]!r};"
            f" expected 1 to {_MAX_NAME} printable characters"
        )
        raise FormatError(msg, hint=_FOREIGN)
    what = f"tensor {name[:80]!r} in {where}"
    if not isinstance(entry, dict) or entry.keys() != _KEYS:
        keys = entry if isinstance(entry, dict) else ()
        got = ", ".join(repr(key[:20]) for key in sorted(keys)[:5]) or type(entry).__name__
        msg = f"{what} is described by {got}; expected dtype, shape and data_offsets alone"
        raise FormatError(msg, hint=_FOREIGN)
    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in BITS:
        msg = f"{what} is stored as {str(dtype)[:80]!r}, a type that safetensors does not have"
        raise FormatError(msg, hint=_FOREIGN)
    shape, numel = _shape_of(entry["shape"], what)
    begin, end = _offsets_of(entry["data_offsets"], what)
    if BITS[dtype] * numel != 8 * (end - begin):
        msg = (
            f"{what} has {numel:,} elements of {dtype}, which take {BITS[dtype] * numel / 8:,.0f}"
            f" bytes; its offsets span {end - begin:,}"
        )
        raise FormatError(msg, hint=_FOREIGN)
    return TensorInfo(name=name, dtype=dtype, shape=shape, shard=shard), begin, end


def _shape_of(shape: Any, what: str) -> tuple[tuple[int, ...], int]:  # noqa: ANN401 - as parsed
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        msg = f"{what} has the shape {repr(shape)[:80]}; expected a list of integers from 0"
        raise FormatError(msg, hint=_FOREIGN)
    if len(shape) > _MAX_AXES:
        msg = f"{what} has {len(shape):,} axes; expected at most {_MAX_AXES}"
        raise FormatError(msg, hint=_FOREIGN)
    # Zeros left out: strides overflow whether there are elements or not.
    if math.prod(filter(None, shape)) > _MAX_NUMEL:
        msg = f"{what} has a shape that overflows: {str(shape)[:80]}"
        raise FormatError(msg, hint=_FOREIGN)
    return tuple(shape), math.prod(shape)


def _offsets_of(offsets: Any, what: str) -> tuple[int, int]:  # noqa: ANN401 - as parsed
    if (
        isinstance(offsets, list)
        and len(offsets) == 2
        and all(type(offset) is int for offset in offsets)
        and 0 <= offsets[0] <= offsets[1] <= _MAX_NUMEL
    ):
        return offsets[0], offsets[1]
    msg = f"{what} has the data_offsets {repr(offsets)[:80]}; expected begin and end, in order"
    raise FormatError(msg, hint=_FOREIGN)


def _check_coverage(
    tensors: Iterable[tuple[TensorInfo, int, int]], data_bytes: int, where: str
) -> None:
    ordered = sorted(tensors, key=lambda tensor: tensor[1:])
    for info, _, end in ordered:
        if end > data_bytes:
            msg = (
                f"{where} is not a whole safetensors file: tensor {info.name[:80]!r} ends at byte"
                f" {end:,} of the data, and {data_bytes:,} bytes are there"
            )
            raise FormatError(msg, hint=_AGAIN)
    reached = 0
    for info, begin, end in ordered:
        if begin < reached:
            msg = f"tensor {info.name[:80]!r} in {where} overlaps another: it begins at byte"
            raise FormatError(f"{msg} {begin:,}, before byte {reached:,}", hint=_FOREIGN)
        _refuse_hole(begin - reached, where)
        reached = end
    _refuse_hole(data_bytes - reached, where)


def _refuse_hole(hole_bytes: int, where: str) -> None:
    if hole_bytes:
        msg = f"{where} holds {hole_bytes:,} bytes of data that no tensor describes; expected none"
        raise FormatError(msg, hint=_FOREIGN)
