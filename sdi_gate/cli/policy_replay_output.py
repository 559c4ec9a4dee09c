"""Put recorded results that were judged again into text and into JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdi_gate.cli.policy_history_output import (
    finding_json,
    identity_lines,
    judged_json,
    outcome,
    policy_json,
)
from sdi_gate.cli.policy_page import Page
from sdi_gate.policy.format.spelling import plain
from sdi_gate.policy.telling.history import held, outcome_of, values_of
from sdi_gate.policy.verdict import Bound, Status, compare
from sdi_gate.report.numbers import number, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.telling.history import Judged, Replay
    from sdi_gate.policy.telling.trying import Trial
    from sdi_gate.policy.verdict import Finding

# More values than this are shown as bars.
_MAX_LISTED = 30
_NUM_BARS = 20
_BAR_WIDTH = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Hold what the command found.

    Attributes:
        policy: The policy that judged: with trials, the trial policy.
        untried: The policy as its file has it.
        trials: What was tried.
        judged: The results.
        unreadable: What could not be read.
    """

    policy: LoadedPolicy
    untried: LoadedPolicy
    trials: tuple[Trial, ...]
    judged: Replay
    unreadable: tuple[str, ...]


def replay_json(replayed: Replayed) -> dict[str, Any]:
    """Return the history as plain data.

    Args:
        replayed: What was found.

    Returns:
        Everything; ``policy.digest`` is the trial policy's where there are trials.
    """
    judged = replayed.judged
    trial = {
        "tried": [
            {"rule": each.rule, "step": each.step, "value": each.value} for each in replayed.trials
        ],
        "untried_digest": replayed.untried.digest,
    }
    return {
        "schema": "sdi-gate/policy-replay/v1",
        "policy": policy_json(replayed.policy),
        "trial": trial if replayed.trials else None,
        "results": [judged_json(each) for each in judged.results],
        "counts": {status.value: count for status, count in judged.counts.items()},
        "num_changed": judged.num_changed,
        "num_duplicates": judged.num_duplicates,
        "values": {
            rule: [
                {"file": each.recorded.path, **finding_json(finding)}
                for each, finding in values_of(judged, rule)
            ]
            for rule in _rules(replayed)
        },
        "unreadable": list(replayed.unreadable),
    }


def replay_text(replayed: Replayed) -> str:
    """Return the history for a person.

    Args:
        replayed: What was found.

    Returns:
        How many come out how, each result, and the values of each rule that is tried.
    """
    page = Page()
    for line in identity_lines(replayed.untried):
        page.line(line)
    if replayed.trials:
        tried = ", ".join(map(str, replayed.trials))
        page.line(f"TRIAL, not a policy anyone has approved: {tried}", style="bold")
        page.line(f"Digest of the trial {replayed.policy.digest}")
        if len(replayed.policy.levels) > 1:
            page.line(
                "A trial may be looser than what the policy extends; a policy that says so is"
                " refused."
            )
    page.title(_summary(replayed))
    page.findings((each.after.status, _result(each, replayed)) for each in _in_order(replayed))
    if replayed.judged.num_duplicates:
        again = plural(replayed.judged.num_duplicates, "file")
        page.line(f"Counted once: {again} with a scan that another file holds, too.")
    for rule in _rules(replayed):
        _print_values(page, rule, replayed.judged)
    if replayed.unreadable:
        page.title("Unreadable")
        page.items(replayed.unreadable)
    return str(page)


def _summary(replayed: Replayed) -> str:
    judged = replayed.judged
    counts = ", ".join(f"{count} {status}" for status, count in judged.counts.items())
    against = "the policy as it is" if replayed.trials else "the recorded verdict"
    results = plural(len(judged.results), "result")
    return f"{results}: {counts}. {judged.num_changed} changed against {against}."


def _in_order(replayed: Replayed) -> list[Judged]:
    return sorted(
        replayed.judged.results,
        key=lambda each: (not each.changed, -each.after.status.severity),
    )


def _result(each: Judged, replayed: Replayed) -> str:
    _, closed = outcome_of(each.after)
    gate = f"gate {'closed' if closed else 'open'}"
    verb = "closest is" if each.after.status is Status.PASS else "decided by"
    decided = each.after.deciding.rule.removeprefix("limits.")
    told = (f"{each.recorded.label}: {gate}, {verb} {decided}", *_before(each, replayed))
    return "; ".join((*told, f"as of {each.at:%Y-%m-%d}"))


