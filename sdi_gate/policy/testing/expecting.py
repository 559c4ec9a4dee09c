"""Compare a verdict with what a policy test expects of it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.policy.verdict import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sdi_gate.policy.testing.cases import Expect
    from sdi_gate.policy.verdict import Finding, Verdict

ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """Say what was expected of one thing, and what came instead.

    Attributes:
        key: What it is about, as the test names it, such as ``findings.limits.sdi``.
        expected: What the test expects.
        got: What the policy says; ``absent`` where it says nothing.
        advice: The name that was probably meant; empty if there is none near.
    """

    key: str
    expected: str
    got: str
    advice: str = ""


def gate_of(verdict: Verdict) -> str:
    """Return ``closed`` if a verdict closes the gate, else ``open``.

    Args:
        verdict: The verdict.

    Returns:
        One of the two words.
    """
    return "closed" if verdict.exit_code else "open"


def mismatches(expect: Expect, verdict: Verdict) -> Iterator[Mismatch]:
    """Compare a verdict with what was expected.

    Args:
        expect: What was expected.
        verdict: What the policy says.

    Yields:
        What came otherwise.
    """
    statuses = _worst(verdict.findings)
    states = {use.id: str(use.state) for use in verdict.waivers}
    yield from _unequal("verdict", expect.verdict, verdict.status)
    yield from _unequal("gate", expect.gate, gate_of(verdict))
    yield from _unequal("decided-by", expect.decided_by, verdict.deciding.rule, statuses)
    for rule, status in (expect.findings or {}).items():
        yield from _looked_up(f"findings.{rule}", status, rule, statuses)
    for waiver, state in (expect.waivers or {}).items():
        yield from _looked_up(f"waivers.{waiver}", state, waiver, states)


def _looked_up(key: str, expected: str, name: str, known: Mapping[str, str]) -> Iterator[Mismatch]:
    if name in known:
        yield from _unequal(key, expected, known[name])
        return
    advice = _near(name, known)
    yield Mismatch(key=key, expected=str(expected), got=ABSENT, advice=advice)


def _unequal(
    key: str, expected: str | None, got: str, known: Iterable[str] = ()
) -> Iterator[Mismatch]:
    if expected is None or expected == got:
        return
    names = tuple(known)
    advice = _near(expected, names) if names and expected not in names else ""
    yield Mismatch(key=key, expected=str(expected), got=str(got), advice=advice)


def _near(name: str, known: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, tuple(known), n=1)), "")


def _worst(findings: Iterable[Finding]) -> dict[str, str]:
    worst: dict[str, Status] = {}
    for finding in findings:
        known = worst.get(finding.rule, Status.PASS)
        worst[finding.rule] = max(known, finding.status, key=lambda status: status.severity)
    return {rule: str(status) for rule, status in worst.items()}
