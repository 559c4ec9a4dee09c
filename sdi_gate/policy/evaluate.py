"""Judge the facts of a scan by a policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.policy.rules import rules_of
from sdi_gate.policy.schema import Mode
from sdi_gate.policy.verdict import Bound, Finding, Status, Verdict, compare, margin_of
from sdi_gate.signals.interface import Estimate, Outcome, SignalName

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdi_gate.policy.facts import Facts
    from sdi_gate.policy.rules import Rule
    from sdi_gate.policy.schema import Limit, Policy
    from sdi_gate.signals.interface import Measurement

# Headlines of signals that were measured in a poorer way: another number, with other limits.
_STAND_INS = frozenset({"fisher-trace-shift"})
_UNITS = {"kl-divergence": " nats per token", "nll-change": " nats per token"}


def judge(policy: Policy, facts: Facts) -> Verdict:
    """Judge the facts of a scan by a policy.

    Args:
        policy: What is demanded.
        facts: What was found.

    Returns:
        The verdict: one finding for each defect, one for each notice, one for the tier, and one for
        each limit of the policy in the order of the schema; one more if parameters were left out
        and the policy does not say how many may be.

    Raises:
        ValueError: If the policy has no limit, which no policy that was loaded can be.
    """
    rules = rules_of(policy)
    if not rules:
        msg = f"the policy {policy.name} has no limit"
        raise ValueError(msg)
    findings = (
        *_judge_defects(facts),
        *_judge_notices(facts),
        _judge_tier(policy, facts),
        *(_judge_rule(rule, policy, facts) for rule in rules),
        *_judge_left_out(policy, facts),
    )
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
    return compare(value, limit.warn, limit.fail, limit.bound)


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


def _judge_notices(facts: Facts) -> tuple[Finding, ...]:
    return tuple(
        Finding(rule="notice", metric="notice", status=Status.WARN, reason=notice)
        for notice in facts.notices
    )


def _judge_tier(policy: Policy, facts: Facts) -> Finding:
    enough = facts.uncut_tier >= policy.required_tier
    short = f", whole up to tier {facts.uncut_tier}" if facts.uncut_tier < facts.tier else ""
    reason = (
        f"The scan is of tier {facts.tier}{short}, and the policy requires tier"
        f" {policy.required_tier}"
    )
    known = (facts.tier_reason, *(f"less was measured: {cut}" for cut in facts.cuts))
    told = "; ".join(part.rstrip(".") for part in known if part)
    why = "" if enough or not told else f": {told}"
    return Finding(
        rule="required-tier",
        metric="tier",
        status=Status.PASS if enough else Status.INCONCLUSIVE,
        reason=f"{reason}{why}.",
    )


def _judge_left_out(policy: Policy, facts: Facts) -> tuple[Finding, ...]:
    # What was not compared was not judged: only a policy can say that it does not matter.
    if policy.limits.coverage is not None or not 0.0 <= facts.coverage < 1.0:
        return ()
    left_out = (
        f"A share of {1.0 - facts.coverage:.4g} of the parameters was not compared, and the policy "
        "does not say how much may be missing: it has no limit on coverage."
    )
    return (
        Finding(
            rule="limits.coverage",
            metric="coverage",
            status=Status.INCONCLUSIVE,
            reason=left_out,
        ),
    )


def _judge_rule(rule: Rule, policy: Policy, facts: Facts) -> Finding:
    reading = _other_formula(rule, policy, facts) or _read(rule, facts)
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
        margin=margin_of(value, decisive, rule.limit.bound),
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


def _other_formula(rule: Rule, policy: Policy, facts: Facts) -> _Missing | None:
    index = rule.path[-1]
    if index not in {"sdi", "sdi-plus"} or facts.tier >= policy.required_tier:
        return None
    why = (
        f"The limit is for the {index} of tier {policy.required_tier} or higher; that of tier "
        f"{facts.tier} is another formula."
    )
    return _Missing(metric=index, why=why)


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
    if metric is None and result.metric in _STAND_INS:
        why = f"The limit is for another quantity than {result.metric}, which stands in for it."
        return _Missing(metric=result.metric, why=why)
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
