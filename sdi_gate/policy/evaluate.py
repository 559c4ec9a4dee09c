"""Judge the facts of a scan by a policy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdi_gate.policy.chain.clock import in_utc
from sdi_gate.policy.chain.effective import effective
from sdi_gate.policy.chain.rules import rules_of
from sdi_gate.policy.judging.parts import read_part
from sdi_gate.policy.judging.readings import Missing, Reading, no_coverage, read
from sdi_gate.policy.judging.sentences import Comparison, sentence
from sdi_gate.policy.judging.stipulations import judge_stipulations
from sdi_gate.policy.judging.waiver_uses import told, uses_of
from sdi_gate.policy.verdict import Finding, Status, Verdict

if TYPE_CHECKING:
    from datetime import datetime

    from sdi_gate.policy.chain.demands import Demands, RuleLimit, Sourced
    from sdi_gate.policy.chain.levels import Level
    from sdi_gate.policy.facts import Facts
    from sdi_gate.policy.loader import LoadedPolicy

_PARTS = frozenset({"by-stratum", "by-layer", "by-role"})


def judge(loaded: LoadedPolicy, facts: Facts, *, now: datetime) -> Verdict:
    """Judge the facts of a scan by a policy.

    Args:
        loaded: The policy, with all that it extends.
        facts: What was found.
        now: The time of the judgement, with a time zone, by which waivers hold and results age.

    Returns:
        The verdict: one finding for each defect, one for each notice, one for the tier, one for
        each other demand without a number, and one for each limit that holds for the candidate, in
        the order of the schema; one more if no limit holds for the candidate, and one if
        parameters were left out and the policy does not say how many may be. Findings that a
        waiver bears on say so.

    Raises:
        ValueError: If the policy has no limit, which no policy that was loaded can be, or the time
            has no time zone.
    """
    now = in_utc(now)
    if not any(_has_limits(level) for level in loaded.levels):
        msg = f"the policy {loaded.name} has no limit"
        raise ValueError(msg)
    demands = effective(loaded, facts, now)
    findings = (
        *_judge_defects(facts),
        *_judge_notices(demands, facts),
        *judge_stipulations(demands, facts, now),
        *_judge_emptiness(demands),
        *(_judge_limit(limit, demands, facts) for limit in demands.limits),
        *_judge_left_out(demands, facts),
    )
    uses = uses_of(loaded.levels, facts, findings, now)
    return Verdict.of(
        told(findings, uses), mode=demands.mode.value, waivers=uses, blocks=demands.blocks
    )


def _has_limits(level: Level) -> bool:
    stated = (level.policy.limits, *(block.limits for block in level.policy.match or ()))
    return any(rules_of(limits) for limits in stated)


def _judge_defects(facts: Facts) -> tuple[Finding, ...]:
    # A policy without a limit on coverage must not pass a scan that does not know its own.
    nonsense = no_coverage(facts)
    return tuple(
        Finding(rule="defect", metric="defect", status=Status.INCONCLUSIVE, reason=defect)
        for defect in (*facts.defects, *((nonsense,) if nonsense else ()))
    )


def _judge_notices(demands: Demands, facts: Facts) -> tuple[Finding, ...]:
    # Whatever is not the mildest word fails.
    status = Status.WARN if demands.notices.value == "warn" else Status.FAIL
    origin = demands.notices.origin
    return tuple(
        Finding(rule="notice", metric="notice", status=status, reason=notice, origin=origin)
        for notice in facts.notices
    )


def _judge_emptiness(demands: Demands) -> tuple[Finding, ...]:
    if demands.limits:
        return ()
    why = "Every limit of the policy is for other candidates than this one."
    return (Finding(rule="limits", metric="limits", status=Status.INCONCLUSIVE, reason=why),)


def _judge_left_out(demands: Demands, facts: Facts) -> tuple[Finding, ...]:
    # What was not compared was not judged: only a policy can say that it does not matter.
    if demands.limit(("limits", "coverage")) is not None or not 0.0 <= facts.coverage < 1.0:
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


def _judge_limit(limit: RuleLimit, demands: Demands, facts: Facts) -> Finding:
    reading = _other_formula(limit, demands, facts) or _read(limit, demands, facts)
    if isinstance(reading, Missing):
        return _without_value(limit, reading)
    finding = _judge_value(limit, reading, demands.standard_errors.value)
    if reading.unread is not None and finding.status is not Status.FAIL:
        # The worst of what was measured may not be the worst of what there is.
        return _without_value(limit, Missing(metric=reading.metric, why=reading.unread))
    return finding


def _other_formula(limit: RuleLimit, demands: Demands, facts: Facts) -> Missing | None:
    index, required = limit.path[-1], demands.required_tier.value
    if limit.path[1:] not in {("sdi",), ("sdi-plus",)} or facts.tier >= required:
        return None
    why = (
        f"The limit is for the {index} of tier {required} or higher; that of tier "
        f"{facts.tier} is another formula."
    )
    return Missing(metric=index, why=why)


def _read(limit: RuleLimit, demands: Demands, facts: Facts) -> Reading | Missing:
    if limit.path[1] in _PARTS:
        return read_part(limit.path, facts, demands.standard_errors.value)
    return read(limit, facts)


def _without_value(limit: RuleLimit, missing: Missing) -> Finding:
    return replace(
        _frame(limit),
        metric=missing.metric,
        status=Status.INCONCLUSIVE,
        reason=missing.why,
    )


def _judge_value(limit: RuleLimit, reading: Reading, standard_errors: float) -> Finding:
    found = Comparison.of(limit, reading, standard_errors)
    return replace(
        _frame(limit),
        metric=reading.metric,
        status=found.status,
        reason=sentence(found),
        observed=reading.value,
        stderr=reading.stderr,
        margin=found.margin,
        layer=reading.layer,
        stratum=reading.stratum,
        judged=None if found.held == reading.value else found.held,
        origin=None if found.step is None else found.step.origin,
    )


def _frame(limit: RuleLimit) -> Finding:
    """Return what a finding on a limit says whatever was measured."""
    first = limit.warn or limit.fail
    return Finding(
        rule=str(limit),
        metric=limit.path[-1],
        status=Status.INCONCLUSIVE,
        reason="",
        warn=_number(limit.warn),
        fail=_number(limit.fail),
        bound=limit.bound,
        waiver=limit.waiver,
        waived_limit=_number(limit.waived),
        origin=None if first is None else first.origin,
    )


def _number(step: Sourced[float] | None) -> float | None:
    return None if step is None else step.value
