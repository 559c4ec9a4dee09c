"""Test the running of policy tests: what is expected, what comes, and what is told of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from sdi_gate.errors import PolicyError, UsageError
from sdi_gate.policy.facts import Facts, Tier
from sdi_gate.policy.loader import load_policy
from sdi_gate.policy.testing.run import run_cases
from sdi_gate.policy.verdict import Status
from sdi_gate.signals.interface import Estimate

if TYPE_CHECKING:
    from pathlib import Path

    from sdi_gate.policy.loader import LoadedPolicy

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
POLICY = """apiVersion: sdi-gate/v1
kind: Policy
metadata: {name: trial}
required-tier: weights
limits:
  sdi: {warn: 0.3, fail: 0.5}
  coverage: {fail: 0.9}
waivers:
  - id: W-1
    owner: team
    reason: It is known.
    approved-by: board
    granted: 2026-11-01
    expires: 2026-11-30
    model: ours
    metric: sdi
    limit: 0.7
"""
HEAD = """apiVersion: sdi-gate/v1
kind: PolicyTest
policy: ./p.yml
given: {tier: weights, coverage: 1.0, sdi: 0.6, model: other}
cases:
"""


class Reader:
    """Read policies from files, and keep count; hand out one result for every path but one."""

    def __init__(self) -> None:
        self.loaded: list[Path] = []

    def policy(self, path: Path) -> LoadedPolicy:
        self.loaded.append(path)
        return load_policy(path)

    def result(self, path: Path) -> Facts:
        if path.name == "broken.json":
            msg = f"cannot read {path}"
            raise UsageError(msg)
        sdi = Estimate(value=0.4)
        return Facts(tier=Tier.WEIGHTS, coverage=1.0, sdi=sdi, sdi_plus=None, signals=())


@pytest.fixture
def write(tmp_path):
    (tmp_path / "p.yml").write_text(POLICY, encoding="utf-8")

    def write(cases: str, name: str = "x.test.yml", head: str = HEAD) -> Path:
        path = tmp_path / name
        path.write_text(head + cases, encoding="utf-8")
        return path

    return write


@pytest.fixture
def outcome(write):
    """Run one case, of which all but the name is given."""

    def outcome(rest: str):
        run = run_cases([write(f"  - name: a\n    {rest}\n")], Reader(), NOW)
        (file,) = run.files
        assert file.error is None, file.error
        (case,) = file.cases
        return case

    return outcome


HOLDING = {
    "verdict": "{verdict: fail}",
    "gate": "{verdict: fail, gate: closed}",
    "decided-by": "{verdict: fail, decided-by: limits.sdi}",
    "findings": "{verdict: fail, findings: {limits.sdi: fail, limits.coverage: pass}}",
}
FAILING = {
    "verdict": ("{verdict: pass}", "verdict", "pass", "fail"),
    "gate": ("{verdict: fail, gate: open}", "gate", "open", "closed"),
    "decided-by": (
        "{verdict: fail, decided-by: limits.coverage}",
        "decided-by",
        "limits.coverage",
        "limits.sdi",
    ),
    "findings": (
        "{verdict: fail, findings: {limits.sdi: fail, limits.coverage: warn}}",
        "findings.limits.coverage",
        "warn",
        "pass",
    ),
    "no-such-finding": (
        "{verdict: fail, findings: {limits.sdi-plus: pass}}",
        "findings.limits.sdi-plus",
        "pass",
        "absent",
    ),
    "no-such-waiver": (
        "{verdict: fail, waivers: {W-1: waived}}",
        "waivers.W-1",
        "waived",
        "absent",
    ),
}


@pytest.mark.parametrize("expect", HOLDING.values(), ids=HOLDING)
def test_what_comes_as_expected_holds(outcome, expect):
    case = outcome(f"expect: {expect}")
    assert case.held
    assert case.verdict.status is Status.FAIL


@pytest.mark.parametrize(("expect", "key", "expected", "got"), FAILING.values(), ids=FAILING)
def test_each_thing_that_comes_otherwise_is_told_alone(outcome, expect, key, expected, got):
    case = outcome(f"expect: {expect}")
    assert not case.held
    told = [(one.key, one.expected, one.got) for one in case.mismatches]
    assert told == [(key, expected, got)]


def test_everything_that_comes_otherwise_is_told_at_once(outcome):
    expect = (
        "{verdict: pass, gate: open, decided-by: limits.coverage, findings: {limits.sdi: warn}}"
    )
    keys = [one.key for one in outcome(f"expect: {expect}").mismatches]
    assert keys == ["verdict", "gate", "decided-by", "findings.limits.sdi"]


@pytest.mark.parametrize(
    "expect",
    [
        "{verdict: fail, findings: {limits.sdl: fail}}",
        "{verdict: fail, decided-by: limits.sdl}",
    ],
    ids=["findings", "decided-by"],
)
def test_a_misspelt_rule_is_told_with_the_nearest_one(outcome, expect):
    (mismatch,) = outcome(f"expect: {expect}").mismatches
    assert mismatch.advice == "limits.sdi"


def test_a_rule_that_is_there_gets_no_advice(outcome):
    (mismatch,) = outcome("expect: {verdict: fail, decided-by: limits.coverage}").mismatches
    assert mismatch.advice == ""


def test_of_several_findings_of_one_rule_the_worst_counts(outcome):
    given = "given: {notices: [one, two], defects: [three]}"
    assert outcome(f"{given}\n    expect: {{verdict: fail, findings: {{notice: warn}}}}").held
    assert outcome(
        f"{given}\n    expect: {{verdict: fail, findings: {{defect: inconclusive}}}}"
    ).held


WAIVED = "given: {model: ours, age: 1}"
DAYS = {
    "before": ("2026-10-31", "fail", "not-yet"),
    "first": ("2026-11-01", "warn", "waived"),
    "last": ("2026-11-30", "warn", "waived"),
    "after": ("2026-12-01", "fail", "expired"),
}


@pytest.mark.parametrize(("day", "verdict", "state"), DAYS.values(), ids=DAYS)
def test_a_waiver_holds_on_the_days_that_a_case_names(outcome, day, verdict, state):
    expect = f"{{verdict: {verdict}, waivers: {{W-1: {state}}}}}"
    case = outcome(f"{WAIVED}\n    at: {day}\n    expect: {expect}")
    assert case.held, case.mismatches


def test_a_case_without_a_day_is_judged_now(write):
    file = write(f"  - name: a\n    {WAIVED}\n    expect: {{verdict: warn}}\n")
    assert run_cases([file], Reader(), NOW).failed == 0
    assert run_cases([file], Reader(), NOW.replace(month=12)).failed == 1


def test_a_waiver_that_comes_otherwise_is_told(outcome):
    (mismatch,) = outcome(
        f"{WAIVED}\n    expect: {{verdict: warn, waivers: {{W-1: unused}}}}"
    ).mismatches
    assert (mismatch.key, mismatch.got) == ("waivers.W-1", "waived")


def test_a_recorded_result_is_judged_in_place_of_numbers(outcome):
    case = outcome("result: r.json\n    expect: {verdict: warn, decided-by: limits.sdi}")
    assert case.held
    assert case.verdict.deciding.observed == 0.4


def test_a_result_that_cannot_be_read_fails_its_case_and_no_other(write):
    file = write(
        "  - name: a\n    result: broken.json\n    expect: {verdict: fail}\n"
        "  - name: b\n    expect: {verdict: fail}\n"
    )
    run = run_cases([file], Reader(), NOW)
    first, second = run.cases
    assert not first.held
    assert second.held
    assert [type(error) for error in run.errors] == [UsageError]
    assert run.failed == 0  # it was not judged


def test_a_file_that_cannot_be_used_hides_no_other(write):
    bad = write("  - name: a\n", "bad.test.yml")
    good = write("  - name: a\n    expect: {verdict: pass}\n", "good.test.yml")
    for order in ([bad, good], [good, bad]):
        run = run_cases(order, Reader(), NOW)
        assert (run.failed, len(run.errors)) == (1, 1)
        assert {file.path: file.error is None for file in run.files} == {bad: False, good: True}


def test_a_policy_is_loaded_once_for_all_its_files(write):
    reader = Reader()
    files = [write("  - name: a\n    expect: {verdict: fail}\n", f"{n}.test.yml") for n in "abc"]
    run = run_cases(files, reader, NOW)
    assert len(reader.loaded) == 1
    assert len(run.policies) == 1
    assert len(run.cases) == 3


def test_a_policy_that_cannot_be_used_is_read_once_and_told_for_each_file(write, tmp_path):
    reader = Reader()
    files = [write("  - name: a\n    expect: {verdict: fail}\n", f"{n}.test.yml") for n in "ab"]
    (tmp_path / "p.yml").write_text("limits: [", encoding="utf-8")
    run = run_cases(files, reader, NOW)
    assert len(reader.loaded) == 1
    assert [type(file.error) for file in run.files] == [PolicyError, PolicyError]
    assert run.policies == ()


def not_crossed(write, cases: str, policy: str | None = None):
    file = write(cases)
    if policy is not None:
        (file.parent / "p.yml").write_text(policy, encoding="utf-8")
    (tested,) = run_cases([file], Reader(), NOW).policies
    return tested.not_crossed


def test_rules_that_no_case_sees_broken_are_named(write):
    case = "  - name: a\n    given: {sdi: 0.1}\n    expect: {verdict: pass}\n"
    assert not_crossed(write, case) == ("limits.coverage", "limits.sdi", "required-tier")


def test_a_warning_crosses_a_limit_and_a_value_that_is_missing_does_not(write):
    warned = "  - name: a\n    given: {sdi: 0.4}\n    expect: {verdict: warn}\n"
    missing = "  - name: a\n    without: [sdi]\n    expect: {verdict: inconclusive}\n"
    assert "limits.sdi" not in not_crossed(write, warned)
    assert "limits.sdi" in not_crossed(write, missing)


def test_a_demand_without_a_number_is_crossed_by_whatever_does_not_meet_it(write):
    policy = POLICY.replace("required-tier: weights", "required-tier: full")
    case = "  - name: a\n    expect: {verdict: fail}\n"
    assert "required-tier" not in not_crossed(write, case, policy)


def test_a_default_is_no_rule_of_the_policy(write):
    case = "  - name: a\n    expect: {verdict: inconclusive}\n"
    policy = POLICY.replace("required-tier: weights\n", "")
    assert "required-tier" not in not_crossed(write, case.replace("a\n", "b\n"), policy)
    met = "  - name: a\n    given: {tier: probe}\n    expect: {verdict: fail}\n"
    assert "required-tier" not in not_crossed(write, met, policy)


def test_a_limit_of_a_block_that_no_case_meets_is_named(write):
    block = "match: {family: llama}, limits: {signals: {weight-geometry: {fail: 0.1}}}"
    policy = f"{POLICY}match:\n  - {{{block}}}\n"
    case = "  - name: a\n    given: {family: qwen}\n    expect: {verdict: fail}\n"
    assert "limits.signals.weight-geometry" in not_crossed(write, case, policy)


def test_parameters_are_given_as_policies_require_them(write):
    policy = POLICY + "required-parameters: {seed: 7, paired: true, probe: mine, share: 0.5}\n"
    given = (
        "signals: {weight-geometry: 0.1}, parameters: {seed: 7, paired: true, probe: mine, share"
    )
    cases = "".join(
        f"  - name: a share of {share}\n    given: {{{given}: {share}}}}}\n"
        f"    expect: {{verdict: fail, findings: {{required-parameters.share: {status}}}}}\n"
        for share, status in (("0.5", "pass"), ("0.25", "inconclusive"))
    )
    file = write(cases)
    (file.parent / "p.yml").write_text(policy, encoding="utf-8")
    first, second = run_cases([file], Reader(), NOW).cases
    assert (first.held, second.held) == (True, True), (first, second)
    passing = {one.rule for one in first.verdict.findings if one.status is Status.PASS}
    names = ("seed", "paired", "probe", "share")
    assert {f"required-parameters.{name}" for name in names} <= passing
