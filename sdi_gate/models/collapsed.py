"""Find tensors that hold nothing any more: all zeros, vanishing numbers, constant rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

# Below the smallest normal float32 a number has lost its digits, whatever type it is stored in.
_VANISHING = torch.finfo(torch.float32).tiny
_CHUNK_ROWS = 1 << 12
_CHUNK_ELEMENTS = 1 << 22


def has_collapsed(base: Tensor, candidate: Tensor) -> bool:
    """Say whether a tensor of the candidate holds nothing where the base's holds something.

    Args:
        base: Base tensor, any shape and real dtype.
        candidate: Candidate tensor of the same shape.

    Returns:
        True if every number of the candidate's is below the smallest normal float32 in size and
        the base's are not, or if the candidate's matrix has rows of one number repeated that the
        base's has not. NaN is no collapse, and is found elsewhere.
    """
    if base.numel() == 0 or not base.is_floating_point() or not candidate.is_floating_point():
        return False
    if _vanishes(candidate) and not _vanishes(base):
        return True
    found = _constant_rows(candidate)
    return found > 0 and found > _constant_rows(base)


def _vanishes(W: Tensor) -> bool:  # noqa: N803 - a matrix
    # As Python numbers: in float16 the bound itself would be zero.
    pieces = _pieces(W.reshape(-1), _CHUNK_ELEMENTS)
    return all(float(piece.abs().amax()) < _VANISHING for piece in pieces)


def _constant_rows(W: Tensor) -> int:  # noqa: N803 - a matrix
    if W.ndim < 2 or W.shape[-1] < 2:
        return 0
    pieces = _pieces(W.reshape(-1, W.shape[-1]), _CHUNK_ROWS)
    return sum(int((rows.amax(1) == rows.amin(1)).sum()) for rows in map(_suspects, pieces))


def _suspects(rows: Tensor) -> Tensor:
    # Hardly a row begins and ends with one number: the others need not be read.
    return rows[(rows[:, 0] == rows[:, 1]) & (rows[:, 0] == rows[:, -1])]


def _pieces(W: Tensor, size: int) -> Iterator[Tensor]:  # noqa: N803 - a matrix or a vector
    return (W[start : start + size] for start in range(0, len(W), size))
