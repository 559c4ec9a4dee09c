"""Define what a fit found, as JSON that is equal to the byte for equal rows."""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sdi_gate.errors import UsageError

# How much less squared error the line makes than one number for all.
Explained: TypeAlias = float | None


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class IntervalEntry(_Strict):
    """A number with its interval; null where it is not defined or there is too little for it."""

    value: float | None
    lower: float | None
    upper: float | None
    num_pairs: int


class RateEntry(_Strict):
    """How often something happened, with the interval of Clopper and Pearson."""

    hits: int
    trials: int
    value: float | None
    lower: float | None
    upper: float | None


class TermEntry(_Strict):
    """How one signal enters an index."""

    signal: str
    metric: str
    aggregation: str
    weight: float
    scale: float
    power: float
    reason: str | None


class KnotEntry(_Strict):
    """One corner of the line from index to degradation."""

    sdi: float
    degradation: float


class FoldEntry(_Strict):
    """What was fitted without one group."""

    left_out: str
    num_pairs: int
    terms: tuple[TermEntry, ...]
    threshold: float | None
    inner_rho: float


class EvidenceEntry(_Strict):
    """How well a score orders and flags pairs of groups that had no part in it."""

    rho: IntervalEntry
    within: dict[str, IntervalEntry]
    misses: RateEntry
    false_alarms: RateEntry
    misses_within: dict[str, RateEntry]
    false_alarms_within: dict[str, RateEntry]


class BaselineEntry(_Strict):
    """One number alone, as a rival of the index."""

    name: str
    metric: Annotated[str, Field(description="what it is made of, in words")]
    evidence: EvidenceEntry


class CurveEntry(_Strict):
    """Miss rate and false-alarm rate at one threshold."""

    threshold: float
    misses: float | None
    false_alarms: float | None


class BinEntry(_Strict):
    """Pairs of similar predicted degradation, and what they lost."""

    predicted: float
    measured: float
    lower: float
    upper: float
    num_pairs: int


class LevelEntry(_Strict):
    """The interval at one level, and how it did on groups that had no part in it.

    Half its width is ``offset + slope * predicted``; null where there are too few pairs for the
    level, be it on all pairs or without one of the groups, or most high regressions exceeded it.
    """

    level: float
    offset: float | None
    slope: float | None
    coverage: RateEntry
    exceeded: Annotated[
        RateEntry, Field(description="of high regressions, how many lost more than the upper end")
    ]
    mean_width: float


class PredictionEntry(_Strict):
    """How well degradation was predicted for groups that had no part in it."""

    level: float
    coverage: RateEntry
    coverage_within: dict[str, RateEntry]
    mean_width: float
    mean_error: float
    reliability: tuple[BinEntry, ...]
    levels: tuple[LevelEntry, ...] = ()
    explained: Explained = None


class AxisEntry(_Strict):
    """Degradation of one axis: its line from the index, and how it did on groups left out."""

    reason: Annotated[str | None, Field(description="why it predicts nothing; null if it does")]
    num_degraded: Annotated[int, Field(description="pairs that this axis alone makes high")]
    mean_loss: float
    rho: Annotated[IntervalEntry, Field(description="of the index with what this axis lost")]
    knots: tuple[KnotEntry, ...]
    levels: tuple[LevelEntry, ...]
    mean_error: float
    explained: Explained


class PairScoreEntry(_Strict):
    """What an index that had not seen a pair's group says of it."""

    pair: str
    score: float
    flagged: bool
    predicted: float
    lower: float
    upper: float


class BreakingEntry(_Strict):
    """A pair that the index gets wrong."""

    pair: str
    why: Literal["missed", "rank"]
    score: float
    degradation: float
    rank_error: Annotated[
        float, Field(description="rank by index less rank by degradation, as a share of all")
    ]


class IndexEntry(_Strict):
    """One index of one tier: fitted on all, and the evidence from groups left out."""

    terms: tuple[TermEntry, ...]
    inner_rho: Annotated[float, Field(description="what chose the headlines; not evidence")]
    threshold: float | None
    knots: tuple[KnotEntry, ...]
    interval_offset: float | None
    interval_slope: float | None
    folds: tuple[FoldEntry, ...]
    evidence: EvidenceEntry
    prediction: PredictionEntry
    curve: tuple[CurveEntry, ...]
    pairs: tuple[PairScoreEntry, ...]
    breaking: tuple[BreakingEntry, ...]
    axes: dict[str, AxisEntry] = {}


class DifferenceEntry(_Strict):
    """How much better one score orders than another, on the same draws."""

    name: str
    difference: IntervalEntry


class CandidateEntry(_Strict):
    """One number that may become a headline, alone and as it is."""

    signal: str
    metric: str
    aggregation: str
    rho: IntervalEntry
    mean_within: float | None


class TierEntry(_Strict):
    """What was fitted at one tier, or why nothing was."""

    reason: Annotated[str | None, Field(description="why there is no index; null if there is one")]
    left_out: Literal["family", "base", "pair"] | None
    num_pairs: int
    num_degraded: int
    sdi: IndexEntry | None
    sdi_plus: IndexEntry | None
    baselines: tuple[BaselineEntry, ...]
    differences: tuple[DifferenceEntry, ...]
    candidates: Annotated[
        tuple[CandidateEntry, ...], Field(description="those that order best first")
    ]
    not_measured: Annotated[tuple[str, ...], Field(description="metrics that are not in every row")]


class PairEntry(_Strict):
    """One pair, and what it lost."""

    pair: str
    family: str
    base: str
    kind: str
    variant: str
    dose: float | None
    degradation: float
    stderr: float
    high: bool
    drops: dict[str, float]


class FailureEntry(_Strict):
    """One pair that failed, and why."""

    pair: str
    reason: str


class FitResult(_Strict):
    """Everything that a fit found; see the entries."""

    schema_: Literal[1] = Field(alias="schema")
    results_digest: str
    population: str
    scales: tuple[str, ...]
    families: tuple[str, ...]
    num_bases: int
    min_parameters: int
    max_parameters: int
    probe: str | None
    signal_ids: tuple[str, ...]
    axes: tuple[str, ...]
    definition: str
    num_pairs: int
    num_degraded: int
    failures: tuple[FailureEntry, ...]
    pairs: tuple[PairEntry, ...]
    tiers: dict[Literal["weights", "probe", "full"], TierEntry]


def dump(fit: FitResult) -> bytes:
    """Write a fit as JSON.

    Args:
        fit: The fit.

    Returns:
        UTF-8 with a fixed order of keys: equal fits give equal bytes.
    """
    plain = fit.model_dump(mode="json", by_alias=True)
    return (json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def load(data: bytes, where: str) -> FitResult:
    """Read a fit.

    Args:
        data: JSON text.
        where: Name of the file, for messages.

    Returns:
        The fit.

    Raises:
        UsageError: If the text is not a fit of this version.
    """
    try:
        return FitResult.model_validate_json(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"]) or "document"
        msg = f"{where}: not a fit: {path}: {first['msg']}"
        raise UsageError(msg, hint="give the file that sdi-gate study fit wrote") from exc
