"""Say what became of the waivers that name a model, and in which findings they matter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdi_gate.policy.chain.clock import in_utc
from sdi_gate.policy.chain.effective import plain_demands
from sdi_gate.policy.chain.waivers import is_looser, metric_of, obstacle
from sdi_gate.policy.verdict import Status, compare
from sdi_gate.policy.waiver_states import EXPIRING_DAYS, WaiverState, WaiverUse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sdi_gate.policy.chain.demands import Demands
    from sdi_gate.policy.chain.levels import Level
    from sdi_gate.policy.facts import Facts
    from sdi_gate.policy.format.provisions import Waiver
    from sdi_gate.policy.verdict import Finding

_IN_FORCE = frozenset(
    {WaiverState.WAIVED, WaiverState.EXCEEDED, WaiverState.UNUSED, WaiverState.NO_LIMIT}
)


def uses_of(
    levels: Sequence[Level], facts: Facts, findings: Sequence[Finding], now: datetime
) -> tuple[WaiverUse, ...]:
    """Say what became of each waiver that names the candidate.

    Args:
        levels: The files of the policy.
        facts: What was found, with the names and the digest of the candidate.
        findings: What became of the limits.
        now: The time of the judgement, with a time zone.

    Returns:
        One for each waiver of each file that names the model, the root ancestor's first.

    Raises:
        ValueError: If the time has no time zone.
    """  # noqa: DOC502 - raised by in_utc()
    now = in_utc(now)
    if facts.model_name is None:
        return ()
    values = {finding.rule: _held(finding) for finding in findings}
    uses: list[WaiverUse] = []
    for level in levels:
        demands = plain_demands(level, facts)
        for index, waiver in enumerate(level.policy.waivers or ()):
            if waiver.model == facts.model_name:
                state = obstacle(waiver, facts, now) or _state(waiver, demands, values)
                uses.append(_use(level, index, state, now))
    return tuple(uses)


def told(findings: Sequence[Finding], uses: Sequence[WaiverUse]) -> tuple[Finding, ...]:
    """Let findings name the waivers that matter for them.

    Args:
        findings: What became of the limits.
        uses: What became of the waivers.

    Returns:
        The findings. One that a waiver keeps from failing names it; so does one that fails in
        spite of a waiver, or since one is over.
    """
    return tuple(_told(finding, uses) for finding in findings)


def _told(finding: Finding, uses: Sequence[WaiverUse]) -> Finding:
    about = [use for use in uses if f"limits.{use.metric}" == finding.rule]
    notes = [*_granted(finding, about)]
    if finding.status is Status.FAIL:
        notes += [note for use in about if (note := _lapsed(use))]
    if not notes:
        return finding
    return replace(finding, reason=f"{finding.reason.removesuffix('.')}; {'; '.join(notes)}.")


def _granted(finding: Finding, about: Sequence[WaiverUse]) -> tuple[str, ...]:
    value, limit, bound = _held(finding), finding.waived_limit, finding.bound
    if value is None or limit is None or bound is None or not is_looser(value, limit, bound):
        return ()
    # Two files may use one id; the day that comes first is then never too late.
    use = min(
        (one for one in about if one.id == finding.waiver and one.state in _IN_FORCE),
        key=lambda one: one.expires,
    )
    without = f"until {use.expires}: the failing limit is {limit:.4g} without it"
    if finding.status is not Status.FAIL:
        return (f"waived by {use.id} {without}",)
    if use.state is WaiverState.EXCEEDED:
        return (f"beyond what waiver {use.id} grants {without}",)
    return (f"waiver {use.id} raises another file's limit, not this one",)


def _lapsed(use: WaiverUse) -> str | None:
    match use.state:
        case WaiverState.EXPIRED:
            return f"waiver {use.id} expired on {use.expires}"
        case WaiverState.NOT_YET:
            return f"waiver {use.id} is not yet in force"
        case WaiverState.CLOCK_BEHIND:
            return f"waiver {use.id} does not hold, for the clock is behind the scan"
        case _:
            return None


def _held(finding: Finding) -> float | None:
    return finding.observed if finding.judged is None else finding.judged


def _state(waiver: Waiver, demands: Demands, values: Mapping[str, float | None]) -> WaiverState:
    limit = next((one for one in demands.limits if metric_of(one.path) == waiver.metric), None)
    value = values.get(f"limits.{waiver.metric}")
    if limit is None or limit.fail is None or value is None:
        return WaiverState.NO_LIMIT
    if compare(value, None, limit.fail.value, limit.bound)[0] is Status.PASS:
        return WaiverState.UNUSED
    within, _ = compare(value, None, waiver.limit, limit.bound)
    return WaiverState.WAIVED if within is Status.PASS else WaiverState.EXCEEDED


def _use(level: Level, index: int, state: WaiverState, now: datetime) -> WaiverUse:
    waiver = (level.policy.waivers or ())[index]
    days_left = (waiver.last_day - now.date()).days
    return WaiverUse(
        id=waiver.id,
        state=state,
        metric=waiver.metric,
        limit=waiver.limit,
        owner=waiver.owner,
        approved_by=waiver.approved_by,
        reason=waiver.reason,
        ticket=waiver.ticket,
        expires=waiver.expires,
        days_left=days_left,
        expiring=state in _IN_FORCE and days_left <= EXPIRING_DAYS,
        origin=level.origin(("waivers", str(index))),
    )
