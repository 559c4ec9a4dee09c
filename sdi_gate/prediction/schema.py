"""Define the calibration file, version 2: what an index is made of, and what it rests on."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sdi_gate.signals.divergence import Aggregation, Formula, Term
from sdi_gate.signals.interface import SignalName  # noqa: TC001 - pydantic reads it at run time

FORMULA_VERSION: Literal[2] = 2
# What stands, where axes are named, for the mean over them.
MEAN = "mean"
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=10**15)]
Rho = Annotated[float, Field(ge=-1, le=1)]


class CalibrationStatus(StrEnum):
    """Say what the weights and scales of a calibration rest on."""

    PROVISIONAL = "provisional"
    FITTED = "fitted"


class Strict(BaseModel):
    """Refuse whatever is not described: other keys, other types, numbers that are not finite."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class TermEntry(Strict):
    """Say how one signal enters an index; see `sdi_gate.signals.divergence.Term`."""

    signal: Annotated[SignalName, Field(strict=False)]
    metric: Annotated[str, Field(min_length=1)]
    aggregation: Annotated[Aggregation, Field(strict=False)]
    weight: Share
    scale: Annotated[float, Field(ge=1e-60, le=1e60)]
    power: Annotated[float, Field(gt=0, le=100)]
    reason: Annotated[str | None, Field(description="why the weight is 0")] = None

    def to_term(self) -> Term:
        """Return the term.

        Returns:
            What the index is computed with.
        """
        return Term(
            signal=self.signal,
            metric=self.metric,
            aggregation=self.aggregation,
            weight=self.weight,
            scale=self.scale,
            power=self.power,
            reason=self.reason,
        )


class IntervalEntry(Strict):
    """A rank correlation with its interval of 95 %, clustered on bases."""

    value: Rho | None
    lower: Rho | None
    upper: Rho | None


class RateEntry(Strict):
    """How often something happened, with the exact interval of 95 %."""

    hits: Count
    trials: Count
    value: Share | None
    lower: Share | None
    upper: Share | None


class KnotEntry(Strict):
    """One corner of the line from index to degradation."""

    sdi: Share
    degradation: Share


class LevelEntry(Strict):
    """The interval around a line at one more level.

    Half its width is ``offset + slope * predicted``.
    """

    level: Annotated[Share, Field(description="the coverage aimed at")]
    offset: Annotated[float, Field(ge=0, le=1e6)]
    slope: Annotated[float, Field(ge=0, le=1e6)]
    coverage: Annotated[RateEntry, Field(description="reached on groups left out")]
    mean_width: Annotated[float, Field(ge=0, le=1e6)]
    exceeded: Annotated[
        RateEntry | None,
        Field(description="high regressions above the upper end, on groups left out"),
    ] = None


class PredictionEntry(Strict):
    """The line from ``sdi`` to degradation, and the interval around it.

    Half the width of the interval is ``offset + slope * predicted``. Law: of two levels, the
    interval of the higher is at least as wide.
    """

    level: Annotated[Share, Field(description="the coverage aimed at")]
    knots: Annotated[tuple[KnotEntry, ...], Field(min_length=1)]
    offset: Annotated[float, Field(ge=0, le=1e6)]
    slope: Annotated[float, Field(ge=0, le=1e6)]
    coverage: Annotated[RateEntry, Field(description="reached on groups left out")]
    mean_width: Annotated[float, Field(ge=0, le=1e6)]
    exceeded: Annotated[
        RateEntry | None,
        Field(description="high regressions above the upper end, on groups left out"),
    ] = None
    other_levels: Annotated[
        tuple[LevelEntry, ...], Field(description="the interval at other levels, the lowest first")
    ] = ()

    @property
    def widths(self) -> tuple[tuple[float, float, float], ...]:
        """Return level, offset and slope of each interval, the lowest level first."""
        own = (self.level, self.offset, self.slope)
        others = ((each.level, each.offset, each.slope) for each in self.other_levels)
        return tuple(sorted((own, *others)))

    @model_validator(mode="after")
    def _widens(self) -> Self:
        for (level, *half), (higher, *wider) in pairwise(self.widths):
            if not (level < higher and all(a <= b for a, b in zip(half, wider, strict=True))):
                msg = f"levels must differ, and a higher one be as wide; got {level} and {higher}"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _rises(self) -> Self:
        for left, right in pairwise(self.knots):
            if not (left.sdi < right.sdi and left.degradation <= right.degradation):
                msg = f"knots must rise in sdi and not fall in degradation; got {left}, {right}"
                raise ValueError(msg)
        return self


