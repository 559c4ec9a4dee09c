"""Define the row of a results table: one pair, measured and evaluated, whole or failed."""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from sdi_gate.errors import UsageError
from sdi_gate.study.manifest import Recipe, Strict

Share = Annotated[float, Field(ge=0, le=1)]
# Far beyond any measurement, and far from where sums of squares overflow.
Number = Annotated[float, Field(ge=-1e60, le=1e60)]
Error = Annotated[float, Field(ge=0, le=1e60)]
ShareError = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Count = Annotated[int, Field(ge=1, le=10**15)]


class Feature(Strict):
    """One metric of one signal."""

    overall: Number | None = Field(description="Over the whole model; null where there is none.")
    stderr: Error | None = Field(description="Standard error of overall; null if deterministic.")
    strata: dict[str, Number] = Field(
        default_factory=dict, description="By stratum of the probe; empty if it needs no probe."
    )


class Benchmark(Strict):
    """One axis of capability, measured on both models; higher is better."""

    base: Share = Field(description="Score of the base.")
    base_stderr: ShareError = Field(description="Its standard error.")
    candidate: Share = Field(description="Score of the candidate.")
    candidate_stderr: ShareError = Field(description="Its standard error.")
    n: Count = Field(description="Items of the test.")


class Cost(Strict):
    """What a row cost; null for what was not done for it."""

    build_s: Seconds | None = Field(default=None, description="Building both models, in seconds.")
    measure_s: Seconds | None = Field(default=None, description="The scan, in seconds.")
    evaluate_s: Seconds | None = Field(
        default=None, description="The benchmarks of both models, in seconds."
    )


class Row(Strict):
    """One pair of a study."""

    model_config = Strict.model_config | {"title": "sdi-gate study row, version 1"}

    schema_: Literal[1] = Field(alias="schema", description="Version of this format; always 1.")
    key: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] = Field(
        description="Over pair, recipes, settings and versions: another of these, another row."
    )
    population: Literal["organisms", "public", "own"] = Field(
        description="organisms: built by the study; public: from the Hub; own: an organisation's "
        "own history."
    )
    scale: Literal["small", "large", "hub", "smoke"] = Field(description="Scale of the models.")
    pair: str = Field(description="Name of the pair.")
    family: str = Field(description="Architecture family.")
    size: str = Field(description="Size class.")
    seed: int | None = Field(description="Seed of the base; null for public models.")
    base: str = Field(description="Name of the base.")
    num_parameters: Count | None = Field(
        description="Parameters of the base; null if it never was read."
    )
    kind: Literal["domain", "instruction", "degraded"] = Field(description="What it was meant for.")
    variant: str = Field(description="What was done.")
    dose: float | None = Field(description="How much of it, in the variant's own unit.")
    recipe: Recipe = Field(description="Everything that made the candidate.")
    status: Literal["complete", "failed"] = Field(description="Whether all is there.")
    reason: str | None = Field(description="Which step failed, and why; null if complete.")
    tier: Literal["weights", "probe", "full"] | None = Field(description="Tier that ran.")
    features: dict[str, Feature] = Field(description="By signal and metric: signal/metric.")
    benchmarks: dict[str, Benchmark] = Field(description="By axis.")
    versions: dict[str, str] = Field(description="Of Python and the libraries.")
    seeds: dict[str, int] = Field(description="Of every random draw.")
    signal_ids: tuple[str, ...] = Field(description="Each signal with version and parameters.")
    probe: str | None = Field(description="Digest of the probe set.")
    cost: Cost = Field(description="In seconds.")

    @model_validator(mode="after")
    def _is_whole_or_says_why_not(self) -> Self:
        complete = self.status == "complete"
        if complete != (self.reason is None):
            msg = f"{self.pair}: a row is complete, or it has a reason"
            raise ValueError(msg)
        if complete and not (self.features and self.benchmarks and self.tier):
            msg = f"{self.pair}: a complete row has a tier, features and benchmarks"
            raise ValueError(msg)
        return self

    @property
    def is_complete(self) -> bool:
        """Return whether everything was measured."""
        return self.status == "complete"

    def says_the_same(self, other: Row) -> bool:
        """Return whether another row differs in nothing but its cost.

        Args:
            other: A row.

        Returns:
            Whether it does.
        """
        return self.model_copy(update={"cost": other.cost}) == other


def dump_row(row: Row) -> str:
    """Write a row as one line of JSON.

    Args:
        row: The row.

    Returns:
        The line with its line break; equal rows give equal lines.
    """
    plain = row.model_dump(mode="json", by_alias=True)
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def parse_row(line: str, where: str) -> Row:
    """Read a row.

    Args:
        line: One line of JSON.
        where: File and line, for messages.

    Returns:
        The row.

    Raises:
        UsageError: If the line is no row.
    """
    try:
        return Row.model_validate_json(line)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        msg = f"{where}: not a row of a study: {path + ': ' if path else ''}{first['msg']}"
        raise UsageError(msg, hint="docs/schema/row-v1.json says what a row holds") from exc


def json_schema_text() -> str:
    """Return the JSON Schema of a row, as it is published.

    Returns:
        The text of ``docs/schema/row-v1.json``, draft 2020-12.
    """
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:sdi-gate:schema:row-v1",
    }
    body = Row.model_json_schema(by_alias=True)
    return json.dumps({**head, **body}, indent=2, ensure_ascii=False) + "\n"
