"""Measure how far the hidden representations drifted: debiased CKA and a basis-aware distance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdi_gate.signals.cka import (
    MIN_SAMPLES,
    STD_FLOOR,
    cka_angle,
    debiased_linear_cka,
    standardise,
)
from sdi_gate.signals.depth import layer_rows
from sdi_gate.signals.interface import (
    Estimate,
    Measurement,
    Outcome,
    SignalId,
    SignalName,
    SignalResult,
    inconclusive,
)
from sdi_gate.signals.strata import (
    Grid,
    grid_rows,
    mean_of_layers,
    stratum_rows,
    worst,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

METRIC = "cka-angle"
VERSION = 2
LATE_THIRD = "cka-angle-late-third"
OUTPUT = "output-cka-angle"
OUTPUT_DISTANCE = "output-activation-distance"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationPair:
    """Hold the activations of both models after one layer.

    Attributes:
        layer: Layer group.
        base: One row per probe sample, shape ``[n, p]``, any floating dtype.
        candidate: Row ``i`` is the same sample, shape ``[n, p]``.
    """

    layer: str
    base: Tensor
    candidate: Tensor


def relative_activation_distance(X: Tensor, Y: Tensor) -> float:
    r"""Compute :math:`\|Y - X\|_F / \|X\|_F`.

    Both models share one basis, so this sees what CKA is blind to: a rotation, a rescaling, a
    shift of the mean. Invariant only to a rotation or rescaling of both alike.

    Args:
        X: Standardised base activations, shape ``[n, p]``, float64.
        Y: Standardised candidate activations, shape ``[n, p]``, float64.

    Returns:
        0 if equal, no upper bound; infinite if only ``X`` is all zeros.
    """
    moved = float(torch.linalg.vector_norm(Y - X))
    if moved == 0.0:
        return 0.0
    size = float(torch.linalg.vector_norm(X))
    return moved / size if size > 0.0 else math.inf


def representation_drift(
    pairs: Sequence[ActivationPair],
    strata: Sequence[str],
    parameters: Sequence[tuple[str, str]],
    output: ActivationPair | None = None,
) -> SignalResult:
    """Compute the representation drift: the CKA angle of the worst stratum, mean over layers.

    Beside it the relative distance of the standardised activations, aggregated alike, and the
    CKA angle of the output-proximal third of the layers, where change concentrates, and angle and
    distance of what the head reads, which is the state after the last norm.

    Args:
        pairs: Activations after every decoder layer, from input to output.
        strata: Stratum of every row.
        parameters: Parameters of the forward passes that change the number (probe digest, dtype,
            pooling), for the signal's id.
        output: What the head reads, if that could be read.

    Returns:
        The headline in radians from 0 to pi/2, with layers and strata; the rows by layer are
        those of the worst stratum. Exact for the given probe set, so there is no standard error.
        Inconclusive if a model's activations are not finite or constant over a stratum, or if a
        stratum has fewer than 4 samples.

    References:
        Kornblith et al. (2019), arXiv:1905.00414; standardisation, strata, angle and aggregation
        are ours.
    """
    signal_id = SignalId(
        name=SignalName.REPRESENTATION_DRIFT,
        version=VERSION,
        parameters=(*parameters, ("std-floor", str(STD_FLOOR))),
    )
    problem = _problem(pairs, strata)
    if problem:
        return inconclusive(signal_id, METRIC, problem)
    similarities, distances = _grids(pairs, strata)
    of_output, output_distances = _grids([output] if output is not None else [], strata)
    angles, output_angles = _angles(similarities), _angles(of_output)
    problem = _undefined(angles | output_angles, distances | output_distances)
    if problem:
        return inconclusive(signal_id, METRIC, problem)
    headline = mean_of_layers(angles)
    return SignalResult(
        id=signal_id,
        outcome=Outcome.MEASURED,
        metric=METRIC,
        estimate=Estimate(value=headline[worst(headline)]),
        measurements=(
            *_aggregate(METRIC, angles)[1:],
            *_over_strata(LATE_THIRD, _late_third(pairs, angles)),
            *_over_strata(OUTPUT, output_angles),
            *_over_strata(OUTPUT_DISTANCE, output_distances),
            *_aggregate("relative-activation-distance", distances),
            *grid_rows("cka-similarity", similarities),
        ),
    )


def _angles(similarities: Grid) -> Grid:
    return {key: cka_angle(value) for key, value in similarities.items()}


def _undefined(angles: Grid, distances: Grid) -> str | None:
    for (layer, stratum), angle in angles.items():
        if not (math.isfinite(angle) and math.isfinite(distances[layer, stratum])):
            return f"activations after {layer} are constant over the samples of stratum {stratum}"
    return None


def _problem(pairs: Sequence[ActivationPair], strata: Sequence[str]) -> str | None:
    if not strata:
        return "the probe set has no samples"
    small = [stratum for stratum in dict.fromkeys(strata) if strata.count(stratum) < MIN_SAMPLES]
    if small:
        return f"stratum {small[0]} has fewer than {MIN_SAMPLES} samples"
    if not pairs:
        return "the model has no decoder layers whose activations could be read"
    for pair in pairs:
        for who, X in (("base", pair.base), ("candidate", pair.candidate)):
            if not bool(torch.isfinite(X).all()):
                return f"activations of the {who} after {pair.layer} hold NaN or infinity"
    return None


def _grids(pairs: Sequence[ActivationPair], strata: Sequence[str]) -> tuple[Grid, Grid]:
    rows = {
        stratum: torch.tensor([i for i, name in enumerate(strata) if name == stratum])
        for stratum in dict.fromkeys(strata)
    }
    similarities: Grid = {}
    distances: Grid = {}
    for pair in pairs:
        X, Y = standardise(pair.base, pair.candidate)
        for stratum, index in rows.items():
            x, y = X[index], Y[index]
            similarities[pair.layer, stratum] = float(debiased_linear_cka(x, y))
            distances[pair.layer, stratum] = relative_activation_distance(x, y)
    return similarities, distances


def _aggregate(metric: str, grid: Grid) -> tuple[Measurement, ...]:
    by_stratum = mean_of_layers(grid)
    top = worst(by_stratum)
    return (
        Measurement(metric=metric, estimate=Estimate(value=by_stratum[top])),
        *layer_rows(metric, {layer: v for (layer, name), v in grid.items() if name == top}),
        *stratum_rows(metric, {name: Estimate(value=v) for name, v in by_stratum.items()}),
        *grid_rows(metric, grid),
    )


def _late_third(pairs: Sequence[ActivationPair], angles: Grid) -> Grid:
    late = {pair.layer for pair in pairs[-max(1, len(pairs) // 3) :]}
    return {key: value for key, value in angles.items() if key[0] in late}


def _over_strata(metric: str, grid: Grid) -> tuple[Measurement, ...]:
    by_stratum = mean_of_layers(grid)
    if not by_stratum:
        return ()
    return (
        Measurement(metric=metric, estimate=Estimate(value=by_stratum[worst(by_stratum)])),
        *stratum_rows(metric, {name: Estimate(value=v) for name, v in by_stratum.items()}),
    )