class ThresholdEntry(Strict):
    """The ``sdi`` from which on a candidate is flagged."""

    bound: Annotated[Share, Field(description="on the expected false-negative rate")]
    value: Share


class EvidenceEntry(Strict):
    """How an index did on groups that had no part in it."""

    left_out: Annotated[Literal["family", "base", "pair"], Field(description="what a group is")]
    num_pairs: Count
    num_degraded: Count
    rho: IntervalEntry
    within: Annotated[dict[str, IntervalEntry], Field(description="within each family")]
    misses: Annotated[RateEntry, Field(description="of high regressions, at the threshold")]
    false_alarms: Annotated[RateEntry, Field(description="of the others, at the threshold")]
    kl_alone: Annotated[
        IntervalEntry | None, Field(description="KL divergence alone, on the same pairs")
    ]


class TierEntry(Strict):
    """Hold the two indices of one tier, and what is known of them.

    Attributes:
        sdi: Terms of the index over the structural signals that the tier measures.
        sdi_plus: Terms of the index that adds behaviour; None where the tier has none.
        prediction: From ``sdi`` to degradation; None if it was not fitted.
        threshold: Of ``sdi``; None if it was not fitted.
        evidence: For ``sdi``; None if it was not fitted.
        evidence_plus: For ``sdi_plus``.
        axes: From ``sdi`` to degradation of one axis, by its name. Empty in a file of before axes
            were fitted.
        silent_axes: Why nothing is predicted for an axis, by its name.
    """

    sdi: tuple[TermEntry, ...]
    sdi_plus: tuple[TermEntry, ...] | None
    prediction: PredictionEntry | None
    threshold: ThresholdEntry | None
    evidence: EvidenceEntry | None
    evidence_plus: EvidenceEntry | None
    axes: dict[str, PredictionEntry] = {}
    silent_axes: dict[str, str] = {}

    @model_validator(mode="after")
    def _keeps_the_mean_apart(self) -> Self:
        if MEAN in self.axes:
            msg = f"no axis may be called {MEAN!r}, which stands for all of them"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _makes_indices(self) -> Self:
        for terms in (self.sdi, self.sdi_plus):
            if terms is not None:
                formula_of(terms)
        return self


class ScaleEntry(Strict):
    """The sizes of the bases that a calibration was fitted on."""

    min_parameters: Count
    max_parameters: Count

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.min_parameters <= self.max_parameters:
            msg = f"min_parameters {self.min_parameters} is above max_parameters"
            raise ValueError(msg)
        return self


class ProbeEntry(Strict):
    """The probe set that the signals were measured on."""

    name: str
    digest: str


class DegradationEntry(Strict):
    """What degradation means here."""

    axes: tuple[str, ...]
    definition: str


class ProvenanceEntry(Strict):
    """Where a calibration comes from."""

    results_digest: str
    sdi_gate: str
    command: str


def formula_of(terms: tuple[TermEntry, ...]) -> Formula:
    """Return the formula that terms make.

    Args:
        terms: The terms.

    Returns:
        The formula.

    Raises:
        ValueError: If they make no index; see `Formula`.
    """  # noqa: DOC502 - raised by Formula
    return Formula(terms=tuple(term.to_term() for term in terms))
