"""Add the numbers that rest on a model's activations and gradients to the two weight signals."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.signals.depth import DepthWeighting, layer_rows, mean_over_depth
from sdi_gate.signals.interface import (
    Estimate,
    Measurement,
    Outcome,
    SignalName,
    SignalResult,
    inconclusive,
)
from sdi_gate.signals.outputs import (
    ACTIVATION_WEIGHTED_DISTANCE,
    ACTIVATION_WEIGHTED_SPECTRUM_DISTANCE,
    ACTIVATION_WEIGHTED_SUBSPACE_LOSS,
    LOSS_METRIC_DISTANCE,
    LOSS_METRIC_ENERGY,
    LOSS_METRIC_SPECTRUM_DISTANCE,
)
from sdi_gate.signals.strata import Grid, grid_rows, mean, stratum_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sdi_gate.signals.outputs import OutputValues

_METRICS = {
    SignalName.WEIGHT_GEOMETRY: (
        ACTIVATION_WEIGHTED_DISTANCE,
        LOSS_METRIC_DISTANCE,
        LOSS_METRIC_ENERGY,
    ),
    SignalName.SPECTRAL_DIVERGENCE: (
        ACTIVATION_WEIGHTED_SPECTRUM_DISTANCE,
        ACTIVATION_WEIGHTED_SUBSPACE_LOSS,
        LOSS_METRIC_SPECTRUM_DISTANCE,
    ),
}
# Energies of the parts add up to that of the whole; ratios do not.
_ADDITIVE = frozenset({LOSS_METRIC_ENERGY})


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputComparison:
    """Hold the comparison of one matrix on one stratum.

    Attributes:
        tensor: Tensor name.
        layer: Layer group.
        stratum: Stratum of the tokens.
        values: Value of each metric.
    """

    tensor: str
    layer: str
    stratum: str
    values: OutputValues


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputComparisons:
    """Hold the comparisons of all matrices on all strata, and what they rest on.

    Attributes:
        rows: One for each matrix and stratum, in model order within a stratum.
        weighting: Depth weights over the layer groups.
        parameters: What else moves the numbers (probe, tokens, dtype, seed), for a signal's id.
    """

    rows: tuple[OutputComparison, ...]
    weighting: DepthWeighting
    parameters: tuple[tuple[str, str], ...]


def with_outputs(signal: SignalResult, found: OutputComparisons | None) -> SignalResult:
    """Add the activation-weighted and loss-metric numbers to a weight signal.

    A layer's ratio is the mean over its matrices, a stratum's is the depth-weighted mean over
    layers, and the model's the mean over strata; energies are summed over matrices and layers and
    averaged over strata. A ratio whose unit is zero in the base is left out, and so is every mean
    that it would be a part of: none of them is 0 for something that moved.

    Args:
        signal: Weight geometry or spectral divergence.
        found: The comparisons; None if the tier has none.

    Returns:
        The signal with its headline as it was and the new rows: whole model, layer, stratum, and
        layer with stratum. Unchanged if it has no headline or nothing was compared; inconclusive
        if one of its new numbers is not finite.

    Raises:
        UsageError: If the depth weights are all 0 for the layers compared.
    """  # noqa: DOC502 - raised by mean_over_depth()
    if signal.outcome is not Outcome.MEASURED or found is None or not found.rows:
        return signal
    own = [metric for metric in _METRICS[signal.name] if metric in found.rows[0].values]
    signal_id = replace(signal.id, parameters=(*signal.id.parameters, *found.parameters))
    broken = [row for row in found.rows if not all(_usable(row.values[m]) for m in own)]
    if broken:
        where = f"{broken[0].tensor} in stratum {broken[0].stratum}"
        reason = (
            f"inputs or gradients of {len(broken)} matrices hold NaN or infinity, first {where}"
        )
        return inconclusive(signal_id, signal.metric, reason)
    rows = [row for metric in own for row in _rows(metric, found)]
    return replace(signal, id=signal_id, measurements=(*signal.measurements, *rows))


def _usable(value: float | None) -> bool:
    return value is None or math.isfinite(value)


def _rows(metric: str, found: OutputComparisons) -> list[Measurement]:
    combine = math.fsum if metric in _ADDITIVE else mean
    cells = _cells(metric, found.rows, combine)
    layers = [*dict.fromkeys(layer for layer, _ in cells)]
    strata = [*dict.fromkeys(stratum for _, stratum in cells)]
    by_stratum: dict[str, float] = {}
    for stratum in strata:
        column = {layer: cells[layer, stratum] for layer in layers}
        if known := _known(column):
            by_stratum[stratum] = (
                math.fsum(known.values())
                if metric in _ADDITIVE
                else mean_over_depth(known, found.weighting)
            )
    by_layer = {
        layer: mean([*known.values()])
        for layer in layers
        if (known := _known({stratum: cells[layer, stratum] for stratum in strata}))
    }
    whole = [mean([*by_stratum.values()])] if len(by_stratum) == len(strata) else []
    grid: Grid = {key: value for key, value in cells.items() if value is not None}
    return [
        *(Measurement(metric=metric, estimate=Estimate(value=value)) for value in whole),
        *layer_rows(metric, by_layer),
        *stratum_rows(metric, {name: Estimate(value=value) for name, value in by_stratum.items()}),
        *grid_rows(metric, grid),
    ]


def _known(values: dict[str, float | None]) -> dict[str, float] | None:
    known = {name: value for name, value in values.items() if value is not None}
    return known if len(known) == len(values) else None


def _cells(
    metric: str, rows: Sequence[OutputComparison], combine: Callable[[Sequence[float]], float]
) -> dict[tuple[str, str], float | None]:
    parts: dict[tuple[str, str], dict[str, float | None]] = {}
    for row in rows:
        parts.setdefault((row.layer, row.stratum), {})[row.tensor] = row.values[metric]
    return {
        key: combine([*known.values()]) if (known := _known(values)) else None
        for key, values in parts.items()
    }
