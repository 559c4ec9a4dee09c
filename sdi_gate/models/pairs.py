"""Read the compared part of both models, tensor by tensor, with rounding told from drift."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from sdi_gate.models.collapsed import has_collapsed
from sdi_gate.models.rounding import Rounded, reconcile

if TYPE_CHECKING:
    from torch import Tensor

    from sdi_gate.models.alignment import TensorPair
    from sdi_gate.models.opening import OpenModel
    from sdi_gate.models.tensors import LowRankUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class PairValues:
    """Hold the numbers of one pair.

    Attributes:
        base: The base's compared part.
        candidate: The candidate's.
        update: Candidate minus base as a product of thin matrices, where an adapter gives it.
        rounded: Which of the two was rounded to the other's type; None if neither.
        floor_squares: Sum of squares of what rounding took away.
        rounded_squares: Sum of squares of what was rounded, before it was; 0 if nothing was.
        has_collapsed: Whether the candidate's tensor holds nothing where the base's holds
            something.
        added: Rows of the candidate whose tokens the base does not have; None if there are none.
        padding_differs: Whether rows that no token addresses are not the same in both.
    """

    base: Tensor
    candidate: Tensor
    update: LowRankUpdate | None = None
    rounded: Rounded | None = None
    floor_squares: float = 0.0
    rounded_squares: float = 0.0
    has_collapsed: bool = False
    added: Tensor | None = None
    padding_differs: bool = False


def read_pair(base: OpenModel, candidate: OpenModel, pair: TensorPair) -> PairValues:
    """Read one pair.

    Args:
        base: The base.
        candidate: The candidate.
        pair: Which tensors, and how much of them is compared.

    Returns:
        Its numbers. What an adapter left alone is the base's tensor itself.
    """
    ours, theirs = base.source.read(pair.base), candidate.source.read(pair.candidate)
    if pair.rows is None:
        return _reconciled(candidate, pair, ours, theirs)
    found = _reconciled(candidate, pair, ours[: pair.rows], theirs[: pair.rows])
    used = pair.rows + pair.num_added
    rest = (ours[pair.rows :], theirs[used:])
    return replace(
        found,
        added=theirs[pair.rows : used] if pair.num_added else None,
        padding_differs=rest[0].shape != rest[1].shape or not torch.equal(*rest),
    )


def _reconciled(candidate: OpenModel, pair: TensorPair, ours: Tensor, theirs: Tensor) -> PairValues:
    # An adapter adds to the base that is there: no rounding lies between the two.
    adapted = candidate.adapted
    if adapted is not None:
        update = adapted.update(pair.candidate.name) if pair.rows is None else None
        return PairValues(base=ours, candidate=theirs, update=update)
    found = reconcile(ours, theirs)
    return PairValues(
        base=found.base,
        candidate=found.candidate,
        rounded=found.rounded,
        floor_squares=found.floor_squares,
        rounded_squares=found.rounded_squares,
        has_collapsed=has_collapsed(ours, theirs),
    )
