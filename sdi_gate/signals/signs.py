"""Draw random signs, and hold them in one bit each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

_PER_BYTE = 8
# Bytes that are packed or unpacked at once: two million signs.
_CHUNK = 2**18


def rademacher(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw a tensor of independent signs.

    Args:
        shape: Shape of the result.
        generator: Source of randomness, on the CPU, so that every device sees the same signs.

    Returns:
        float32 tensor of -1 and 1, each with probability one half.
    """
    bits = torch.randint(0, 2, tuple(shape), generator=generator, dtype=torch.int8)
    return bits.to(torch.float32).mul_(2).sub_(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedSigns:
    """Hold the signs of one tensor, eight to a byte.

    Signs for a whole model are needed twice in every Hessian product, and a generator cannot go
    back: they are drawn once, and kept in a thirty-second of the room that the model has in
    float32.

    Attributes:
        bits: 1 for a positive sign, lowest bit first, shape ``[ceil(n / 8)]``, uint8, on the CPU.
        shape: Shape of the tensor, of ``n`` elements.
    """

    bits: Tensor
    shape: tuple[int, ...]

    @classmethod
    def draw(cls, shape: Sequence[int], generator: torch.Generator) -> PackedSigns:
        """Draw the signs that `rademacher` would give.

        Args:
            shape: Shape of the tensor.
            generator: Source of randomness, on the CPU.

        Returns:
            The signs. The generator is left where `rademacher` would leave it.
        """
        size = math.prod(shape)
        bits = torch.empty(-(-size // _PER_BYTE), dtype=torch.uint8)
        places = (2 ** torch.arange(_PER_BYTE)).to(torch.uint8)
        for start in range(0, len(bits), _CHUNK):
            part = bits[start : start + _CHUNK]
            count = min(size - _PER_BYTE * start, _PER_BYTE * len(part))
            signs = torch.zeros(_PER_BYTE * len(part), dtype=torch.uint8)
            # Piece by piece the generator gives what it gives at once: one number for each sign.
            signs[:count] = rademacher([count], generator) > 0
            torch.sum(signs.view(-1, _PER_BYTE) * places, -1, dtype=torch.uint8, out=part)
        return cls(bits=bits, shape=tuple(shape))

    def unpack(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return the signs as numbers.

        Args:
            dtype: Type of the result, a floating type.
            device: Where the result shall lie; only the packed signs go there.

        Returns:
            Tensor of -1 and 1.
        """
        places = torch.arange(_PER_BYTE, device=device)
        bytes_ = torch.arange(2**_PER_BYTE, device=device)[:, None]
        table = ((bytes_ >> places & 1) * 2 - 1).to(dtype)  # [256, 8]
        bits = self.bits.to(device)
        signs = torch.empty(len(bits), _PER_BYTE, dtype=dtype, device=device)
        for start in range(0, len(bits), _CHUNK):
            index = bits[start : start + _CHUNK].to(torch.int32)
            torch.index_select(table, 0, index, out=signs[start : start + _CHUNK])
        return signs.view(-1)[: math.prod(self.shape)].view(self.shape)
