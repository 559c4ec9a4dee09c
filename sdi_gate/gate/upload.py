"""Bring what was read from disk to the device that computes, in the types in which it is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdi_gate.gate.tier import free_on

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from sdi_gate.models.pairs import StoredPair

# A larger part of the device is for matrices in float64.
_SHARE = 0.25


def pinned(stored: StoredPair, device: torch.device) -> StoredPair:
    """Put tensors where a GPU can fetch them by itself; for the thread that reads.

    Args:
        stored: Tensors on the CPU.
        device: Where they will be computed with.

    Returns:
        Copies in pinned memory for a GPU; else, or where there is no such memory, the tensors.
    """
    if device.type != "cuda":
        return stored
    try:
        return _each(stored, _pin)
    except RuntimeError:
        return stored


def uploaded(stored: StoredPair, device: torch.device) -> StoredPair:
    """Bring tensors to a GPU whole, where that leaves room for the work on them.

    In their storage types they take a quarter of what chunks in float64 would on the way.

    Args:
        stored: Tensors on the CPU.
        device: Where to compute.

    Returns:
        The tensors on the device, or as they are: for the CPU, and where they are too large for
        that. Chunks of them are then brought over as they are needed.
    """
    if device.type != "cuda":
        return stored
    if stored.size_bytes > _SHARE * free_on(device):
        return stored
    return _each(stored, lambda tensor: tensor.to(device, non_blocking=True))


def _pin(tensor: Tensor) -> Tensor:
    return tensor.pin_memory()


def _each(stored: StoredPair, move: Callable[[Tensor], Tensor]) -> StoredPair:
    base = move(stored.base)
    same = stored.candidate is stored.base
    return replace(stored, base=base, candidate=base if same else move(stored.candidate))
