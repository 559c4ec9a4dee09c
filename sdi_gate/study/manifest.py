"""Define the manifest of a study: pairs of a base and a fine-tune, and how they are measured.

The descriptions of the fields are published in ``docs/schema/manifest-v1.json``.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sdi_gate.errors import UsageError
from sdi_gate.models.ref import ModelRef

ORGANISM = "organism:"
DEFAULT_PROBE, WORLD_PROBE = SHIPPED_PROBES = ("default", "world")

Name = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
Scalar: TypeAlias = bool | int | float | str
Recipe: TypeAlias = dict[str, Scalar | tuple[Scalar, ...] | dict[str, Scalar]]


class Population(StrEnum):
    """Name where the models of a study come from."""

    ORGANISMS = "organisms"
    PUBLIC = "public"


class Kind(StrEnum):
    """Name what a fine-tune was meant to do."""

    DOMAIN = "domain"
    INSTRUCTION = "instruction"
    DEGRADED = "degraded"


class Strict(BaseModel):
    """Refuse whatever is not described: other keys, other types, numbers that are not finite."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Endpoint(Strict):
    """One of the two models of a pair."""

    ref: Annotated[str, Field(pattern=r"^(organism|hf|file):.+")] = Field(
        description="organism:NAME, resolved by the study's builder; hf:owner/name; or file:DIR."
    )
    revision: str | None = Field(
        default=None, description="Commit, tag or branch on the Hub; null for organisms."
    )
    licence: Annotated[str, Field(min_length=1)] = Field(
        description="Licence of the weights, as their card names it, or 'unknown'."
    )
    recipe: Recipe = Field(
        default_factory=dict, description="How an organism was made; empty for a public model."
    )

    @model_validator(mode="after")
    def _names_a_model(self) -> Self:
        if self.is_organism and self.revision is not None:
            msg = f"{self.ref}: an organism has no revision; its recipe says how it was made"
            raise ValueError(msg)
        if not self.is_organism:
            try:
                parsed = ModelRef.parse(self.reference)
            except UsageError as exc:
                raise ValueError(exc.message) from exc
            if "@" in self.ref and parsed.revision is not None:
                msg = f"{self.ref}: write the revision under its own key"
                raise ValueError(msg)
        return self

    @property
    def is_organism(self) -> bool:
        """Return whether the model is built by the study."""
        return self.ref.startswith(ORGANISM)

    @property
    def name(self) -> str:
        """Return the reference without its scheme."""
        return self.ref.partition(":")[2]

    @property
    def reference(self) -> str:
        """Return the reference with its revision, as `ModelRef` reads it."""
        hub = self.ref.startswith("hf:") and self.revision is not None
        return f"{self.ref}@{self.revision}" if hub else self.ref


class StudySettings(Strict):
    """Everything beside the models that changes a number of a row."""

    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="Seed of the scan's draws.")
    tier: Literal["weights", "probe", "full"] = Field(
        default="full", description="Highest tier to measure."
    )
    max_tokens: Annotated[int, Field(ge=8)] = Field(
        default=128, description="Where probe samples are cut."
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(
        default=16, description="Probe samples that are run together."
    )
    curvature_draws: Annotated[int, Field(ge=2)] = Field(
        default=8, description="Paired draws of the curvature for each stratum."
    )
    curvature_samples: Annotated[int, Field(ge=1)] = Field(
        default=4, description="Samples of each draw."
    )
    curvature_tokens: Annotated[int, Field(ge=8)] = Field(
        default=64, description="Where samples are cut for the curvature."
    )
    output_tokens: Annotated[int, Field(ge=8)] = Field(
        default=128, description="Tokens of each stratum on which outputs of matrices are compared."
    )
    evaluation_limit: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Items of each benchmark, if not all."
    )
    extra: Recipe = Field(
        default_factory=dict, description="Settings that only the population's builder knows."
    )


class Pair(Strict):
    """One base and one fine-tune of it."""

    pair: Name = Field(description="Name of the pair, unique in the manifest.")
    family: Name = Field(description="Architecture family; cross-validation leaves whole ones out.")
    size: Name = Field(description="Size class, such as s, m, 0.5b or 7b.")
    seed: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Seed of the base, for organisms."
    )
    base: Endpoint = Field(description="The model it was made from.")
    candidate: Endpoint = Field(description="The fine-tune.")
    kind: Annotated[Kind, Field(strict=False)] = Field(
        description="domain, instruction, or degraded: known or meant to be worse."
    )
    variant: Name = Field(description="What was done, in one word, such as noise or lora.")
    dose: float | None = Field(
        default=None, description="How much of it, in the variant's own unit; null if unknown."
    )
    recipe: Recipe = Field(
        default_factory=dict, description="Everything that made the candidate from its base."
    )
    tokenizer: Literal["same", "extended", "other"] = Field(
        description="How the candidate's tokenizer is expected to read, beside the base's."
    )
    num_parameters: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Parameters of the base, if known before it is read."
    )
    confirmed: Literal["built", "card", "search", "memory"] | None = Field(
        default=None,
        description="What the entry rests on: built here, the model's card, a public mention "
        "found by search, or memory alone.",
    )
    notes: str | None = Field(default=None, description="What else is known of the pair.")

    @property
    def cluster(self) -> str:
        """Return the name of the base, on which the pairs of a bootstrap are clustered."""
        return self.base.name


class Manifest(Strict):
    """What a study measures."""

    model_config = ConfigDict(title="sdi-gate study manifest, version 1")

    schema_: Literal[1] = Field(alias="schema", description="Version of this format; always 1.")
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")] = Field(
        description="Name of the study, which is also that of its results table."
    )
    population: Annotated[Population, Field(strict=False)] = Field(
        description="organisms: built by the study from nothing; public: from the Hub."
    )
    scale: Literal["small", "large", "hub", "smoke"] = Field(description="Scale of the models.")
    status: Literal["measured", "not yet measured"] = Field(
        description="Whether a results table of these pairs is committed."
    )
    probe: Annotated[str, Field(min_length=1)] = Field(
        description="default: the probe set that ships; world: that of the generated world; or "
        "the path of a JSON Lines file."
    )
    settings: StudySettings = Field(default_factory=StudySettings, description="How to measure.")
    pairs: Annotated[tuple[Pair, ...], Field(min_length=1)] = Field(description="The pairs.")

    @model_validator(mode="after")
    def _names_each_pair_once(self) -> Self:
        names = [pair.pair for pair in self.pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"the pair {twice[0]!r} is there {names.count(twice[0])} times"
            raise ValueError(msg)
        return self


def json_schema_text() -> str:
    """Return the JSON Schema of a manifest, as it is published.

    Returns:
        The text of ``docs/schema/manifest-v1.json``, draft 2020-12.
    """
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:sdi-gate:schema:manifest-v1",
    }
    body = Manifest.model_json_schema(by_alias=True)
    return json.dumps({**head, **body}, indent=2, ensure_ascii=False) + "\n"
