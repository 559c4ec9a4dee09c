"""Find the value that a limit is about among the facts of a scan, or say why it is not there."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.policy.verdict import Bound
from sdi_gate.signals.interface import Outcome, SignalName

if TYPE_CHECKING:
    from sdi_gate.policy.chain.demands import RuleLimit
    from sdi_gate.policy.facts import Facts, PredictedDegradation
    from sdi_gate.signals.interface import Estimate, Measurement, SignalResult

# Headlines of signals that were measured in a poorer way: another number, with other limits.
_STAND_INS = frozenset({"fisher-trace-shift"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Say why the value that a limit is about is not there.

    Attributes:
        metric: Name of the metric.
        why: One sentence.
    """

    metric: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Hold the value that a limit is about.

    Attributes:
        metric: Name of the metric.
        value: The value.
        stderr: Its standard error; None if it is deterministic.
        upper: Upper end of its interval, which is held against the limits; for predictions alone.
        layer: Layer group with the largest value; None if unknown.
        stratum: Probe stratum with the largest value; None if unknown.
        of: Which part of the model or of the probe set it is about, such as `` of layers.3``;
            empty for all of it.
        unread: Why what a selector covers was not read in full, as one sentence; None if it was.
    """

    metric: str
    value: float
    stderr: float | None = None
    upper: float | None = None
    layer: str | None = None
    stratum: str | None = None
    of: str = ""
    unread: str | None = None

    @classmethod
    def from_estimate(cls, metric: str, estimate: Estimate) -> Reading:
        """Return the reading of an estimate for the whole model.

        Args:
            metric: Name of the metric.
            estimate: The estimate.

        Returns:
            The reading.
        """
        return cls(metric=metric, value=estimate.value, stderr=estimate.stderr)


def held(value: float, stderr: float | None, bound: Bound, standard_errors: float) -> float:
    """Return the number that stands for a stochastic value before a limit.

    Args:
        value: The value.
        stderr: Its standard error; None if it is deterministic.
        bound: Whether the limit is an upper or a lower bound.
        standard_errors: How many standard errors are added on the bad side.

    Returns:
        The number; the largest finite one where it is too large for a float.
    """
    added = standard_errors * (stderr or 0.0)
    moved = value + added if bound is Bound.UPPER else value - added
    return max(-sys.float_info.max, min(sys.float_info.max, moved))


def read(limit: RuleLimit, facts: Facts) -> Reading | Missing:
    """Find the value for the whole model that a limit is about.

    Args:
        limit: The limit; those on parts of the model are read by
            :func:`sdi_gate.policy.judging.parts.read_part`.
        facts: What a scan found.

    Returns:
        The value, or why there is none.
    """
    match limit.path:
        case ("limits", "sdi" | "sdi-plus" as index):
            return _of_index(index, facts.sdi if index == "sdi" else facts.sdi_plus)
        case ("limits", "predicted-degradation", *axis):
            return _of_prediction(limit, axis, facts)
        case ("limits", "signals", signal) if signal in {*SignalName} - {SignalName.BEHAVIOUR}:
            return _of_signal(facts, SignalName(signal), None)
        case ("limits", "behaviour", metric):
            return _of_signal(facts, SignalName.BEHAVIOUR, metric)
        case ("limits", "coverage"):
            return _of_coverage(facts)
        case path:
            # A limit that the schema knows and this function does not must not pass.
            return Missing(metric=path[-1], why=f"{limit} is not a rule that can be judged.")


def no_coverage(facts: Facts) -> str | None:
    """Say what is wrong with the coverage of a scan.

    Args:
        facts: What a scan found.

    Returns:
        One sentence; None if it is a share.
    """
    if 0.0 <= facts.coverage <= 1.0:
        return None
    return f"The coverage of the scan is {facts.coverage}, which is not between 0 and 1."


def measured(facts: Facts, name: SignalName, metric: str | None) -> SignalResult | Missing:
    """Find a signal that was measured in the way that limits are meant for.

    Args:
        facts: What a scan found.
        name: The signal.
        metric: Metric that the limit names; None for the signal's headline.

    Returns:
        The signal's result, or why there is none.
    """
    result = facts.signal(name)
    if result is None:
        return Missing(metric=metric or name, why=f"{name} was not measured.")
    if metric is None and result.metric in _STAND_INS:
        why = f"The limit is for another quantity than {result.metric}, which stands in for it."
        return Missing(metric=result.metric, why=why)
    if result.outcome is not Outcome.MEASURED:
        how = "is inconclusive" if result.outcome is Outcome.INCONCLUSIVE else "was not measured"
        return Missing(metric=metric or result.metric, why=f"{name} {how}: {result.reason}")
    return result


def _of_coverage(facts: Facts) -> Reading | Missing:
    nonsense = no_coverage(facts)
    if nonsense is not None:
        return Missing(metric="coverage", why=nonsense)
    return Reading(metric="coverage", value=facts.coverage)


def _of_index(metric: str, estimate: Estimate | None) -> Reading | Missing:
    if estimate is None:
        return Missing(metric=metric, why=f"{metric} was not measured.")
    return Reading.from_estimate(metric, estimate)


def _of_signal(facts: Facts, name: SignalName, metric: str | None) -> Reading | Missing:
    result = measured(facts, name, metric)
    if isinstance(result, Missing):
        return result
    metric = metric or result.metric  # the headline, if no metric is named
    estimate = result.overall(metric)
    if estimate is None:
        return Missing(metric=metric, why=f"{name} was measured without {metric}.")
    layer, stratum = _largest(result.by_layer(metric)), _largest(result.by_stratum(metric))
    return Reading(
        metric=metric,
        value=estimate.value,
        stderr=estimate.stderr,
        layer=None if layer is None else layer.layer,
        stratum=None if stratum is None else stratum.stratum,
    )


def _largest(rows: tuple[Measurement, ...]) -> Measurement | None:
    return max(rows, key=lambda row: row.estimate.value, default=None)


def _of_prediction(limit: RuleLimit, keys: list[str], facts: Facts) -> Reading | Missing:
    metric = limit.path[-1]
    # No axis may pass for the mean over all of them.
    found = [
        prediction
        for prediction in facts.predictions
        if prediction.axis == metric and (metric == "mean") == (keys == ["mean"])
    ]
    if not found or len({prediction.level for prediction in found}) < len(found):
        what = "mean degradation" if keys == ["mean"] else f"degradation on an axis {metric}"
        return Missing(metric=metric, why=f"The calibration does not predict {what}.")
    return _of_trusted(limit, _narrowest(found, _confidence(limit)), facts)


def _narrowest(found: list[PredictedDegradation], confidence: float) -> PredictedDegradation:
    known = sorted(found, key=lambda prediction: prediction.level or 0.0)
    enough = (each for each in known if each.level is None or each.level >= confidence)
    chosen = next(enough, known[-1])
    # A wider interval never ends lower: more confidence must not let pass what less fails.
    ends = [each.upper for each in known[: known.index(chosen) + 1] if each.upper is not None]
    return chosen if chosen.upper is None else replace(chosen, upper=max(ends))


def _confidence(limit: RuleLimit) -> float:
    # Without a confidence no interval is wide enough.
    return 1.0 if limit.confidence is None else limit.confidence.value


def _of_trusted(
    limit: RuleLimit, prediction: PredictedDegradation, facts: Facts
) -> Reading | Missing:
    metric = limit.path[-1]
    value, upper, level = prediction.value, prediction.upper, prediction.level
    if value is None or upper is None or level is None:
        why = f"Degradation is not predicted: {(prediction.reason or '').rstrip('.')}."
        return Missing(metric=metric, why=why)
    out_of_scope = None if facts.calibration is None else facts.calibration.out_of_scope
    if out_of_scope is not None:
        why = f"The calibration does not speak for these models: {out_of_scope.rstrip('.')}."
        return Missing(metric=metric, why=why)
    confidence = _confidence(limit)
    if level < confidence:
        why = (
            f"The interval of the prediction aims at a coverage of {level:.4g}, and the policy asks"
            f" for {confidence:.4g}."
        )
        return Missing(metric=metric, why=why)
    of = " on average" if prediction.axis == "mean" else f" on {prediction.axis}"
    return Reading(metric=metric, value=value, upper=upper, of=of)
