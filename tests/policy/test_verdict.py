"""Test findings and verdicts: the worst wins, and nothing passes by emptiness."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.errors import ExitCode
from sdi_gate.policy.modes import Mode
from sdi_gate.policy.verdict import Bound, Finding, Status, Verdict

WORST_FIRST = (Status.FAIL, Status.INCONCLUSIVE, Status.WARN, Status.PASS)


def finding(status: Status, *, margin: float | None = None, fail: float = 1.0, rule: str = "r"):
    return Finding(
        rule=rule,
        metric="sdi",
        status=status,
        reason="Because.",
        observed=None if margin is None else fail - margin,
        margin=margin,
        fail=fail,
        warn=fail if status is Status.WARN else None,
        bound=Bound.UPPER,
    )


def test_a_verdict_without_findings_is_refused():
    with pytest.raises(ValueError, match="at least one finding"):
        Verdict.of((), mode=Mode.ENFORCE)
    with pytest.raises(ValueError, match="at least one finding"):
        Verdict(status=Status.PASS, findings=(), mode=Mode.OBSERVE)


def test_a_verdict_that_is_better_than_its_worst_finding_is_refused():
    findings = (finding(Status.PASS), finding(Status.FAIL))
    with pytest.raises(ValueError, match="the worst finding is fail; got a verdict pass"):
        Verdict(status=Status.PASS, findings=findings, mode=Mode.ENFORCE)


@pytest.mark.parametrize(("worse", "better"), list(itertools.combinations(WORST_FIRST, 2)))
def test_the_worse_of_two_findings_wins_in_either_order(worse: Status, better: Status):
    pair = (finding(worse), finding(better))
    for findings in (pair, pair[::-1]):
        verdict = Verdict.of(findings, mode=Mode.ENFORCE)
        assert verdict.status is worse
        assert verdict.deciding is pair[0]


@given(st.lists(st.sampled_from(Status), min_size=1))
def test_a_verdict_passes_only_if_every_finding_passes(statuses: list[Status]):
    verdict = Verdict.of(tuple(finding(status) for status in statuses), mode=Mode.ENFORCE)
    assert (verdict.status is Status.PASS) == (set(statuses) == {Status.PASS})
    assert verdict == Verdict(status=verdict.status, findings=verdict.findings, mode=Mode.ENFORCE)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.PASS, ExitCode.OK),
        (Status.WARN, ExitCode.OK),
        (Status.FAIL, ExitCode.FAIL),
        (Status.INCONCLUSIVE, ExitCode.INCONCLUSIVE),
    ],
)
def test_the_exit_code_follows_from_the_status_in_mode_enforce_and_is_0_in_the_others(
    status: Status, code: ExitCode
):
    findings = (finding(status),)
    for mode in Mode:
        verdict = Verdict.of(findings, mode=mode)
        assert verdict.enforced is (mode is Mode.ENFORCE)
        assert verdict.exit_code is (code if mode is Mode.ENFORCE else ExitCode.OK)


def test_among_equals_the_smallest_margin_relative_to_its_limit_decides():
    wide = finding(Status.PASS, margin=0.1, fail=1.0, rule="wide")
    near = finding(Status.PASS, margin=0.2, fail=8.0, rule="near")
    assert Verdict.of((wide, near), mode=Mode.ENFORCE).deciding is near
    assert (wide.relative_margin, near.relative_margin) == (0.1, 0.025)


def test_among_failures_the_one_furthest_beyond_its_limit_decides():
    little = finding(Status.FAIL, margin=-0.1, rule="little")
    much = finding(Status.FAIL, margin=-0.6, rule="much")
    assert Verdict.of((little, much), mode=Mode.ENFORCE).deciding is much


def test_a_finding_with_a_number_decides_before_one_without():
    tier = finding(Status.PASS, rule="required-tier")
    limit = finding(Status.PASS, margin=0.9, rule="limits.sdi")
    assert Verdict.of((tier, limit), mode=Mode.ENFORCE).deciding is limit


def test_among_full_equals_the_first_decides():
    first, second = (finding(Status.INCONCLUSIVE, rule=rule) for rule in "ab")
    assert Verdict.of((first, second), mode=Mode.ENFORCE).deciding is first


@pytest.mark.parametrize(
    ("margin", "fail", "relative"),
    [
        (-0.5, 0.0, -math.inf),
        (0.5, 0.0, math.inf),
        (0.0, 0.0, 0.0),
        (0.0, 2.0, 0.0),
        (0.5, -2.0, 0.25),
        (None, 2.0, math.inf),
    ],
)
def test_the_relative_margin_is_defined_for_every_limit(margin, fail: float, relative: float):
    assert finding(Status.FAIL, margin=margin, fail=fail).relative_margin == relative


@pytest.mark.parametrize(
    ("status", "warn", "fail", "limit"),
    [
        (Status.FAIL, 0.1, 0.2, 0.2),
        (Status.WARN, 0.1, 0.2, 0.1),
        (Status.PASS, 0.1, 0.2, 0.1),
        (Status.PASS, None, 0.2, 0.2),
        (Status.PASS, None, None, None),
    ],
)
def test_the_deciding_limit_is_the_one_crossed_or_the_nearer_one(status, warn, fail, limit):
    found = Finding(rule="r", metric="m", status=status, reason="", warn=warn, fail=fail)
    assert found.limit == limit


FIELDS = ["observed", "stderr", "warn", "fail", "margin", "judged", "waived_limit"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_the_numbers_of_a_finding_are_finite(field: str, number: float):
    with pytest.raises(ValueError, match="r: the numbers of a finding are finite"):
        Finding(rule="r", metric="m", status=Status.PASS, reason="", **{field: number})


@pytest.mark.parametrize("field", ["observed", "margin"])
def test_an_observed_value_and_a_margin_come_together(field: str):
    with pytest.raises(ValueError, match="r: an observed value and a margin come together"):
        Finding(rule="r", metric="m", status=Status.PASS, reason="", **{field: 1.0})
