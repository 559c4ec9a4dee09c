"""Put into sentences what an edit of a policy changes, the gravest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.policy.format.spelling import plain, visible
from sdi_gate.policy.telling.comparing import Candidates, Change
from sdi_gate.policy.telling.wording import COVERAGE, WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.policy.format.provisions import Waiver
    from sdi_gate.policy.telling.comparing import RuleChange
    from sdi_gate.policy.telling.differing import PolicyDiff, TextChange, WaiverChange
    from sdi_gate.policy.telling.wording import DemandRow

MAX_SENTENCES = 30
MAX_LENGTH = 300

_LOOSENS, _GRANTS, _OTHER, _TEXT = range(4)


def sentences_of(diff: PolicyDiff) -> tuple[str, ...]:
    """Say what differs between two policies.

    Args:
        diff: What differs.

    Returns:
        One line for each difference, at most 300 characters long: rules that are not as strict,
        waivers that grant more, other rules and waivers, then texts. Of more than thirty, the last
        line says how many are left out.
    """
    ranked = sorted(_ranked(diff), key=lambda found: found[0])
    said = [_cut(visible(sentence)) for _, sentence in ranked]
    if len(said) <= MAX_SENTENCES:
        return tuple(said)
    return (*said[:MAX_SENTENCES], f"and {len(said) - MAX_SENTENCES} more")


def _ranked(diff: PolicyDiff) -> Iterator[tuple[int, str]]:
    looser, grants = set(diff.looser), set(diff.grants_more)
    sides = ((Candidates(), diff.rules), *((o.candidates, o.changes) for o in diff.others))
    for candidates, changes in sides:
        for change in changes:
            if change.change is Change.UNCHANGED and candidates == Candidates():
                continue
            is_looser = f"{change.rule} ({candidates})" in looser
            yield _LOOSENS if is_looser else _OTHER, _of_rule(change, candidates)
    for waiver in diff.waivers:
        if waiver.change is not Change.UNCHANGED:
            yield _GRANTS if waiver.id in grants else _OTHER, _of_waiver(waiver)
    for text in diff.texts:
        yield _TEXT, _of_text(text)


def _of_rule(change: RuleChange, candidates: Candidates) -> str:
    rule = change.rule.removeprefix("limits.")
    before, after = _side(change.before, change.rule), _side(change.after, change.rule)
    whom = "" if candidates == Candidates() else f" for {candidates}"
    if change.change is Change.UNCHANGED:
        return f"{rule}{whom} stays as it is, where it changes for others: {after}"
    return f"{rule}{whom} is {change.change}: {before}; then {after}"


def _side(row: DemandRow | None, rule: str) -> str:
    if row is not None:
        return row.words
    return WHOLE if rule == ".".join(COVERAGE) else "not demanded"


def _of_waiver(waiver: WaiverChange) -> str:
    told = waiver.after or waiver.before
    grant = "" if told is None else f": {_granted(told)}"
    return f"waiver {waiver.id} is {waiver.change}{grant}"


def _granted(waiver: Waiver) -> str:
    weights = " with certain weights" if waiver.candidate_digest else ""
    return (
        f"{waiver.metric} of {waiver.model}{weights} fails at {plain(waiver.limit)} from"
        f" {waiver.granted} to {waiver.expires}, approved by {waiver.approved_by}"
    )


def _of_text(text: TextChange) -> str:
    before = "none" if text.before is None else repr(text.before)
    after = "none" if text.after is None else repr(text.after)
    return f"{text.name}: {_cut(before, MAX_LENGTH // 3)}; then {_cut(after, MAX_LENGTH // 3)}"


def _cut(text: str, length: int = MAX_LENGTH) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
