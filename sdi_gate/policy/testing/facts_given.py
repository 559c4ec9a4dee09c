"""Make facts, as a scan would find them, of what a case of a policy test gives."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sdi_gate.policy.facts import (
    CalibrationFacts,
    Facts,
    ModelIdentity,
    PredictedDegradation,
    Tier,
)
from sdi_gate.policy.format.section import kebab
from sdi_gate.policy.testing.numbers_given import Measured
from sdi_gate.signals.interface import (
    Estimate,
    Measurement,
    Outcome,
    SignalId,
    SignalName,
    SignalResult,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sdi_gate.policy.format.section import Section
    from sdi_gate.policy.testing.cases import Given, GivenBase, GivenCalibration, GivenCandidate
    from sdi_gate.policy.testing.numbers_given import PredictionNumbers

# The metrics that the signals' modules, which load torch, have for headlines.
HEADLINES: Final = {
    SignalName.SPECTRAL_DIVERGENCE: "spectral-divergence",
    SignalName.REPRESENTATION_DRIFT: "cka-angle",
    SignalName.CURVATURE_SHIFT: "trace-shift",
    SignalName.WEIGHT_GEOMETRY: "relative-distance",
    SignalName.BEHAVIOUR: "kl-divergence",
}


def facts_given(given: Given, now: datetime) -> Facts:
    """Return the facts of a scan that found what is given.

    Args:
        given: With a tier and a coverage.
        now: When the case is judged, from which the age counts back.

    Returns:
        The facts; a signal that is not given is not among them.
    """
    return Facts(
        tier=given.tier or Tier.WEIGHTS,
        coverage=0.0 if given.coverage is None else given.coverage,
        sdi=_estimate(given.sdi),
        sdi_plus=_estimate(given.sdi_plus),
        signals=tuple(_results(given)),
        defects=given.defects or (),
        notices=given.notices or (),
        whole_tier=given.whole_tier,
        cuts=given.cuts or (),
        base=_identity("base", given.base),
        candidate=_identity("candidate", given.candidate),
        family=given.family,
        registered_name=given.model,
        calibration=_calibration(given.calibration),
        predictions=tuple(_predictions(given)),
        tensor_roles=tuple((_tensor(role), (role,)) for role in given.by_role or {}),
        measured_at=None if given.age is None else now - timedelta(days=given.age),
    )


def numbers_of(section: Section | None) -> dict[str, Estimate]:
    """Return the numbers of a section.

    Args:
        section: Numbers of signals or of behaviour, or nothing.

    Returns:
        Those that are given, by their keys.
    """
    if section is None:
        return {}
    return {kebab(name): _sure(value) for name, value in section if value is not None}


def _results(given: Given) -> Iterator[SignalResult]:
    signals = numbers_of(given.signals)
    for name, metric in HEADLINES.items():
        if name is not SignalName.BEHAVIOUR and name in signals:
            rows = tuple(_rows(given, str(name), metric))
            yield _result(name, metric, signals[name], given, rows)
    behaviour = numbers_of(given.behaviour)
    if behaviour:
        # Where the headline is taken away, another metric that is there stands in its place, so
        # that the limit on the headline alone finds nothing.
        first, *others = behaviour
        whole = (Measurement(metric=m, estimate=behaviour[m]) for m in others)
        strata = (row for metric in behaviour for row in _rows(given, metric, metric))
        rows = (*whole, *strata)
        yield _result(SignalName.BEHAVIOUR, first, behaviour[first], given, rows)


def _result(
    name: SignalName,
    metric: str,
    headline: Estimate,
    given: Given,
    rows: tuple[Measurement, ...],
) -> SignalResult:
    parameters = tuple((key, _text(value)) for key, value in (given.parameters or {}).items())
    return SignalResult(
        id=SignalId(name=name, version=1, parameters=parameters),
        outcome=Outcome.MEASURED,
        metric=metric,
        estimate=headline,
        measurements=rows,
    )


def _rows(given: Given, key: str, metric: str) -> Iterator[Measurement]:
    for layer, of_layer in (given.by_layer or {}).items():
        if found := numbers_of(of_layer).get(key):
            yield Measurement(metric=metric, estimate=found, layer=layer)
    for role, of_role in (given.by_role or {}).items():
        if found := numbers_of(of_role).get(key):
            yield Measurement(metric=metric, estimate=found, tensor=_tensor(role))
    for stratum, of_stratum in (given.by_stratum or {}).items():
        if found := numbers_of(of_stratum).get(key):
            yield Measurement(metric=metric, estimate=found, stratum=stratum)


def _text(value: str | float | bool) -> str:
    # As the ids of signals write their parameters.
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tensor(role: str) -> str:
    return f"a tensor of role {role}"


def _estimate(number: float | Measured | None) -> Estimate | None:
    return None if number is None else _sure(number)


def _sure(number: float | Measured) -> Estimate:
    if isinstance(number, Measured):
        return Estimate(value=number.value, stderr=number.standard_error)
    return Estimate(value=float(number))


def _identity(reference: str, given: GivenBase | GivenCandidate | None) -> ModelIdentity | None:
    if given is None:
        return None
    return ModelIdentity(
        reference=given.name or reference,
        name=given.name,
        commit=given.revision,
        digest=given.digest,
        format=getattr(given, "format", None),
        quantisation=getattr(given, "quantisation", None),
    )


def _calibration(given: GivenCalibration | None) -> CalibrationFacts | None:
    if given is None:
        return None
    return CalibrationFacts(
        name="given",
        fitted=given.fitted is not False,
        families=given.families,
        num_pairs=given.pairs,
        out_of_scope="the case says so" if given.in_scope is False else None,
    )


def _predictions(given: Given) -> Iterator[PredictedDegradation]:
    if given.predicted_degradation is None:
        return
    mean, axes = given.predicted_degradation.mean, given.predicted_degradation.axes
    if mean is not None:
        yield _prediction("mean", mean)
    for axis, numbers in (axes or {}).items():
        yield _prediction(axis, numbers)


def _prediction(axis: str, numbers: PredictionNumbers) -> PredictedDegradation:
    return PredictedDegradation(
        axis=axis, value=numbers.value, upper=numbers.upper, level=numbers.level
    )
