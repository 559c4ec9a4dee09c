"""Say what a plan will do, and make it smaller while the scan runs."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from sdi_gate.gate.budget import duration_text, ladder, part_of, smaller_settings
from sdi_gate.gate.cuts import curvature_cuts, no_more_than
from sdi_gate.gate.forecast import forecast
from sdi_gate.gate.request import CurvatureMethod
from sdi_gate.policy.facts import Tier

if TYPE_CHECKING:
    from sdi_gate.gate.plan import Outlook, Plan
    from sdi_gate.gate.request import Settings

_logger = logging.getLogger(__name__)


def announce(plan: Plan) -> None:
    """Log what a plan will do, and what it cuts.

    Args:
        plan: The plan.
    """
    for line in announcement(plan):
        _logger.info("%s", line)


def announcement(plan: Plan) -> tuple[str, ...]:
    """Say what a plan will do.

    Args:
        plan: The plan.

    Returns:
        The tier, how long each step will take if there is a time budget, and what is cut. The
        times rest on a measurement and belong into no result.
    """
    ran = f"plan: tier {plan.decision.ran} ({plan.decision.reason})"
    times = () if plan.outlook is None else _times(plan.outlook)
    return (ran, *times, *(f"plan: less is measured: {cut}" for cut in plan.cuts))


def _times(outlook: Outlook) -> tuple[str, ...]:
    expected, budget = outlook.forecast, outlook.budget
    steps = (
        ("weights", expected.weights_s),
        ("loading", expected.loading_s),
        ("probe", expected.probe_s),
        ("outputs", expected.outputs_s),
        ("curvature", expected.curvature_s),
    )
    told = ", ".join(f"{name} {_about(seconds)}" for name, seconds in steps if seconds > 0)
    spent = f", {_about(budget.spent_s)} of it gone"
    lines = [f"plan: about {_about(expected.seconds)} of the budget of {budget}{spent}: {told}"]
    if not expected.weights_s <= budget.left_s:
        lines.append("plan: the weights alone take longer, and are measured all the same")
    return tuple(lines)


def _about(seconds: float) -> str:
    return duration_text(seconds) if seconds >= 1 else "1s"


def replan(plan: Plan, elapsed_s: float, forward_s: float | None) -> Plan:
    """Look again at what is left of the time, when the base has read the probe.

    Args:
        plan: The plan.
        elapsed_s: Seconds since the scan began.
        forward_s: Seconds that the base's pass over the probe took; None if it was not run.

    Returns:
        The same plan, or one that measures less of the curvature; never one that measures more.
        Always the same one without a time budget.
    """
    outlook = plan.outlook
    if outlook is None or not plan.curvature:
        return plan
    planned_s = outlook.forecast.probe_s / 2
    factor = forward_s / planned_s if forward_s and planned_s > 0 else 1.0
    left_s = outlook.budget.seconds - elapsed_s
    for rung in ladder(plan.settings, Tier.FULL, outlook.work.shape.num_layers):
        if not rung.curvature:
            break
        expected = forecast(part_of(outlook.work, rung), rung, outlook.budget.rates).scaled(factor)
        rest_s = expected.loading_s / 2 + expected.probe_s / 2 + expected.outputs_s
        if rest_s + expected.curvature_s <= left_s:
            same = rung.settings == plan.settings
            return plan if same else _in_less_time(plan, rung.settings, outlook)
    return _in_less_time(plan, None, outlook)


def _in_less_time(plan: Plan, settings: Settings | None, outlook: Outlook) -> Plan:
    less = _with_curvature(plan, settings, _in_time(outlook))
    reason = no_more_than(outlook.budget)
    return replace(less, decision=replace(less.decision, reason=reason))


def smaller(plan: Plan, reason: str) -> Plan | None:
    """Return the plan that measures curvature in a way that takes less memory.

    Args:
        plan: The plan.
        reason: What happened, such as ``the base's curvature ran out of memory``.

    Returns:
        The plan with the next way; None if there is none that takes less.
    """
    ways = smaller_settings(plan.settings, plan.num_layers)
    return _with_curvature(plan, ways[0], f"for {reason}") if ways else None


def without_curvature(plan: Plan, reason: str) -> Plan:
    """Return the plan that does not measure curvature.

    Args:
        plan: The plan.
        reason: What happened, such as ``the candidate's curvature ran out of memory``.

    Returns:
        The plan.
    """
    return _with_curvature(plan, None, f"for {reason}")


def without_outputs(plan: Plan, reason: str, *, metric_only: bool = False) -> Plan:
    """Return the plan that does not compare the linear maps by what they do to their inputs.

    Args:
        plan: The plan.
        reason: What happened, such as ``reading inputs ran out of memory``.
        metric_only: Whether they are compared, but not in the loss's metric.

    Returns:
        The plan; the tier that these numbers belong to is no longer whole.
    """
    what = "no comparison of the linear maps" + (" in the loss's metric" if metric_only else "")
    most = Tier.PROBE if metric_only else Tier.WEIGHTS
    decision = plan.decision
    whole = min(most, decision.ran if decision.whole is None else decision.whole)
    cuts = (*decision.cuts, f"{what}, for {reason}")
    return replace(plan, decision=replace(decision, whole=whole, cuts=cuts))


def _with_curvature(plan: Plan, settings: Settings | None, why: str) -> Plan:
    joint = settings is not None and settings.curvature_method is CurvatureMethod.JOINT
    in_time = why if plan.outlook is None else _in_time(plan.outlook)
    decision = replace(
        plan.decision,
        ran=Tier.FULL if joint else Tier.PROBE,
        whole=min(Tier.PROBE, plan.decision.whole or Tier.PROBE),
        cuts=curvature_cuts(plan.asked, settings, (why, in_time)),
    )
    return replace(
        plan,
        decision=decision,
        settings=settings or plan.settings,
        curvature=settings is not None,
    )


def _in_time(outlook: Outlook) -> str:
    return f"to keep to the budget of {outlook.budget}"
