"""Tell drift from rounding where two models are stored in different types.

The same weights saved in bfloat16 and in float32 differ by 0.17 % of their norm, which is the
size of a light fine-tune. Rounding is not drift: it is measured, shown and not counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

# Bits of a type's significand, the hidden one included.
_PRECISION = {
    torch.float64: 53,
    torch.float32: 24,
    torch.float16: 11,
    torch.bfloat16: 8,
}
# Errors of rounding to nearest are spread evenly over a step: their mean square is a twelfth of
# its square. An update that hides below the rounding is smaller, or not so even.
_UNIFORM = 1.0 / 12.0
_SHARE, _LEANING, _STANDARD_ERRORS = _UNIFORM / 4, 0.02, 4.0
# Small enough for a processor's cache: pieces in float64 cost no memory and little time.
_CHUNK_ELEMENTS = 1 << 18


class Rounded(StrEnum):
    """Name the model whose weights were rounded to the type of the other's."""

    BASE = "base"
    CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """Hold a pair of tensors between which rounding is no difference.

    Attributes:
        base: Base tensor.
        candidate: Candidate tensor.
        rounded: Which of them was rounded; None if neither had to be, or could be.
        floor_squares: Sum of squares of what rounding took away, float64; 0 if nothing did.
        rounded_squares: Sum of squares of the rounded tensor before it was; 0 if none was.
    """

    base: Tensor
    candidate: Tensor
    rounded: Rounded | None = None
    floor_squares: float = 0.0
    rounded_squares: float = 0.0


def reconcile(base: Tensor, candidate: Tensor) -> Reconciled:
    """Round the finer tensor of a pair to the type of the coarser one, where that is all it takes.

    A candidate in a coarser type is what will run: the base is rounded likewise, so that only what
    training did is left. A candidate in a finer type is compared as it is, since any part of it
    may be an update, unless all of its numbers round to the base's *and* what they differ by is
    spread as rounding errors are: then it is the original of which the base is a copy.

    Args:
        base: Base tensor, any shape and dtype.
        candidate: Candidate tensor of the same shape.

    Returns:
        The pair; unchanged if both are stored in one type, or one of them in a type that is not
        a floating-point one.
    """
    ours, theirs = _PRECISION.get(base.dtype), _PRECISION.get(candidate.dtype)
    if ours is None or theirs is None or base.dtype == candidate.dtype:
        return Reconciled(base=base, candidate=candidate)
    if theirs < ours:
        return _rounded(Rounded.BASE, base, base.to(candidate.dtype), candidate)
    if torch.equal(base.to(candidate.dtype), candidate):
        # A type of more digits and a shorter range (float16 after bfloat16) can lose some too.
        return _rounded(Rounded.BASE, base, candidate, candidate)
    if torch.equal(candidate.to(base.dtype), base) and _is_rounding(candidate, base):
        return _rounded(Rounded.CANDIDATE, candidate, base, base)
    return Reconciled(base=base, candidate=candidate)


def _rounded(who: Rounded, fine: Tensor, rounded: Tensor, other: Tensor) -> Reconciled:
    floor = _squares_between(fine, rounded)
    base, candidate = (rounded, other) if who is Rounded.BASE else (other, rounded)
    return Reconciled(
        base=base,
        candidate=candidate,
        # What is the same number in both types was not rounded.
        rounded=who if floor or not torch.equal(fine, rounded) else None,
        floor_squares=floor,
        rounded_squares=_squares(fine),
    )


def _squares(W: Tensor) -> float:  # noqa: N803 - a matrix
    return _squares_between(W, torch.zeros((), dtype=W.dtype, device=W.device).expand_as(W))


def _squares_between(fine: Tensor, coarse: Tensor) -> float:
    a, b = fine.reshape(-1), coarse.reshape(-1)
    pieces = zip(torch.split(a, _CHUNK_ELEMENTS), torch.split(b, _CHUNK_ELEMENTS), strict=True)
    total = math.fsum(float((x.double() - y.double()).square().sum()) for x, y in pieces)
    return total if math.isfinite(total) else 0.0  # what is not finite is found by whoever measures


def _is_rounding(fine: Tensor, coarse: Tensor) -> bool:
    a, b = fine.reshape(-1), coarse.reshape(-1)
    precision, least = _PRECISION[coarse.dtype], _least(coarse.dtype)
    squares = fourths = leaning = found = 0.0
    for x, y in zip(torch.split(a, _CHUNK_ELEMENTS), torch.split(b, _CHUNK_ELEMENTS), strict=True):
        wide = y.double()
        # Below the smallest normal number the steps no longer shrink with the numbers.
        step = torch.exp2(torch.frexp(wide).exponent.double() - precision).clamp(min=least)
        step = torch.where(wide != 0, step, 0.0)
        error = x.double() - wide
        squares += float(step.square().sum())
        fourths += float(step.square().square().sum())
        leaning += float((error * step * wide.sign()).sum())
        found += float(error.square().sum())
    # The spread of a sum of few errors is wide: of squares a 180th, of errors a twelfth.
    spread = _STANDARD_ERRORS * math.sqrt(fourths)
    even = abs(found - _UNIFORM * squares) <= max(_SHARE * squares, spread * 180**-0.5)
    # What moves all numbers away from zero, or towards it, is an update and no rounding.
    return even and abs(leaning) <= max(_LEANING * squares, spread * 12**-0.5)


def _least(dtype: torch.dtype) -> float:
    about = torch.finfo(dtype)
    return about.smallest_normal * about.eps
