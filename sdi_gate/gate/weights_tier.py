"""Run tier ``weights``: read the paired tensors one by one and measure geometry and spectra.

Memory: the largest pair of tensors in its storage types, float64 chunks of 64 MiB, and for the
spectra of an ``[m, n]`` matrix some eight float64 matrices of order ``min(m, n)`` and four float64
matrices ``[max(m, n), top_k]``. Nothing grows with the number of tensors but the table of results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.models.layers import depth_of
from sdi_gate.signals.geometry import TensorMoments, sums_of_squares, weight_geometry
from sdi_gate.signals.interface import SignalResult, inconclusive
from sdi_gate.signals.linalg import MatrixPair, is_finite
from sdi_gate.signals.matrices import compare_matrices
from sdi_gate.signals.spectral import TensorComparison, spectral_divergence

if TYPE_CHECKING:
    import torch

    from sdi_gate.gate.request import Settings
    from sdi_gate.models.layers import Alignment, TensorPair
    from sdi_gate.models.weights import Checkpoint
    from sdi_gate.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsResult:
    """Hold what tier ``weights`` found.

    Attributes:
        geometry: Weight geometry.
        spectral: Spectral divergence.
        defects: One sentence if weights are not finite.
    """

    geometry: SignalResult
    spectral: SignalResult
    defects: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Hold both open checkpoints and how their tensors match.

    Attributes:
        base: The base's tensors.
        candidate: The candidate's.
        alignment: How they match.
    """

    base: Checkpoint
    candidate: Checkpoint
    alignment: Alignment


def measure_weights(
    weights: Weights, settings: Settings, device: torch.device, progress: Progress
) -> WeightsResult:
    """Measure weight geometry and spectral divergence.

    Args:
        weights: Both checkpoints.
        settings: Depth weights and subspace dimension.
        device: Where to compute.
        progress: Told of every tensor, in stage ``weights``.

    Returns:
        Both signals. If any tensor, paired or not, holds NaN or infinity, both are inconclusive
        and a defect says so.
    """
    moments: list[TensorMoments] = []
    comparisons: list[TensorComparison] = []
    pairs = weights.alignment.paired
    for done, pair in enumerate(pairs):
        progress.advance("weights", done, len(pairs), pair.base.name)
        moment, comparison = _measure_pair(pair, weights, settings, device)
        moments.append(moment)
        comparisons.extend(comparison)
    progress.advance("weights", len(pairs), len(pairs))
    broken = [row.tensor for row in moments if not row.is_finite]
    broken.extend(_broken_unpaired(weights))
    moments.sort(key=lambda row: depth_of(row.layer))
    comparisons.sort(key=lambda row: depth_of(row.layer))
    return _combine(moments, comparisons, broken, settings.for_layers(weights.alignment.layers))


def _measure_pair(
    pair: TensorPair, weights: Weights, settings: Settings, device: torch.device
) -> tuple[TensorMoments, list[TensorComparison]]:
    base, candidate = weights.base.read(pair.base), weights.candidate.read(pair.candidate)
    base_squares, update_squares = sums_of_squares(base, candidate, device)
    moment = TensorMoments(
        tensor=pair.base.name,
        layer=pair.layer,
        numel=pair.base.numel,
        base_squares=base_squares,
        update_squares=update_squares,
    )
    is_matrix = base.ndim >= 2 and base.numel() > 0
    if not is_matrix or not moment.is_finite or not base.is_floating_point():
        return moment, []
    # Tensors with more axes stack matrices: a fused layer of experts.
    stacked = zip(_matrices(base), _matrices(candidate), strict=True)
    matrices = tuple(
        compare_matrices(MatrixPair(base=a, candidate=b, device=device), settings.top_k)
        for a, b in stacked
    )
    comparison = TensorComparison(
        tensor=pair.base.name, layer=pair.layer, numel=pair.base.numel, matrices=matrices
    )
    return moment, [comparison]


def _matrices(W: torch.Tensor) -> tuple[torch.Tensor, ...]:  # noqa: N803 - a matrix
    return tuple(W.reshape(-1, *W.shape[-2:]).unbind(0))


def _broken_unpaired(weights: Weights) -> list[str]:
    # Nothing is compared with these, but NaN in them must not pass either.
    alignment = weights.alignment
    base = [*alignment.base_only, *(info for info, _ in alignment.mismatched)]
    candidate = [*alignment.candidate_only, *(info for _, info in alignment.mismatched)]
    tensors = [(weights.base, info) for info in base]
    tensors.extend((weights.candidate, info) for info in candidate)
    return [info.name for checkpoint, info in tensors if not is_finite(checkpoint.read(info))]


def _combine(
    moments: list[TensorMoments],
    comparisons: list[TensorComparison],
    broken: list[str],
    settings: Settings,
) -> WeightsResult:
    geometry = weight_geometry(moments, settings.depth_weighting)
    spectral = spectral_divergence(comparisons, settings.depth_weighting, settings.top_k)
    if not broken:
        return WeightsResult(geometry=geometry, spectral=spectral, defects=())
    reason = f"{len(broken)} tensors hold NaN or infinity, first {broken[0]}"
    return WeightsResult(
        geometry=inconclusive(geometry.id, geometry.metric, reason),
        spectral=inconclusive(spectral.id, spectral.metric, reason),
        defects=(f"weights: {reason}",),
    )
