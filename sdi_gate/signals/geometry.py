"""Measure how far the weights moved, per tensor, per layer and over the model's depth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdi_gate.signals.depth import DepthWeighting, layer_rows, layer_weights, mean_over_depth
from sdi_gate.signals.interface import (
    Estimate,
    Measurement,
    Outcome,
    SignalId,
    SignalName,
    SignalResult,
    inconclusive,
)
from sdi_gate.signals.linalg import squares_of_product

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from sdi_gate.signals.linalg import LowRank

METRIC = "relative-distance"
VERSION = 1
# Pieces in float64 that stay in a processor's cache; a GPU would wait for its own launches.
_CHUNK_ELEMENTS = 1 << 17
_DEVICE_CHUNK_ELEMENTS = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorMoments:
    """Hold the sums of squares of one tensor pair.

    Attributes:
        tensor: Tensor name.
        layer: Layer group.
        numel: Number of parameters.
        base_squares: Sum of squares of the base tensor; NaN or infinite if the base holds such.
        update_squares: Sum of squares of candidate minus base; NaN or infinite if either does.
    """

    tensor: str
    layer: str
    numel: int
    base_squares: float
    update_squares: float

    @property
    def is_finite(self) -> bool:
        """Say whether every number of both tensors is finite."""
        return math.isfinite(self.base_squares) and math.isfinite(self.update_squares)


def sums_of_squares(W0: Tensor, W1: Tensor, device: torch.device) -> tuple[float, float]:
    """Sum the squares of a tensor and of its update, in float64, chunk by chunk.

    float32 reductions over tens of millions of elements are off by half a percent on the CPU,
    which is more than some of the differences that a gate is asked about.

    Args:
        W0: Base tensor, any shape, any real dtype.
        W1: Candidate tensor of the same shape, any real dtype.
        device: Where to compute.

    Returns:
        Sum of squares of ``W0`` and of ``W1 - W0``; NaN or infinite if the inputs hold such.
        Both are 0 for empty tensors.
    """
    base = update = torch.zeros((), dtype=torch.float64, device=device)
    for a, b in zip(_pieces(W0, device), _pieces(W1, device), strict=True):
        base = base + torch.dot(a, a)
        difference = b.sub_(a)
        update = update + torch.dot(difference, difference)
    return float(base), float(update)


def sum_of_squares(W: Tensor, device: torch.device) -> float:
    """Sum the squares of a tensor, in float64, as `sums_of_squares` does to the bit.

    Args:
        W: Any shape, any real dtype.
        device: Where to compute.

    Returns:
        The sum; NaN or infinite if the tensor holds such.
    """
    total = torch.zeros((), dtype=torch.float64, device=device)
    for piece in _pieces(W, device):
        total = total + torch.dot(piece, piece)
    return float(total)


def _pieces(W: Tensor, device: torch.device) -> Iterator[Tensor]:
    # Copies, also of what is in float64 already: an update is subtracted in place.
    step = _CHUNK_ELEMENTS if device.type == "cpu" else _DEVICE_CHUNK_ELEMENTS
    flat = W.reshape(-1)
    for start in range(0, len(flat), step):
        yield flat[start : start + step].to(device=device, dtype=torch.float64, copy=True)


def sums_of_squares_low_rank(
    W0: Tensor, update: LowRank, device: torch.device
) -> tuple[float, float]:
    """Sum the squares of a tensor and of its update, which is a product of two thin matrices.

    Args:
        W0: Base tensor, shape ``[m, n]``, any real dtype.
        update: Candidate minus base as factors of shapes ``[m, r]`` and ``[r, n]``.
        device: Where to compute.

    Returns:
        Sum of squares of ``W0`` and of the update; NaN or infinite if the inputs hold such. The
        second is exactly 0 if a factor of the update is 0.
    """
    return sum_of_squares(W0, device), squares_of_product(update, device)


def weight_geometry(moments: Sequence[TensorMoments], weighting: DepthWeighting) -> SignalResult:
    r"""Compute the depth-weighted relative weight distance.

    For a layer group :math:`\ell` with its tensors stacked,
    :math:`r_\ell = \|\Delta_\ell\|_2 / \|W^0_\ell\|_2`; the headline is
    :math:`\sum_\ell d_\ell r_\ell` with depth weights :math:`\sum_\ell d_\ell = 1`. Beside it
    the distance :math:`\|\Delta\|_2` and the distance per parameter
    :math:`\|\Delta\|_2 / \sqrt{P}`. Invariant to a common rescaling of base and candidate and to
    a permutation applied to both; not to a rescaling of one of them. 0 exactly if and only if all
    compared tensors are equal; no upper bound. Cost: one pass over both checkpoints.

    Args:
        moments: Sums of squares of every compared tensor, in model order.
        weighting: Depth weights over the layer groups.

    Returns:
        The headline with the rows per layer and per tensor. Inconclusive if nothing was compared,
        if a tensor holds NaN or infinity, or if a layer group moved away from all zeros.

    References:
        Aghajanyan et al. (2021), arXiv:2012.13255, for why a fine-tune should need to move
        little. The ratio per layer and the depth weights are ours.
    """
    signal_id = SignalId(
        name=SignalName.WEIGHT_GEOMETRY,
        version=VERSION,
        parameters=(("depth-weights", str(weighting)),),
    )
    broken = [row.tensor for row in moments if not row.is_finite]
    if broken:
        reason = f"{len(broken)} tensors hold NaN or infinity, first {broken[0]}"
        return inconclusive(signal_id, METRIC, reason)
    if not moments:
        return inconclusive(signal_id, METRIC, "no tensor could be compared")
    by_layer = _relative_distances(moments)
    undefined = [layer for layer, value in by_layer.items() if not math.isfinite(value)]
    if undefined:
        reason = f"layer group {undefined[0]} is all zeros in the base and is not in the candidate"
        return inconclusive(signal_id, METRIC, reason)
    return SignalResult(
        id=signal_id,
        outcome=Outcome.MEASURED,
        metric=METRIC,
        estimate=Estimate(value=mean_over_depth(by_layer, weighting)),
        measurements=(
            *_totals(moments),
            *layer_rows(METRIC, by_layer),
            *_tensor_rows(moments),
        ),
        layer_weights=layer_weights([*by_layer], weighting),
    )


def relative_distance(update_squares: float, base_squares: float) -> float:
    """Return the ratio of two norms, given their squares.

    Args:
        update_squares: Sum of squares of the update.
        base_squares: Sum of squares of the base.

    Returns:
        The ratio; 0 if the update is 0, infinite if only the base is.
    """
    if update_squares == 0.0:
        return 0.0
    return math.sqrt(update_squares / base_squares) if base_squares > 0.0 else math.inf


def _relative_distances(moments: Sequence[TensorMoments]) -> dict[str, float]:
    sums: dict[str, tuple[float, float]] = {}
    for row in moments:
        update, base = sums.get(row.layer, (0.0, 0.0))
        sums[row.layer] = (update + row.update_squares, base + row.base_squares)
    return {layer: relative_distance(*pair) for layer, pair in sums.items()}


def _totals(moments: Sequence[TensorMoments]) -> tuple[Measurement, ...]:
    update = math.fsum(row.update_squares for row in moments)
    numel = sum(row.numel for row in moments)
    base = math.fsum(row.base_squares for row in moments)
    values = {
        "distance": math.sqrt(update),
        "distance-per-parameter": math.sqrt(update / max(1, numel)),
        "pooled-relative-distance": relative_distance(update, base),
    }
    return tuple(
        Measurement(metric=metric, estimate=Estimate(value=value))
        for metric, value in values.items()
    )


def _tensor_rows(moments: Sequence[TensorMoments]) -> tuple[Measurement, ...]:
    rows: list[Measurement] = []
    for row in moments:
        values = {
            METRIC: relative_distance(row.update_squares, row.base_squares),
            "distance-per-parameter": math.sqrt(row.update_squares / max(1, row.numel)),
        }
        rows.extend(
            Measurement(
                metric=metric, layer=row.layer, tensor=row.tensor, estimate=Estimate(value=value)
            )
            for metric, value in values.items()
            if math.isfinite(value)  # a bias of zeros that moved has no relative distance
        )
    return tuple(rows)
