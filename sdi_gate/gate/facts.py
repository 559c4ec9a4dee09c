"""Put what a scan found into the facts that a policy judges, the same way for a recorded one.

Nothing here loads torch: a report that was written is judged again without it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from sdi_gate.models.roles import roles_of
from sdi_gate.policy.facts import CalibrationFacts, Facts, ModelIdentity, PredictedDegradation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sdi_gate.gate.result import ModelFacts, ScanResult
    from sdi_gate.prediction.calibration import Calibration
    from sdi_gate.signals.interface import SignalResult

MEAN = "mean"
NOT_QUANTISED = "none"


class IntervalLike(Protocol):
    """An interval around a prediction: of a scan, or of a result document."""

    @property
    def level(self) -> float:
        """Return the coverage that it aims at."""

    @property
    def upper(self) -> float:
        """Return its upper end."""


class PredictionLike(Protocol):
    """A prediction: of a scan, or of a result document."""

    @property
    def value(self) -> float | None:
        """Return the predicted degradation."""

    @property
    def upper(self) -> float | None:
        """Return the upper end of its interval."""

    @property
    def level(self) -> float | None:
        """Return the coverage that the interval aims at."""

    @property
    def reason(self) -> str | None:
        """Return why nothing is predicted."""

    @property
    def intervals(self) -> Sequence[IntervalLike]:
        """Return the interval at every level that the calibration has."""


def facts_of_scan(result: ScanResult) -> Facts:
    """Return what a policy judges of a scan.

    Args:
        result: What the scan found.

    Returns:
        The facts.
    """
    return Facts(
        tier=result.tier.ran,
        coverage=result.alignment.coverage,
        sdi=result.sdi.estimate,
        sdi_plus=result.sdi_plus.estimate,
        # By layer, a policy looks at rows; how they were added up is no matter of its.
        signals=tuple(replace(signal, layer_weights=()) for signal in result.signals),
        defects=result.defects,
        notices=result.notices,
        tier_reason=result.tier.reason,
        whole_tier=result.tier.whole,
        cuts=result.tier.cuts,
        base=identity_of(result.base),
        candidate=identity_of(result.candidate),
        family=common_family(readable(result.base.family), readable(result.candidate.family)),
        registered_name=result.registered_name,
        calibration=_calibration(result.calibration, result.uncalibrated),
        predictions=predictions_of(
            ((MEAN, result.prediction), *((a.axis, a.prediction) for a in result.axis_predictions))
        ),
        tensor_roles=tensor_roles(result.signals),
        measured_at=moment(result.started_at),
    )


def identity_of(facts: ModelFacts) -> ModelIdentity:
    """Say which model one of the two was.

    Args:
        facts: What the scan found out about it.

    Returns:
        Its identity.
    """
    snapshot = facts.snapshot
    return ModelIdentity(
        reference=readable(str(snapshot.ref)),
        name=snapshot.hub_name,
        commit=snapshot.commit,
        digest=snapshot.digest,
        format=snapshot.kind.value,
        quantisation=facts.quantisation_method or NOT_QUANTISED,
    )


def common_family(base: str | None, candidate: str | None) -> str | None:
    """Return the family of both models.

    Args:
        base: Family of the base.
        candidate: Family of the candidate.

    Returns:
        The family; None if they differ or one is not known, so that whatever could apply does.
    """
    return base if base == candidate else None


def predictions_of(
    predictions: Iterable[tuple[str, PredictionLike]],
) -> tuple[PredictedDegradation, ...]:
    """Return what is predicted, with each interval that there is.

    Args:
        predictions: Axes and what is predicted for them.

    Returns:
        For each axis its prediction at the calibration's own level first, then at the others.
    """
    return tuple(found for axis, told in predictions for found in _at_each_level(axis, told))


def tensor_roles(signals: Iterable[SignalResult]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Say what each measured tensor does.

    Args:
        signals: The signals.

    Returns:
        Each tensor that a row is of, in the order in which they come, with its roles.
    """
    rows = (row.tensor for signal in signals for row in signal.measurements)
    names = dict.fromkeys(name for name in rows if name is not None)
    return tuple((name, tuple(role.value for role in roles_of(name))) for name in names)


def moment(text: str) -> datetime | None:
    """Read a time.

    Args:
        text: ISO 8601, with its offset from UTC.

    Returns:
        The time in UTC; None if the text is none, or does not say in which zone it is.
    """
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def readable(name: str) -> str:
    """Return text from outside as JSON can hold it.

    Args:
        name: Any text. A file's name can hold bytes that are no UTF-8, a configuration half of a
            surrogate pair.

    Returns:
        The text with these as escapes.
    """
    return name.encode(errors="backslashreplace").decode()


def _calibration(calibration: Calibration, uncalibrated: str | None) -> CalibrationFacts:
    return CalibrationFacts(
        name=calibration.name,
        fitted=calibration.is_fitted,
        families=calibration.families,
        num_pairs=calibration.num_pairs,
        out_of_scope=uncalibrated,
    )


def _at_each_level(axis: str, told: PredictionLike) -> Iterator[PredictedDegradation]:
    yield PredictedDegradation(
        axis=axis, value=told.value, upper=told.upper, level=told.level, reason=told.reason
    )
    for interval in told.intervals:
        if interval.level != told.level:
            yield PredictedDegradation(
                axis=axis, value=told.value, upper=interval.upper, level=interval.level
            )
