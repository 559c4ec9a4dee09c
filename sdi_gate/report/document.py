"""Define the result document: everything a scan found, as versioned JSON.

Each attribute of each class is described where it stands; the descriptions are published in
``docs/schema/result-v1.json``. All that differs between two runs on the same machine with the
same inputs is under ``cost``.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sdi_gate.errors import UsageError

SCHEMA = "sdi-gate/result/v1"
_MAX_BYTES = 256 * 1024 * 1024


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(_Part):
    """One file of a model."""

    name: str
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ModelEntry(_Part):
    """One of the two models."""

    reference: Annotated[str, Field(description="as the user gave it")]
    commit: Annotated[str | None, Field(description="what the revision was resolved to")]
    digest: Annotated[str, Field(description="sha256 over the weight files' names and digests")]
    architecture: Annotated[str, Field(description="class named by config.json")]
    num_parameters: Annotated[int, Field(ge=0)]
    dtypes: Annotated[tuple[str, ...], Field(description="storage types of the tensors, sorted")]
    files: tuple[FileEntry, ...]


class TensorEntry(_Part):
    """One tensor that is not in both models."""

    name: str
    shape: tuple[int, ...]


class MismatchEntry(_Part):
    """One tensor that has another shape in the candidate."""

    name: str
    base_shape: tuple[int, ...]
    candidate_shape: tuple[int, ...]


class AlignmentEntry(_Part):
    """How the tensors of both models were matched; every tensor is in exactly one list."""

    coverage: Annotated[float, Field(ge=0, le=1, description="compared / all parameters")]
    num_paired: Annotated[int, Field(ge=0)]
    paired_parameters: Annotated[int, Field(ge=0)]
    base_only: tuple[TensorEntry, ...]
    candidate_only: tuple[TensorEntry, ...]
    mismatched: tuple[MismatchEntry, ...]


class TokenizerEntry(_Part):
    """Whether both models read text alike."""

    same: Annotated[bool | None, Field(description="null if it was not looked at")]
    detail: str


class TierEntry(_Part):
    """How much was looked at."""

    requested: Literal["weights", "probe", "full", "auto"]
    ran: Literal["weights", "probe", "full"]
    reason: Annotated[str, Field(description="why this tier ran, and none higher")]


class StratumEntry(_Part):
    """One stratum of the probe set."""

    name: str
    num_samples: Annotated[int, Field(ge=1)]


class ProbeEntry(_Part):
    """The probe set that both models read."""

    name: str
    digest: str
    num_samples: Annotated[int, Field(ge=1)]
    max_tokens: Annotated[int, Field(ge=1)]
    chat_template: Annotated[bool, Field(description="whether instructions went through one")]
    strata: tuple[StratumEntry, ...]


class EstimateEntry(_Part):
    """One number, with its standard error if it is stochastic."""

    value: float
    stderr: Annotated[float | None, Field(ge=0)]
    n: Annotated[int | None, Field(ge=1)]


class MeasurementEntry(_Part):
    """One number and what it is of; null means all layers, all tensors, all strata."""

    metric: str
    layer: str | None
    tensor: str | None
    stratum: str | None
    estimate: EstimateEntry


class ParameterEntry(_Part):
    """One parameter that changes a signal's number."""

    name: str
    value: str


class SignalEntry(_Part):
    """One signal."""

    name: Literal[
        "spectral-divergence",
        "representation-drift",
        "curvature-shift",
        "weight-geometry",
        "behaviour",
    ]
    version: Annotated[int, Field(ge=1)]
    parameters: tuple[ParameterEntry, ...]
    outcome: Literal["measured", "not-measured", "inconclusive"]
    metric: Annotated[str, Field(description="the headline's metric")]
    headline: EstimateEntry | None
    reason: Annotated[str | None, Field(description="why there is no headline")]
    measurements: tuple[MeasurementEntry, ...]


class LayerShareEntry(_Part):
    """What one layer group adds to an index."""

    layer: str
    contribution: float


class ContributionEntry(_Part):
    """What one signal adds to an index: weight times phi."""

    signal: str
    metric: str
    value: float
    phi: float
    weight: float
    contribution: float
    by_layer: tuple[LayerShareEntry, ...]


