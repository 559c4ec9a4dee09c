"""Read safetensors checkpoints lazily: names and shapes first, tensors one by one."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.inspection import shards_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from sdi_gate.models.snapshot import ModelSnapshot

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_PLAIN_DTYPES = frozenset({"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"})
_AGAIN = "copy or download the model again, every file of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """Describe a tensor without reading it.

    Attributes:
        name: Tensor name.
        dtype: Storage type as safetensors writes it (``F32``, ``BF16``).
        shape: Shape; empty for a scalar.
        shard: File that holds it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    shard: str

    @property
    def numel(self) -> int:
        """Return the number of parameters."""
        return math.prod(self.shape)


class Checkpoint:
    """Read the names and shapes of a snapshot's weights at once, and tensors one by one.

    Files are mapped, not loaded, and only while the caller holds a tensor of theirs: pages of a
    file that stays mapped stay resident, so that memory would grow to the size of the model.

    Args:
        snapshot: The model.

    Attributes:
        tensors: Every tensor by name, in shard order.

    Raises:
        FormatError: If a shard is damaged, holds a tensor twice or does not fit its index.
        IncomparableError: If weights are stored in a quantised type.
    """

    def __init__(self, snapshot: ModelSnapshot) -> None:
        self._snapshot = snapshot
        self.tensors: dict[str, TensorInfo] = {}
        for shard in weight_files(snapshot):
            self._read_header(shard)

    def read(self, info: TensorInfo) -> Tensor:
        """Read one tensor.

        Args:
            info: Which; from ``tensors``.

        Returns:
            The tensor on the CPU, in its storage type.

        Raises:
            FormatError: If the bytes cannot be read.
        """  # noqa: DOC502 - raised by _opened()
        if info.numel == 0:
            # A header can name a hundred thousand of these, and each opening reads all of it.
            return torch.empty(info.shape)
        with self._opened(info.shard) as file:
            tensor: Tensor = file.get_tensor(info.name)
        return tensor

    def _read_header(self, shard: str) -> None:
        with self._opened(shard) as file:
            for name in file.keys():  # noqa: SIM118 - a safe_open is no mapping
                entry = file.get_slice(name)
                self._add(
                    TensorInfo(
                        name=name,
                        dtype=str(entry.get_dtype()),
                        shape=tuple(entry.get_shape()),
                        shard=shard,
                    )
                )

    def _add(self, info: TensorInfo) -> None:
        where = f"{info.shard!r} of {self._snapshot.ref}"
        if info.name in self.tensors:
            other = self.tensors[info.name].shard
            msg = f"tensor {info.name!r} is in {other!r} and again in {where}; expected it once"
            raise FormatError(msg, hint=_AGAIN)
        if info.dtype not in _PLAIN_DTYPES:
            msg = (
                f"tensor {info.name!r} in {where} is stored as {info.dtype}, a quantised type;"
                f" expected one of {', '.join(sorted(_PLAIN_DTYPES))}"
            )
            raise IncomparableError(msg, hint="compare the model before it is quantised")
        self.tensors[info.name] = info

    @contextmanager
    def _opened(self, shard: str) -> Iterator[Any]:
        try:
            with safe_open(self._snapshot.folder / shard, framework="pt") as file:
                yield file
        except (SafetensorError, OSError) as exc:
            msg = f"{shard!r} of {self._snapshot.ref} is not a whole safetensors file: {exc}"
            raise FormatError(msg, hint=_AGAIN) from exc


def weight_files(snapshot: ModelSnapshot) -> tuple[str, ...]:
    """Return the files that hold the model's weights, in shard order.

    The same that transformers loads: ``model.safetensors``, else the shards of its index; else
    all there are.

    Args:
        snapshot: The model.

    Returns:
        File names, sorted, each pinned in the snapshot.

    Raises:
        FormatError: If the index names a file that is not pinned.
    """
    names = {file.name for file in snapshot.files}
    if _SINGLE in names:
        return (_SINGLE,)
    if _INDEX not in names:
        return tuple(file.name for file in snapshot.weight_files)
    shards = shards_of(snapshot.folder / _INDEX, snapshot.ref)
    if not shards <= names:
        stray = min(shards - names)
        msg = f"{_INDEX} of {snapshot.ref} names {stray!r}; expected model-….safetensors beside it"
        raise FormatError(msg, hint=_AGAIN)
    return tuple(sorted(shards))
