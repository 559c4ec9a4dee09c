"""Test the laws of judging: what is not known never passes, and worse is never better."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scan_facts import (
    BEHAVIOUR,
    EVERY_KEY,
    UPPER_KEYS,
    facts_of,
    facts_with,
    found,
    limits_at,
    policy_of,
    row,
    signal,
    signal_id,
)

from sdi_gate.policy.evaluate import decide, judge
from sdi_gate.policy.rules import Rule
from sdi_gate.policy.schema import ChangeLimit, CoverageLimit, DistanceLimit, FractionLimit, Limits
from sdi_gate.policy.verdict import Status
from sdi_gate.signals.interface import SignalName, SignalResult, inconclusive, not_measured


@pytest.mark.parametrize("coverage", [math.nan, math.inf, -0.01, 1.01])
@pytest.mark.parametrize(
    "limits",
    [{"coverage": {"warn": 0.0}}, {"sdi": {"fail": 1.0}}],
    ids=["limited", "without-a-limit"],
)
def test_a_coverage_that_is_no_share_is_inconclusive_even_without_a_limit(coverage, limits):
    verdict = judge(policy_of(limits), facts_of(coverage=coverage))
    assert verdict.status is Status.INCONCLUSIVE
    assert found(verdict, "defect").reason == (
        f"The coverage of the scan is {coverage}, which is not between 0 and 1."
    )


def unmeasured(name: SignalName, kind: str) -> tuple[SignalResult, ...]:
    rows = tuple(row(metric, 0.0) for metric in BEHAVIOUR)
    match kind:
        case "absent":
            return ()
        case "not-measured":
            return (not_measured(signal_id(name), "kl-divergence", "The tier is too low."),)
        case _:
            reason = "Not a number in layers.3."
            return (inconclusive(signal_id(name), "other", reason, rows),)


@pytest.mark.parametrize("key", [key for key in UPPER_KEYS if "." in key])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("absent", "{name} was not measured."),
        ("not-measured", "{name} was not measured: The tier is too low."),
        ("inconclusive", "{name} is inconclusive: Not a number in layers.3."),
    ],
    ids=["absent", "not-measured", "inconclusive"],
)
def test_a_limit_on_an_unmeasured_signal_never_passes(key: str, kind: str, reason: str):
    section, _, own = key.partition(".")
    name = SignalName.BEHAVIOUR if section == "behaviour" else SignalName(own)
    facts = facts_of(signals=unmeasured(name, kind))
    verdict = judge(policy_of(limits_at(key, {"warn": 0.9})), facts)
    finding = found(verdict, f"limits.{key}")
    assert verdict.status is finding.status is Status.INCONCLUSIVE
    assert finding.reason == reason.format(name=name)
    assert (finding.observed, finding.margin, finding.warn) == (None, None, 0.9)


def test_a_metric_that_a_measured_signal_does_not_have_is_inconclusive():
    facts = facts_of(signals=(signal(SignalName.BEHAVIOUR, 0.0, metric="kl-divergence"),))
    policy = policy_of(limits_at("behaviour.top1-flip-rate", {"warn": 1.0}))
    finding = judge(policy, facts).deciding
    assert finding.status is Status.INCONCLUSIVE
    assert finding.metric == "top1-flip-rate"
    assert finding.reason == "behaviour was measured without top1-flip-rate."


@pytest.mark.parametrize("key", ["sdi", "sdi-plus"])
def test_an_index_that_could_not_be_formed_is_inconclusive(key: str):
    facts = facts_of(**{key.replace("-", "_"): None})
    finding = judge(policy_of({key: {"warn": 1.0}}), facts).deciding
    assert finding.status is Status.INCONCLUSIVE
    assert finding.reason == f"{key} was not measured."


def test_a_limit_that_is_not_known_here_is_inconclusive(monkeypatch: pytest.MonkeyPatch):
    rule = Rule(path=("limits", "charm"), limit=FractionLimit(warn=1.0))
    monkeypatch.setattr("sdi_gate.policy.evaluate.rules_of", lambda _: (rule,))
    finding = judge(policy_of({"sdi": {"fail": 1.0}}), facts_of()).deciding
    assert finding.status is Status.INCONCLUSIVE
    assert finding.reason == "limits.charm is not a rule that can be judged."


def test_a_policy_without_limits_that_was_smuggled_in_is_refused():
    policy = policy_of({"sdi": {"fail": 1.0}}).model_copy(
        update={"limits": Limits.model_construct()}
    )
    with pytest.raises(ValueError, match="the policy trial has no limit"):
        judge(policy, facts_of())


def test_facts_hold_each_signal_once():
    twice = (signal(SignalName.WEIGHT_GEOMETRY, 0.0),) * 2
    with pytest.raises(ValueError, match="each signal is there at most once"):
        facts_of(signals=twice)


BOUNDS = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(key=st.sampled_from(EVERY_KEY), bounds=BOUNDS, values=BOUNDS)
def test_a_worse_value_never_improves_the_status(key, bounds, values):
    warn, fail = bounds
    better, worse = values
    if key == "coverage":
        warn, fail, better, worse = fail, warn, worse, better
    policy = policy_of(limits_at(key, {"warn": warn, "fail": fail}))
    first, second = (judge(policy, facts_with(key, value)).status for value in (better, worse))
    assert first.severity <= second.severity


@given(
    key=st.sampled_from(EVERY_KEY),
    bounds=BOUNDS,
    tighter=BOUNDS,
    value=st.floats(0, 1),
    drop=st.sampled_from([None, "warn", "fail"]),
)
def test_a_tighter_limit_never_improves_the_status(key, bounds, tighter, value, drop):
    order = ("fail", "warn") if key == "coverage" else ("warn", "fail")
    loose, tight = dict(zip(order, bounds, strict=True)), dict(zip(order, tighter, strict=True))
    sign = -1 if key == "coverage" else 1
    assume(all(sign * tight[level] <= sign * loose[level] for level in order))
    loose.pop(drop, None)
    first, second = (
        judge(policy_of(limits_at(key, limit)), facts_with(key, value)).status
        for limit in (loose, tight)
    )
    assert first.severity <= second.severity


@given(
    bound=st.floats(0, 1),
    which=st.sampled_from(["warn", "fail"]),
    kind=st.sampled_from([FractionLimit, DistanceLimit, ChangeLimit, CoverageLimit]),
)
def test_nan_never_passes(bound: float, which: str, kind):
    status, _ = decide(math.nan, kind(**{which: bound}))
    assert status is Status.FAIL


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(value=FINITE, fail=FINITE)
@example(value=-1e308, fail=1.7e308)
def test_any_finite_value_is_judged_by_any_finite_limit(value: float, fail: float):
    key = "behaviour.nll-change"
    policy = policy_of(limits_at(key, {"fail": fail}))
    finding = found(judge(policy, facts_with(key, value)), f"limits.{key}")
    assert finding.margin is not None
    assert (finding.status is Status.PASS) == (value <= fail) == (finding.margin >= 0.0)


@given(st.sets(st.sampled_from(EVERY_KEY), min_size=1))
def test_every_limit_of_the_policy_gets_one_finding(keys: set[str]):
    limits: dict[str, Any] = {}
    for key in keys:
        section, _, name = key.rpartition(".")
        (limits.setdefault(section, {}) if section else limits)[name] = {"warn": 1.0}
    rules = [finding.rule for finding in judge(policy_of(limits), facts_of()).findings]
    expected = [f"limits.{key}" for key in EVERY_KEY if key in keys]
    assert rules == ["required-tier", *expected]
