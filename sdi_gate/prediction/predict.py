"""Say whether a calibration speaks for a model, and what it predicts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.prediction.schema import MEAN

if TYPE_CHECKING:
    from sdi_gate.prediction.calibration import Calibration
    from sdi_gate.prediction.schema import PredictionEntry, ScaleEntry, TierEntry
    from sdi_gate.signals.divergence import Divergence

_SEED = "seed="
_BILLION, _MILLION = 1_000_000_000, 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Describe a scan as far as a calibration must know it.

    Attributes:
        family: Family of both models.
        num_parameters: Parameters of the base.
        tier: Tier that ran.
        probe: Digest of the probe set; None at tier ``weights``.
        signal_ids: Each measured signal with version and parameters.
    """

    family: str
    num_parameters: int
    tier: str
    probe: str | None
    signal_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedInterval:
    """Hold an interval around a prediction.

    Attributes:
        level: Coverage that it aims at.
        lower: Lower end, from 0 on.
        upper: Upper end, up to 1.
    """

    level: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Hold the predicted degradation, or the reason why there is none.

    Law: the four numbers and the intervals are there exactly if ``reason`` is not.

    Attributes:
        value: Predicted degradation.
        lower: Lower end of its interval.
        upper: Upper end of its interval.
        level: Coverage that the interval aims at.
        reason: Why nothing is predicted.
        intervals: The interval at every level that the calibration has, this one among them, the
            lowest level first. The higher the level, the wider.
    """

    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    level: float | None = None
    reason: str | None = None
    intervals: tuple[PredictedInterval, ...] = ()

    def at(self, confidence: float) -> Prediction:
        """Return the prediction with an interval for a confidence.

        Args:
            confidence: Coverage that the interval must aim at.

        Returns:
            The prediction with the narrowest interval whose level is at least that; where there is
            none, with the widest, whose level then says that it is below. A prediction of nothing
            is returned as it is.
        """
        if not self.intervals:
            return self
        enough = (item for item in self.intervals if item.level >= confidence)
        found = next(enough, self.intervals[-1])
        return replace(self, lower=found.lower, upper=found.upper, level=found.level)


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisPrediction:
    """Hold what is predicted for one axis.

    Attributes:
        axis: Its name in the calibration.
        prediction: Its predicted degradation, or why there is none.
    """

    axis: str
    prediction: Prediction


def why_uncalibrated(calibration: Calibration, subject: Subject) -> str | None:
    """Say why a calibration does not speak for a scan.

    Args:
        calibration: The calibration.
        subject: The scan.

    Returns:
        A clause on the first condition that is not met; None if it speaks for the scan.
    """
    if not calibration.is_fitted or calibration.scale is None:
        return "the weights of the calibration were set by hand, not fitted to degradation"
    if calibration.tier(subject.tier) is None:
        return f"the calibration has no index for tier {subject.tier}"
    if subject.family not in calibration.families:
        known = ", ".join(calibration.families)
        return f"calibrated on the families {known}; this model is of family {subject.family}"
    if not _is_within(subject.num_parameters, calibration.scale):
        scale = _range(calibration.scale, calibration.population)
        return f"calibrated on {scale}; this model has {_size(subject.num_parameters)}"
    if calibration.population == "organisms" and subject.probe is None:
        # Any small model of a family could be meant: the probe set is what tells organisms.
        return "tier weights reads no text, so that nothing tells these models from others"
    return _other_measurement(calibration, subject)


def predict(calibration: Calibration, subject: Subject, sdi: Divergence) -> Prediction:
    """Predict degradation from the index.

    Args:
        calibration: The calibration.
        subject: The scan.
        sdi: Its index.

    Returns:
        The prediction; its reason where the calibration does not speak for the scan, or there is
        no index.
    """
    reason = why_uncalibrated(calibration, subject)
    if reason is not None:
        return Prediction(reason=reason)
    tier = calibration.tier(subject.tier)
    nothing = f"the calibration predicts nothing at tier {subject.tier}"
    return _predicted(tier.prediction if tier is not None else None, sdi, nothing)


def predict_axes(
    calibration: Calibration, subject: Subject, sdi: Divergence
) -> tuple[AxisPrediction, ...]:
    """Predict the degradation of each axis from the index.

    Args:
        calibration: The calibration.
        subject: The scan.
        sdi: Its index.

    Returns:
        One for each axis of the calibration, in its order; with the reason where the calibration
        does not speak for the scan, there is no index, or no line was fitted for the axis.
        Empty if the calibration was fitted on nothing, and so knows no axis.
    """
    if calibration.degradation is None:
        return ()
    reason = why_uncalibrated(calibration, subject)
    tier = calibration.tier(subject.tier)
    return tuple(
        AxisPrediction(
            axis=axis,
            prediction=Prediction(reason=reason or f"there is no tier {subject.tier}")
            if reason is not None or tier is None
            else _predicted(tier.axes.get(axis), sdi, _silence(tier, subject.tier, axis)),
        )
        for axis in calibration.degradation.axes
        if axis != MEAN  # a file of before axes were fitted may call one so
    )


def without_seed(identity: str) -> str:
    """Return the identity of a signal without its seed, which draws and does not define.

    Args:
        identity: Such as ``curvature-shift/1?curvature-draws=8&seed=0``.

    Returns:
        The same without ``seed=0``.
    """
    head, _, query = identity.partition("?")
    kept = "&".join(part for part in query.split("&") if part and not part.startswith(_SEED))
    return f"{head}?{kept}" if kept else head


def _silence(tier: TierEntry, name: str, axis: str) -> str:
    known = tier.silent_axes.get(axis, "it was fitted to the mean alone")
    return f"the calibration predicts nothing for the axis {axis} at tier {name}: {known}"


def _predicted(entry: PredictionEntry | None, sdi: Divergence, nothing: str) -> Prediction:
    if sdi.estimate is None:
        return Prediction(reason=f"there is no sdi: {sdi.reason}")
    if entry is None:
        return Prediction(reason=nothing)
    value = _read_line(entry, sdi.estimate.value)
    intervals = tuple(
        PredictedInterval(
            level=level,
            lower=max(0.0, value - (offset + slope * value)),
            upper=min(1.0, value + (offset + slope * value)),
        )
        for level, offset, slope in entry.widths
    )
    return Prediction(
        value=value,
        lower=intervals[0].lower,
        upper=intervals[0].upper,
        level=intervals[0].level,
        intervals=intervals,
    ).at(entry.level)


def _is_within(num_parameters: int, scale: ScaleEntry) -> bool:
    return scale.min_parameters <= num_parameters <= scale.max_parameters


def _other_measurement(calibration: Calibration, subject: Subject) -> str | None:
    known = {identity.split("/")[0]: identity for identity in calibration.signal_ids}
    needed = _signals(calibration, subject.tier)
    if subject.probe is not None and (
        calibration.probe is None or calibration.probe.digest != subject.probe
    ):
        return "calibrated on another probe set than the one of this scan"
    for identity in map(without_seed, subject.signal_ids):
        expected = known.get(identity.split("/")[0], "another signal")
        if identity.split("/")[0] in needed and not _is_covered(identity, expected):
            return f"calibrated on {expected}; this scan measured {identity}"
    return None


def _signals(calibration: Calibration, tier: str) -> set[str]:
    entry = calibration.tier(tier)
    terms = (*entry.sdi, *(entry.sdi_plus or ())) if entry is not None else ()
    return {term.signal.value for term in terms}


def _is_covered(identity: str, expected: str) -> bool:
    # A scan of a lower tier has fewer parameters: those of the metrics that it does not measure.
    (ours, _, own), (theirs, _, others) = identity.partition("?"), expected.partition("?")
    return ours == theirs and set(filter(None, own.split("&"))) <= set(others.split("&"))


def _read_line(prediction: PredictionEntry, sdi: float) -> float:
    below, *_ = prediction.knots
    if sdi <= below.sdi:
        return below.degradation
    for knot in prediction.knots[1:]:
        if sdi <= knot.sdi:
            share = (sdi - below.sdi) / (knot.sdi - below.sdi)
            return below.degradation + share * (knot.degradation - below.degradation)
        below = knot
    return below.degradation


def _range(scale: ScaleEntry, population: str) -> str:
    low, high = _size(scale.min_parameters), _size(scale.max_parameters)
    sizes = low if low == high else f"{low.removesuffix(' parameters')} to {high}"
    return f"{population or 'models'} of {sizes}"


def _size(num_parameters: int) -> str:
    for unit, name in ((_BILLION, "B"), (_MILLION, "M")):
        if num_parameters >= unit / 10:
            return f"{num_parameters / unit:.2g} {name} parameters"
    return f"{num_parameters:,} parameters"
