"""Define the limits of a policy: which numbers are held against what."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from sdi_gate.policy.format.section import Section
from sdi_gate.policy.format.texts import Label, LayerSelector, Name, RoleName
from sdi_gate.policy.verdict import Bound

__all__ = [
    "BehaviourLimits",
    "ChangeLimit",
    "CoverageLimit",
    "Distance",
    "DistanceLimit",
    "Fraction",
    "FractionLimit",
    "Label",
    "LayerSelector",
    "Limit",
    "Limits",
    "Name",
    "PredictedLimit",
    "PredictedLimits",
    "RoleName",
    "SignalLimits",
    "StratumLimits",
    "WeightSignalLimits",
]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Distance = Annotated[float, Field(ge=0.0)]
_WARN = "A value above this warns, and the gate stays open; a value exactly at it is within it."
_FAIL = "A value above this fails, and the gate closes; a value exactly at it is within it."


class Limit(Section):
    """A warning and a failing limit, of which at least one is given."""

    bound: ClassVar[Bound] = Bound.UPPER

    warn: float | None = Field(default=None, description=_WARN)
    fail: float | None = Field(default=None, description=_FAIL)

    @model_validator(mode="after")
    def _has_a_step(self) -> Self:
        if self.warn is None and self.fail is None:
            raise PydanticCustomError("no-step", "sets no limit; give at least one of warn, fail")
        return self

    @model_validator(mode="after")
    def _warns_before_it_fails(self) -> Self:
        if self.warn is None or self.fail is None:
            return self
        upper = self.bound is Bound.UPPER
        earlier, later = (self.warn, self.fail) if upper else (self.fail, self.warn)
        if earlier <= later:
            return self
        raise PydanticCustomError(
            "order",
            "warn ({warn}) must be {side} fail ({fail}), so that a warning comes first",
            {"warn": self.warn, "fail": self.fail, "side": "at most" if upper else "at least"},
        )


class FractionLimit(Limit):
    """Upper limits on a number between 0 and 1; warn is at most fail."""

    warn: Fraction | None = Field(default=None, description=_WARN)
    fail: Fraction | None = Field(default=None, description=_FAIL)


class DistanceLimit(Limit):
    """Upper limits on a number that is never negative; warn is at most fail."""

    warn: Distance | None = Field(default=None, description=_WARN)
    fail: Distance | None = Field(default=None, description=_FAIL)


class ChangeLimit(Limit):
    """Upper limits on a change that has a sign; warn is at most fail."""


class CoverageLimit(Limit):
    """Lower limits on a number between 0 and 1; warn is at least fail."""

    bound: ClassVar[Bound] = Bound.LOWER

    warn: Fraction | None = Field(
        default=None, description="A value below this warns, and the gate stays open."
    )
    fail: Fraction | None = Field(
        default=None, description="A value below this fails, and the gate closes."
    )


class PredictedLimit(FractionLimit):
    """Upper limits on predicted degradation, at a confidence; warn is at most fail."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["warn"]}, {"required": ["fail"]}]}
    )

    confidence: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        description=(
            "The upper end of the calibration's interval is held against the limits; the interval"
            " must aim at a coverage of at least this. A calibration that has none such, or does"
            " not speak for the models, is inconclusive."
        ),
    )


class WeightSignalLimits(Section):
    """Limits on the two signals that are measured tensor by tensor."""

    spectral_divergence: DistanceLimit | None = Field(
        default=None,
        description="Limits on how far the spectra and singular directions of the weights moved.",
    )
    weight_geometry: DistanceLimit | None = Field(
        default=None,
        description="Limits on how far the weights moved, relative to their size and direction.",
    )


