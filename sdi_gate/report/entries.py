"""Define the parts of a result document that name its inputs and its cost."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sdi_gate.models.ref import is_repo_name

# Beyond these no count, size or time of a scan lies, and their sums stay finite.
_MAX_INTEGER = 2**63 - 1
_MAX_SECONDS = 1e12

Count = Annotated[int, Field(ge=0, le=_MAX_INTEGER)]
Positive = Annotated[int, Field(ge=1, le=_MAX_INTEGER)]
Share = Annotated[float, Field(ge=0, le=1)]
Shape = tuple[Count, ...]


class Part(BaseModel):
    """Refuse whatever is not described: other keys, other types, numbers that are not finite."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(Part):
    """One file of a model."""

    name: str
    size_bytes: Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ModelEntry(Part):
    """One of the two models."""

    reference: Annotated[str, Field(description="as the user gave it")]
    commit: Annotated[str | None, Field(description="what the revision was resolved to")]
    digest: Annotated[
        str,
        Field(
            description="sha256 over the weight files' names and digests; of an adapter, over"
            " its configuration too"
        ),
    ]
    architecture: Annotated[str, Field(description="class named by config.json")]
    num_parameters: Count
    dtypes: Annotated[tuple[str, ...], Field(description="storage types of the tensors, sorted")]
    files: tuple[FileEntry, ...]
    kind: Annotated[
        Literal["full", "adapter", "gguf"],
        Field(description="what the weight files hold: a model, an adapter, or a GGUF model"),
    ] = "full"
    quantisation: Annotated[
        str | None, Field(description="how the weights were quantised, and what dequantised them")
    ] = None
    adapter: Annotated[str | None, Field(description="what an adapter adds to its base")] = None
    ignored: Annotated[
        tuple[str, ...], Field(description="stored buffers that are computed anew, not compared")
    ] = ()
    tied_copies: Annotated[
        tuple[str, ...], Field(description="stored copies of tensors that are counted once")
    ] = ()
    name: Annotated[
        str | None,
        Field(description="as the Hub calls it, such as org/name; a folder has none"),
    ] = None
    family: Annotated[
        str | None, Field(description="of architectures, as calibrations and policies name it")
    ] = None
    quantisation_method: Annotated[
        str | None, Field(description="none, or the method, such as bitsandbytes-nf4")
    ] = None

    @model_validator(mode="after")
    def _has_a_name_on_the_hub_alone(self) -> Self:
        # Which name the Hub gives is up to it: case and renaming change it.
        if self.name is None or self.name == self.reference.partition("@")[0].removeprefix("hf:"):
            fits = self.name is None or self.reference.startswith("hf:")
        else:
            fits = self.reference.startswith("hf:") and is_repo_name(self.name)
        if not fits:
            msg = f"{self.reference!r} cannot have the name {self.name!r} on the Hub"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _is_quantised_or_not(self) -> Self:
        plain = self.quantisation_method == "none"
        if self.quantisation_method is not None and plain != (self.quantisation is None):
            msg = (
                f"quantised by {self.quantisation_method!r}, and described as {self.quantisation!r}"
            )
            raise ValueError(msg)
        return self


class TensorEntry(Part):
    """One tensor that is not in both models."""

    name: str
    shape: Shape


class MismatchEntry(Part):
    """One tensor that has another shape in the candidate."""

    name: str
    base_shape: Shape
    candidate_shape: Shape


class VocabularyEntry(Part):
    """The rows of one tensor that has a row for each token, where not all were compared."""

    name: str
    compared_rows: Count
    base_only_rows: Annotated[Count, Field(description="of tokens that the candidate lacks")]
    candidate_only_rows: Annotated[Count, Field(description="of tokens that were added")]
    base_padding_rows: Annotated[Count, Field(description="of no token, and left out")]
    candidate_padding_rows: Annotated[Count, Field(description="of no token, and left out")]
    added_norm_ratio: Annotated[
        float | None, Field(ge=0, description="mean norm of an added row / of a compared one")
    ] = None


class RoundingEntry(Part):
    """What rounding took away between two storage types, which is not counted as drift."""

    floor: Annotated[
        float, Field(ge=0, description="its norm / that of the tensors that were rounded")
    ]
    num_tensors: Count
    num_base: Annotated[Count, Field(description="tensors of the base that were rounded")] = 0
    num_candidate: Annotated[
        Count, Field(description="tensors of the candidate that were rounded to the base's")
    ] = 0


class RoleEntry(Part):
    """What was compared of one role, such as q or expert gate+up."""

    label: str
    num_tensors: Count
    num_parameters: Count


class AlignmentEntry(Part):
    """How the tensors of both models were matched; every tensor is in exactly one list."""

    coverage: Annotated[Share, Field(description="compared / all parameters")]
    num_paired: Count
    paired_parameters: Count
    base_only: tuple[TensorEntry, ...]
    candidate_only: tuple[TensorEntry, ...]
    mismatched: tuple[MismatchEntry, ...]
    config_differences: Annotated[
        tuple[str, ...], Field(description="settings that differ and can change the computation")
    ]
    vocabulary: tuple[VocabularyEntry, ...] = ()
    missing_layers: Annotated[
        tuple[str, ...], Field(description="layer groups that only the base has")
    ] = ()
    extra_layers: Annotated[
        tuple[str, ...], Field(description="layer groups that only the candidate has")
    ] = ()
    rounding: Annotated[RoundingEntry | None, Field(description="null if nothing was rounded")] = (
        None
    )
    roles: Annotated[
        tuple[RoleEntry, ...], Field(description="compared tensors by what they do")
    ] = ()


class TokenizerEntry(Part):
    """Whether both models read text alike."""

    same: Annotated[bool | None, Field(description="null if it was not looked at")]
    detail: str


class EnvironmentEntry(Part):
    """What the numbers were computed with."""

    sdi_gate: str
    python: str
    torch: str
    transformers: str
    safetensors: str
    platform: str
    device: str
    num_threads: Positive
    compute_dtype: str
    seed: Count


class StageEntry(Part):
    """What one stage cost, or a part of one, named stage/part, whose time is in the stage's."""

    stage: str
    seconds: Annotated[float, Field(ge=0, le=_MAX_SECONDS)]
    peak_host_bytes: Annotated[Count, Field(description="of the process, so far")]
    peak_device_bytes: Annotated[Count | None, Field(description="null without a GPU")]
    bytes_read: Annotated[Count | None, Field(description="null where it is not counted")] = None
    operations: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False, description="floating-point; null where not counted"),
    ] = None


class CostEntry(Part):
    """All that differs between two runs with the same inputs on the same machine."""

    started_at: Annotated[str, Field(description="UTC, ISO 8601")]
    stages: tuple[StageEntry, ...]
    reused: Annotated[
        tuple[str, ...], Field(description="what of the base came from its profile")
    ] = ()
