"""Judge what a policy demands without a number: tier, calibration, parameters, models, age.

What a longer or another scan could still show is inconclusive; a model that is known and not
allowed fails.
"""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from sdi_gate.policy.chain.clock import is_behind
from sdi_gate.policy.judging.allow_lists import judge_allow_lists
from sdi_gate.policy.verdict import Finding, Status
from sdi_gate.signals.interface import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sdi_gate.policy.chain.demands import Demands
    from sdi_gate.policy.facts import CalibrationFacts, Facts
    from sdi_gate.policy.origins import Origin

_DAY = timedelta(days=1)


def judge_stipulations(demands: Demands, facts: Facts, now: datetime) -> tuple[Finding, ...]:
    """Judge everything that is demanded without a number.

    Args:
        demands: What is demanded.
        facts: What a scan found.
        now: The time of the judgement, with a time zone.

    Returns:
        One finding for the tier, and one for each other demand that there is.
    """
    return (
        _judge_tier(demands, facts),
        *_judge_calibration(demands, facts.calibration),
        *_judge_parameters(demands, facts),
        *judge_allow_lists(demands, facts),
        *_judge_age(demands, facts, now),
    )


def _judge_tier(demands: Demands, facts: Facts) -> Finding:
    required = demands.required_tier
    enough = facts.uncut_tier >= required.value
    short = f", whole up to tier {facts.uncut_tier}" if facts.uncut_tier < facts.tier else ""
    reason = (
        f"The scan is of tier {facts.tier}{short}, and the policy requires tier {required.value}"
    )
    known = (facts.tier_reason, *(f"less was measured: {cut}" for cut in facts.cuts))
    told = "; ".join(part.rstrip(".") for part in known if part)
    why = "" if enough or not told else f": {told}"
    return Finding(
        rule="required-tier",
        metric="tier",
        status=Status.PASS if enough else Status.INCONCLUSIVE,
        reason=f"{reason}{why}.",
        origin=required.origin,
    )


def _judge_calibration(
    demands: Demands, calibration: CalibrationFacts | None
) -> tuple[Finding, ...]:
    asked = (
        demands.calibration_families,
        demands.calibration_pairs,
        demands.calibration_in_scope,
    )
    origins = [demand.origin for demand in asked if demand is not None]
    if not origins:
        return ()
    if calibration is None or not calibration.fitted:
        what = "the scan has none" if calibration is None else f"{calibration.name} was not fitted"
        unmet = [(what, origins[0])]
    else:
        unmet = [*_unmet(demands, calibration)]
    told = "; ".join(text for text, _ in unmet)
    finding = Finding(
        rule="required-calibration",
        metric="calibration",
        status=Status.INCONCLUSIVE if unmet else Status.PASS,
        reason=(
            f"The calibration is not what the policy requires: {told}."
            if unmet
            else "The calibration is what the policy requires."
        ),
        origin=unmet[0][1] if unmet else origins[0],
    )
    return (finding,)


def _unmet(demands: Demands, calibration: CalibrationFacts) -> Iterator[tuple[str, Origin]]:
    families, pairs = demands.calibration_families, demands.calibration_pairs
    if families is not None:
        missing = sorted(families.value - set(calibration.families or ()))
        if missing:
            yield f"{calibration.name} was not fitted on {', '.join(missing)}", families.origin
    if pairs is not None and (calibration.num_pairs or 0) < pairs.value:
        known = "an unknown number of" if calibration.num_pairs is None else calibration.num_pairs
        yield f"it rests on {known} pairs, and {pairs.value} are required", pairs.origin
    in_scope = demands.calibration_in_scope
    if in_scope is not None and in_scope.value and calibration.out_of_scope is not None:
        why = calibration.out_of_scope.rstrip(".")
        yield f"it does not speak for these models: {why}", in_scope.origin


def _judge_parameters(demands: Demands, facts: Facts) -> Iterator[Finding]:
    for name, wanted in demands.parameters:
        others, used = _values(facts, name, wanted.value)
        problem = "no measured signal has it" if not used else "; ".join(others)
        yield Finding(
            rule=f"required-parameters.{name}",
            metric="parameter",
            status=Status.INCONCLUSIVE if problem else Status.PASS,
            reason=f"The policy requires {name} to be {wanted.value}"
            + (f": {problem}." if problem else ", as it is."),
            origin=wanted.origin,
        )


def _values(facts: Facts, name: str, wanted: str) -> tuple[list[str], bool]:
    """Return in words where a parameter has another value, and whether it is there at all."""
    used = [
        (result.name, value)
        for result in facts.signals
        if result.outcome is Outcome.MEASURED
        for key, value in result.id.parameters
        if key == name
    ]
    others = [f"{signal} has {value}" for signal, value in used if value != wanted]
    return others, bool(used)


def _judge_age(demands: Demands, facts: Facts, now: datetime) -> tuple[Finding, ...]:
    maximum = demands.maximum_age_days
    if maximum is None:
        return ()
    status, reason = _age(maximum.value, facts.measured_at, now)
    origin = maximum.origin
    return (Finding(rule="maximum-age", metric="age", status=status, reason=reason, origin=origin),)


def _age(maximum_days: float, measured_at: datetime | None, now: datetime) -> tuple[Status, str]:
    allowed = f"the policy allows {maximum_days:.4g}"
    if measured_at is None:
        return Status.INCONCLUSIVE, f"Nobody knows how many days old the result is; {allowed}."
    if is_behind(now, measured_at):
        times = f"{_second(now)}, and the scan began at {_second(measured_at)}"
        return Status.INCONCLUSIVE, f"The clock must be wrong: it says {times}; {allowed} days."
    days = max(0.0, (now - measured_at) / _DAY)
    status = Status.PASS if days <= maximum_days else Status.INCONCLUSIVE
    return status, f"The result is {days:.4g} days old; {allowed}."


def _second(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")