class IndexEntry(_Part):
    """One index, ``sdi`` or ``sdi_plus``."""

    outcome: Literal["measured", "not-measured", "inconclusive"]
    estimate: EstimateEntry | None
    reason: str | None
    contributions: tuple[ContributionEntry, ...]
    by_layer: tuple[LayerShareEntry, ...]


class CalibrationEntry(_Part):
    """What the indices' weights rest on."""

    name: str
    version: int
    calibrated: Annotated[bool, Field(description="false: the weights are provisional")]
    note: str


class FindingEntry(_Part):
    """What became of one rule of the policy."""

    rule: str
    metric: str
    status: Literal["pass", "warn", "inconclusive", "fail"]
    reason: str
    observed: float | None
    stderr: float | None
    warn: float | None
    fail: float | None
    bound: Literal["upper", "lower"] | None
    margin: Annotated[float | None, Field(description="room left to the deciding limit")]
    layer: str | None
    stratum: str | None


class VerdictEntry(_Part):
    """The judgement under a policy; ``deciding`` is an index into ``findings``."""

    status: Literal["pass", "warn", "inconclusive", "fail"]
    enforced: bool
    exit_code: int
    policy_name: str
    policy_digest: str
    deciding: Annotated[int, Field(ge=0)]
    findings: Annotated[tuple[FindingEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _deciding_is_there(self) -> Self:
        if self.deciding >= len(self.findings):
            msg = f"deciding is an index into {len(self.findings)} findings; got {self.deciding}"
            raise ValueError(msg)
        return self


class EnvironmentEntry(_Part):
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


class StageEntry(_Part):
    """What one stage cost."""

    stage: str
    seconds: Annotated[float, Field(ge=0)]
    peak_host_bytes: Annotated[int, Field(ge=0, description="of the process, so far")]
    peak_device_bytes: Annotated[int | None, Field(ge=0, description="null without a GPU")]


class CostEntry(_Part):
    """All that differs between two runs with the same inputs on the same machine."""

    started_at: Annotated[str, Field(description="UTC, ISO 8601")]
    stages: tuple[StageEntry, ...]


class ResultDocument(_Part):
    """Everything that a scan found, and its judgement if there was a policy."""

    schema_: Annotated[Literal["sdi-gate/result/v1"], Field(alias="schema")]
    base: ModelEntry
    candidate: ModelEntry
    alignment: AlignmentEntry
    tokenizer: TokenizerEntry
    tier: TierEntry
    probe: ProbeEntry | None
    signals: tuple[SignalEntry, ...]
    calibration: CalibrationEntry
    sdi: IndexEntry
    sdi_plus: IndexEntry
    defects: tuple[str, ...]
    verdict: VerdictEntry | None
    environment: EnvironmentEntry
    cost: CostEntry

    def signal(self, name: str) -> SignalEntry | None:
        """Return the entry of a signal.

        Args:
            name: Name of the signal.

        Returns:
            Its entry, or None if the document has none.
        """
        return next((entry for entry in self.signals if entry.name == name), None)


def dump(document: ResultDocument) -> bytes:
    """Write a result document as JSON.

    Args:
        document: The document.

    Returns:
        UTF-8 with a fixed order of keys: equal documents give equal bytes.
    """
    plain = document.model_dump(mode="json", by_alias=True)
    return (json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def load(data: bytes, where: str) -> ResultDocument:
    """Read a result document.

    Args:
        data: JSON text.
        where: Name of the file, for messages.

    Returns:
        The document.

    Raises:
        UsageError: If the text is not a result document of this version.
    """
    if len(data) > _MAX_BYTES:
        msg = f"{where}: not a result document: {len(data)} bytes, at most {_MAX_BYTES} expected"
        raise UsageError(msg)
    try:
        return ResultDocument.model_validate_json(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"]) or "document"
        msg = f"{where}: not a result document ({SCHEMA}): {path}: {first['msg']}"
        raise UsageError(
            msg, hint="give the result.json that sdi-gate check or sdi-gate scan wrote"
        ) from exc


def json_schema() -> dict[str, object]:
    """Return the JSON Schema of the result document.

    Returns:
        A draft 2020-12 schema with its dialect and identifier.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:sdi-gate:schema:result-v1",
        **ResultDocument.model_json_schema(by_alias=True),
    }
