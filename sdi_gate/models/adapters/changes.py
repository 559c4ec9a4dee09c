"""Say what an adapter does to one tensor, and compute it a few rows at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import torch

from sdi_gate.models.adapters.names import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor

    from sdi_gate.models.tensors import TensorInfo

    # The rows of an update from one row to before another, float64.
    Rows = Callable[[int, int], Tensor]

# Elements of the base that are promoted to float64 at one time: 64 MiB.
_CHUNK_ELEMENTS = 1 << 23


class Kind(StrEnum):
    """Name what is done to a tensor."""

    LORA = "LoRA"
    DORA = "DoRA"
    LOHA = "LoHa"
    LOKR = "LoKr"
    WHOLE = "full weights"
    UNTIED = "untied copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Say what an adapter does to one tensor.

    Attributes:
        target: The candidate's tensor.
        kind: What is done.
        shape: Shape of the candidate's tensor.
        start: The base's tensor that it starts from; None for full weights.
        beneath: The adapter's own copy of that, if it differs from the base's.
        parts: The adapter's tensors by what they are.
        whole: The adapter's tensor that takes the place of the base's.
        scale: Factor before the update.
        rank: Rank of the update; 0 where there is none.
        flipped: The update is the transpose of the product of the factors: in an embedding, and
            in a module that stores its weight as ``[in, out]``.
    """

    target: str
    kind: Kind
    shape: tuple[int, ...]
    start: str | None = None
    beneath: TensorInfo | None = None
    parts: Mapping[Part, TensorInfo] = field(default_factory=dict)
    whole: TensorInfo | None = None
    scale: float = 1.0
    rank: int = 0
    flipped: bool = False


def thin_factors(change: Change, parts: Mapping[Part, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the factors of a low-rank update; the update is their product.

    Args:
        change: Of kind LoRA or DoRA.
        parts: The adapter's tensors.

    Returns:
        Shapes ``[m, r]`` and ``[r, n]``, float64; the scale is in the first.
    """
    A, B = (  # noqa: N806 - PEFT's names, and the paper's
        parts[long if long in parts else short].double()
        for long, short in ((Part.EMBEDDING_A, Part.A), (Part.EMBEDDING_B, Part.B))
    )
    left, right = (A.mT, B.mT) if change.flipped else (B, A)
    return left * change.scale, right


def have_equal_values(first: Tensor, second: Tensor) -> bool:
    """Say whether two tensors hold the same numbers, in whatever types.

    Args:
        first: Any shape, any floating dtype.
        second: Likewise.

    Returns:
        False also where a number is NaN. No float64 copy of the tensors is made.
    """
    if first.shape != second.shape:
        return False
    pieces = (torch.split(tensor.reshape(-1), _CHUNK_ELEMENTS) for tensor in (first, second))
    return all(torch.equal(a.double(), b.double()) for a, b in zip(*pieces, strict=True))


def apply_change(change: Change, base: Tensor, parts: Mapping[Part, Tensor]) -> Tensor:
    """Compute the candidate's tensor.

    Args:
        change: Neither full weights nor an untied copy.
        base: What it starts from, shape ``[m, n]``, any floating dtype.
        parts: The adapter's tensors.

    Returns:
        Shape ``[m, n]``, float32, or float64 if the base is; where the update is exactly 0, the
        base's own numbers. No float64 copy of the matrix is made.
    """
    rows = _rows_of_update(change, parts)
    dtype = torch.float64 if base.dtype == torch.float64 else torch.float32
    out = torch.empty(base.shape, dtype=dtype)
    if change.kind is Kind.DORA:
        return _rescale(change, base, rows, parts[Part.MAGNITUDE].double().reshape(-1), out)
    for start, stop, total in _sums(base, rows):
        out[start:stop] = total
    return out


def _sums(base: Tensor, rows: Rows) -> Iterator[tuple[int, int, Tensor]]:
    step = max(1, _CHUNK_ELEMENTS // max(1, base.shape[1]))
    for start in range(0, base.shape[0], step):
        stop = min(start + step, base.shape[0])
        update, piece = rows(start, stop), base[start:stop].double()
        # Adding zeros would turn a negative zero into a positive one.
        yield start, stop, piece + update if bool(update.any()) else piece


def _rescale(change: Change, base: Tensor, rows: Rows, magnitude: Tensor, out: Tensor) -> Tensor:
    # Norms are taken over the inputs of each output; in a flipped matrix outputs are columns.
    if change.flipped:
        squares = torch.zeros(base.shape[1], dtype=torch.float64)
        for _, _, total in _sums(base, rows):
            squares += total.square().sum(0)
        factor = magnitude / squares.sqrt()
        for start, stop, total in _sums(base, rows):
            out[start:stop] = total * factor
        return out
    for start, stop, total in _sums(base, rows):
        factor = magnitude[start:stop] / total.norm(dim=1)
        out[start:stop] = total * factor[:, None]
    return out


def _rows_of_update(change: Change, parts: Mapping[Part, Tensor]) -> Rows:
    match change.kind:
        case Kind.LORA | Kind.DORA:
            left, right = thin_factors(change, parts)
            return lambda start, stop: left[start:stop] @ right
        case Kind.LOHA:
            return _hadamard_rows({part: tensor.double() for part, tensor in parts.items()}, change)
        case Kind.LOKR:
            return _kronecker_rows(
                {part: tensor.double() for part, tensor in parts.items()}, change
            )
        case _:
            msg = f"{change.kind} is no update"
            raise AssertionError(msg)


def _hadamard_rows(parts: Mapping[Part, Tensor], change: Change) -> Rows:
    first, second = parts[Part.HADA_W1_B], parts[Part.HADA_W2_B]

    def rows(start: int, stop: int) -> Tensor:
        product = parts[Part.HADA_W1_A][start:stop] @ first
        return product * (parts[Part.HADA_W2_A][start:stop] @ second) * change.scale

    return rows


def _kronecker_rows(parts: Mapping[Part, Tensor], change: Change) -> Rows:
    first = _one_factor(parts, Part.LOKR_W1, Part.LOKR_W1_A, Part.LOKR_W1_B)
    second = _one_factor(parts, Part.LOKR_W2, Part.LOKR_W2_A, Part.LOKR_W2_B)

    def rows(start: int, stop: int) -> Tensor:
        index = torch.arange(start, stop)
        of_first = first[index // second.shape[0]]  # [c, n1]
        of_second = second[index % second.shape[0]]  # [c, n2]
        return (of_first[:, :, None] * of_second[:, None, :]).flatten(1) * change.scale

    return rows


def _one_factor(parts: Mapping[Part, Tensor], whole: Part, left: Part, right: Part) -> Tensor:
    return parts[whole] if whole in parts else parts[left] @ parts[right]
