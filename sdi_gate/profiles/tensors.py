"""Write and read tensors in the safetensors format, hashed on the way.

The library is not used, for it would need the whole file in memory twice, or mapped: a mapped file
that is cut short ends the process. What is written here can be read with it. What is read has to
be, byte for byte, what would be written here for the same names, types and shapes.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from sdi_gate.errors import FormatError, StorageError
from sdi_gate.profiles.plain import decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from torch import Tensor

_DTYPES = {
    "F64": torch.float64,
    "I64": torch.int64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LENGTH = struct.Struct("<Q")
_MAX_HEADER_BYTES = 1 << 25
_MAX_NAME = 1000
_MAX_AXES = 16
_MAX_NUMEL = 2**62
# Small enough to be hashed while it is in the processor's cache.
_CHUNK_BYTES = 1 << 20
_HINT = "remove it; it is made again"


class Writable(Protocol):
    """Take bytes, as an unbuffered file does: perhaps not all at once."""

    def write(self, content: bytes | memoryview, /) -> int | None:
        """Write some of the content; return how many bytes."""


class Readable(Protocol):
    """Give bytes, as an unbuffered file does: perhaps not all at once."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill some of the buffer; return how many bytes, 0 at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spec:
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def size_of(tensors: Mapping[str, Tensor]) -> int:
    """Say how many bytes tensors take in a file, its header left out.

    Args:
        tensors: By name.

    Returns:
        Bytes.
    """
    return sum(tensor.numel() * tensor.dtype.itemsize for tensor in tensors.values())


def write_tensors(file: Writable, tensors: Mapping[str, Tensor]) -> tuple[str, int]:
    """Write tensors, one after the other; none is copied that lies in one piece on the CPU.

    Args:
        file: An empty file.
        tensors: By name; see `Part`.

    Returns:
        SHA-256 of all that was written, as hex digits, and how many bytes it was.

    Raises:
        FormatError: If a name, a type, a shape or a value is none that can be read again.
    """  # noqa: DOC502 - raised by the functions called
    specs = _sorted(_spec_of(name, tensor) for name, tensor in tensors.items())
    header = _header_of(specs)
    digest = hashlib.sha256()
    _put(file, memoryview(_LENGTH.pack(len(header)) + header), digest)
    for spec in specs:
        tensor = tensors[spec.name].detach().cpu().contiguous()
        _check_values(tensor, f"tensor {spec.name[:80]!r}")
        if spec.size_bytes:
            _put(file, _bytes_of(tensor), digest)
    return digest.hexdigest(), _LENGTH.size + len(header) + sum(s.size_bytes for s in specs)


def read_tensors(file: Readable, size_bytes: int, where: str) -> tuple[dict[str, Tensor], str]:
    """Read tensors, each into memory of its own, and hash the file on the way.

    Args:
        file: From its beginning.
        size_bytes: Size of the file, as the system says.
        where: Which file, for messages.

    Returns:
        Tensors by name, sorted by name, and the SHA-256 of the whole file as hex digits. What is
        read must not be used before the digest is compared.

    Raises:
        FormatError: If it is not, to the byte, what `write_tensors` writes.
        StorageError: If there is no memory for a tensor.
    """  # noqa: DOC502 - raised by the functions called
    digest = hashlib.sha256()
    prefix = bytearray(_LENGTH.size)
    _fill(file, memoryview(prefix), digest, where)
    length: int = _LENGTH.unpack(prefix)[0]
    if length > min(_MAX_HEADER_BYTES, size_bytes - _LENGTH.size):
        msg = f"{where} announces a header of {length:,} bytes, in a file of {size_bytes:,}"
        raise FormatError(msg, hint=_HINT)
    header = bytearray(length)
    _fill(file, memoryview(header), digest, where)
    specs = _specs_in(bytes(header), where)
    expected = _LENGTH.size + length + sum(spec.size_bytes for spec in specs)
    if expected != size_bytes:
        msg = f"{where} has {size_bytes:,} bytes; its header describes {expected:,}"
        raise FormatError(msg, hint=_HINT)
    found = {spec.name: _read_one(file, spec, digest, where) for spec in specs}
    return dict(sorted(found.items())), digest.hexdigest()


