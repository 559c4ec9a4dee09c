"""Define the parts of a result document on the indices, their calibration and the prediction."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sdi_gate.report.entries import Count, Part, Positive, Share

# What documents had before calibrations were fitted is what the defaults say.
Aggregation = Literal["overall", "mean-of-strata", "worst-stratum"]


class EstimateEntry(Part):
    """One number, with its standard error if it is stochastic."""

    value: float
    stderr: Annotated[float | None, Field(ge=0)]
    n: Positive | None


class LayerShareEntry(Part):
    """What one layer group adds to an index."""

    layer: str
    contribution: Share


class ContributionEntry(Part):
    """What one signal adds to an index: weight times phi."""

    signal: str
    metric: Annotated[str, Field(description="which of the signal's metrics was taken")]
    aggregation: Annotated[
        Aggregation, Field(description="how its strata became one number; overall: the signal's")
    ] = "overall"
    value: float
    phi: Share
    weight: Share
    reason: Annotated[str | None, Field(description="why the weight is 0")] = None
    contribution: Share
    by_layer: tuple[LayerShareEntry, ...]


class IndexEntry(Part):
    """One index, ``sdi`` or ``sdi_plus``."""

    outcome: Literal["measured", "not-measured", "inconclusive"]
    estimate: EstimateEntry | None
    reason: str | None
    contributions: tuple[ContributionEntry, ...]
    by_layer: tuple[LayerShareEntry, ...]


class ThresholdEntry(Part):
    """The ``sdi`` of this tier from which on the calibration flags a candidate."""

    value: Share
    bound: Annotated[Share, Field(description="aimed at, on the rate of high regressions missed")]
    num_missed: Annotated[Count, Field(description="on groups that had no part in the fit")]
    num_degraded: Count
    num_false_alarms: Count
    num_others: Count


class CalibrationEntry(Part):
    """What the indices' weights rest on."""

    name: str
    version: Count
    own: Annotated[bool, Field(description="given by the user; false: it ships")] = False
    status: Annotated[
        Literal["provisional", "fitted"], Field(description="provisional: set by hand")
    ] = "provisional"
    calibrated: Annotated[
        bool, Field(description="fitted, and to models like these; false: see reason")
    ]
    reason: Annotated[str | None, Field(description="why it does not speak for these models")] = (
        None
    )
    note: str
    threshold: Annotated[
        ThresholdEntry | None, Field(description="null where it does not speak for these models")
    ] = None
    families: Annotated[
        tuple[str, ...] | None, Field(description="of models that it was fitted on")
    ] = None
    num_pairs: Annotated[
        Count | None, Field(description="of base and fine-tune that it was fitted on")
    ] = None

    @model_validator(mode="after")
    def _speaks_or_says_why_not(self) -> Self:
        if self.calibrated and self.reason is not None:
            msg = f"a calibration that speaks for the models has no reason; got {self.reason!r}"
            raise ValueError(msg)
        return self


class IntervalEntry(Part):
    """An interval around a prediction, at one level."""

    level: Annotated[Share, Field(description="coverage that it aims at")]
    lower: Share
    upper: Share


class PredictionEntry(Part):
    """Predicted degradation with its interval, or why nothing is predicted."""

    value: Share | None
    lower: Share | None
    upper: Share | None
    level: Annotated[Share | None, Field(description="coverage that the interval aims at")]
    reason: str | None
    intervals: Annotated[
        tuple[IntervalEntry, ...],
        Field(description="at every level of the calibration, the lowest first"),
    ] = ()

    @model_validator(mode="after")
    def _is_whole_or_says_why_not(self) -> Self:
        numbers = (self.lower, self.value, self.upper, self.level)
        known = [number for number in numbers if number is not None]
        if len(known) != (0 if self.reason is not None else len(numbers)):
            msg = "a prediction has all its numbers and no reason, or the reverse"
            raise ValueError(msg)
        if known and not known[0] <= known[1] <= known[2]:
            msg = f"a prediction lies in its interval; got {known[1]} in {known[0]} to {known[2]}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _intervals_widen_around_it(self) -> Self:
        if not self.intervals:
            return self
        own = (self.level, self.lower, self.upper)
        if own not in {(each.level, each.lower, each.upper) for each in self.intervals}:
            msg = f"the interval of a prediction is among all of them; {own} is not"
            raise ValueError(msg)
        for narrow, wide in pairwise(self.intervals):
            within = wide.lower <= narrow.lower <= narrow.upper <= wide.upper
            if not (narrow.level < wide.level and within):
                msg = f"an interval at a higher level is as wide; got {narrow} and {wide}"
                raise ValueError(msg)
        return self


class AxisPredictionEntry(Part):
    """What is predicted for one axis of degradation."""

    axis: str
    prediction: PredictionEntry
