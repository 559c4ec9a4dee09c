"""Choose how much of a scan is done, and say what was cut: from what, to what, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from sdi_gate.gate.budget import WHOLE, Budget, Rung, first_that_fits, part_of, smaller_settings
from sdi_gate.gate.request import CurvatureMethod, TierChoice
from sdi_gate.gate.tier import AUTO_BUDGET_S, ceiling_of, highest_tier
from sdi_gate.policy.facts import Tier

if TYPE_CHECKING:
    from sdi_gate.gate.request import Settings
    from sdi_gate.gate.tier import Machine
    from sdi_gate.gate.workload import Workload

_SHORT = "for memory is short"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Say what was asked for.

    Attributes:
        tier: The tier, or ``auto``.
        required: Tier that the policy requires, if there is a policy.
        work: All of the work.
    """

    tier: TierChoice
    required: Tier | None
    work: Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Say how much of a scan is done.

    Attributes:
        rung: How much.
        whole: The highest tier of which nothing is cut.
        reason: Why, and why no more.
        cuts: What is cut, one sentence each.
    """

    rung: Rung
    whole: Tier
    reason: str
    cuts: tuple[str, ...] = ()


def choose(asked: Asked, machine: Machine, budget: Budget | None) -> Choice:
    """Choose how much of a scan is done.

    Args:
        asked: What was asked for.
        machine: What there is.
        budget: The user's time budget; without one, ``auto`` has ten minutes by assumed rates,
            and a tier that was asked for by name has no bound.

    Returns:
        The choice. Without a budget it does not depend on any measured time.
    """
    if budget is None:
        return _without_budget(asked, machine)
    ceiling = ceiling_of(asked.tier)
    rung = first_that_fits(asked.work, ceiling, machine, budget)
    cuts = _cuts(asked.work, ceiling, rung, (machine, budget))
    whole = _whole(rung) if cuts else rung.ran
    reason = no_more_than(budget) if cuts else f"the budget of {budget} suffices for it here"
    return Choice(rung=rung, whole=whole, reason=reason, cuts=cuts)


def no_more_than(budget: Budget) -> str:
    """Say why no more is done of what was asked for.

    Args:
        budget: The user's time budget.

    Returns:
        The reason of the decision.
    """
    return f"with a budget of {budget} this machine does no more"


def _whole(rung: Rung) -> Tier:
    return Tier.PROBE if rung.sixteenths == WHOLE else Tier.WEIGHTS


def _without_budget(asked: Asked, machine: Machine) -> Choice:
    work = asked.work
    tier, reason = highest_tier(asked.tier, work, machine, asked.required)
    rung = Rung(
        settings=work.settings,
        curvature=tier is Tier.FULL,
        sixteenths=WHOLE if tier >= Tier.PROBE else 0,
    )
    whole = Choice(rung=rung, whole=rung.ran, reason=reason)
    if tier is not Tier.PROBE or ceiling_of(asked.tier) is Tier.PROBE:
        return whole
    if machine.holds(work.memory(Tier.FULL)):
        return whole  # There is no time for it, and the other ways are slower or tell less.
    for settings in smaller_settings(work.settings, work.shape.num_layers):
        smaller = replace(work, settings=settings)
        if machine.holds(smaller.memory(Tier.FULL)) and _in_time(asked, smaller, machine):
            cuts = curvature_cuts(work.settings, settings, (_SHORT, ""))
            less = replace(rung, settings=settings, curvature=True)
            return replace(whole, rung=less, cuts=cuts)
    return whole


def _in_time(asked: Asked, work: Workload, machine: Machine) -> bool:
    if asked.tier is not TierChoice.AUTO or asked.required is Tier.FULL:
        return True
    return work.operations(Tier.FULL) / machine.rate <= AUTO_BUDGET_S


def _cuts(
    work: Workload, ceiling: Tier, rung: Rung, bounds: tuple[Machine, Budget]
) -> tuple[str, ...]:
    machine, budget = bounds
    in_time = f"to keep to the budget of {budget}"
    if ceiling is Tier.WEIGHTS:
        return ()
    if not rung.sixteenths:
        why = in_time if machine.holds(work.memory(Tier.PROBE)) else _SHORT
        return (f"no forward pass, the weights alone, {why}",)
    found: list[str] = []
    if ceiling is Tier.FULL:
        got = rung.settings if rung.curvature else None
        method = CurvatureMethod.JOINT if got is None else got.curvature_method
        fitting = _methods_that_fit(work, machine)
        why = in_time if fitting and (got is None or fitting[0] is not method) else _SHORT
        found.extend(curvature_cuts(work.settings, got, (why, in_time)))
    strata = part_of(work, rung).strata
    if sum(strata.values()) < work.num_samples:
        counts = f"{sum(strata.values())} probe samples instead of {work.num_samples}"
        found.append(f"{counts}, at least {min(strata.values())} of every stratum, {in_time}")
    return tuple(found)


def _methods_that_fit(work: Workload, machine: Machine) -> list[CurvatureMethod]:
    ways = (work.settings, *smaller_settings(work.settings, work.shape.num_layers))
    return [
        settings.curvature_method
        for settings in ways
        if machine.holds(replace(work, settings=settings).memory(Tier.FULL))
    ]


def curvature_cuts(asked: Settings, got: Settings | None, why: tuple[str, str]) -> tuple[str, ...]:
    """Say how curvature is measured on less than was asked for.

    Args:
        asked: The settings that were asked for.
        got: Those that it is measured by; None if it is not measured.
        why: Why another way is taken or none, and why there are fewer draws.

    Returns:
        Sentences, without a number that was measured here.
    """
    if got is None:
        return (f"no curvature, {why[0]}",)
    found = []
    changed = (got.curvature_method, got.curvature_blocks) != (
        asked.curvature_method,
        asked.curvature_blocks,
    )
    if changed:
        found.append(f"{_way(got)}, {why[0]}")
    if got.curvature_draws < asked.curvature_draws:
        draws = f"{got.curvature_draws} curvature draws for each stratum instead of"
        found.append(f"{draws} {asked.curvature_draws}, {why[1]}")
    return tuple(found)


def _way(settings: Settings) -> str:
    match settings.curvature_method:
        case CurvatureMethod.JOINT:
            return "curvature over all parameters at once"
        case CurvatureMethod.BLOCKS:
            blocks = f"curvature over {settings.curvature_blocks} blocks of layers"
            return f"{blocks} instead of all parameters at once, without the update's own"
        case CurvatureMethod.FISHER:
            return "curvature by first derivatives alone (Fisher), without the Hessian's"
        case _ as never:
            assert_never(never)
