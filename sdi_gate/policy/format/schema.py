"""Define the policy, sdi-gate/v1: what a governance team may demand of a fine-tune.

The descriptions of the fields are the published documentation; they are exported with the types
as the JSON Schema ``policies/schema/v1.json``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictFloat, StrictInt

from sdi_gate.policy.facts import Tier
from sdi_gate.policy.format.limits import Limits
from sdi_gate.policy.format.lists import Distinct
from sdi_gate.policy.format.provisions import (
    AllowedBase,
    MatchBlock,
    Metadata,
    RequiredCalibration,
    Waiver,
)
from sdi_gate.policy.format.published import schema_text
from sdi_gate.policy.format.section import Section
from sdi_gate.policy.format.shape import known_keys
from sdi_gate.policy.format.texts import Line, Name, Text
from sdi_gate.policy.modes import Mode

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["API_VERSION", "KIND", "SCHEMA_ID", "Mode", "Policy", "json_schema_text", "keys_at"]

API_VERSION = "sdi-gate/v1"
KIND = "Policy"
SCHEMA_ID = "urn:sdi-gate:policy:v1"

Format = Literal["full", "adapter", "gguf"]


class Policy(Section):
    """What a governance team demands of a fine-tune before it may be promoted."""

    # That a file sets limits or extends one that does is checked with what it extends.
    model_config = ConfigDict(
        title="sdi-gate policy, sdi-gate/v1",
        json_schema_extra={"anyOf": [{"required": ["limits"]}, {"required": ["extends"]}]},
    )

    api_version: Literal["sdi-gate/v1"] = Field(
        alias="apiVersion", description="Version of this format; always sdi-gate/v1."
    )
    kind: Literal["Policy"] = Field(description="Always Policy.")
    metadata: Metadata = Field(description="Name, owner, contact and revision.")
    extends: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        default=None,
        description=(
            "A policy that this one tightens: a file beside it (./base.yml), a file of a Hub"
            " repository (hf:org/name@COMMIT//path.yml) or of a Git host"
            " (owner/repo//path.yml@COMMIT)."
        ),
    )
    # Strict mode takes members only; a policy file has words.
    mode: Annotated[Mode, Field(strict=False)] | None = Field(
        default=None,
        description=(
            "enforce (the default): a verdict of fail or inconclusive closes the gate. warn: it is"
            " a warning, and the gate stays open. observe: it is reported, and the gate stays open."
        ),
    )
    required_tier: Annotated[Tier, Field(strict=False)] | None = Field(
        default=None,
        description=(
            "How much a scan must look at: weights, probe (the default; adds what the models do"
            " with a probe set) or full (adds curvature). A scan of a lower tier is inconclusive,"
            " which closes the gate; so are its limits on sdi and sdi-plus, whose formula is"
            " another one."
        ),
    )
    standard_errors: Annotated[float, Field(ge=0.0, le=10.0)] | None = Field(
        default=None,
        description=(
            "How many standard errors are added to a stochastic value, on the bad side, before it"
            " is held against a limit: 1 is the default; 0 compares the value itself."
        ),
    )
    notices: Literal["warn", "fail"] | None = Field(
        default=None,
        description=(
            "What a notice is: a finding that warns (the default), or one that fails. A notice is"
            " a sentence on something that no number shows."
        ),
    )
    limits: Limits | None = Field(
        default=None,
        description="The limits; a policy without a single one, its parents' counted, is refused.",
    )
    required_calibration: RequiredCalibration | None = Field(
        default=None, description="What the index's calibration must rest on."
    )
    required_parameters: (
        Annotated[dict[Name, StrictInt | StrictFloat | StrictBool | Line], Field(min_length=1)]
        | None
    ) = Field(
        default=None,
        description=(
            "Parameters of signals that a scan must have used, as reports show them: probe, seed,"
            " compute-dtype, depth-weights, ... Another value is inconclusive."
        ),
    )
    accepted_formats: (
        Annotated[tuple[Format, ...], Field(min_length=1, strict=False), Distinct()] | None
    ) = Field(
        default=None,
        description="What the candidate's weight files may hold: full, adapter, gguf.",
    )
    allowed_bases: (
        Annotated[tuple[AllowedBase, ...], Field(min_length=1, strict=False), Distinct()] | None
    ) = Field(default=None, description="The bases that candidates may be made from.")
    allowed_families: (
        Annotated[tuple[Name, ...], Field(min_length=1, strict=False), Distinct()] | None
    ) = Field(default=None, description="The families of models that candidates may be of.")
    allowed_quantisations: (
        Annotated[tuple[Name, ...], Field(min_length=1, strict=False), Distinct()] | None
    ) = Field(
        default=None,
        description=(
            "How the candidate's weights may be quantised: none (not at all), bitsandbytes"
            " (any of its types), bitsandbytes-nf4, fp8, compressed-tensors, gguf, ..."
        ),
    )
    maximum_age: Annotated[float, Field(gt=0.0, le=3650.0)] | None = Field(
        default=None,
        description="Days after which a result is too old to be judged; it is then inconclusive.",
    )
    match: Annotated[tuple[MatchBlock, ...], Field(min_length=1, strict=False)] | None = Field(
        default=None,
        description=(
            "What holds for some candidates: of the blocks that match, the most specific one that"
            " states a thing decides it. A model with its family comes before a model, a model"
            " before a family, a family before what is said for all."
        ),
    )
    maximum_waiver_days: Annotated[int, Field(ge=1, le=366)] | None = Field(
        default=None,
        description="How many days a waiver may hold, both ends counted; 90 is the default.",
    )
    waivers: Annotated[tuple[Waiver, ...], Field(min_length=1, strict=False)] | None = Field(
        default=None, description="Limits of this file that are raised for a time."
    )
    documentation: Annotated[dict[Name, Text], Field(min_length=1, max_length=40)] | None = Field(
        default=None,
        description="Texts that are copied into every report, such as intended-change or reviewer.",
    )


def keys_at(path: tuple[str, ...], root: type[BaseModel] = Policy) -> tuple[str, ...]:
    """Return the keys that a file may have at a place.

    Args:
        path: Keys from the top to a section, such as ``("limits", "sdi")``, and positions in
            lists.
        root: Model of the whole file.

    Returns:
        The keys in the order of the schema; none where the place takes no keys, or any.
    """
    return known_keys(root, path)


def json_schema_text() -> str:
    """Return the JSON Schema of a policy, as it is published.

    Returns:
        The text of ``policies/schema/v1.json``, draft 2020-12.
    """
    return schema_text(Policy, SCHEMA_ID)
