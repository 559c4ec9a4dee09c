"""Combine numbers per tensor into numbers per layer, and those into one for the model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.errors import UsageError
from sdi_gate.signals.interface import Estimate, Measurement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthWeighting:
    """Say how much each layer group counts in a headline that is a mean over depth.

    Attributes:
        scheme: ``uniform``, ``linear`` (the i-th of L groups from the input counts i) or ``list``.
        values: The weights, for ``list``; one per layer group, from input to output.
        layers: The model's layer groups, from input to output, once they are known: a signal that
            has no number for some of them still gives the others the weights that are theirs.
    """

    scheme: str = "uniform"
    values: tuple[float, ...] = ()
    layers: tuple[str, ...] = ()

    def for_layers(self, layers: Sequence[str]) -> DepthWeighting:
        """Return the weighting of a model whose layer groups are known.

        Args:
            layers: All layer groups, from input to output.

        Returns:
            The weighting, which now goes by the groups' names.

        Raises:
            UsageError: If it does not fit the model.
        """  # noqa: DOC502 - raised by weights()
        self.weights(len(layers))
        return replace(self, layers=tuple(layers))

    def of(self, layers: Sequence[str]) -> tuple[float, ...]:
        """Return the weights of some layer groups, summing to 1.

        Args:
            layers: Layer groups of the model, in its order.

        Returns:
            One weight for each.

        Raises:
            UsageError: If the weighting does not fit, or gives all its weight to other groups.
        """
        if not self.layers:
            return self.weights(len(layers))
        by_name = dict(zip(self.layers, self.weights(len(self.layers)), strict=True))
        raw = [by_name[layer] for layer in layers]
        total = math.fsum(raw)
        if not total > 0.0:
            msg = f"depth weights: all of {len(layers)} layer groups that were measured weigh 0"
            raise UsageError(msg, hint="give weight to groups that hold matrices, not norms only")
        return tuple(weight / total for weight in raw)

    def weights(self, num_layers: int) -> tuple[float, ...]:
        """Return one weight per layer group, summing to 1.

        Args:
            num_layers: Number of layer groups; at least 1.

        Returns:
            Weights from input to output.

        Raises:
            UsageError: If the scheme is unknown or the list does not fit the model.
        """
        if self.scheme == "uniform":
            raw = (1.0,) * num_layers
        elif self.scheme == "linear":
            raw = tuple(float(i + 1) for i in range(num_layers))
        elif self.scheme == "list":
            raw = self.values
        else:
            msg = f"depth weights: unknown scheme {self.scheme!r}; expected uniform, linear, list"
            raise UsageError(msg)
        if len(raw) != num_layers or min(raw) < 0 or not 0 < sum(raw) < math.inf:
            msg = f"depth weights: expected {num_layers} weights >= 0 with a sum > 0; got {raw}"
            raise UsageError(msg, hint="give one weight for every layer group, or use uniform")
        total = math.fsum(raw)
        return tuple(weight / total for weight in raw)

    def __str__(self) -> str:
        """Return the scheme, with its values if it has any."""
        return ":".join([self.scheme, *(repr(value) for value in self.values)])


def mean_over_depth(by_layer: Mapping[str, float], weighting: DepthWeighting) -> float:
    """Return the depth-weighted mean of one number per layer group.

    Args:
        by_layer: Value of each layer group, from input to output; not empty.
        weighting: How much each counts.

    Returns:
        The mean; exactly 0 if all values are.

    Raises:
        UsageError: If the weighting does not fit the number of groups.
    """  # noqa: DOC502 - raised by of()
    weights = weighting.of([*by_layer])
    return math.fsum(w * value for w, value in zip(weights, by_layer.values(), strict=True))


def layer_weights(
    layers: Sequence[str], weighting: DepthWeighting
) -> tuple[tuple[str, float], ...]:
    """Return the weight of each layer group, so that a headline can be divided among them.

    Args:
        layers: Layer groups that were measured, in model order.
        weighting: How much each counts.

    Returns:
        Pairs of layer group and weight.

    Raises:
        UsageError: If the weighting does not fit.
    """  # noqa: DOC502 - raised by of()
    return tuple(zip(layers, weighting.of(layers), strict=True))


def layer_rows(metric: str, by_layer: Mapping[str, float]) -> tuple[Measurement, ...]:
    """Return one measurement per layer group.

    Args:
        metric: Name of the metric.
        by_layer: Finite value of each layer group.

    Returns:
        The rows in the mapping's order.
    """
    return tuple(
        Measurement(metric=metric, layer=layer, estimate=Estimate(value=value))
        for layer, value in by_layer.items()
    )


def mean_by_layer(rows: Sequence[tuple[str, float, int]]) -> dict[str, float]:
    """Return the parameter-weighted mean of a number per layer group.

    Args:
        rows: Layer group, value and number of parameters of each tensor, in model order.

    Returns:
        Value of each layer group in order of first appearance.
    """
    total: dict[str, float] = {}
    count: dict[str, int] = {}
    for layer, value, numel in rows:
        total[layer] = total.get(layer, 0.0) + value * numel
        count[layer] = count.get(layer, 0) + numel
    return {layer: total[layer] / count[layer] for layer in total}
