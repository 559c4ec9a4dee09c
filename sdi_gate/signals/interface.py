"""Define what a signal returns: data that says what was measured, how, and how surely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class SignalName(StrEnum):
    """Name the four signals of the index, and behaviour beside them."""

    SPECTRAL_DIVERGENCE = "spectral-divergence"
    REPRESENTATION_DRIFT = "representation-drift"
    CURVATURE_SHIFT = "curvature-shift"
    WEIGHT_GEOMETRY = "weight-geometry"
    BEHAVIOUR = "behaviour"


class Outcome(StrEnum):
    """Say how the measurement of a signal ended."""

    MEASURED = "measured"
    NOT_MEASURED = "not-measured"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalId:
    """Identify a number: the signal, its formula's version, every parameter that moves it.

    Attributes:
        name: The signal.
        version: Version of the formula; it rises with every change that can move a number.
        parameters: Pairs of parameter name and value as text, sorted by name.
    """

    name: SignalName
    version: int
    parameters: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Put the parameters into their canonical order."""
        object.__setattr__(self, "parameters", tuple(sorted(self.parameters)))

    def __str__(self) -> str:
        """Return ``name/version?key=value&…``."""
        query = "&".join(f"{key}={value}" for key, value in self.parameters)
        return f"{self.name}/{self.version}" + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Hold one finite number, with its standard error where it is stochastic.

    Attributes:
        value: The number.
        stderr: Standard error of ``value``; None if the number is deterministic given its inputs.
        n: How many draws or samples the standard error rests on; None if deterministic.
    """

    value: float
    stderr: float | None = None
    n: int | None = None

    def __post_init__(self) -> None:
        """Refuse a number that is not finite.

        Raises:
            ValueError: If the value or its standard error is not finite, or the error is negative.
        """
        if not math.isfinite(self.value):
            msg = f"an Estimate is finite; got {self.value}"
            raise ValueError(msg)
        if self.stderr is not None and not 0.0 <= self.stderr < math.inf:
            msg = f"a standard error is finite and not negative; got {self.stderr}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Hold one estimate and say what of: which metric, where in the model, on which stratum.

    Attributes:
        metric: Name of the metric, in kebab-case.
        estimate: The number.
        layer: Layer group (``layers.3``, ``embedding``), or None for the whole model.
        tensor: Tensor name, or None for everything in the layer group.
        stratum: Probe stratum, or None for all of them (or for a signal that needs no probe).
    """

    metric: str
    estimate: Estimate
    layer: str | None = None
    tensor: str | None = None
    stratum: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalResult:
    """Hold what became of one signal: its headline, or the reason why there is none.

    Law: ``outcome`` is MEASURED exactly if ``estimate`` is there; otherwise ``reason`` says why.

    Attributes:
        id: What was measured, with every parameter that changes the number.
        outcome: How the measurement ended.
        metric: Name of the headline metric.
        estimate: The headline, or None.
        reason: Why there is no headline; None if there is one.
        measurements: Everything measured on the way. Rows whose metric is the headline's, with
            a layer and neither tensor nor stratum, are the headline by layer; with a stratum and
            neither layer nor tensor, the headline by stratum.
        layer_weights: How much each layer group counts in the headline, where not all count alike.
    """

    id: SignalId
    outcome: Outcome
    metric: str
    estimate: Estimate | None = None
    reason: str | None = None
    measurements: tuple[Measurement, ...] = ()
    layer_weights: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        """Refuse a result that breaks the law.

        Raises:
            ValueError: If outcome, estimate and reason do not belong together.
        """
        measured = self.outcome is Outcome.MEASURED
        if measured != (self.estimate is not None) or measured != (self.reason is None):
            msg = f"{self.id.name}: measured means an estimate and no reason, and the reverse"
            raise ValueError(msg)

    @property
    def name(self) -> SignalName:
        """Return the name of the signal."""
        return self.id.name

    def overall(self, metric: str) -> Estimate | None:
        """Return the whole-model estimate of a metric, or None if it was not measured.

        Args:
            metric: Metric name; the headline's name gives the headline.

        Returns:
            The estimate over all layers and strata, or None.
        """
        if metric == self.metric:
            return self.estimate
        for row in self.measurements:
            if row.metric == metric and row.layer is row.tensor is row.stratum is None:
                return row.estimate
        return None

    def by_layer(self, metric: str) -> tuple[Measurement, ...]:
        """Return the rows of a metric by layer group, over all strata, in model order.

        Args:
            metric: Metric name.

        Returns:
            Rows with a layer and neither tensor nor stratum.
        """
        return tuple(
            row
            for row in self.measurements
            if row.metric == metric
            and row.layer is not None
            and row.tensor is None
            and row.stratum is None
        )

    def by_stratum(self, metric: str) -> tuple[Measurement, ...]:
        """Return the rows of a metric by stratum, over all layers.

        Args:
            metric: Metric name.

        Returns:
            Rows with a stratum and neither layer nor tensor.
        """
        return tuple(
            row
            for row in self.measurements
            if row.metric == metric
            and row.stratum is not None
            and row.layer is None
            and row.tensor is None
        )


def not_measured(signal_id: SignalId, metric: str, reason: str) -> SignalResult:
    """Return the result of a signal that was not attempted.

    Args:
        signal_id: What would have been measured.
        metric: Its headline metric.
        reason: Why it was not, for a person to read.

    Returns:
        A result with outcome NOT_MEASURED.
    """
    return SignalResult(id=signal_id, outcome=Outcome.NOT_MEASURED, metric=metric, reason=reason)


def inconclusive(
    signal_id: SignalId,
    metric: str,
    reason: str,
    measurements: tuple[Measurement, ...] = (),
) -> SignalResult:
    """Return the result of a signal that was attempted and gave no usable number.

    Args:
        signal_id: What was attempted.
        metric: Its headline metric.
        reason: What went wrong, for a person to read.
        measurements: What was measured before it went wrong.

    Returns:
        A result with outcome INCONCLUSIVE.
    """
    return SignalResult(
        id=signal_id,
        outcome=Outcome.INCONCLUSIVE,
        metric=metric,
        reason=reason,
        measurements=measurements,
    )
