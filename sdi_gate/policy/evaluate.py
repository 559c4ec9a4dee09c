"""Judge the facts of a scan by a policy."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.policy.rules import rules_of
from sdi_gate.policy.schema import Mode
from sdi_gate.policy.verdict import Bound, Finding, Status, Verdict
from sdi_gate.signals.interface import Estimate, Outcome, SignalName

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdi_gate.policy.facts import Facts
    from sdi_gate.policy.rules import Rule
    from sdi_gate.policy.schema import Limit, Policy
    from sdi_gate.signals.interface import Measurement

_UNITS = {"kl-divergence": " nats per token", "nll-change": " nats per token"}


def judge(policy: Policy, facts: Facts) -> Verdict:
    """Judge the facts of a scan by a policy.

    Args:
        policy: What is demanded.
        facts: What was found.

    Returns:
        The verdict: one finding for each defect, one for the tier, and one for each limit of the
        policy in the order of the schema.

    Raises:
        ValueError: If the policy has no limit, which no policy that was loaded can be.
    """
    rules = rules_of(policy)
    if not rules:
        msg = f"the policy {policy.name} has no limit"
        raise ValueError(msg)
    limited = (_judge_rule(rule, facts) for rule in rules)
    findings = (*_judge_defects(facts), _judge_tier(policy, facts), *limited)
    return Verdict.of(findings, enforced=policy.mode is Mode.ENFORCE)


def decide(value: float, limit: Limit) -> tuple[Status, float]:
    """Hold a value against a limit.

    Args:
        value: The observed value; NaN is on the wrong side of every limit.
        limit: The limit; a value that equals it keeps it.

    Returns:
        FAIL, WARN or PASS, and the number that decided: the limit that was crossed, or, if none
        was, the nearer one.
    """
    unbounded = math.inf if limit.bound is Bound.UPPER else -math.inf
    fail = unbounded if limit.fail is None else limit.fail
    warn = fail if limit.warn is None else limit.warn
    if not _keeps(value, fail, limit.bound):
        return Status.FAIL, fail
    if not _keeps(value, warn, limit.bound):
        return Status.WARN, warn
    return Status.PASS, warn


def _keeps(value: float, limit: float, bound: Bound) -> bool:
    return value <= limit if bound is Bound.UPPER else value >= limit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Missing:
    """Say why the value that a rule is about is not there."""

    metric: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """Hold the value that a rule is about."""

    metric: str
    estimate: Estimate
    layer: str | None = None
    stratum: str | None = None


def _judge_defects(facts: Facts) -> tuple[Finding, ...]:
    # A policy without a limit on coverage must not pass a scan that does not know its own.
    nonsense = () if 0.0 <= facts.coverage <= 1.0 else (_no_coverage(facts),)
    return tuple(
        Finding(rule="defect", metric="defect", status=Status.INCONCLUSIVE, reason=defect)
        for defect in (*facts.defects, *nonsense)
    )


def _judge_tier(policy: Policy, facts: Facts) -> Finding:
    enough = facts.tier >= policy.required_tier
    demand = f"the policy requires tier {policy.required_tier}"
    return Finding(
        rule="required-tier",
        metric="tier",
        status=Status.PASS if enough else Status.INCONCLUSIVE,
        reason=f"The scan is of tier {facts.tier}, and {demand}.",
    )


def _judge_rule(rule: Rule, facts: Facts) -> Finding:
    reading = _read(rule, facts)
    if isinstance(reading, _Reading):
        return _judge_value(rule, reading)
    return Finding(
        rule=str(rule),
        metric=reading.metric,
        status=Status.INCONCLUSIVE,
        reason=reading.why,
        warn=rule.limit.warn,
        fail=rule.limit.fail,
        bound=rule.limit.bound,
    )


def _judge_value(rule: Rule, reading: _Reading) -> Finding:
    value = reading.estimate.value
    status, decisive = decide(value, rule.limit)
    room = decisive - value if rule.limit.bound is Bound.UPPER else value - decisive
    # The distance of two finite numbers can be too large for a float.
    margin = max(-sys.float_info.max, min(sys.float_info.max, room))
    return Finding(
        rule=str(rule),
        metric=reading.metric,
        status=status,
        reason=_sentence(rule, reading, status, decisive),
        observed=value,
        stderr=reading.estimate.stderr,
        warn=rule.limit.warn,
        fail=rule.limit.fail,
        bound=rule.limit.bound,
        margin=margin,
        layer=reading.layer,
        stratum=reading.stratum,
    )


def _sentence(rule: Rule, reading: _Reading, status: Status, decisive: float) -> str:
    estimate, key = reading.estimate, rule.path[-1]
    number = _number_format(estimate.value, decisive)
    subject = key if key == reading.metric else f"{key} ({reading.metric})"
    error = "" if estimate.stderr is None else f" ± {estimate.stderr:.2g}"
    unit = _UNITS.get(reading.metric, "")
    beyond = "above" if rule.limit.bound is Bound.UPPER else "below"
    place = "within" if status is Status.PASS else beyond
    kind = "failing" if decisive == rule.limit.fail and status is not Status.WARN else "warning"
    return (
        f"{subject} is {number(estimate.value)}{error}{unit}, {place} the {kind} limit of "
        f"{number(decisive)} by {abs(decisive - estimate.value):.4g}."
    )


def _number_format(value: float, limit: float) -> Callable[[float], str]:
    """Return the shortest format in which two different numbers look different."""
    formats: tuple[Callable[[float], str], ...] = ("{:.4g}".format, "{:.8g}".format)
    return next((show for show in formats if value == limit or show(value) != show(limit)), repr)


def _read(rule: Rule, facts: Facts) -> _Reading | _Missing:
    match rule.path:
        case ("limits", "sdi"):
            return _of_index("sdi", facts.sdi)
        case ("limits", "sdi-plus"):
            return _of_index("sdi-plus", facts.sdi_plus)
        case ("limits", "signals", signal):
            return _of_signal(facts, SignalName(signal), None)
        case ("limits", "behaviour", metric):
            return _of_signal(facts, SignalName.BEHAVIOUR, metric)
        case ("limits", "coverage"):
            return _of_coverage(facts)
        case _:
            # A limit that the schema knows and this function does not must not pass.
            return _Missing(metric=rule.path[-1], why=f"{rule} is not a rule that can be judged.")


def _of_coverage(facts: Facts) -> _Reading | _Missing:
    if 0.0 <= facts.coverage <= 1.0:
        return _Reading(metric="coverage", estimate=Estimate(value=facts.coverage))
    return _Missing(metric="coverage", why=_no_coverage(facts))


def _no_coverage(facts: Facts) -> str:
    return f"The coverage of the scan is {facts.coverage}, which is not between 0 and 1."


def _of_index(metric: str, estimate: Estimate | None) -> _Reading | _Missing:
    if estimate is None:
        return _Missing(metric=metric, why=f"{metric} was not measured.")
    return _Reading(metric=metric, estimate=estimate)


def _of_signal(facts: Facts, name: SignalName, metric: str | None) -> _Reading | _Missing:
    result = facts.signal(name)
    if result is None:
        return _Missing(metric=metric or name, why=f"{name} was not measured.")
    metric = metric or result.metric  # the headline, if no metric is named
    estimate = result.overall(metric)
    if result.outcome is not Outcome.MEASURED:
        how = "is inconclusive" if result.outcome is Outcome.INCONCLUSIVE else "was not measured"
        return _Missing(metric=metric, why=f"{name} {how}: {result.reason}")
    if estimate is None:
        return _Missing(metric=metric, why=f"{name} was measured without {metric}.")
    layer, stratum = _largest(result.by_layer(metric)), _largest(result.by_stratum(metric))
    return _Reading(
        metric=metric,
        estimate=estimate,
        layer=None if layer is None else layer.layer,
        stratum=None if stratum is None else stratum.stratum,
    )


def _largest(rows: tuple[Measurement, ...]) -> Measurement | None:
    return max(rows, key=lambda row: row.estimate.value, default=None)
