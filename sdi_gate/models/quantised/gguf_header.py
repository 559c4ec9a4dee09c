"""Read the header of a GGUF file that a stranger wrote: every count, length and offset is bounded.

The readers of gguf and transformers take the file's numbers at their word: they loop, allocate and
slice by them. This one comes first, and they see only what it lets through.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sdi_gate.errors import FormatError
from sdi_gate.models.quantised.libraries import AGAIN, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sdi_gate.models.ref import ModelRef

MAGIC: Final = b"GGUF"
ALIGNMENT: Final = 32
_VERSIONS = (2, 3)
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q")
# A vocabulary of 262 144 tokens with merges has a header of 20 MB and 800 000 elements.
_MAX_HEADER_BYTES = 100_000_000
_MAX_ELEMENTS = 2_000_000
_MAX_VALUES = 10_000
_MAX_SHORT = 1_024
_MAX_TENSORS = 100_000
_MAX_NAME_BYTES = 256
_MAX_TEXT_BYTES = 1_000_000
_MAX_NDIM = 4
_MAX_ALIGNMENT = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """Stand for an array that was stepped over.

    Attributes:
        count: How many elements it has.
    """

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Describe a tensor of a GGUF file.

    Attributes:
        name: Its name in the file.
        shape: Its shape, in torch's order.
        kind: The number of its type.
        offset: Where its data begin in the file.
        size_bytes: Their length.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Hold what a GGUF file says of itself.

    Attributes:
        values: Numbers, texts and arrays by key.
        raw: Their bytes in the file, key and all; without arrays that are long or hold texts.
        tensors: Every tensor, in the order of the file.
    """

    values: Mapping[str, object]
    raw: Mapping[str, bytes]
    tensors: tuple[StoredTensor, ...]


