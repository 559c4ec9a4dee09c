"""Define policy version 1: what a governance team may demand of a fine-tune.

The descriptions of the fields are the published documentation; they are exported with the types
as the JSON Schema ``policies/schema/v1.json``.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticCustomError

from sdi_gate.policy.facts import Tier
from sdi_gate.policy.verdict import Bound

if TYPE_CHECKING:
    from pydantic_core import core_schema

SCHEMA_ID = "urn:sdi-gate:policy:v1"

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Distance = Annotated[float, Field(ge=0.0)]

_WARN = "A value above this limit is a warning; the gate stays open."
_FAIL = "A value above this limit fails the policy; the gate closes."


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class Mode(StrEnum):
    """What follows from a verdict."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class Section(BaseModel):
    """One mapping of a policy."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        alias_generator=_kebab,
        # No section may be empty. Null is not in the published schema: the loader refuses it.
        json_schema_extra={"minProperties": 1},
    )

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if all(value is None for _, value in self):
            keys = ", ".join(keys_of(type(self)))
            raise PydanticCustomError(
                "empty", "sets no limit; give at least one of {k}", {"k": keys}
            )
        return self


class Limit(Section):
    """A warning and a failing limit, of which at least one is given."""

    bound: ClassVar[Bound] = Bound.UPPER

    warn: float | None = Field(default=None, description=_WARN)
    fail: float | None = Field(default=None, description=_FAIL)

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
        default=None, description="A value below this limit is a warning; the gate stays open."
    )
    fail: Fraction | None = Field(
        default=None, description="A value below this limit fails the policy; the gate closes."
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


class Limits(Section):
    """The limits of a policy, of which at least one is given."""

    sdi: FractionLimit | None = Field(
        default=None, description="Limits on the index over the four signals, from 0 to 1."
    )
    sdi_plus: FractionLimit | None = Field(
        default=None, description="Limits on the index that adds behaviour, from 0 to 1."
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


class Policy(Section):
    """What a governance team demands of a fine-tune before it may be promoted."""

    model_config = ConfigDict(title="sdi-gate policy, version 1", json_schema_extra={})

    version: Literal[1] = Field(description="Version of this format; always 1.")
    name: Annotated[str, Field(min_length=1, max_length=64, pattern="^[a-z0-9-]+$")] = Field(
        description="Name of the policy: 1 to 64 lower-case letters, digits and hyphens."
    )
    owner: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="Who owns the policy and answers questions about it."
    )
    description: Annotated[str, Field(min_length=1, max_length=2000)] | None = Field(
        default=None, description="What the policy is for."
    )
    # Strict mode takes members only; a policy file has words.
    mode: Annotated[Mode, Field(strict=False)] = Field(
        default=Mode.ENFORCE,
        description=(
            "enforce: a verdict closes the gate. observe: the verdict is reported and the gate "
            "stays open (exit code 0)."
        ),
    )
    required_tier: Annotated[Tier, Field(strict=False)] = Field(
        default=Tier.PROBE,
        description=(
            "How much a scan must look at: weights, probe (adds what the models do with a probe "
            "set) or full (adds curvature). A scan of a lower tier is inconclusive, which closes "
            "the gate; so are its limits on sdi and sdi-plus, whose formula is another one."
        ),
    )
    limits: Limits = Field(description="The limits; a policy without a single one is refused.")

    @field_validator("version", mode="before")
    @classmethod
    def _is_the_integer_1(cls, value: object) -> object:
        # To pydantic, as to Python, True and 1.0 are equal to 1.
        if type(value) is int and value == 1:
            return value
        raise PydanticCustomError("version", "this sdi-gate reads version 1 of the format only")


def keys_of(section: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys of a section as they are written in a policy.

    Args:
        section: A model of this module.

    Returns:
        The keys in the order of the schema.
    """
    return tuple(_kebab(name) for name in section.model_fields)


def keys_at(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys that a policy may have at a place.

    Args:
        path: Keys from the top to a section, such as ``("limits", "sdi")``; the section exists.

    Returns:
        The keys in the order of the schema.
    """
    section: type[BaseModel] = Policy
    for key in path:
        annotation = section.model_fields[key.replace("-", "_")].annotation
        section = next(
            kind
            for kind in (annotation, *get_args(annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    return keys_of(section)


def json_schema_text() -> str:
    """Return the JSON Schema of a policy, as it is published.

    Returns:
        The text of ``policies/schema/v1.json``, draft 2020-12.
    """
    head = {"$schema": GenerateJsonSchema.schema_dialect, "$id": SCHEMA_ID}
    body = Policy.model_json_schema(by_alias=True, schema_generator=_PublishedSchema)
    return json.dumps({**head, **body}, indent=2, ensure_ascii=False) + "\n"


class _PublishedSchema(GenerateJsonSchema):
    """Write optional keys as keys that may be left out; their value is never null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        published = super().default_schema(schema)
        if published.get("default", ...) is None:
            del published["default"]
        return published
