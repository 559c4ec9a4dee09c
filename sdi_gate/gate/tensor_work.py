"""Measure one pair of tensors, or one tensor of a base, as a job of a pipeline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdi_gate.gate.pipeline import Job
from sdi_gate.gate.spectra import Compared
from sdi_gate.gate.tensor_cost import held_bytes, operations_of, work_bytes
from sdi_gate.gate.upload import pinned, uploaded
from sdi_gate.models.pairs import StoredPair, compare_stored, read_stored
from sdi_gate.signals.geometry import (
    TensorMoments,
    sum_of_squares,
    sums_of_squares,
    sums_of_squares_low_rank,
)
from sdi_gate.signals.linalg import LowRank, MatrixPair, is_finite
from sdi_gate.signals.matrices import compare_matrices
from sdi_gate.signals.spectral import TensorComparison

if TYPE_CHECKING:
    from torch import Tensor

    from sdi_gate.gate.spectra import SpectraCache
    from sdi_gate.models.alignment import TensorPair
    from sdi_gate.models.opening import OpenModel
    from sdi_gate.models.pairs import PairValues
    from sdi_gate.models.rounding import Rounded
    from sdi_gate.models.tensors import TensorInfo
    from sdi_gate.signals.matrices import MatrixComparison

_CHUNK_ROWS = 1 << 10


@dataclass(frozen=True, slots=True)
class Bench:
    """Hold what all jobs have in common.

    Attributes:
        base: The base.
        candidate: The candidate.
        top_k: Upper bound for the dimension of the subspaces.
        device: Where to compute.
        spectra: What is known of the base's matrices; None to keep nothing.
    """

    base: OpenModel
    candidate: OpenModel
    top_k: int
    device: torch.device
    spectra: SpectraCache | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFound:
    """Hold what one pair of tensors showed; none of its tensors.

    Attributes:
        pair: The pair.
        moment: Its sums of squares.
        comparison: Its matrices; None if it has none, or holds NaN or infinity.
        dtype: Type in which it was compared.
        rounded: Which of the two was rounded to the other's type; None if neither.
        floor_squares: Sum of squares of what rounding took away.
        rounded_squares: Sum of squares of what was rounded, before it was.
        has_collapsed: Whether the candidate's holds nothing where the base's holds something.
        padding_differs: Whether rows that no token addresses are not the same in both.
        added_ratio: Mean norm of an added row over that of a compared one of the candidate's;
            None if there is no row of either, or the compared ones are all zeros.
        bytes_read: Bytes of the tensors that were read.
        operations: Floating-point operations that its matrices took.
    """

    pair: TensorPair
    moment: TensorMoments
    comparison: TensorComparison | None
    dtype: torch.dtype
    rounded: Rounded | None
    floor_squares: float
    rounded_squares: float
    has_collapsed: bool
    padding_differs: bool
    added_ratio: float | None
    bytes_read: int
    operations: float


def pair_job(bench: Bench, pair: TensorPair) -> Job[StoredPair, PairFound]:
    """Describe the measurement of one pair.

    Args:
        bench: Both models.
        pair: The pair.

    Returns:
        The job.
    """
    return Job(
        held_bytes=held_bytes((pair.base, pair.candidate)),
        work_bytes=work_bytes(pair.base, bench.top_k),
        operations=operations_of(pair.base),
        read=lambda: _read(bench, pair),
        compute=lambda stored: _measure(bench, pair, stored),
    )


def base_job(bench: Bench, pair: TensorPair) -> Job[StoredPair, bool]:
    """Describe the measurement of a tensor of the base, for what is kept of it.

    Args:
        bench: The base, with its spectra.
        pair: The tensor.

    Returns:
        The job; its result is whether every number is finite.
    """
    return Job(
        held_bytes=held_bytes((pair.base,)),
        work_bytes=work_bytes(pair.base, bench.top_k),
        operations=operations_of(pair.base),
        read=lambda: _read_base(bench, pair),
        compute=lambda stored: _keep(bench, pair, stored),
    )


def finite_job(model: OpenModel, info: TensorInfo) -> Job[Tensor, bool]:
    """Describe a look for NaN and infinity in a tensor that is compared with none.

    Args:
        model: The model that has it.
        info: The tensor.

    Returns:
        The job; its result is whether every number is finite.
    """
    return Job(
        held_bytes=held_bytes((info,)),
        work_bytes=work_bytes(info, 0),
        operations=float(info.numel),
        read=lambda: model.source.read(info),
        compute=is_finite,
    )


def _read(bench: Bench, pair: TensorPair) -> StoredPair:
    return pinned(read_stored(bench.base, bench.candidate, pair), bench.device)


def _read_base(bench: Bench, pair: TensorPair) -> StoredPair:
    tensor = bench.base.source.read(pair.base)
    return pinned(StoredPair(base=tensor, candidate=tensor), bench.device)


def _keep(bench: Bench, pair: TensorPair, stored: StoredPair) -> bool:
    whole = uploaded(stored, bench.device).base
    base = whole if pair.rows is None else whole[: pair.rows]
    squares = sum_of_squares(base, bench.device)
    if math.isfinite(squares) and bench.spectra is not None:
        compared = _compared(bench, pair, base)
        bench.spectra.hold_against(compared, squares)
        for index, matrix in enumerate(matrices_of(base, turned=pair.is_transposed)):
            bench.spectra.spectrum(compared, index, matrix, bench.device)
    return math.isfinite(squares)


def _measure(bench: Bench, pair: TensorPair, stored: StoredPair) -> PairFound:
    values = compare_stored(uploaded(stored, bench.device), pair)
    update = _low_rank(values)
    base_squares, update_squares = _squares(values, update, bench.device)
    moment = TensorMoments(
        tensor=pair.name,
        layer=pair.layer,
        numel=pair.numel,
        base_squares=base_squares,
        update_squares=update_squares,
    )
    comparison = _compare(bench, moment, _pairs(bench, pair, values, update))
    return PairFound(
        pair=pair,
        moment=moment,
        comparison=comparison,
        dtype=values.base.dtype,
        rounded=values.rounded,
        floor_squares=values.floor_squares,
        rounded_squares=values.rounded_squares,
        has_collapsed=values.has_collapsed,
        padding_differs=values.padding_differs,
        added_ratio=None if values.added is None else _ratio(values.candidate, values.added),
        bytes_read=stored.size_bytes,
        operations=0.0 if comparison is None or values.is_equal else operations_of(pair.base),
    )


def _low_rank(values: PairValues) -> LowRank | None:
    if values.update is None:
        return None
    return LowRank(left=values.update.left, right=values.update.right)


def _squares(
    values: PairValues, update: LowRank | None, device: torch.device
) -> tuple[float, float]:
    if values.is_equal:
        return sum_of_squares(values.base, device), 0.0
    if update is not None:
        return sums_of_squares_low_rank(values.base, update, device)
    return sums_of_squares(values.base, values.candidate, device)


def _compare(
    bench: Bench, moment: TensorMoments, work: tuple[Compared, list[MatrixPair]]
) -> TensorComparison | None:
    compared, matrices = work
    if not matrices or not moment.is_finite:
        return None
    if bench.spectra is not None:
        bench.spectra.hold_against(compared, moment.base_squares)
    return TensorComparison(
        tensor=moment.tensor,
        layer=moment.layer,
        numel=moment.numel,
        matrices=tuple(
            _compare_one(bench.spectra, compared, index, matrix)
            for index, matrix in enumerate(matrices)
        ),
    )


def _compare_one(
    spectra: SpectraCache | None, compared: Compared, index: int, matrix: MatrixPair
) -> MatrixComparison:
    # Equal matrices need no spectrum, and none is computed for the next candidate either.
    if spectra is None or _are_equal(matrix.base, matrix.candidate):
        return compare_matrices(matrix, compared.top_k)
    base = spectra.spectrum(compared, index, matrix.base, matrix.device)
    return compare_matrices(matrix, compared.top_k, base=base)


def _are_equal(base: Tensor, candidate: Tensor) -> bool:
    return base.dtype == candidate.dtype and torch.equal(base, candidate)


def _pairs(
    bench: Bench, pair: TensorPair, values: PairValues, update: LowRank | None
) -> tuple[Compared, list[MatrixPair]]:
    turned = pair.is_transposed
    if turned and update is not None:
        update = LowRank(left=update.right.mT, right=update.left.mT)
    base = matrices_of(values.base, turned=turned)
    candidate = matrices_of(values.candidate, turned=turned)
    return _compared(bench, pair, values.base), [
        MatrixPair(base=a, candidate=b, device=bench.device, update=update)
        for a, b in zip(base, candidate, strict=True)
    ]


def _compared(bench: Bench, pair: TensorPair, base: Tensor) -> Compared:
    return Compared(
        name=pair.base.name,
        rows=pair.rows,
        dtype=base.dtype,
        is_turned=pair.is_transposed,
        top_k=bench.top_k,
    )


def matrices_of(W: Tensor, *, turned: bool) -> tuple[Tensor, ...]:  # noqa: N803 - a matrix
    """Return the matrices of a tensor: one with more than two axes, such as experts, stacks them.

    Args:
        W: Any shape and dtype.
        turned: Whether to turn each.

    Returns:
        The matrices; none if the tensor has fewer axes, no elements, or holds integers.
    """
    if W.ndim < 2 or not W.numel() or not W.is_floating_point():
        return ()
    found = W.reshape(-1, *W.shape[-2:]).unbind(0)
    return tuple(matrix.mT for matrix in found) if turned else found


def _ratio(compared: Tensor, added: Tensor) -> float | None:
    size, size_added = _mean_norm(compared), _mean_norm(added)
    ratio = size_added / size if size > 0.0 else math.nan
    return ratio if math.isfinite(ratio) else None


def _mean_norm(rows: Tensor) -> float:
    pieces = torch.split(rows.reshape(len(rows), -1), _CHUNK_ROWS)
    return math.fsum(float(piece.double().norm(dim=1).sum()) for piece in pieces) / len(rows)
