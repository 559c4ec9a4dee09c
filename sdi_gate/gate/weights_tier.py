"""Run tier ``weights``: read the paired tensors one by one and measure geometry and spectra.

Memory: the largest pair of tensors in its storage types, float64 chunks of 64 MiB, and for the
spectra of an ``[m, n]`` matrix some eight float64 matrices of order ``min(m, n)`` and four float64
matrices ``[max(m, n), top_k]``. Nothing grows with the number of tensors but the table of results.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sdi_gate.models.layers import depth_of
from sdi_gate.models.pairs import read_pair
from sdi_gate.models.rounding import Rounded
from sdi_gate.signals.geometry import (
    TensorMoments,
    sums_of_squares,
    sums_of_squares_low_rank,
    weight_geometry,
)
from sdi_gate.signals.interface import SignalResult, inconclusive
from sdi_gate.signals.linalg import LowRank, MatrixPair, is_finite
from sdi_gate.signals.matrices import compare_matrices
from sdi_gate.signals.spectral import TensorComparison, spectral_divergence

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sdi_gate.gate.request import Settings
    from sdi_gate.models.alignment import Alignment, TensorPair
    from sdi_gate.models.opening import OpenModel
    from sdi_gate.models.pairs import PairValues
    from sdi_gate.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundingFacts:
    """Say what lies between two models that are stored in different types.

    Attributes:
        floor: Norm of what rounding took away over that of the tensors concerned; at least 0.
        num_tensors: Tensors that were rounded to the other model's type.
        base: Types to which tensors of the base were rounded, by name.
        candidate: Likewise of the candidate, all of whose numbers then equal the base's.
    """

    floor: float
    num_tensors: int
    base: dict[str, torch.dtype]
    candidate: dict[str, torch.dtype]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedRows:
    """Say how large the rows are that a candidate added to a tensor with one row for each token.

    Attributes:
        tensor: Its name.
        num_rows: Rows of added tokens.
        norm_ratio: Mean norm of an added row over that of a compared one of the candidate's;
            None if those are all zeros.
    """

    tensor: str
    num_rows: int
    norm_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsResult:
    """Hold what tier ``weights`` found.

    Attributes:
        geometry: Weight geometry.
        spectral: Spectral divergence.
        defects: One sentence if weights are not finite.
        notices: Sentences about what no number shows.
        rounding: What rounding took away; None if both models are stored alike.
        added: Rows of tokens that the candidate added.
        padding_differs: Tensors whose rows of padding are not the same in both.
    """

    geometry: SignalResult
    spectral: SignalResult
    defects: tuple[str, ...]
    notices: tuple[str, ...] = ()
    rounding: RoundingFacts | None = None
    added: tuple[AddedRows, ...] = ()
    padding_differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Hold both open models and how their tensors match.

    Attributes:
        base: The base.
        candidate: The candidate.
        alignment: How their tensors match.
    """

    base: OpenModel
    candidate: OpenModel
    alignment: Alignment


@dataclass(slots=True)
class _Found:
    """Collect what the pairs show, one after the other."""

    moments: list[TensorMoments] = field(default_factory=list)
    comparisons: list[TensorComparison] = field(default_factory=list)
    added: list[AddedRows] = field(default_factory=list)
    padding_differs: list[str] = field(default_factory=list)
    collapsed: list[str] = field(default_factory=list)
    rounded: dict[Rounded, dict[str, torch.dtype]] = field(
        default_factory=lambda: {who: {} for who in Rounded}
    )
    floor_squares: float = 0.0
    floor_base_squares: float = 0.0

    def add(self, pair: TensorPair, values: PairValues, moment: TensorMoments) -> None:
        self.moments.append(moment)
        if values.added is not None:
            self.added.append(_added_rows(pair.name, values.candidate, values.added))
        if values.padding_differs:
            self.padding_differs.append(pair.name)
        if values.has_collapsed:
            self.collapsed.append(pair.name)
        if values.rounded is not None:
            name = pair.base.name if values.rounded is Rounded.BASE else pair.candidate.name
            self.rounded[values.rounded][name] = values.base.dtype
            self.floor_squares += values.floor_squares
            self.floor_base_squares += values.rounded_squares

    @property
    def rounding(self) -> RoundingFacts | None:
        base, candidate = self.rounded[Rounded.BASE], self.rounded[Rounded.CANDIDATE]
        if not base and not candidate:
            return None
        share = self.floor_squares / self.floor_base_squares if self.floor_base_squares else 0.0
        return RoundingFacts(
            floor=math.sqrt(share) if math.isfinite(share) else 0.0,
            num_tensors=len(base) + len(candidate),
            base=base,
            candidate=candidate,
        )

    @property
    def notices(self) -> tuple[str, ...]:
        found = []
        if self.collapsed:
            found.append(
                f"{len(self.collapsed)} tensors of the candidate vanish or have constant rows where"
                f" the base's do not, first {self.collapsed[0]}"
            )
        if hidden := self.rounded[Rounded.CANDIDATE]:
            found.append(
                f"{len(hidden)} tensors of the candidate equal the base's but for its rounding,"
                f" and what lies below that was not counted, first {next(iter(hidden))}"
            )
        return tuple(found)


