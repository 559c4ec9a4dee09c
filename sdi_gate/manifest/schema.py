"""Define the manifest, sdi-gate/v1: which fine-tunes of a repository are to be judged.

The descriptions of the fields are the published documentation; they are exported with the types
as the JSON Schema ``policies/schema/candidates-v1.json``.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from sdi_gate.manifest.references import PATTERN, problem_of
from sdi_gate.policy.format.published import schema_text
from sdi_gate.policy.format.section import Section
from sdi_gate.policy.format.texts import ModelName

SCHEMA_ID = "urn:sdi-gate:candidates:v1"
MAX_ENTRIES = 200
MAX_NAME = 100


def _pinned(text: str) -> str:
    problem = problem_of(text)
    if problem is not None:
        raise PydanticCustomError("reference", "{problem}", {"problem": problem})
    return text


def _legible(name: str) -> str:
    # What cannot be seen would tell two names apart that look alike.
    if not name.isprintable() or name != name.strip():
        said = "a name has no blank around it and no character that cannot be seen, got {name}"
        raise PydanticCustomError("unseen", said, {"name": ascii(name)[:100]})
    return name


Reference = Annotated[
    str,
    Field(min_length=1, max_length=500, json_schema_extra={"pattern": PATTERN}),
    AfterValidator(_pinned),
]
EntryName = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_legible)]


class Entry(Section):
    """One fine-tune, and what it is compared with."""

    name: EntryName = Field(
        description="What reports call it. A candidate that is given another name is a new one."
    )
    candidate: Reference = Field(
        description=(
            "The fine-tune, or an adapter: hf:org/name@COMMIT with all 40 hex digits, or file: and"
            " the path of a folder of this repository."
        )
    )
    base: Reference | None = Field(
        default=None,
        description=(
            "The model it was made from; left out, it is the base of the whole manifest, and"
            " without one the base that an adapter names."
        ),
    )
    registered_name: ModelName | None = Field(
        default=None,
        description="Its name in a registry, for the match blocks and waivers of a policy.",
    )


class Manifest(Section):
    """The fine-tunes of a repository that are to be judged."""

    called: ClassVar[str] = "manifest"

    model_config = ConfigDict(title="sdi-gate manifest of candidates, sdi-gate/v1")

    api_version: Literal["sdi-gate/v1"] = Field(
        alias="apiVersion", description="Version of this format; always sdi-gate/v1."
    )
    kind: Literal["Candidates"] = Field(description="Always Candidates.")
    base: Reference | None = Field(
        default=None, description="The base of every candidate that does not name another one."
    )
    candidates: Annotated[
        tuple[Entry, ...], Field(min_length=1, max_length=MAX_ENTRIES, strict=False)
    ] = Field(description="The fine-tunes; no two have one name.")


def json_schema_text() -> str:
    """Return the JSON Schema of a manifest, as it is published.

    Returns:
        The text of ``policies/schema/candidates-v1.json``, draft 2020-12.
    """
    return schema_text(Manifest, SCHEMA_ID)
