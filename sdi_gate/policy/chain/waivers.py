"""Raise failing limits for a time, by the waivers of the file that sets them.

A waiver raises the limits of its own file only, and never switches one off: a value beyond the
limit without it is a warning. What a file demands never gets stricter by a waiver of it.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from sdi_gate.policy.chain.clock import in_utc, is_behind
from sdi_gate.policy.chain.demands import Sourced
from sdi_gate.policy.chain.rules import rules_of
from sdi_gate.policy.format.places import Problem, quoted
from sdi_gate.policy.verdict import Bound
from sdi_gate.policy.waiver_states import WaiverState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sdi_gate.policy.chain.demands import Demands, RuleLimit
    from sdi_gate.policy.chain.levels import Level
    from sdi_gate.policy.chain.rules import Rule
    from sdi_gate.policy.facts import Facts
    from sdi_gate.policy.format.provisions import Waiver


def waived(level: Level, demands: Demands, facts: Facts, now: datetime) -> Demands:
    """Raise the failing limits of a file by those of its waivers that are in force.

    Args:
        level: The file.
        demands: What the file demands of the candidate, without waivers.
        facts: What was found, with the names and the digest of the candidate.
        now: The time of the judgement, with a time zone.

    Returns:
        The demands. Where a limit was raised, its failing step without the waiver warns, unless
        an earlier step does. Of several waivers for one limit, the loosest counts.

    Raises:
        ValueError: If the time has no time zone.
    """  # noqa: DOC502 - raised by in_utc()
    in_force = [
        (waiver, Sourced(waiver.limit, level.origin(("waivers", str(index), "limit"))))
        for index, waiver in enumerate(level.policy.waivers or ())
        if waiver.model == facts.model_name and obstacle(waiver, facts, now) is None
    ]
    limits = tuple(_raised(limit, in_force) for limit in demands.limits)
    return replace(demands, limits=limits)


def obstacle(waiver: Waiver, facts: Facts, now: datetime) -> WaiverState | None:
    """Say why a waiver for a model is not in force.

    Args:
        waiver: The waiver.
        facts: What was found.
        now: The time of the judgement, with a time zone.

    Returns:
        OTHER_DIGEST, CLOCK_BEHIND, NOT_YET or EXPIRED; None if it is in force.

    Raises:
        ValueError: If the time has no time zone.
    """  # noqa: DOC502 - raised by in_utc()
    now = in_utc(now)
    digest = None if facts.candidate is None else facts.candidate.digest
    if waiver.candidate_digest not in {None, digest}:
        return WaiverState.OTHER_DIGEST
    if is_behind(now, facts.measured_at):
        return WaiverState.CLOCK_BEHIND
    if now.date() < waiver.first_day:
        return WaiverState.NOT_YET
    return WaiverState.EXPIRED if now.date() > waiver.last_day else None


def is_looser(limit: float, other: float, bound: Bound) -> bool:
    """Say whether a limit lets more pass than another.

    Args:
        limit: The limit.
        other: The other limit.
        bound: Whether they are upper or lower bounds.

    Returns:
        True if it does; equal limits let the same pass.
    """
    return limit > other if bound is Bound.UPPER else limit < other


def metric_of(path: tuple[str, ...]) -> str:
    """Return the name by which waivers know a limit.

    Args:
        path: Path of the limit, from ``limits`` on.

    Returns:
        The path below ``limits``, with dots.
    """
    return ".".join(path[1:])


def _raised(limit: RuleLimit, in_force: list[tuple[Waiver, Sourced[float]]]) -> RuleLimit:
    step = limit.fail
    if step is None:
        return limit
    looser = [
        (waiver, granted)
        for waiver, granted in in_force
        if waiver.metric == metric_of(limit.path)
        and is_looser(granted.value, step.value, limit.bound)
    ]
    if not looser:
        return limit
    sign = 1.0 if limit.bound is Bound.UPPER else -1.0
    # Among equals the name decides, not the order in the file.
    waiver, granted = min(looser, key=lambda found: (-sign * found[1].value, found[0].id))
    # The failing limit never comes before the warning one; without one, it becomes it.
    return replace(limit, warn=limit.warn or step, fail=granted, waiver=waiver.id, waived=step)


def waiver_problems(level: Level) -> list[Problem]:
    """Find what is wrong with the waivers of a file.

    Args:
        level: The file.

    Returns:
        Every problem, with its place.
    """
    problems: list[Problem] = []
    first: dict[str, int] = {}
    for index, waiver in enumerate(level.policy.waivers or ()):
        path = ("waivers", str(index))
        if waiver.id in first:
            message = f"the id {quoted(waiver.id)} is that of waivers.{first[waiver.id]}, too"
            problems.append(_problem(level, (*path, "id"), message))
        first.setdefault(waiver.id, index)
        found = (*_day_problems(waiver, level.maximum_waiver_days), *_limit_problems(level, waiver))
        problems += [_problem(level, (*path, key), message) for key, message in found]
    return problems


def _problem(level: Level, path: tuple[str, ...], message: str) -> Problem:
    return Problem(level.place(path), f"{'.'.join(path)}: {message}")


def _day_problems(waiver: Waiver, maximum_days: int) -> Iterator[tuple[str, str]]:
    lifetime = (waiver.last_day - waiver.first_day).days + 1
    if lifetime < 1:
        yield "expires", f"{waiver.expires} is before the first day, {waiver.granted}"
    elif lifetime > maximum_days:
        allowed = f"maximum-waiver-days allows {maximum_days}"
        yield "expires", f"it holds for {lifetime} days, and {allowed}"


def _limit_problems(level: Level, waiver: Waiver) -> Iterator[tuple[str, str]]:
    rules = [rule for rule in _rules_for(level, waiver.model) if rule.limit.fail is not None]
    meant = [rule for rule in rules if metric_of(rule.path) == waiver.metric]
    if not meant:
        known = dict.fromkeys(metric_of(rule.path) for rule in rules)
        near = difflib.get_close_matches(waiver.metric, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        what = f"{quoted(waiver.metric)} for {quoted(waiver.model)}"
        yield "metric", f"this file sets no failing limit on {what} that a waiver could raise{hint}"
        return
    if not all(_is_in_range(waiver.limit, rule) for rule in meant):
        yield "limit", f"{waiver.limit} is outside the range of {waiver.metric}"
        return
    for rule in meant:
        fail = rule.limit.fail
        if fail is not None and not is_looser(waiver.limit, fail, rule.limit.bound):
            yield "limit", f"{waiver.limit} does not raise the failing limit, which is {fail}"
            return


def _rules_for(level: Level, model: str) -> Iterator[Rule]:
    """Yield every limit of a file that could be for a model, whatever its family."""
    yield from rules_of(level.policy.limits)
    for block in level.policy.match or ():
        if block.match.model in {None, model}:
            yield from rules_of(block.limits)


def _is_in_range(number: float, rule: Rule) -> bool:
    others = rule.limit.model_dump(by_alias=True, exclude_none=True, exclude={"warn", "fail"})
    try:
        type(rule.limit).model_validate({**others, "fail": number})
    except ValidationError:
        return False
    return True