def measure_weights(
    weights: Weights, settings: Settings, device: torch.device, progress: Progress
) -> WeightsResult:
    """Measure weight geometry and spectral divergence.

    Args:
        weights: Both models.
        settings: Depth weights and subspace dimension.
        device: Where to compute.
        progress: Told of every tensor, in stage ``weights``.

    Returns:
        Both signals. If any tensor, paired or not, holds NaN or infinity, both are inconclusive
        and a defect says so.
    """
    found = _Found()
    pairs = weights.alignment.paired
    for done, pair in enumerate(pairs):
        progress.advance("weights", done, len(pairs), pair.name)
        _measure_pair(pair, weights, settings, device, found)
    progress.advance("weights", len(pairs), len(pairs))
    broken = [row.tensor for row in found.moments if not row.is_finite]
    broken.extend(_broken_unpaired(weights))
    found.moments.sort(key=lambda row: depth_of(row.layer))
    found.comparisons.sort(key=lambda row: depth_of(row.layer))
    return _combine(found, broken, settings.for_layers(weights.alignment.layers), weights)


def _measure_pair(
    pair: TensorPair, weights: Weights, settings: Settings, device: torch.device, found: _Found
) -> None:
    values = read_pair(weights.base, weights.candidate, pair)
    update = _low_rank(values)
    base_squares, update_squares = (
        sums_of_squares(values.base, values.candidate, device)
        if update is None
        else sums_of_squares_low_rank(values.base, update, device)
    )
    moment = TensorMoments(
        tensor=pair.name,
        layer=pair.layer,
        numel=pair.numel,
        base_squares=base_squares,
        update_squares=update_squares,
    )
    found.add(pair, values, moment)
    if values.base.ndim < 2 or not values.base.numel() or not moment.is_finite:
        return
    if not values.base.is_floating_point():
        return
    matrices = tuple(
        compare_matrices(matrix_pair, settings.top_k)
        for matrix_pair in _matrix_pairs(pair, values, update, device)
    )
    found.comparisons.append(
        TensorComparison(tensor=pair.name, layer=pair.layer, numel=pair.numel, matrices=matrices)
    )


def _low_rank(values: PairValues) -> LowRank | None:
    if values.update is None:
        return None
    return LowRank(left=values.update.left, right=values.update.right)


def _matrix_pairs(
    pair: TensorPair, values: PairValues, update: LowRank | None, device: torch.device
) -> list[MatrixPair]:
    # Tensors with more axes stack matrices: a fused layer of experts.
    stacked = zip(_matrices(values.base), _matrices(values.candidate), strict=True)
    if not pair.is_transposed:
        return [MatrixPair(base=a, candidate=b, device=device, update=update) for a, b in stacked]
    turned = None if update is None else LowRank(left=update.right.mT, right=update.left.mT)
    return [MatrixPair(base=a.mT, candidate=b.mT, device=device, update=turned) for a, b in stacked]


def _matrices(W: Tensor) -> tuple[Tensor, ...]:  # noqa: N803 - a matrix
    return tuple(W.reshape(-1, *W.shape[-2:]).unbind(0))


def _added_rows(name: str, compared: Tensor, added: Tensor) -> AddedRows:
    size, size_added = (
        float(rows.reshape(len(rows), -1).double().norm(dim=1).mean()) for rows in (compared, added)
    )
    ratio = size_added / size if size > 0.0 else math.nan
    return AddedRows(
        tensor=name, num_rows=len(added), norm_ratio=ratio if math.isfinite(ratio) else None
    )


def _broken_unpaired(weights: Weights) -> list[str]:
    # Nothing is compared with these, but NaN in them must not pass either.
    alignment = weights.alignment
    base = [*alignment.base_only, *(info for info, _ in alignment.mismatched)]
    candidate = [*alignment.candidate_only, *(info for _, info in alignment.mismatched)]
    partly = {rows.name for rows in alignment.vocabulary}
    candidate.extend(pair.candidate for pair in alignment.paired if pair.name in partly)
    tensors = [(weights.base, info) for info in base]
    tensors.extend((weights.candidate, info) for info in candidate)
    return [info.name for model, info in tensors if not is_finite(model.source.read(info))]


def _combine(
    found: _Found, broken: list[str], settings: Settings, weights: Weights
) -> WeightsResult:
    geometry = weight_geometry(found.moments, settings.depth_weighting)
    # Which side of a matrix its left vectors are of: named where a family stores it turned.
    turned = any(pair.is_transposed for pair in weights.alignment.paired)
    spectral = spectral_divergence(
        found.comparisons, settings.depth_weighting, settings.top_k, turned=turned
    )
    defects: tuple[str, ...] = ()
    if broken:
        reason = f"{len(broken)} tensors hold NaN or infinity, first {broken[0]}"
        geometry = inconclusive(geometry.id, geometry.metric, reason)
        spectral = inconclusive(spectral.id, spectral.metric, reason)
        defects = (f"weights: {reason}",)
    return WeightsResult(
        geometry=geometry,
        spectral=spectral,
        defects=defects,
        notices=found.notices,
        rounding=found.rounding,
        added=tuple(found.added),
        padding_differs=tuple(found.padding_differs),
    )
