"""Define what a policy demands beside its limits, and the waivers that raise them for a time."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from sdi_gate.policy.facts import Tier
from sdi_gate.policy.format.limits import Limits
from sdi_gate.policy.format.lists import Distinct
from sdi_gate.policy.format.section import Section
from sdi_gate.policy.format.texts import (
    Commit,
    Day,
    Digest,
    Line,
    ModelName,
    Name,
    PolicyName,
    Text,
    WaiverId,
)
from sdi_gate.policy.modes import Mode

__all__ = [
    "AllowedBase",
    "Commit",
    "Day",
    "Digest",
    "Line",
    "MatchBlock",
    "Metadata",
    "ModelName",
    "Name",
    "PolicyName",
    "RequiredCalibration",
    "Selector",
    "Text",
    "Waiver",
    "WaiverId",
]


class Metadata(Section):
    """Say what the policy is called, who answers for it, and which revision it is."""

    name: PolicyName = Field(
        description="Name of the policy: 1 to 64 lower-case letters, digits and hyphens."
    )
    owner: Line | None = Field(
        default=None, description="Who owns the policy and answers for what it lets pass."
    )
    contact: Line | None = Field(
        default=None, description="Where questions about the policy and requests for waivers go."
    )
    description: Text | None = Field(default=None, description="What the policy is for.")
    version: Line | None = Field(
        default=None, description="What its authors call this state of it, such as 2.1 or 2026-11."
    )
    revision: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        default=None,
        description=(
            "A whole number that rises with every change. A verifier that is told a minimum"
            " refuses an older policy."
        ),
    )


class AllowedBase(Section):
    """One base that candidates may be made from; all that is given must agree."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["name"]}, {"required": ["digest"]}]}
    )

    name: ModelName | None = Field(
        default=None, description="Its name on the Hub or in the registry, such as org/name."
    )
    revision: Commit | None = Field(
        default=None, description="The commit; a branch or a tag can be moved and is not taken."
    )
    digest: Digest | None = Field(
        default=None, description="Digest of its weights, as reports show it."
    )

    @model_validator(mode="after")
    def _is_identified(self) -> Self:
        if self.name is None and self.digest is None:
            raise PydanticCustomError("base", "give the name or the digest of the base")
        return self


class RequiredCalibration(Section):
    """What the index's calibration must rest on; one that does not is inconclusive."""

    families: Annotated[tuple[Name, ...], Field(min_length=1, strict=False), Distinct()] | None = (
        Field(
            default=None,
            description="Families of models on each of which it must have been fitted.",
        )
    )
    min_pairs: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        default=None, description="How many pairs of base and fine-tune it must rest on at least."
    )
    in_scope: bool = Field(
        default=True,
        description=(
            "Whether it must speak for the very models that were compared: their family, their"
            " size, the probe set and every parameter of the signals."
        ),
    )


class Selector(Section):
    """Say which candidates a block is for; all that is given must agree."""

    family: Name | None = Field(
        default=None, description="Family of the models: gemma, llama, mistral, phi, qwen, ..."
    )
    model: ModelName | None = Field(
        default=None, description="Name of the candidate in the registry, or on the Hub."
    )


class MatchBlock(Section):
    """What holds for some candidates in place of what the policy says for all."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 2})

    match: Selector = Field(description="Which candidates the block is for.")
    mode: Annotated[Mode, Field(strict=False)] | None = Field(
        default=None, description="Mode for these candidates."
    )
    required_tier: Annotated[Tier, Field(strict=False)] | None = Field(
        default=None, description="Required tier for these candidates."
    )
    limits: Limits | None = Field(default=None, description="Limits for these candidates.")

    @model_validator(mode="after")
    def _states_something(self) -> Self:
        if self.mode is None and self.required_tier is None and self.limits is None:
            raise PydanticCustomError(
                "no-demand", "demands nothing; give at least one of mode, required-tier, limits"
            )
        return self


class Waiver(Section):
    """Raise one failing limit for one model until a day; what is waived stays in sight."""

    id: WaiverId = Field(description="Identifies the waiver in reports; no two share one.")
    owner: Line = Field(description="Who asked for it and answers for the model meanwhile.")
    reason: Text = Field(description="Why the finding is tolerable for the time being.")
    approved_by: Line = Field(description="Who granted it.")
    ticket: Line | None = Field(default=None, description="Where it was discussed.")
    granted: Day = Field(description="First day, UTC, such as 2026-11-23.")
    expires: Day = Field(description="Last day, UTC, until its end.")
    model: ModelName = Field(description="Name of the candidate in the registry, or on the Hub.")
    candidate_digest: Digest | None = Field(
        default=None, description="Digest of the candidate's weights, if no others are meant."
    )
    metric: Line = Field(description="The limit, as reports name it, such as behaviour.nll-change.")
    limit: float = Field(description="The failing limit that holds meanwhile, in place of its own.")

    @property
    def first_day(self) -> date:
        """Return the first day on which it holds."""
        return date.fromisoformat(self.granted)

    @property
    def last_day(self) -> date:
        """Return the last day on which it holds."""
        return date.fromisoformat(self.expires)
