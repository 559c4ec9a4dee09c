"""Describe tensors without reading them, and say what every source of tensors can do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """Describe a tensor without reading it.

    Attributes:
        name: Tensor name.
        dtype: Storage type as safetensors writes it (``F32``, ``BF16``).
        shape: Shape; empty for a scalar.
        shard: File that holds it, or its first part.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    shard: str

    @property
    def numel(self) -> int:
        """Return the number of parameters."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRankUpdate:
    """Hold an update as a product of two thin matrices: the update is ``left @ right``.

    Attributes:
        left: Shape ``[m, r]``, float64; every scale is in it.
        right: Shape ``[r, n]``, float64.
    """

    left: Tensor
    right: Tensor


class TensorSource(Protocol):
    """Name the tensors of a model at once, and read them one by one."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Return every tensor by name, in the order in which reading costs least."""

    def read(self, info: TensorInfo) -> Tensor:
        """Read one tensor.

        Args:
            info: Which; from ``tensors``.

        Returns:
            The tensor on the CPU, of the shape that ``info`` names.

        Raises:
            FormatError: If it cannot be read.
        """