def _spec_of(name: str, tensor: Tensor) -> _Spec:
    spec = _Spec(name=name, dtype=tensor.dtype, shape=tuple(tensor.shape))
    if tensor.dtype not in _NAMES or not _is_sound(spec):
        msg = f"tensor {name[:80]!r} of {tensor.dtype} with shape {spec.shape} cannot be kept"
        raise FormatError(msg)
    return spec


def _is_sound(spec: _Spec) -> bool:
    return (
        0 < len(spec.name) <= _MAX_NAME
        and spec.name.isprintable()
        and spec.name != "__metadata__"
        and len(spec.shape) <= _MAX_AXES
        and all(type(size) is int and size >= 0 for size in spec.shape)
        # Zeros left out: strides overflow whether there are elements or not.
        and math.prod(filter(None, spec.shape)) <= _MAX_NUMEL
    )


def _sorted(specs: Iterable[_Spec]) -> list[_Spec]:
    # Widest first, so that each tensor begins at a multiple of its own width.
    return sorted(specs, key=lambda spec: (-spec.dtype.itemsize, spec.name))


def _header_of(specs: Iterable[_Spec]) -> bytes:
    entries, reached = {}, 0
    for spec in specs:
        end = reached + spec.size_bytes
        entries[spec.name] = {
            "dtype": _NAMES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [reached, end],
        }
        reached = end
    content = encode(entries)
    return content + b" " * (-len(content) % _LENGTH.size)


def _specs_in(header: bytes, where: str) -> list[_Spec]:
    plain = decode(header.rstrip(b" "), f"the header of {where}")
    try:
        specs = _sorted(_described(plain))
    except (AttributeError, IndexError, KeyError, TypeError):
        specs = []
    if not all(map(_is_sound, specs)) or _header_of(specs) != header:
        msg = f"the header of {where} is not one that sdi-gate writes"
        raise FormatError(msg, hint=_HINT)
    return specs


def _described(plain: Any) -> Iterator[_Spec]:  # noqa: ANN401 - as parsed
    for name, entry in plain.items():
        yield _Spec(name=name, dtype=_DTYPES[entry["dtype"]], shape=tuple(entry["shape"]))


def _read_one(file: Readable, spec: _Spec, digest: hashlib._Hash, where: str) -> Tensor:
    what = f"tensor {spec.name[:80]!r} in {where}"
    try:
        content = torch.empty(spec.size_bytes, dtype=torch.uint8)
    except RuntimeError as exc:
        msg = f"no memory for {what}: needed {spec.size_bytes / (1 << 20):,.1f} MiB"
        raise StorageError(msg) from exc
    if spec.size_bytes:
        _fill(file, _bytes_of(content), digest, what)
    if spec.dtype is torch.bool and spec.size_bytes and content.amax() > 1:
        msg = f"{what} holds truths that are neither 0 nor 1"
        raise FormatError(msg, hint=_HINT)
    tensor = content.view(spec.dtype).reshape(spec.shape)
    _check_values(tensor, what)
    return tensor


def _check_values(tensor: Tensor, what: str) -> None:
    if not tensor.is_floating_point() or not tensor.numel():
        return
    # A NaN is both the least and the greatest; no copy, as isfinite() on all would make.
    if not all(torch.isfinite(end) for end in torch.aminmax(tensor)):
        msg = f"{what} holds values that are not finite"
        raise FormatError(msg, hint=_HINT)


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _put(file: Writable, content: memoryview, digest: hashlib._Hash) -> None:
    for start in range(0, len(content), _CHUNK_BYTES):
        piece = content[start : start + _CHUNK_BYTES]
        digest.update(piece)
        while piece:
            piece = piece[file.write(piece) or 0 :]


def _fill(file: Readable, content: memoryview, digest: hashlib._Hash, where: str) -> None:
    for start in range(0, len(content), _CHUNK_BYTES):
        piece = content[start : start + _CHUNK_BYTES]
        filled = 0
        while filled < len(piece):
            count = file.readinto(piece[filled:])
            if not count:
                msg = f"{where} is cut short"
                raise FormatError(msg, hint=_HINT)
            filled += count
        digest.update(piece)
