"""Combine numbers per layer and stratum into the headline, its layers and its strata."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sdi_gate.signals.interface import Estimate, Measurement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Value of a metric for each (layer, stratum).
Grid = dict[tuple[str, str], float]


def mean(values: Sequence[float]) -> float:
    """Return the mean of some numbers.

    Args:
        values: At least one number.

    Returns:
        Their mean, summed exactly before the division.
    """
    return math.fsum(values) / len(values)


def sample_mean(values: Sequence[float]) -> Estimate:
    """Estimate a mean from independent draws.

    Args:
        values: At least two draws, finite.

    Returns:
        Their mean with its standard error.
    """
    centre = mean(values)
    variance = math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1)
    return Estimate(value=centre, stderr=math.sqrt(variance / len(values)), n=len(values))


def mean_of_layers(grid: Grid) -> dict[str, float]:
    """Return the mean over layers for each stratum.

    Args:
        grid: Value for each layer and stratum.

    Returns:
        Value of each stratum, in order of first appearance.
    """
    columns: dict[str, list[float]] = {}
    for (_, stratum), value in grid.items():
        columns.setdefault(stratum, []).append(value)
    return {stratum: mean(values) for stratum, values in columns.items()}


def worst(by_stratum: Mapping[str, float]) -> str:
    """Return the stratum with the largest value, the first of them if several are equal.

    Args:
        by_stratum: Value of each stratum; not empty.

    Returns:
        Its name.
    """
    return max(by_stratum, key=lambda stratum: by_stratum[stratum])


def grid_rows(metric: str, grid: Grid) -> tuple[Measurement, ...]:
    """Return one measurement per layer and stratum.

    Args:
        metric: Name of the metric.
        grid: Finite value for each layer and stratum.

    Returns:
        The rows in the grid's order.
    """
    return tuple(
        Measurement(metric=metric, layer=layer, stratum=stratum, estimate=Estimate(value=value))
        for (layer, stratum), value in grid.items()
    )


def stratum_rows(metric: str, by_stratum: Mapping[str, Estimate]) -> tuple[Measurement, ...]:
    """Return one measurement per stratum.

    Args:
        metric: Name of the metric.
        by_stratum: Estimate of each stratum.

    Returns:
        The rows in the mapping's order.
    """
    return tuple(
        Measurement(metric=metric, stratum=stratum, estimate=estimate)
        for stratum, estimate in by_stratum.items()
    )
