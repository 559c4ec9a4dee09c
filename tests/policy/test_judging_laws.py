"""Test the laws of judging: worse is never better, and less is never enough."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scan_facts import (
    EVERY_KEY,
    SIGNALS,
    UPPER_KEYS,
    every_limit,
    facts_of,
    facts_with,
    found,
    is_part,
    judged,
    limits_at,
    merged,
    path_of,
    policy_of,
    signal_of,
)

from sdi_gate.policy.facts import Facts, Tier
from sdi_gate.policy.verdict import Bound, Status, compare
from sdi_gate.signals.interface import not_measured

BOUNDS = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(key=st.sampled_from(EVERY_KEY), bounds=BOUNDS, values=BOUNDS)
def test_a_worse_value_never_improves_the_status(key, bounds, values):
    warn, fail = bounds
    better, worse = values
    if key == "coverage":
        warn, fail, better, worse = fail, warn, worse, better
    policy = policy_of(limits_at(key, {"warn": warn, "fail": fail}))
    first, second = (judged(policy, facts_with(key, value)).status for value in (better, worse))
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
        judged(policy_of(limits_at(key, limit)), facts_with(key, value)).status
        for limit in (loose, tight)
    )
    assert first.severity <= second.severity


@given(
    bound=st.floats(0, 1),
    which=st.sampled_from(["warn", "fail"]),
    kind=st.sampled_from(Bound),
)
def test_nan_never_passes(bound: float, which: str, kind: Bound):
    steps = {"warn": None, "fail": None} | {which: bound}
    status, _ = compare(math.nan, bound=kind, **steps)
    assert status is Status.FAIL


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(value=FINITE, fail=FINITE)
@example(value=-1e308, fail=1.7e308)
def test_any_finite_value_is_judged_by_any_finite_limit(value: float, fail: float):
    key = "behaviour.nll-change"
    policy = policy_of(limits_at(key, {"fail": fail}))
    finding = found(judged(policy, facts_with(key, value)), f"limits.{key}")
    assert finding.margin is not None
    assert (finding.status is Status.PASS) == (value <= fail) == (finding.margin >= 0.0)


@given(st.sets(st.sampled_from(EVERY_KEY), min_size=1))
def test_every_limit_of_the_policy_gets_one_finding(keys: set[str]):
    limits: dict[str, Any] = {}
    for key in keys:
        limits = merged(limits, limits_at(key, {"warn": 1.0}))
    rules = [finding.rule for finding in judged(policy_of(limits), facts_of()).findings]
    expected = [f"limits.{key}" for key in EVERY_KEY if key in keys]
    assert rules == ["required-tier", *expected]


STOCHASTIC = [key for key in UPPER_KEYS if not key.startswith("predicted")]


@given(
    key=st.sampled_from(STOCHASTIC),
    bounds=BOUNDS,
    value=st.floats(0, 1),
    errors=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    k=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
)
def test_a_less_certain_value_never_improves_the_status(key, bounds, value, errors, k):
    limits = limits_at(key, dict(zip(("warn", "fail"), bounds, strict=True)))
    policy = policy_of(limits, **{"standard-errors": k})
    first, second = (judged(policy, facts_with(key, value, error)).status for error in errors)
    assert judged(policy, facts_with(key, value)).status.severity <= first.severity
    assert first.severity <= second.severity


@given(key=st.sampled_from(UPPER_KEYS), value=st.floats(0, 1), fail=st.floats(0, 1))
def test_without_a_measurement_the_gate_never_opens(key: str, value: float, fail: float):
    policy = policy_of(limits_at(key, {"fail": fail}))
    facts = facts_with(key, value)
    for less in removals(key, facts):
        verdict = judged(policy, less)
        assert verdict.status in {Status.INCONCLUSIVE, Status.FAIL}
        assert verdict.status.severity >= min(
            judged(policy, facts).status.severity, Status.INCONCLUSIVE.severity
        )


def removals(key: str, facts: Facts) -> list[Facts]:
    """Return facts without what a limit is about: the row, and the whole signal."""
    name = signal_of(key)
    if name is None:
        gone = {"predictions": ()} if "." in key else {key.replace("-", "_"): None}
        return [replace(facts, **gone)]
    result = facts.signal(name)
    rows = tuple(row for row in result.measurements if not is_part(key, row))
    others = tuple(other for other in facts.signals if other is not result)
    skipped = not_measured(result.id, result.metric, "It was not asked for.")
    headline = path_of(key)[0] in {"signals", "behaviour"} and path_of(key)[-1] == result.metric
    return [
        replace(facts, signals=others),
        replace(facts, signals=(*others, skipped)),
        *(
            ()
            if headline
            else (replace(facts, signals=(*others, replace(result, measurements=rows))),)
        ),
    ]


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("layer", ["layers.0", "layers.1"])
@given(value=st.floats(0, 1), fail=st.floats(0, 1))
def test_a_layer_group_that_one_signal_lacks_never_lets_the_others_pass(name, layer, value, fail):
    policy = policy_of(limits_at(f"by-layer.layers.*.{name}", {"fail": fail}))
    facts = facts_with(f"by-layer.layers.1.{name}", value)
    signals = tuple(
        replace(one, measurements=tuple(row for row in one.measurements if row.layer != layer))
        if one.name is name
        else one
        for one in facts.signals
    )
    verdict = judged(policy, replace(facts, signals=signals))
    assert verdict.status in {Status.INCONCLUSIVE, Status.FAIL}


WORSE = [
    ("notices", ("The templates differ.",)),
    ("defects", ("A weight is not finite.",)),
    ("cuts", ("no curvature",)),
    ("tier", Tier.PROBE),
    ("tier", Tier.WEIGHTS),
    ("whole_tier", Tier.WEIGHTS),
    ("coverage", 0.9),
    ("coverage", math.nan),
    ("tensor_roles", ()),
    ("predictions", ()),
]


@pytest.mark.parametrize(("field", "value"), WORSE, ids=[f"{f}-{v}" for f, v in WORSE])
@given(
    keys=st.sets(st.sampled_from(EVERY_KEY), min_size=1),
    number=st.floats(0, 1),
    fail=st.floats(0, 1),
    rest=st.fixed_dictionaries(
        {
            "required-tier": st.sampled_from([tier.value for tier in Tier]),
            "notices": st.sampled_from(["warn", "fail"]),
        }
    ),
)
def test_what_speaks_against_a_scan_never_opens_the_gate(field, value, keys, number, fail, rest):
    limits: dict[str, Any] = {}
    for key in keys:
        limits = merged(limits, limits_at(key, {"fail": fail}))
    policy = policy_of(limits, **rest)
    facts = facts_with(min(keys - {"coverage"}, default="sdi"), number)
    before, after = (
        judged(policy, one).status for one in (facts, replace(facts, **{field: value}))
    )
    closed = {Status.FAIL, Status.INCONCLUSIVE}
    assert after.severity >= before.severity or {before, after} <= closed
    if field in {"notices", "defects", "cuts"}:
        assert after.severity >= before.severity


@given(number=st.floats(0, 1), k=st.floats(0, 3))
def test_every_finding_says_where_its_deciding_step_stands(number: float, k: float):
    policy = policy_of(every_limit({"warn": 0.25, "fail": 0.5}), **{"standard-errors": k})
    for key in EVERY_KEY:
        finding = found(judged(policy, facts_with(key, number)), f"limits.{key}")
        assert finding.origin is not None
        assert (finding.origin.file, finding.origin.line) == ("policy", 1)
