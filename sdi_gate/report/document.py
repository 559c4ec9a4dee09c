"""Define the result document: everything a scan found, as versioned JSON.

Each attribute of each class is described where it stands; the descriptions are published in
``docs/schema/result-v1.json``. All that differs between two runs on the same machine with the
same inputs is under ``cost``.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from sdi_gate.errors import UsageError
from sdi_gate.policy.format.spelling import visible
from sdi_gate.report.entries import (
    AlignmentEntry,
    CostEntry,
    EnvironmentEntry,
    FileEntry,
    MismatchEntry,
    ModelEntry,
    Part,
    Positive,
    RoleEntry,
    RoundingEntry,
    StageEntry,
    TensorEntry,
    TokenizerEntry,
    VocabularyEntry,
)
from sdi_gate.report.indices import (
    AxisPredictionEntry,
    CalibrationEntry,
    ContributionEntry,
    EstimateEntry,
    IndexEntry,
    IntervalEntry,
    LayerShareEntry,
    PredictionEntry,
)
from sdi_gate.report.judged import (
    FindingEntry,
    OriginEntry,
    StatementEntry,
    VerdictEntry,
    WaiverEntry,
)

__all__ = [
    "SCHEMA",
    "AlignmentEntry",
    "AxisPredictionEntry",
    "CalibrationEntry",
    "ContributionEntry",
    "CostEntry",
    "EnvironmentEntry",
    "EstimateEntry",
    "FileEntry",
    "FindingEntry",
    "IndexEntry",
    "IntervalEntry",
    "LayerShareEntry",
    "MeasurementEntry",
    "MismatchEntry",
    "ModelEntry",
    "OriginEntry",
    "ParameterEntry",
    "PredictionEntry",
    "ProbeEntry",
    "ResultDocument",
    "RoleEntry",
    "RoundingEntry",
    "SignalEntry",
    "StageEntry",
    "StatementEntry",
    "StratumEntry",
    "TensorEntry",
    "TierEntry",
    "TokenizerEntry",
    "VerdictEntry",
    "VocabularyEntry",
    "WaiverEntry",
    "dump",
    "json_schema",
    "load",
]

SCHEMA: Literal["sdi-gate/result/v1"] = "sdi-gate/result/v1"
MAX_BYTES = 256 * 1024 * 1024
_MAX_TOLD = 500


class TierEntry(Part):
    """How much was looked at."""

    requested: Literal["weights", "probe", "full", "auto"]
    ran: Literal["weights", "probe", "full"]
    reason: Annotated[str, Field(description="why this tier ran, and none higher")]
    cuts: Annotated[
        tuple[str, ...], Field(description="what was measured on less than the settings ask for")
    ] = ()
    whole: Annotated[
        Literal["weights", "probe", "full"] | None,
        Field(
            description="highest tier of which nothing was cut; null: the one that ran, if whole"
        ),
    ] = None


class StratumEntry(Part):
    """One stratum of the probe set."""

    name: str
    num_samples: Positive


class ProbeEntry(Part):
    """The probe set that both models read."""

    name: str
    digest: str
    num_samples: Positive
    max_tokens: Positive
    chat_template: Annotated[bool, Field(description="whether instructions went through one")]
    strata: tuple[StratumEntry, ...]


class MeasurementEntry(Part):
    """One number and what it is of; null means all layers, all tensors, all strata."""

    metric: str
    layer: str | None
    tensor: str | None
    stratum: str | None
    estimate: EstimateEntry


class ParameterEntry(Part):
    """One parameter that changes a signal's number."""

    name: str
    value: str


class SignalEntry(Part):
    """One signal."""

    name: Literal[
        "spectral-divergence",
        "representation-drift",
        "curvature-shift",
        "weight-geometry",
        "behaviour",
    ]
    version: Positive
    parameters: tuple[ParameterEntry, ...]
    outcome: Literal["measured", "not-measured", "inconclusive"]
    metric: Annotated[str, Field(description="the headline's metric")]
    headline: EstimateEntry | None
    reason: Annotated[str | None, Field(description="why there is no headline")]
    measurements: tuple[MeasurementEntry, ...]


class ResultDocument(Part):
    """Everything that a scan found, and its judgement if there was a policy."""

    schema_: Literal["sdi-gate/result/v1"] = Field(alias="schema")
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
    prediction: PredictionEntry | None = None
    axis_predictions: Annotated[
        tuple[AxisPredictionEntry, ...], Field(description="the same for each axis of degradation")
    ] = ()
    registered_name: Annotated[
        str | None, Field(description="of the candidate in a registry, as it was given")
    ] = None
    defects: tuple[str, ...]
    notices: tuple[str, ...]
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
    if len(data) > MAX_BYTES:
        msg = f"{where}: not a result document: {len(data)} bytes, at most {MAX_BYTES} expected"
        raise UsageError(msg)
    try:
        return ResultDocument.model_validate_json(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"]) or "document"
        # Keys and texts of the file are in both, and whoever wrote it may be hostile.
        told = visible(f"{path}: {first['msg']}")
        shown = told if len(told) <= _MAX_TOLD else f"{told[:_MAX_TOLD]}..."
        msg = f"{where}: not a result document ({SCHEMA}): {shown}"
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
