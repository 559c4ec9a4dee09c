"""Define the numbers that a case of a policy test may give in place of measurements."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sdi_gate.policy.format.limits import Distance, Fraction
from sdi_gate.policy.format.section import Section


class Measured(Section):
    """One number with its standard error."""

    value: float = Field(description="The number.")
    standard_error: Distance | None = Field(
        default=None, description="Its standard error, if it is stochastic."
    )


class MeasuredDistance(Measured):
    """One number that is never negative, with its standard error."""

    value: Distance = Field(description="The number.")


class MeasuredFraction(Measured):
    """One number between 0 and 1, with its standard error."""

    value: Fraction = Field(description="The number.")


FractionNumber = Fraction | MeasuredFraction
DistanceNumber = Distance | MeasuredDistance
ChangeNumber = float | Measured

_SPECTRA = "How far spectra and singular directions of the weights moved."
_WEIGHTS = "How far the weights moved, relative to their size."
_DRIFT = "How far the activations moved."
_CURVATURE = "How much the curvature of the loss changed."
_KL = "How far the predictions moved, in nats per token."
_NLL = "How much worse the texts are predicted, in nats per token; negative means better."
_FLIPS = "Share of tokens whose most likely successor is another one."


class WeightNumbers(Section):
    """What the two signals measured that look at tensors."""

    spectral_divergence: DistanceNumber | None = Field(default=None, description=_SPECTRA)
    weight_geometry: DistanceNumber | None = Field(default=None, description=_WEIGHTS)


class SignalNumbers(Section):
    """What the four signals measured."""

    spectral_divergence: DistanceNumber | None = Field(default=None, description=_SPECTRA)
    representation_drift: DistanceNumber | None = Field(default=None, description=_DRIFT)
    curvature_shift: DistanceNumber | None = Field(default=None, description=_CURVATURE)
    weight_geometry: DistanceNumber | None = Field(default=None, description=_WEIGHTS)


class BehaviourNumbers(Section):
    """What behaviour measured, on the worst stratum."""

    kl_divergence: DistanceNumber | None = Field(default=None, description=_KL)
    nll_change: ChangeNumber | None = Field(default=None, description=_NLL)
    top1_flip_rate: FractionNumber | None = Field(default=None, description=_FLIPS)


class StratumNumbers(Section):
    """What was measured on one stratum of the probe set."""

    representation_drift: DistanceNumber | None = Field(default=None, description=_DRIFT)
    curvature_shift: DistanceNumber | None = Field(default=None, description=_CURVATURE)
    kl_divergence: DistanceNumber | None = Field(default=None, description=_KL)
    nll_change: ChangeNumber | None = Field(default=None, description=_NLL)
    top1_flip_rate: FractionNumber | None = Field(default=None, description=_FLIPS)


class PredictionNumbers(Section):
    """What a calibration predicts for one axis."""

    value: Fraction = Field(description="Predicted degradation, from 0 to 1.")
    upper: Fraction = Field(description="Upper end of its interval; this is held against limits.")
    level: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        description="Coverage that the interval aims at, such as 0.9."
    )

    @model_validator(mode="after")
    def _ends_above_its_value(self) -> Self:
        if self.value <= self.upper:
            return self
        raise PydanticCustomError(
            "order",
            "value ({value}) must be at most upper ({upper})",
            {"value": self.value, "upper": self.upper},
        )