def read_header(path: Path, sizes: Mapping[int, tuple[int, int]], ref: ModelRef) -> Header:
    """Read the header of a GGUF file.

    Args:
        path: The file.
        sizes: By number of a type, how many elements make a block, and of how many bytes.
        ref: The model, for messages.

    Returns:
        The header; every tensor lies in the file, and no two overlap.

    Raises:
        FormatError: If the file is none, is cut off, or says what cannot be.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data, f"{path.name!r} of {ref}").header(sizes)
    except (OSError, ValueError) as exc:
        msg = f"{path.name!r} of {ref} cannot be read: {type(exc).__name__}"
        raise FormatError(msg, hint=AGAIN) from exc


class _Reader:
    """Walk through a header, never beyond its bounds."""

    def __init__(self, data: mmap.mmap, where: str) -> None:
        self._data = data
        self._end = min(len(data), _MAX_HEADER_BYTES)
        self._pos = 0
        self._elements = 0
        self._is_short = True
        self._where = where

    def header(self, sizes: Mapping[int, tuple[int, int]]) -> Header:
        num_tensors, num_values = self._counts()
        values: dict[str, object] = {}
        raw: dict[str, bytes] = {}
        for _ in range(num_values):
            start = self._pos
            key = self._text(_MAX_NAME_BYTES)
            if key in values:
                raise self._error(f"key {shown(key)} stands in it twice")
            (kind,) = self._take("I")
            values[key] = self._value(kind)
            if self._is_short:
                raw[key] = self._data[start : self._pos]
        infos = [self._info() for _ in range(num_tensors)]
        alignment = self._alignment(values.get("general.alignment", ALIGNMENT))
        begin = -(-self._pos // alignment) * alignment
        tensors = tuple(self._placed(info, begin, alignment, sizes) for info in infos)
        self._check_places(tensors)
        return Header(values=values, raw=raw, tensors=tensors)

    def _error(self, what: str) -> FormatError:
        return FormatError(f"{self._where} is not a whole GGUF file: {what}", hint=AGAIN)

    def _cut(self) -> FormatError:
        return self._error(f"its header ends after {self._end:,} bytes, in the middle")

    def _take(self, codes: str) -> tuple[int, ...]:
        size = struct.calcsize(f"<{codes}")
        if self._pos + size > self._end:
            raise self._cut()
        found = struct.unpack_from(f"<{codes}", self._data, self._pos)
        self._pos += size
        return found

    def _counts(self) -> tuple[int, int]:
        if self._data[:4] != MAGIC:
            raise self._error("it does not begin with GGUF")
        self._pos = 4
        version, num_tensors, num_values = self._take("IQQ")
        if version not in _VERSIONS:
            raise self._error(f"expected version {_VERSIONS[0]} or {_VERSIONS[1]}, got {version}")
        if not 0 < num_tensors <= _MAX_TENSORS or num_values > _MAX_VALUES:
            want = f"at most {_MAX_TENSORS:,} tensors and {_MAX_VALUES:,} values"
            raise self._error(f"expected {want}, got {num_tensors:,} and {num_values:,}")
        return num_tensors, num_values

    def _text(self, limit: int) -> str:
        (length,) = self._take("Q")
        if length > limit or self._pos + length > self._end:
            raise self._error(f"expected a text of at most {limit:,} bytes, got {length:,}")
        content = self._data[self._pos : self._pos + length]
        self._pos += length
        try:
            return content.decode()
        except UnicodeDecodeError as exc:
            raise self._error("a text of it is not UTF-8") from exc

    def _value(self, kind: int) -> object:
        self._is_short = True
        if kind in _SCALARS:
            return self._take(_SCALARS[kind])[0]
        if kind == _STRING:
            return self._text(_MAX_TEXT_BYTES)
        if kind != _ARRAY:
            raise self._error(f"a value of it has the unknown type {kind}")
        inner, count = self._take("IQ")
        self._is_short = inner in _SCALARS and count <= _MAX_SHORT
        self._elements += count
        if self._elements > _MAX_ELEMENTS:
            raise self._error(f"its arrays hold more than {_MAX_ELEMENTS:,} elements")
        if inner in _SCALARS:
            self._skip(count * struct.calcsize(f"<{_SCALARS[inner]}"))
        elif inner == _STRING:
            self._skip_texts(count)
        else:
            raise self._error(f"an array of it holds the type {inner}")
        return Array(count=count)

    def _skip(self, length: int) -> None:
        if self._pos + length > self._end:
            raise self._cut()
        self._pos += length

    def _skip_texts(self, count: int) -> None:
        # Without a call for each, for there may be a million of them.
        pos, end, data, length_at = self._pos, self._end - 8, self._data, _LENGTH.unpack_from
        for _ in range(count):
            if pos > end:
                raise self._cut()
            pos += 8 + length_at(data, pos)[0]
        self._skip(pos - self._pos)

    def _info(self) -> StoredTensor:
        name = self._text(_MAX_NAME_BYTES)
        (ndim,) = self._take("I")
        if not 1 <= ndim <= _MAX_NDIM:
            want = f"1 to {_MAX_NDIM} dimensions"
            raise self._error(f"expected {want} of {shown(name)}, got {ndim}")
        shape = tuple(reversed(self._take(f"{ndim}Q")))
        kind, offset = self._take("IQ")
        return StoredTensor(name=name, shape=shape, kind=kind, offset=offset, size_bytes=0)

    def _alignment(self, value: object) -> int:
        if type(value) is not int or not 0 < value <= _MAX_ALIGNMENT or value & (value - 1):
            raise self._error(f"expected a power of two 'general.alignment', got {shown(value)}")
        return value

    def _placed(
        self,
        info: StoredTensor,
        begin: int,
        alignment: int,
        sizes: Mapping[int, tuple[int, int]],
    ) -> StoredTensor:
        elements, num_bytes = sizes.get(info.kind, (0, 0))
        if not elements:
            raise self._error(f"{shown(info.name)} has the unknown type {info.kind}")
        if info.offset % alignment or info.shape[-1] % elements or 0 in info.shape:
            want = f"whole blocks of {elements} at a multiple of {alignment}"
            got = f"{info.shape} at {info.offset:,}"
            raise self._error(f"expected {want} for {shown(info.name)}, got {got}")
        size_bytes = math.prod(info.shape) // elements * num_bytes
        offset = begin + info.offset
        if offset + size_bytes > len(self._data):
            raise self._error(f"{shown(info.name)} lies beyond its end")
        return StoredTensor(
            name=info.name, shape=info.shape, kind=info.kind, offset=offset, size_bytes=size_bytes
        )

    def _check_places(self, tensors: tuple[StoredTensor, ...]) -> None:
        if len({tensor.name for tensor in tensors}) < len(tensors):
            raise self._error("it names a tensor twice")
        end = 0
        for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
            if tensor.offset < end:
                raise self._error(f"{shown(tensor.name)} overlaps another tensor")
            end = tensor.offset + tensor.size_bytes
