"""Test policies: judge what cases give, and compare the verdicts with what was expected."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Protocol

from sdi_gate.errors import SdiGateError
from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.format.limits import Limit
from sdi_gate.policy.format.section import Section, kebab
from sdi_gate.policy.testing.case_files import read_cases
from sdi_gate.policy.testing.case_outcomes import CaseOutcome, FileOutcome, TestedPolicy, TestRun
from sdi_gate.policy.testing.expecting import mismatches
from sdi_gate.policy.testing.facts_given import facts_given
from sdi_gate.policy.verdict import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sdi_gate.policy.facts import Facts
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.testing.case_files import CaseFile, Trial
    from sdi_gate.policy.verdict import Finding, Verdict

_CROSSED = frozenset({Status.WARN, Status.FAIL})


class Reader(Protocol):
    """Read what a test names: the policy, and recorded results."""

    def policy(self, path: Path) -> LoadedPolicy:
        """Load a policy, and check that it may be trusted."""
        ...

    def result(self, path: Path) -> Facts:
        """Return the facts of a recorded result."""
        ...


def run_cases(paths: Iterable[Path], reader: Reader, now: datetime) -> TestRun:
    """Test policies; nothing that is wrong in one file keeps another from being tested.

    Args:
        paths: The test files.
        reader: Who reads policies and results; each policy is asked for once.
        now: The time at which cases are judged that name no day.

    Returns:
        What became of every case.
    """
    bench = _Bench(reader=reader, now=now)
    files = tuple(bench.file(path) for path in paths)
    tested = tuple(
        TestedPolicy(policy=policy, not_crossed=_not_crossed(policy, verdicts))
        for policy, verdicts in bench.judged.values()
    )
    return TestRun(files=files, policies=tested)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """Hold what one run shares between files: policies by path, with the verdicts under each."""

    reader: Reader
    now: datetime
    judged: dict[Path, tuple[LoadedPolicy, list[Verdict]]] = field(default_factory=dict)
    broken: dict[Path, SdiGateError] = field(default_factory=dict)

    def file(self, path: Path) -> FileOutcome:
        try:
            test = read_cases(path)
            policy, verdicts = self._policy(test)
        except SdiGateError as exc:
            return FileOutcome(path=path, error=exc)
        cases = tuple(self._case(trial, policy) for trial in test.trials)
        verdicts += [case.verdict for case in cases if case.verdict is not None]
        return FileOutcome(path=path, policy=policy, cases=cases)

    def _policy(self, test: CaseFile) -> tuple[LoadedPolicy, list[Verdict]]:
        key = test.policy.resolve()
        if key in self.broken:
            raise self.broken[key]
        if key not in self.judged:
            try:
                self.judged[key] = (self.reader.policy(test.policy), [])
            except SdiGateError as exc:
                self.broken[key] = exc
                raise
        return self.judged[key]

    def _case(self, trial: Trial, policy: LoadedPolicy) -> CaseOutcome:
        now = self.now if trial.at is None else datetime.combine(trial.at, time(12), tzinfo=UTC)
        try:
            verdict = judge(policy, self._facts(trial, now), now=now)
        except SdiGateError as exc:
            return CaseOutcome(name=trial.name, line=trial.line, error=exc)
        return CaseOutcome(
            name=trial.name,
            line=trial.line,
            verdict=verdict,
            mismatches=tuple(mismatches(trial.expect, verdict)),
        )

    def _facts(self, trial: Trial, now: datetime) -> Facts:
        if trial.given is not None:
            return facts_given(trial.given, now)
        assert trial.result is not None  # noqa: S101 - a trial has one of the two
        return self.reader.result(trial.result)


def _not_crossed(policy: LoadedPolicy, verdicts: Iterable[Verdict]) -> tuple[str, ...]:
    findings = [finding for verdict in verdicts for finding in verdict.findings]
    rules = {rule for level in policy.levels for rule in _limits_of(level.policy)}
    # A default that no file states is no rule of the policy.
    rules |= {found.rule for found in findings if found.origin is not None and found.origin.line}
    return tuple(sorted(rules - {found.rule for found in findings if _is_crossed(found)}))


def _is_crossed(finding: Finding) -> bool:
    if finding.rule.startswith("limits."):
        return finding.status in _CROSSED
    return finding.status is not Status.PASS


def _limits_of(value: object, path: str = "") -> Iterator[str]:
    """Yield the path of each limit that a policy states, in whichever block."""
    if isinstance(value, Limit):
        yield path
    elif isinstance(value, (Section, dict)):
        for name, below in value.items() if isinstance(value, dict) else value:
            key = name if isinstance(value, dict) else kebab(name)
            yield from _limits_of(below, f"{path}.{key}" if path else key)
    elif isinstance(value, tuple):
        for item in value:
            yield from _limits_of(item)
