"""Measure how the spectrum and the top singular subspaces of the weight matrices changed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.signals.depth import (
    DepthWeighting,
    layer_rows,
    layer_weights,
    mean_by_layer,
    mean_over_depth,
)
from sdi_gate.signals.interface import (
    Estimate,
    Measurement,
    Outcome,
    SignalId,
    SignalName,
    SignalResult,
    inconclusive,
)
from sdi_gate.signals.matrices import INTRUDER_COSINE, TOP_K

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.signals.matrices import MatrixComparison

METRIC = "spectral-divergence"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorComparison:
    """Hold the comparison of one weight tensor.

    Attributes:
        tensor: Tensor name.
        layer: Layer group.
        numel: Number of parameters.
        matrices: One comparison; several where a tensor stacks matrices (experts).
    """

    tensor: str
    layer: str
    numel: int
    matrices: tuple[MatrixComparison, ...]


def spectral_divergence(
    comparisons: Sequence[TensorComparison],
    weighting: DepthWeighting,
    top_k: int = TOP_K,
    *,
    turned: bool = False,
) -> SignalResult:
    r"""Compute the spectral divergence of a model: spectra and subspaces, averaged over depth.

    For each matrix the mean of the spectrum distance and the subspace loss; the mean over the
    matrices of a layer group, weighted by parameters; the depth-weighted mean over layer groups.
    Fine-tuning hardly moves singular values and rotates singular vectors, so a headline of values
    alone would be nearly blind: a pure rotation leaves the first term at 0 and moves the second.
    Invariant to a permutation or rotation applied to base and candidate alike. 0 if the matrices
    are equal; no upper bound.

    Args:
        comparisons: Comparison of every tensor with at least two axes, in model order.
        weighting: Depth weights over the layer groups.
        top_k: Upper bound for the dimension of the subspaces, as the comparisons were made.
        turned: Whether matrices that are stored as ``[inputs, outputs]`` were turned before, so
            that intruder dimensions are of the outputs in every family.

    Returns:
        The headline with its terms per layer and per tensor. Inconclusive if there is no matrix
        or if one holds NaN or infinity.

    References:
        Martin and Mahoney (2021), arXiv:1810.01075, for spectra as a model's quality; Shuttleworth
        et al. (2024), arXiv:2410.21228, for subspaces. The combination is ours and provisional.
    """
    signal_id = _signal_id(weighting, top_k, turned=turned)
    problem = _problem(comparisons)
    if problem:
        return inconclusive(signal_id, METRIC, problem)
    tensor_rows = tuple(row for item in comparisons for row in _tensor_rows(item))
    by_metric = {
        metric: _by_layer(metric, comparisons, tensor_rows)
        for metric in (METRIC, "spectrum-distance", "subspace-loss")
    }
    intruders = sum(m.intruder_dimensions for item in comparisons for m in item.matrices)
    values = {
        **{metric: mean_over_depth(by_layer, weighting) for metric, by_layer in by_metric.items()},
        "intruder-dimensions": float(intruders),
    }
    return SignalResult(
        id=signal_id,
        outcome=Outcome.MEASURED,
        metric=METRIC,
        estimate=Estimate(value=values.pop(METRIC)),
        measurements=(
            *(Measurement(metric=m, estimate=Estimate(value=v)) for m, v in values.items()),
            *(
                row
                for metric, by_layer in by_metric.items()
                for row in layer_rows(metric, by_layer)
            ),
            *tensor_rows,
        ),
        layer_weights=layer_weights([*by_metric[METRIC]], weighting),
    )


def _signal_id(weighting: DepthWeighting, top_k: int, *, turned: bool) -> SignalId:
    return SignalId(
        name=SignalName.SPECTRAL_DIVERGENCE,
        version=VERSION,
        parameters=(
            ("depth-weights", str(weighting)),
            ("intruder-cosine", str(INTRUDER_COSINE)),
            *((("stored-transposed", "turned"),) if turned else ()),
            ("top-k", str(top_k)),
        ),
    )


def _problem(comparisons: Sequence[TensorComparison]) -> str | None:
    if not any(item.matrices for item in comparisons):
        return "no weight matrix could be compared"
    broken = [
        item.tensor
        for item in comparisons
        if not all(math.isfinite(matrix.divergence) for matrix in item.matrices)
    ]
    return f"{len(broken)} tensors hold NaN or infinity, first {broken[0]}" if broken else None


def _by_layer(
    metric: str, comparisons: Sequence[TensorComparison], rows: Sequence[Measurement]
) -> dict[str, float]:
    numel = {item.tensor: item.numel for item in comparisons}
    return mean_by_layer(
        [
            (row.layer, row.estimate.value, numel[row.tensor])
            for row in rows
            if row.metric == metric and row.layer is not None and row.tensor is not None
        ]
    )


def _tensor_rows(item: TensorComparison) -> tuple[Measurement, ...]:
    columns: dict[str, list[float | None]] = {
        METRIC: [m.divergence for m in item.matrices],
        "spectrum-distance": [m.spectrum_distance for m in item.matrices],
        "subspace-loss": [m.subspace_loss for m in item.matrices],
        "intruder-dimensions": [float(m.intruder_dimensions) for m in item.matrices],
        "stable-rank-shift": [m.stable_rank_shift for m in item.matrices],
        "effective-rank-shift": [m.effective_rank_shift for m in item.matrices],
        "update-signal-share": [m.update_signal_share for m in item.matrices],
        "update-stable-rank": [m.update_stable_rank for m in item.matrices],
    }
    return tuple(
        Measurement(
            metric=metric,
            layer=item.layer,
            tensor=item.tensor,
            estimate=Estimate(value=math.fsum(known) / len(known)),
        )
        for metric, column in columns.items()
        if (known := [value for value in column if value is not None])
    )
