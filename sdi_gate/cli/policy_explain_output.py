"""Put the explanation of a policy into text and into JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdi_gate.cli.policy_history_output import (
    finding_json,
    identity_lines,
    origin_json,
    outcome,
    policy_json,
    row_json,
    short_names,
    short_place,
    verdict_json,
)
from sdi_gate.cli.policy_page import Page
from sdi_gate.policy.format.spelling import plain
from sdi_gate.policy.telling.history import outcome_of
from sdi_gate.policy.telling.wording import CONSEQUENCES, COVERAGE, WHOLE
from sdi_gate.policy.verdict import Bound, Status
from sdi_gate.report.numbers import number, with_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdi_gate.policy.chain.demands import RuleLimit, Sourced
    from sdi_gate.policy.origins import Origin
    from sdi_gate.policy.telling.comparing import CandidateChanges, RuleChange
    from sdi_gate.policy.telling.explaining import Explained, Explanation, Unlimited
    from sdi_gate.policy.telling.waiver_days import WaiverDay
    from sdi_gate.policy.verdict import Finding, Verdict
    from sdi_gate.policy.waiver_states import WaiverUse

_SETTINGS = ("mode", "standard-errors", "notices")


def explanation_json(explained: Explanation) -> dict[str, Any]:
    """Return an explanation as plain data.

    Args:
        explained: The explanation.

    Returns:
        Everything that it holds.
    """
    verdict = explained.verdict
    return {
        "schema": "sdi-gate/policy-explain/v1",
        "policy": policy_json(explained.loaded),
        "as_of": explained.now.isoformat(),
        "family": explained.family or None,
        "model": explained.model or None,
        "verdict": verdict_json(verdict),
        "rules": [_rule_json(rule, explained) for rule in explained.rules],
        "blocks": list(explained.blocks),
        "others": [_others_json(other) for other in explained.others],
        "waivers": [_waiver_json(day, verdict) for day in explained.waivers],
        "unlimited": [
            {
                "rule": each.rule,
                "observed": each.estimate and each.estimate.value,
                "stderr": each.estimate and each.estimate.stderr,
            }
            for each in explained.unlimited
        ],
    }


def explanation_text(explained: Explanation) -> str:
    """Return an explanation for a person.

    Args:
        explained: The explanation.

    Returns:
        The verdict, then what decided it, then every rule, what holds beside, and what nobody
        demands.
    """
    page = Page()
    for line in identity_lines(explained.loaded):
        page.line(line)
    _print_verdict(page, explained)
    _print_limits(page, explained)
    _print_demands(page, explained)
    _print_others(page, explained)
    _print_waivers(page, explained)
    _print_unlimited(page, explained)
    return str(page)


def _print_verdict(page: Page, explained: Explanation) -> None:
    names = (("name", explained.model), ("family", explained.family))
    told = [f"{key} {'unknown' if name is None else name}" for key, name in names if name != ""]
    whom = ", ".join(told) or "any that no match block names"
    page.line(f"Candidate: {whom}; as of {explained.now:%Y-%m-%d}")
    if explained.blocks:
        page.line(f"Match blocks that hold: {'; '.join(explained.blocks)}")
    verdict = explained.verdict
    if verdict is None:
        return
    status, closed = outcome_of(verdict)
    page.title(f"Verdict: {outcome(status, closed=closed)}")
    mode = CONSEQUENCES[verdict.mode]
    closest = "Nothing crossed a limit; closest is"
    verb = closest if verdict.status is Status.PASS else "Decided by"
    page.items((f"Mode {verdict.mode}: {mode}.", f"{verb} {_name(verdict.deciding.rule)}."))
    findings = [rule.finding for rule in explained.rules if rule.finding is not None]
    bad = [found for found in findings if found.status is not Status.PASS]
    if bad:
        page.title("What did not pass")
    page.findings((found.status, f"{_name(found.rule)}: {found.reason}") for found in bad)


def _print_limits(page: Page, explained: Explanation) -> None:
    limits = [rule for rule in explained.rules if rule.row and rule.row.limit]
    names = short_names(explained.loaded)
    page.title("Limits")
    if explained.verdict is None:
        page.table(
            ("Rule", "Warns", "Fails", "From"), [_limit_cells(rule, names) for rule in limits]
        )
    else:
        head = ("Result", "Rule", "Observed", "Warns", "Fails", "Margin", "From")
        page.table(head, [_judged_cells(rule, names) for rule in limits])
    if not any(_limit(rule).path == COVERAGE for rule in limits):
        page.items((f"coverage: {WHOLE}",))
    page.items(_held(limits))
    page.items(
        f"{_name(rule.rule)}: waiver {limit.waiver} raised the failing limit from"
        f" {plain(limit.waived.value)} ({short_place((limit.waived.origin,), names)})."
        for rule in limits
        if rule.row and (limit := rule.row.limit) and limit.waived
    )


def _limit_cells(rule: Explained, names: Mapping[str, str]) -> tuple[str, ...]:
    limit = _limit(rule)
    confidence = "" if limit.confidence is None else f" (at {plain(limit.confidence.value)})"
    return (f"{_name(rule.rule)}{confidence}", *_steps(limit), _place(rule, names))


def _judged_cells(rule: Explained, names: Mapping[str, str]) -> tuple[str, ...]:
    finding = rule.finding
    assert finding is not None  # noqa: S101 - with a result, every limit has one
    return (
        finding.status.upper(),
        _name(rule.rule),
        _observed(finding),
        *_steps(_limit(rule)),
        _margin(finding),
        _place(rule, names),
    )


def _limit(rule: Explained) -> RuleLimit:
    assert rule.row is not None  # noqa: S101 - limits are chosen by it
    assert rule.row.limit is not None  # noqa: S101
    return rule.row.limit


def _steps(limit: RuleLimit) -> tuple[str, str]:
    def shown(step: Sourced[float] | None) -> str:
        sign = ">" if limit.bound is Bound.UPPER else "<"
        return "" if step is None else f"{sign}{plain(step.value)}"

    return shown(limit.warn), shown(limit.fail)


def _observed(finding: Finding) -> str:
    if finding.observed is None:
        return "no value"
    against = [limit for limit in (finding.warn, finding.fail) if limit is not None]
    return with_error(finding.observed, finding.stderr, against)


def _held(limits: Sequence[Explained]) -> tuple[str, ...]:
    # In place of what was observed; a column of its own would not fit.
    held = [
        f"{_name(rule.rule)} as {number(finding.judged, steps)}"
        for rule in limits
        if (finding := rule.finding)
        and finding.judged is not None
        and (steps := [step for step in (finding.warn, finding.fail) if step is not None])
    ]
    return (f"Held against the limits, with standard errors: {', '.join(held)}.",) if held else ()


def _margin(finding: Finding) -> str:
    if finding.margin is None:
        return ""
    return f"{number(abs(finding.margin))} {'over' if finding.margin < 0 else 'left'}"


def _print_demands(page: Page, explained: Explanation) -> None:
    rest = [rule for rule in explained.rules if rule.row and not rule.row.limit]
    names = short_names(explained.loaded)
    page.title("Other demands")
    page.findings(
        (rule.finding.status, _demand(rule, names)) for rule in rest if rule.finding is not None
    )
    page.items(_demand(rule, names) for rule in rest if rule.finding is None)


def _demand(rule: Explained, names: Mapping[str, str]) -> str:
    words = "" if rule.row is None else rule.row.words
    return f"{_name(rule.rule)}: {words} [{_place(rule, names)}]"


def _print_others(page: Page, explained: Explanation) -> None:
    names = short_names(explained.loaded)
    for other in explained.others:
        page.title(f"For {other.candidates}, unlike for all")
        page.items(_instead(change, names) for change in other.changes)
    if explained.others:
        page.line(
            "Where a candidate's name or family is not known, the strictest of all that could"
            " apply holds."
        )


def _instead(change: RuleChange, names: Mapping[str, str]) -> str:
    assert change.after is not None  # noqa: S101 - a block takes nothing back
    place = short_place(change.after.origins, names)
    return f"{_name(change.rule)}: {change.after.words} [{place}] ({change.change})"


def _print_waivers(page: Page, explained: Explanation) -> None:
    if not explained.waivers:
        return
    page.title("Waivers")
    uses, names = _uses(explained.verdict), short_names(explained.loaded)
    for day in explained.waivers:
        use = uses.get((day.waiver.id, day.origin))
        here = "" if explained.verdict is None else "; not for this model"
        became = here if use is None else f"; here: {use.state}"
        page.line(f"{day.words} [{short_place((day.origin,), names)}]{became}", indent=2)


def _print_unlimited(page: Page, explained: Explanation) -> None:
    if not explained.unlimited:
        return
    page.title("No limit")
    page.items((", ".join(map(_unlimited, explained.unlimited)),))


def _unlimited(each: Unlimited) -> str:
    if each.estimate is None:
        return _name(each.rule)
    return f"{_name(each.rule)} ({with_error(each.estimate.value, each.estimate.stderr)})"


def _name(rule: str) -> str:
    return rule.removeprefix("limits.")


def _place(rule: Explained, names: Mapping[str, str]) -> str:
    return "" if rule.row is None else short_place(rule.row.origins, names)


def _rule_json(rule: Explained, explained: Explanation) -> dict[str, Any]:
    origins = () if rule.row is None else rule.row.origins
    return {
        "rule": rule.rule,
        "setting": rule.rule in _SETTINGS,
        "demanded": row_json(rule.row),
        "levels": [explained.level_of(origin) for origin in origins],
        "finding": None if rule.finding is None else finding_json(rule.finding),
    }


def _others_json(other: CandidateChanges) -> dict[str, Any]:
    return {
        "family": other.candidates.family or None,
        "model": other.candidates.model or None,
        "rules": [
            {"rule": each.rule, "change": each.change.value, "instead": row_json(each.after)}
            for each in other.changes
        ],
    }


def _waiver_json(day: WaiverDay, verdict: Verdict | None) -> dict[str, Any]:
    use = _uses(verdict).get((day.waiver.id, day.origin))
    return {
        **day.waiver.model_dump(mode="json", by_alias=True),
        "state": day.state,
        "days_left": day.days_left,
        "here": use and use.state.value,
        "origin": origin_json(day.origin),
    }


def _uses(verdict: Verdict | None) -> dict[tuple[str, Origin], WaiverUse]:
    uses = () if verdict is None else verdict.waivers
    return {(use.id, use.origin): use for use in uses}
