"""Read the compared part of both models, tensor by tensor, with rounding told from drift."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from sdi_gate.models.collapsed import has_collapsed
from sdi_gate.models.rounding import Rounded, reconcile
from sdi_gate.models.weights import Placed

if TYPE_CHECKING:
    from torch import Tensor

    from sdi_gate.models.alignment import TensorPair
    from sdi_gate.models.opening import OpenModel
    from sdi_gate.models.tensors import LowRankUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPair:
    """Hold what was read of one pair, before anything is computed.

    Attributes:
        base: The base's tensor.
        candidate: The candidate's; the very same one where both models hold the same bytes.
        update: Candidate minus base as a product of thin matrices, where an adapter gives it.
        has_adapter: Whether the candidate is the base with an adapter on it.
    """

    base: Tensor
    candidate: Tensor
    update: LowRankUpdate | None = None
    has_adapter: bool = False

    @property
    def size_bytes(self) -> int:
        """Return how many bytes were read."""
        return self.base.nbytes + (0 if self.candidate is self.base else self.candidate.nbytes)


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
        is_equal: Whether the compared parts are known to be equal in every number. What the same
            bytes say counts, so NaN is equal to itself here.
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
    is_equal: bool = False


def read_pair(base: OpenModel, candidate: OpenModel, pair: TensorPair) -> PairValues:
    """Read one pair.

    Args:
        base: The base.
        candidate: The candidate.
        pair: Which tensors, and how much of them is compared.

    Returns:
        Its numbers. What an adapter left alone is the base's tensor itself.
    """
    return compare_stored(read_stored(base, candidate, pair), pair)


def read_stored(base: OpenModel, candidate: OpenModel, pair: TensorPair) -> StoredPair:
    """Read the tensors of one pair, and one tensor alone where both models hold the same.

    Sources are made for one reader: what a library does to dequantise need not be safe in several
    threads at once.

    Args:
        base: The base.
        candidate: The candidate.
        pair: Which tensors.

    Returns:
        The tensors on the CPU, in the types in which their sources give them.
    """
    adapted = candidate.adapted
    ours = base.source.read(pair.base)
    theirs = ours if is_same(base, candidate, pair) else candidate.source.read(pair.candidate)
    whole = adapted is not None and pair.rows is None
    return StoredPair(
        base=ours,
        candidate=theirs,
        update=adapted.update(pair.candidate.name) if adapted is not None and whole else None,
        has_adapter=adapted is not None,
    )


def is_same(base: OpenModel, candidate: OpenModel, pair: TensorPair) -> bool:
    """Say whether both models hold the same tensor, without reading it.

    Args:
        base: The base.
        candidate: The candidate.
        pair: Which tensors.

    Returns:
        True if an adapter leaves the base's tensor alone, or if both lie in the same place of
        files with the same digest; False if that is not known.
    """
    ours, theirs = base.source, candidate.source
    adapted = candidate.adapted
    if adapted is not None:
        same_name = pair.base.name == pair.candidate.name
        return same_name and pair.candidate.name not in adapted.changed | adapted.untied
    if not isinstance(ours, Placed) or not isinstance(theirs, Placed):
        return False
    place = ours.place_of(pair.base)
    return place is not None and place == theirs.place_of(pair.candidate)


def compare_stored(stored: StoredPair, pair: TensorPair) -> PairValues:
    """Take the compared part of two tensors, and tell rounding from drift.

    Args:
        stored: The tensors.
        pair: How much of them is compared.

    Returns:
        Its numbers.
    """
    ours, theirs = stored.base, stored.candidate
    if pair.rows is None:
        return _reconciled(stored, ours, theirs)
    rows = ours[: pair.rows]
    found = _reconciled(stored, rows, rows if theirs is ours else theirs[: pair.rows])
    used = pair.rows + pair.num_added
    rest = (ours[pair.rows :], theirs[used:])
    return replace(
        found,
        added=theirs[pair.rows : used] if pair.num_added else None,
        padding_differs=rest[0].shape != rest[1].shape or not torch.equal(*rest),
    )


def _reconciled(stored: StoredPair, ours: Tensor, theirs: Tensor) -> PairValues:
    if theirs is ours:
        return PairValues(base=ours, candidate=ours, update=stored.update, is_equal=True)
    # An adapter adds to the base that is there: no rounding lies between the two.
    if stored.has_adapter:
        return PairValues(base=ours, candidate=theirs, update=stored.update)
    found = reconcile(ours, theirs)
    equal = found.base.dtype == found.candidate.dtype and torch.equal(found.base, found.candidate)
    return PairValues(
        base=found.base,
        candidate=found.candidate,
        rounded=found.rounded,
        floor_squares=found.floor_squares,
        rounded_squares=found.rounded_squares,
        # By the numbers as they are stored: rounding can bring a vanishing one back to zero.
        has_collapsed=not (equal and ours.dtype == theirs.dtype) and has_collapsed(ours, theirs),
        is_equal=equal,
    )