def _before(each: Judged, replayed: Replayed) -> tuple[str, ...]:
    before, recorded = each.outcome_before, _recorded(each, replayed)
    if before is None:
        return (recorded,)
    status, closed = before
    changed = f"CHANGED by {each.because.removeprefix('limits.')}"
    if not replayed.trials:
        return (f"{changed}: {recorded}" if each.changed else f"as {recorded}",)
    then = outcome(status, closed=closed)
    untried = f"{changed}: without the trial {then}" if each.changed else "as without the trial"
    return (untried, recorded)


def _recorded(each: Judged, replayed: Replayed) -> str:
    recorded = each.recorded.verdict
    if recorded is None:
        return "no verdict was recorded"
    known = recorded.policy_digest == replayed.untried.digest
    policy = "this policy" if known else f"{recorded.policy_name} {recorded.policy_digest[:19]}…"
    return f"recorded {outcome(recorded.status, closed=recorded.closed)} under {policy}"


def _rules(replayed: Replayed) -> tuple[str, ...]:
    return tuple(dict.fromkeys(trial.rule for trial in replayed.trials))


def _print_values(page: Page, rule: str, judged: Replay) -> None:
    values = values_of(judged, rule)
    without = len(judged.results) - len(values)
    missing = f"; {plural(without, 'result')} without a value" if without else ""
    page.title(f"{rule.removeprefix('limits.')}: {plural(len(values), 'value')}{missing}")
    if not values:
        return
    page.items(_listed(values) if len(values) <= _MAX_LISTED else _bars(values))


def _listed(values: Sequence[tuple[Judged, Finding]]) -> Iterator[str]:
    last: Status | None = None
    width = max(len(_value(finding)) for _, finding in values)
    for each, finding in values:
        status = _side(finding)
        if last is not None and status is not last:
            yield _cut(last, status, finding)
        last = status
        yield f"{_value(finding):<{width}}  {status:<4}  {each.recorded.label}"
    first = values[0][1]
    yield from () if last is not _side(first) else (_no_cut(first),)


def _side(finding: Finding) -> Status:
    assert finding.bound is not None  # noqa: S101 - a finding with a value has a bound
    value = held(finding)
    assert value is not None  # noqa: S101 - values without a number are left out
    return compare(value, finding.warn, finding.fail, finding.bound)[0]


def _cut(before: Status, after: Status, finding: Finding) -> str:
    limit = finding.fail if Status.FAIL in {before, after} else finding.warn
    verb = "fails" if Status.FAIL in {before, after} else "warns"
    beyond = "below" if finding.bound is Bound.LOWER else "above"
    return f"---- {verb} {beyond} {'' if limit is None else plain(limit)}"


def _no_cut(finding: Finding) -> str:
    steps = [f"{verb} {plain(step)}" for verb, step in _steps(finding)]
    return f"---- no limit cuts here ({', '.join(steps)})"


def _steps(finding: Finding) -> list[tuple[str, float]]:
    steps = (("warn", finding.warn), ("fail", finding.fail))
    return [(verb, step) for verb, step in steps if step is not None]


def _value(finding: Finding) -> str:
    value = held(finding)
    return "" if value is None else number(value, [step for _, step in _steps(finding)])


def _bars(values: Sequence[tuple[Judged, Finding]]) -> Iterator[str]:
    numbers = [value for _, finding in values if (value := held(finding)) is not None]
    low, high = numbers[0], numbers[-1]
    width = (high - low) / _NUM_BARS or 1.0
    counts = [0] * _NUM_BARS
    for value in numbers:
        counts[min(_NUM_BARS - 1, int((value - low) / width))] += 1
    edges = [(low + width * index, low + width * (index + 1)) for index in range(_NUM_BARS)]
    finding = values[0][1]
    for (start, end), count in zip(edges, counts, strict=True):
        cuts = [f"{verb} {plain(step)}" for verb, step in _steps(finding) if start <= step < end]
        bar = "#" * -(-count * _BAR_WIDTH // max(counts))
        yield f"{number(start):>10} {count:>6}  {bar}{'  <- ' + ', '.join(cuts) if cuts else ''}"
