"""Test how sure a value must be: standard errors and intervals are added on the bad side."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scan_facts import NOW, facts_of, facts_with, found, judged, limits_at, policy_of, predicted

from sdi_gate.policy.chain.demands import RuleLimit, Sourced
from sdi_gate.policy.facts import PredictedDegradation
from sdi_gate.policy.judging.readings import Reading, held
from sdi_gate.policy.judging.sentences import Comparison, sentence
from sdi_gate.policy.origins import Origin
from sdi_gate.policy.verdict import Bound, Status
from sdi_gate.signals.interface import Estimate


@pytest.mark.parametrize(
    ("k", "stderr", "status", "number"),
    [
        (1.0, None, Status.PASS, None),
        (1.0, 0.0, Status.PASS, None),
        (0.0, 0.25, Status.PASS, None),
        (1.0, 0.125, Status.PASS, 0.5),
        (1.0, 0.25, Status.FAIL, 0.625),
        (2.0, 0.125, Status.FAIL, 0.625),
    ],
    ids=["certain", "no-error", "none-added", "just-within", "beyond", "two-beyond"],
)
def test_a_stochastic_value_within_its_standard_errors_of_a_limit_is_beyond_it(
    k, stderr, status, number
):
    policy = policy_of({"sdi": {"fail": 0.5}}, **{"standard-errors": k})
    facts = facts_of(sdi=Estimate(value=0.375, stderr=stderr))
    finding = found(judged(policy, facts), "limits.sdi")
    assert (finding.status, finding.observed, finding.judged) == (status, 0.375, number)
    assert finding.margin == 0.5 - (0.375 if number is None else number)


def test_one_standard_error_is_added_where_the_policy_says_nothing():
    finding = found(
        judged(policy_of({"sdi": {"fail": 0.5}}), facts_with("sdi", 0.375, 0.25)), "limits.sdi"
    )
    assert (finding.judged, finding.status) == (0.625, Status.FAIL)
    assert finding.reason == (
        "sdi is 0.375 ± 0.25 (0.625 with 1 standard error), above the failing limit of 0.5 by"
        " 0.125."
    )


def test_the_sentence_counts_the_standard_errors():
    policy = policy_of({"sdi": {"fail": 0.5}}, **{"standard-errors": 1.5})
    finding = found(judged(policy, facts_with("sdi", 0.125, 0.125)), "limits.sdi")
    assert finding.reason == (
        "sdi is 0.125 ± 0.12 (0.3125 with 1.5 standard errors), within the failing limit of 0.5 by"
        " 0.1875."
    )


def test_below_a_lower_limit_standard_errors_are_taken_away():
    limit = RuleLimit(
        path=("limits", "coverage"), bound=Bound.LOWER, fail=Sourced(0.5, Origin(file="policy"))
    )
    reading = Reading(metric="coverage", value=0.625, stderr=0.25)
    found_so = Comparison.of(limit, reading, 1.0)
    assert (found_so.held, found_so.status, found_so.margin) == (0.375, Status.FAIL, -0.125)
    assert sentence(found_so) == (
        "coverage is 0.625 ± 0.25 (0.375 with 1 standard error), below the failing limit of 0.5 by"
        " 0.125."
    )


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(
    value=FINITE,
    stderr=st.none() | st.floats(0, sys.float_info.max),
    k=st.floats(0, 10),
    bound=st.sampled_from(Bound),
)
def test_what_is_held_is_finite_and_never_better_than_the_value(value, stderr, k, bound):
    number = held(value, stderr, bound, k)
    assert abs(number) <= sys.float_info.max
    assert number >= value if bound is Bound.UPPER else number <= value


MEAN = "predicted-degradation.mean"


@pytest.mark.parametrize(
    ("value", "upper", "status", "reason"),
    [
        (
            0.125,
            0.25,
            Status.PASS,
            (
                "predicted degradation on average is 0.125 (upper end 0.25), within the warning"
                " limit of 0.3 by 0.05."
            ),
        ),
        (
            0.125,
            0.375,
            Status.WARN,
            (
                "predicted degradation on average is 0.125 (upper end 0.375), above the warning"
                " limit of 0.3 by 0.075."
            ),
        ),
        (0.125, 0.75, Status.FAIL, None),
        (0.75, 0.25, Status.FAIL, None),
    ],
    ids=["within", "warns", "fails", "a-value-above-its-interval"],
)
def test_the_upper_end_of_a_prediction_is_held_against_the_limits(value, upper, status, reason):
    policy = policy_of(limits_at(MEAN, {"warn": 0.3, "fail": 0.5}))
    facts = facts_of(predictions=(predicted("mean", value, upper),))
    finding = found(judged(policy, facts), f"limits.{MEAN}")
    assert (finding.status, finding.observed, finding.metric) == (status, value, "mean")
    assert finding.judged == (upper if upper > value else None)
    assert reason is None or finding.reason == reason


def test_a_prediction_for_an_axis_is_named_by_it():
    key = "predicted-degradation.axes.accuracy"
    facts = facts_of(predictions=(predicted("accuracy", 0.25),))
    finding = found(judged(policy_of(limits_at(key, {"fail": 0.5})), facts, NOW), f"limits.{key}")
    assert finding.reason == (
        "predicted degradation on accuracy is 0.25, within the failing limit of 0.5 by 0.25."
    )


INTERVALS = [(0.8, 0.25), (0.9, 0.375), (0.95, 0.3125)]


@pytest.mark.parametrize(
    ("confidence", "upper"),
    [(0.5, 0.25), (0.8, 0.25), (0.85, 0.375), (0.9, 0.375), (0.95, 0.375), (0.96, None)],
)
def test_the_narrowest_interval_that_is_sure_enough_counts(confidence: float, upper: float | None):
    # The widest of these ends lower than a narrower one, which no confidence may profit from.
    several = tuple(
        PredictedDegradation(axis="mean", value=0.125, upper=end, level=level)
        for level, end in INTERVALS
    )
    policy = policy_of(limits_at(MEAN, {"fail": 0.5, "confidence": confidence}))
    for predictions in (several, several[::-1]):
        finding = found(judged(policy, facts_of(predictions=predictions)), f"limits.{MEAN}")
        assert finding.judged == upper
        assert finding.status is (Status.INCONCLUSIVE if upper is None else Status.PASS)
