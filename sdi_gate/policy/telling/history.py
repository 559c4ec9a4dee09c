"""Judge recorded results again: under another policy, or under a limit that is tried."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.verdict import Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sdi_gate.policy.facts import Facts
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.verdict import Finding, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedVerdict:
    """Hold the verdict that a result was recorded with.

    Attributes:
        status: How it came out.
        closed: Whether it closed the gate.
        rule: The rule that decided.
        policy_name: Name of the policy.
        policy_digest: Digest of the policy.
    """

    status: Status
    closed: bool
    rule: str
    policy_name: str
    policy_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Hold one recorded result.

    Attributes:
        path: The file.
        facts: What was found.
        verdict: How it was judged then; None if it was not.
        duplicates: Other files that record the same scan.
    """

    path: str
    facts: Facts
    verdict: RecordedVerdict | None
    duplicates: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Return what the candidate is called: its name, else how it was given, else the file."""
        candidate = self.facts.candidate
        return self.facts.model_name or (candidate and candidate.reference) or self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Hold one recorded result, judged before and after a change.

    Attributes:
        recorded: The result.
        at: As of when both judge.
        before: Under the first policy; None where there is only the recorded verdict, or none.
        after: Under the second.
    """

    recorded: Recorded
    at: datetime
    before: Verdict | None
    after: Verdict

    @property
    def outcome_before(self) -> tuple[Status, bool] | None:
        """Return status and whether the gate closed, before; None if nobody judged it then."""
        if self.before is not None:
            return outcome_of(self.before)
        recorded = self.recorded.verdict
        return None if recorded is None else (recorded.status, recorded.closed)

    @property
    def changed(self) -> bool | None:
        """Return whether verdict or gate come out otherwise; None if nobody judged it before."""
        before = self.outcome_before
        return None if before is None else before != outcome_of(self.after)

    @property
    def because(self) -> str:
        """Return the rule that makes the difference: the one that decides the worse verdict."""
        before = self.outcome_before
        if before is None or before[0].severity <= self.after.status.severity:
            return self.after.deciding.rule
        if self.before is not None:
            return self.before.deciding.rule
        recorded = self.recorded.verdict
        return self.after.deciding.rule if recorded is None else recorded.rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Hold the history, judged again.

    Attributes:
        results: Each scan once.
    """

    results: tuple[Judged, ...]

    @property
    def counts(self) -> dict[Status, int]:
        """Return how many come out how, the mildest first."""
        found = Counter(each.after.status for each in self.results)
        return {status: found[status] for status in Status}

    @property
    def num_changed(self) -> int:
        """Return how many come out otherwise than before."""
        return sum(each.changed is True for each in self.results)

    @property
    def num_duplicates(self) -> int:
        """Return how many files record a scan that another one records."""
        return sum(len(each.recorded.duplicates) for each in self.results)


def outcome_of(verdict: Verdict) -> tuple[Status, bool]:
    """Return what a verdict comes to.

    Args:
        verdict: The verdict.

    Returns:
        Its status, and whether it closes the gate.
    """
    return verdict.status, bool(verdict.exit_code)


def once_each(results: Sequence[Recorded]) -> tuple[Recorded, ...]:
    """Fold results that record the same scan.

    Args:
        results: The results.

    Returns:
        The first of those that say the same of a candidate's digest at one time, with the paths
        of the others; a result without either stands for itself. What differs in anything that a
        policy judges is another result: a file that copies digest and time hides no other.
    """
    kept: dict[object, Recorded] = {}
    others: dict[object, list[str]] = {}
    for index, result in enumerate(results):
        candidate, time = result.facts.candidate, result.facts.measured_at
        digest = candidate and candidate.digest
        key: object = index if digest is None or time is None else result.facts
        if key in kept:
            others.setdefault(key, []).append(result.path)
        else:
            kept[key] = result
    return tuple(_with(result, others.get(key, [])) for key, result in kept.items())


def replay(
    after: LoadedPolicy,
    results: Sequence[Recorded],
    *,
    before: LoadedPolicy | None = None,
    at: datetime | None,
    today: datetime,
) -> Replay:
    """Judge recorded results.

    Args:
        after: The policy.
        results: The results.
        before: Another policy to compare with; without one, the recorded verdict is.
        at: As of when; None for the time at which each was measured.
        today: As of when a result is judged that does not say when it was measured.

    Returns:
        The verdicts; a scan that is recorded several times is there once.
    """
    judged = []
    for recorded in once_each(results):
        now = at or recorded.facts.measured_at or today
        judged.append(
            Judged(
                recorded=recorded,
                at=now,
                before=None if before is None else judge(before, recorded.facts, now=now),
                after=judge(after, recorded.facts, now=now),
            )
        )
    return Replay(results=tuple(judged))


def values_of(results: Replay, rule: str) -> tuple[tuple[Judged, Finding], ...]:
    """Return what was held against a rule, in order.

    Args:
        results: The history.
        rule: Name of the rule, such as ``limits.sdi``.

    Returns:
        The results that have a number for it with its finding, the smallest number first.
    """
    found = [
        (each, finding)
        for each in results.results
        for finding in each.after.findings
        if finding.rule == rule and held(finding) is not None
    ]
    return tuple(sorted(found, key=lambda pair: (held(pair[1]), pair[0].recorded.path)))


def held(finding: Finding) -> float | None:
    """Return the number of a finding that was held against the limits.

    Args:
        finding: The finding.

    Returns:
        The value with its standard errors, if there are any; None if there is no value.
    """
    return finding.observed if finding.judged is None else finding.judged


def _with(result: Recorded, duplicates: list[str]) -> Recorded:
    return Recorded(
        path=result.path,
        facts=result.facts,
        verdict=result.verdict,
        duplicates=tuple(duplicates),
    )
