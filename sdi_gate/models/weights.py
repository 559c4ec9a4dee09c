"""Read safetensors checkpoints lazily: names and shapes first, tensors one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from sdi_gate.errors import FormatError, IncomparableError, StorageError
from sdi_gate.models.inspection import readable, refuse_changed
from sdi_gate.models.shards import read_headers, select_shards
from sdi_gate.models.snapshot import stamp_of_open

if TYPE_CHECKING:
    from torch import Tensor

    from sdi_gate.models.header import StoredTensor
    from sdi_gate.models.ref import ModelRef
    from sdi_gate.models.snapshot import ModelSnapshot
    from sdi_gate.models.tensors import TensorInfo, TensorSource

_PLAIN_DTYPES = frozenset({"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"})
# Types whose elements share bytes have no tensors of their shape in torch: F4, F6_E2M3, F6_E3M2.
_TORCH = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "I64": torch.int64,
    "U64": torch.uint64,
    "F64": torch.float64,
    "C64": torch.complex64,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Say where the bytes of a tensor are. Two tensors of one place are equal to the bit.

    Attributes:
        sha256: Digest of the file that holds them.
        begin: First byte, counted from the start of the file.
        dtype: Storage type as safetensors writes it.
        shape: Shape.
    """

    sha256: str
    begin: int
    dtype: str
    shape: tuple[int, ...]


@runtime_checkable
class Placed(Protocol):
    """Know where tensors are stored, beside what `TensorSource` knows."""

    def place_of(self, info: TensorInfo) -> Place | None:
        """Say where a tensor is.

        Args:
            info: Which; from ``tensors`` of the same source.

        Returns:
            Its place; None if it is made of stored ones and is none of them as it stands.
        """


class Checkpoint:
    """Read the names and shapes of a snapshot's weights at once, and tensors one by one.

    A tensor is read, not mapped: a file that is cut short while it is mapped ends the process,
    and what is computed from one read is computed from one content.

    Args:
        snapshot: The model; of kind FULL or ADAPTER.

    Attributes:
        tensors: Every tensor by name, in shard order, in whatever type safetensors has.

    Raises:
        FormatError: If a shard is damaged, holds a tensor twice or does not fit its index.
    """

    def __init__(self, snapshot: ModelSnapshot) -> None:
        self._snapshot = snapshot
        self._stamps = {file.name: file.stamp for file in snapshot.files}
        self._digests = {file.name: file.sha256 for file in snapshot.files}
        self._stored = read_headers(snapshot.folder, self._stamps.keys(), snapshot.ref)
        self.tensors: dict[str, TensorInfo] = {
            name: stored.info for name, stored in self._stored.items()
        }

    def read(self, info: TensorInfo) -> Tensor:
        """Read one tensor.

        Args:
            info: Which; from ``tensors``.

        Returns:
            The tensor on the CPU, in its storage type.

        Raises:
            FormatError: If torch has no such type.
            IntegrityError: If the file is no longer the one that was hashed.
        """  # noqa: DOC502 - raised by the functions called
        where = f"tensor {info.name[:80]!r} in {info.shard!r} of {self._snapshot.ref}"
        dtype = _TORCH.get(info.dtype)
        if dtype is None:
            msg = f"{where} is stored as {info.dtype}, which torch cannot read"
            raise FormatError(msg, hint="compare the model before it is quantised")
        stored = self._stored[info.name]
        content = _room_for(stored.end - stored.begin, where)
        if info.numel:
            # Not by the library: it would parse the whole header again for every tensor, and
            # might read it otherwise than we did.
            self._fill(content, stored)
        return content.view(dtype).reshape(info.shape)

    def place_of(self, info: TensorInfo) -> Place:
        """See `Placed.place_of`; every tensor here is a stored one.

        Args:
            info: Which; from ``tensors``.

        Returns:
            Its place.
        """
        stored = self._stored[info.name]
        digest = self._digests[stored.info.shard]
        return Place(
            sha256=digest,
            begin=stored.begin,
            dtype=stored.info.dtype,
            shape=stored.info.shape,
        )

    def _fill(self, content: Tensor, stored: StoredTensor) -> None:
        shard, ref = stored.info.shard, self._snapshot.ref
        with readable(ref), (self._snapshot.folder / shard).open("rb") as file:
            same = stamp_of_open(file) == self._stamps[shard]
            file.seek(stored.begin)
            if not same or file.readinto(content.numpy().data) < len(content):
                refuse_changed(shard, ref)


def _room_for(size_bytes: int, where: str) -> Tensor:
    try:
        return torch.empty(size_bytes, dtype=torch.uint8)
    except RuntimeError as exc:
        msg = f"no memory for {where}: needed {size_bytes / (1 << 20):,.1f} MiB"
        raise StorageError(msg, hint="use a machine with more memory") from exc


def refuse_quantised_types(source: TensorSource, ref: ModelRef) -> None:
    """Refuse weights in a quantised type, where no quantisation says what they mean.

    Args:
        source: The tensors as they are stored.
        ref: The model, for messages.

    Raises:
        IncomparableError: If a tensor is stored in another type than those of plain weights.
    """
    for info in source.tensors.values():
        if info.dtype not in _PLAIN_DTYPES:
            msg = (
                f"tensor {info.name[:80]!r} in {info.shard!r} of {ref} is stored as {info.dtype},"
                f" a quantised type; expected one of {', '.join(sorted(_PLAIN_DTYPES))}"
            )
            raise IncomparableError(msg, hint="compare the model before it is quantised")


def weight_files(snapshot: ModelSnapshot) -> tuple[str, ...]:
    """Return the files that hold the model's weights, in shard order.

    Args:
        snapshot: The model.

    Returns:
        File names, sorted, each pinned in the snapshot; see `select_shards`.
    """
    names = {file.name for file in snapshot.files}
    return select_shards(snapshot.folder, names, snapshot.ref)
