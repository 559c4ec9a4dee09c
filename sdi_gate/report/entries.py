"""Define the parts of a result document that name its inputs and its cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """Refuse whatever is not described: other keys, other types, numbers that are not finite."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(Part):
    """One file of a model."""

    name: str
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ModelEntry(Part):
    """One of the two models."""

    reference: Annotated[str, Field(description="as the user gave it")]
    commit: Annotated[str | None, Field(description="what the revision was resolved to")]
    digest: Annotated[str, Field(description="sha256 over the weight files' names and digests")]
    architecture: Annotated[str, Field(description="class named by config.json")]
    num_parameters: Annotated[int, Field(ge=0)]
    dtypes: Annotated[tuple[str, ...], Field(description="storage types of the tensors, sorted")]
    files: tuple[FileEntry, ...]


class TensorEntry(Part):
    """One tensor that is not in both models."""

    name: str
    shape: tuple[int, ...]


class MismatchEntry(Part):
    """One tensor that has another shape in the candidate."""

    name: str
    base_shape: tuple[int, ...]
    candidate_shape: tuple[int, ...]


class AlignmentEntry(Part):
    """How the tensors of both models were matched; every tensor is in exactly one list."""

    coverage: Annotated[float, Field(ge=0, le=1, description="compared / all parameters")]
    num_paired: Annotated[int, Field(ge=0)]
    paired_parameters: Annotated[int, Field(ge=0)]
    base_only: tuple[TensorEntry, ...]
    candidate_only: tuple[TensorEntry, ...]
    mismatched: tuple[MismatchEntry, ...]
    config_differences: Annotated[
        tuple[str, ...], Field(description="settings that differ and can change the computation")
    ]


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
    num_threads: Annotated[int, Field(ge=1)]
    compute_dtype: str
    seed: int


class StageEntry(Part):
    """What one stage cost."""

    stage: str
    seconds: Annotated[float, Field(ge=0)]
    peak_host_bytes: Annotated[int, Field(ge=0, description="of the process, so far")]
    peak_device_bytes: Annotated[int | None, Field(ge=0, description="null without a GPU")]


class CostEntry(Part):
    """All that differs between two runs with the same inputs on the same machine."""

    started_at: Annotated[str, Field(description="UTC, ISO 8601")]
    stages: tuple[StageEntry, ...]