class SignalLimits(Section):
    """Limits on single signals; a signal that has a limit must have been measured."""

    spectral_divergence: DistanceLimit | None = Field(
        default=None,
        description="Limits on how far the spectra and singular directions of the weights moved.",
    )
    representation_drift: DistanceLimit | None = Field(
        default=None,
        description="Limits on how far the activations inside the model moved. Needs tier probe.",
    )
    curvature_shift: DistanceLimit | None = Field(
        default=None,
        description="Limits on how much the curvature of the loss changed. Needs tier full.",
    )
    weight_geometry: DistanceLimit | None = Field(
        default=None,
        description="Limits on how far the weights moved, relative to their size and direction.",
    )


class BehaviourLimits(Section):
    """Limits on what the candidate says, on the worst stratum of the probe set."""

    kl_divergence: DistanceLimit | None = Field(
        default=None,
        description=(
            "Limits on how far the candidate's predictions are from the base's, in nats per token."
        ),
    )
    nll_change: ChangeLimit | None = Field(
        default=None,
        description=(
            "Limits on how much worse the candidate predicts the probe texts than the base, in "
            "nats per token; negative means better."
        ),
    )
    top1_flip_rate: FractionLimit | None = Field(
        default=None,
        description="Limits on the share of tokens whose most likely successor is another one.",
    )


class StratumLimits(Section):
    """Limits on one stratum of the probe set; a scan without that stratum is inconclusive."""

    representation_drift: DistanceLimit | None = Field(
        default=None, description="Limits on how far the activations moved on this stratum."
    )
    curvature_shift: DistanceLimit | None = Field(
        default=None, description="Limits on how much the curvature changed on this stratum."
    )
    kl_divergence: DistanceLimit | None = Field(
        default=None, description="Limits on how far the predictions moved on this stratum."
    )
    nll_change: ChangeLimit | None = Field(
        default=None, description="Limits on how much worse this stratum's texts are predicted."
    )
    top1_flip_rate: FractionLimit | None = Field(
        default=None, description="Limits on the share of changed next tokens on this stratum."
    )


class PredictedLimits(Section):
    """Limits on the degradation that the calibration predicts."""

    mean: PredictedLimit | None = Field(
        default=None, description="Limits on the mean over the axes."
    )
    axes: Annotated[dict[Label, PredictedLimit], Field(min_length=1)] | None = Field(
        default=None, description="Limits on single axes, by the calibration's names for them."
    )


class Limits(Section):
    """The limits of a policy, of which at least one is given."""

    sdi: FractionLimit | None = Field(
        default=None, description="Limits on the index over the four signals, from 0 to 1."
    )
    sdi_plus: FractionLimit | None = Field(
        default=None, description="Limits on the index that adds behaviour, from 0 to 1."
    )
    predicted_degradation: PredictedLimits | None = Field(
        default=None, description="Limits on predicted degradation, from 0 to 1."
    )
    signals: SignalLimits | None = Field(
        default=None, description="Limits on the headline of single signals."
    )
    behaviour: BehaviourLimits | None = Field(
        default=None,
        description="Limits on behaviour, on the worst stratum of the probe set.",
    )
    coverage: CoverageLimit | None = Field(
        default=None,
        description=(
            "Limits on the share of all parameters that were compared, from 0 to 1. Lower bounds: "
            "1.0 demands that every parameter was compared. Without this limit, a scan that left "
            "parameters out is inconclusive."
        ),
    )
    by_stratum: Annotated[dict[Label, StratumLimits], Field(min_length=1)] | None = Field(
        default=None, description="Limits on single strata of the probe set, by name."
    )
    by_layer: Annotated[dict[LayerSelector, SignalLimits], Field(min_length=1)] | None = Field(
        default=None,
        description=(
            "Limits on single layer groups: a name (embedding, layers.3), all of a kind"
            " (layers.*) or a range with both ends (layers.0-3). The worst group counts."
        ),
    )
    by_role: Annotated[dict[RoleName, WeightSignalLimits], Field(min_length=1)] | None = Field(
        default=None,
        description=(
            "Limits on tensors by what they do: embedding, head, norm, q, k, v, o, gate, up, down,"
            " expert, router, other. The worst tensor counts."
        ),
    )
