"""Put what differs between two policies into text and into JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdi_gate.cli.policy_history_output import (
    identity_lines,
    judged_json,
    outcome,
    policy_json,
    row_json,
    short_names,
    short_place,
)
from sdi_gate.cli.policy_page import Page
from sdi_gate.policy.telling.comparing import Candidates, Change
from sdi_gate.policy.telling.history import outcome_of
from sdi_gate.policy.telling.wording import COVERAGE, WHOLE
from sdi_gate.policy.verdict import Status
from sdi_gate.report.numbers import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sdi_gate.policy.format.provisions import Waiver
    from sdi_gate.policy.telling.comparing import RuleChange
    from sdi_gate.policy.telling.differing import PolicyDiff, WaiverChange
    from sdi_gate.policy.telling.history import Judged, Replay
    from sdi_gate.policy.telling.wording import DemandRow


def diff_json(diff: PolicyDiff, judged: Replay, unreadable: Sequence[str]) -> dict[str, Any]:
    """Return what differs as plain data.

    Args:
        diff: What differs.
        judged: The recorded results under both policies.
        unreadable: What could not be read.

    Returns:
        Everything; ``policy`` is B, ``other_policy`` is A.
    """
    return {
        "schema": "sdi-gate/policy-diff/v1",
        "policy": policy_json(diff.after),
        "other_policy": policy_json(diff.before),
        "at_least_as_strict": diff.never_looser,
        "rules_at_least_as_strict": diff.as_strict,
        "rules_at_least_as_strict_reversed": diff.as_lenient,
        "candidates": [
            _candidates_json(Candidates(), diff.rules),
            *(_candidates_json(other.candidates, other.changes) for other in diff.others),
        ],
        "texts": [
            {"name": text.name, "before": text.before, "after": text.after} for text in diff.texts
        ],
        "waivers": [
            {
                "id": waiver.id,
                "change": waiver.change.value,
                "before": _waiver_json(waiver.before),
                "after": _waiver_json(waiver.after),
            }
            for waiver in diff.waivers
        ],
        "results": [judged_json(each) for each in judged.results],
        "num_changed": judged.num_changed,
        "unreadable": list(unreadable),
    }


def diff_text(diff: PolicyDiff, judged: Replay, unreadable: Sequence[str], *, given: bool) -> str:
    """Return what differs for a person.

    Args:
        diff: What differs.
        judged: The recorded results under both policies.
        unreadable: What could not be read.
        given: Whether there were results to judge.

    Returns:
        Which policy is stricter, then what differs, then what is the same, then the results.
    """
    page, names = Page(), short_names(diff.before, diff.after)
    for letter, loaded in (("A", diff.before), ("B", diff.after)):
        for line in identity_lines(loaded):
            page.line(f"{letter}: {line}")
    page.title(_comparison(diff))
    page.title("Rules for all candidates")
    _print_changes(page, _but(diff.rules), names)
    for other in diff.others:
        page.title(f"Otherwise than for all: {other.candidates}")
        _print_changes(page, other.changes, names)
    _print_texts(page, diff)
    _print_waivers(page, diff.waivers)
    same = [change for change in diff.rules if change.change is Change.UNCHANGED]
    page.title("Unchanged for all candidates")
    page.items(_unchanged(change, names) for change in same)
    if given:
        _print_results(page, judged, unreadable)
    return str(page)


def _comparison(diff: PolicyDiff) -> str:
    if diff.never_looser:
        if diff.as_lenient and not any(w.change is not Change.UNCHANGED for w in diff.waivers):
            return "A and B demand the same of every candidate."
        return "B is at least as strict as A throughout: for every candidate, waivers counted."
    if diff.as_strict:
        waivers = ", ".join(diff.grants_more) or "the same waivers raise other limits"
        return f"B's rules are at least as strict as A's, but its waivers grant more: {waivers}."
    lenient = " A's rules are at least as strict as B's throughout." if diff.as_lenient else ""
    looser = ", ".join(map(_name, diff.looser))
    return f"B is NOT at least as strict as A. Not as strict: {looser}.{lenient}"


def _but(changes: Iterable[RuleChange]) -> list[RuleChange]:
    return [change for change in changes if change.change is not Change.UNCHANGED]


def _print_changes(page: Page, changes: Sequence[RuleChange], names: Mapping[str, str]) -> None:
    if not changes:
        page.items(("no difference",))
    for change in changes:
        if change.change is Change.UNCHANGED:
            page.line(f"{change.change.upper()}  {_unchanged(change, names)}", indent=2)
            continue
        page.line(f"{change.change.upper()}  {_name(change.rule)}", style="bold", indent=2)
        page.line(f"A: {_side(change.before, change.rule, names)}", indent=4)
        page.line(f"B: {_side(change.after, change.rule, names)}", indent=4)


def _side(row: DemandRow | None, rule: str, names: Mapping[str, str]) -> str:
    if row is None:
        return WHOLE if rule == ".".join(COVERAGE) else "not demanded"
    return f"{row.words} [{short_place(row.origins, names)}]"


def _unchanged(change: RuleChange, names: Mapping[str, str]) -> str:
    sides = [row for row in (change.before, change.after) if row is not None]
    places = [short_place(row.origins, names) for row in sides]
    same = f"both {places[0]}" if len(set(places)) == 1 else f"A {places[0]}; B {places[-1]}"
    return f"{_name(change.rule)}: {sides[-1].words} [{same}]"


def _print_texts(page: Page, diff: PolicyDiff) -> None:
    if not diff.texts:
        return
    page.title("Metadata and documentation")
    for text in diff.texts:
        page.line(text.name, style="bold", indent=2)
        page.line(f"A: {'none' if text.before is None else text.before}", indent=4)
        page.line(f"B: {'none' if text.after is None else text.after}", indent=4)


def _print_waivers(page: Page, waivers: Sequence[WaiverChange]) -> None:
    if not waivers:
        return
    page.title("Waivers")
    for waiver in waivers:
        page.line(f"{waiver.change.upper()}  {waiver.id}", style="bold", indent=2)
        if waiver.change is not Change.UNCHANGED:
            page.line(f"A: {_waiver(waiver.before)}", indent=4)
        page.line(f"B: {_waiver(waiver.after)}", indent=4)


def _waiver(waiver: Waiver | None) -> str:
    if waiver is None:
        return "none"
    weights = f" with weights {waiver.candidate_digest}" if waiver.candidate_digest else ""
    return (
        f"the limit of its own file on {waiver.metric} fails at {waiver.limit!r} for"
        f" {waiver.model}{weights} from {waiver.granted} to {waiver.expires}, approved by"
        f" {waiver.approved_by}: {waiver.reason.strip()}"
    )


def _print_results(page: Page, judged: Replay, unreadable: Sequence[str]) -> None:
    total = len(judged.results)
    page.title(f"Recorded results: {judged.num_changed} of {total} come out otherwise under B")
    for each in sorted(judged.results, key=lambda each: not each.changed):
        page.line(f"{each.recorded.label}: {_result(each)}", indent=2)
    if judged.num_duplicates:
        again = plural(judged.num_duplicates, "file")
        page.line(f"Counted once: {again} with a scan that another file holds, too.")
    page.items(f"unreadable: {message}" for message in unreadable)


def _result(each: Judged) -> str:
    status, closed = outcome_of(each.after)
    after = outcome(status, closed=closed)
    if not each.changed or each.before is None:
        verb = "closest is" if status is Status.PASS else "decided by"
        return f"{after} under both, {verb} {_name(each.because)}"
    status, closed = outcome_of(each.before)
    return f"{outcome(status, closed=closed)} under A, {after} under B, by {_name(each.because)}"


def _candidates_json(candidates: Candidates, changes: Iterable[RuleChange]) -> dict[str, Any]:
    rules = [
        {
            "rule": change.rule,
            "change": change.change.value,
            "before": row_json(change.before),
            "after": row_json(change.after),
        }
        for change in changes
    ]
    return {"family": candidates.family or None, "model": candidates.model or None, "rules": rules}


def _waiver_json(waiver: Waiver | None) -> dict[str, Any] | None:
    return None if waiver is None else waiver.model_dump(mode="json", by_alias=True)


def _name(rule: str) -> str:
    return rule.removeprefix("limits.")
