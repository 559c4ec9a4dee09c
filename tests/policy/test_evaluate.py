"""Test how facts are judged by a policy: statuses, margins, sentences, places."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from scan_facts import (
    EVERY_KEY,
    UPPER_KEYS,
    every_limit,
    facts_of,
    facts_with,
    found,
    judged,
    limits_at,
    policy_of,
    row,
    signal,
)

from sdi_gate.errors import ExitCode
from sdi_gate.policy.facts import Tier
from sdi_gate.policy.verdict import Bound, Status
from sdi_gate.signals.interface import Estimate, SignalName


def test_equal_models_pass_every_limit_in_the_order_of_the_schema():
    verdict = judged(policy_of(every_limit({"warn": 0.0, "fail": 0.5})), facts_of())
    assert verdict.status is Status.PASS
    assert verdict.exit_code is ExitCode.OK
    assert [finding.rule for finding in verdict.findings] == [
        "required-tier",
        *(f"limits.{key}" for key in EVERY_KEY),
    ]
    assert {finding.status for finding in verdict.findings} == {Status.PASS}


@pytest.mark.parametrize("key", UPPER_KEYS)
@pytest.mark.parametrize(
    ("value", "status", "margin"),
    [
        (0.125, Status.PASS, 0.125),
        (0.25, Status.PASS, 0.0),
        (0.375, Status.WARN, -0.125),
        (0.5, Status.WARN, -0.25),
        (0.75, Status.FAIL, -0.25),
    ],
)
def test_an_upper_limit_warns_and_fails_above_its_bounds(
    key: str, value: float, status: Status, margin: float
):
    policy = policy_of(limits_at(key, {"warn": 0.25, "fail": 0.5}))
    verdict = judged(policy, facts_with(key, value))
    finding = found(verdict, f"limits.{key}")
    assert verdict.deciding is finding
    assert (finding.status, finding.observed, finding.margin) == (status, value, margin)
    assert (finding.warn, finding.fail, finding.bound) == (0.25, 0.5, Bound.UPPER)
    assert finding.metric == key.rpartition(".")[2]


@pytest.mark.parametrize(
    ("value", "status", "margin"),
    [
        (1.0, Status.PASS, 0.25),
        (0.75, Status.PASS, 0.0),
        (0.625, Status.WARN, -0.125),
        (0.5, Status.WARN, -0.25),
        (0.25, Status.FAIL, -0.25),
        (0.0, Status.FAIL, -0.5),
    ],
)
def test_coverage_warns_and_fails_below_its_bounds(value: float, status: Status, margin: float):
    verdict = judged(
        policy_of({"coverage": {"warn": 0.75, "fail": 0.5}}), facts_with("coverage", value)
    )
    finding = found(verdict, "limits.coverage")
    assert (finding.status, finding.observed, finding.margin) == (status, value, margin)
    assert finding.bound is Bound.LOWER
    assert verdict.status is status


@pytest.mark.parametrize(
    ("bounds", "value", "status", "limit"),
    [
        ({"fail": 0.5}, 0.4, Status.PASS, 0.5),
        ({"fail": 0.5}, 0.6, Status.FAIL, 0.5),
        ({"warn": 0.5}, 0.4, Status.PASS, 0.5),
        ({"warn": 0.5}, 0.6, Status.WARN, 0.5),
    ],
    ids=["fail-kept", "fail-crossed", "warn-kept", "warn-crossed"],
)
def test_either_bound_may_be_left_out(bounds, value: float, status: Status, limit: float):
    finding = found(judged(policy_of({"sdi": bounds}), facts_with("sdi", value)), "limits.sdi")
    assert (finding.status, finding.limit) == (status, limit)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("sdi", 0.25, "sdi is 0.25, within the warning limit of 0.3 by 0.05."),
        ("sdi", 0.375, "sdi is 0.375, above the warning limit of 0.3 by 0.075."),
        ("sdi", 0.625, "sdi is 0.625, above the failing limit of 0.5 by 0.125."),
        (
            "behaviour.nll-change",
            0.75,
            "nll-change is 0.75 nats per token, above the failing limit of 0.5 by 0.25.",
        ),
        ("sdi", 0.500001, "sdi is 0.500001, above the failing limit of 0.5 by 1e-06."),
        (
            "sdi",
            math.nextafter(0.5, 1),
            "sdi is 0.5000000000000001, above the failing limit of 0.5 by 1.11e-16.",
        ),
    ],
)
def test_the_reason_is_a_sentence_with_value_limit_and_margin(key: str, value: float, reason: str):
    policy = policy_of(limits_at(key, {"warn": 0.3, "fail": 0.5}))
    assert found(judged(policy, facts_with(key, value)), f"limits.{key}").reason == reason


def test_the_reason_names_a_lower_limit_and_a_lone_failing_limit():
    policy = policy_of({"coverage": {"fail": 0.75}})
    below = found(judged(policy, facts_of(coverage=0.5)), "limits.coverage")
    within = found(judged(policy, facts_of()), "limits.coverage")
    assert below.reason == "coverage is 0.5, below the failing limit of 0.75 by 0.25."
    assert within.reason == "coverage is 1, within the failing limit of 0.75 by 0.25."


def test_the_reason_carries_the_standard_error_and_the_headline_metric():
    measured = replace(
        signal(SignalName.CURVATURE_SHIFT, 0.5, metric="trace-difference"),
        estimate=Estimate(value=0.5, stderr=0.0625, n=8),
    )
    policy = policy_of(limits_at("signals.curvature-shift", {"fail": 0.25}))
    finding = found(judged(policy, facts_of(signals=(measured,))), "limits.signals.curvature-shift")
    assert finding.stderr == 0.0625
    assert finding.metric == "trace-difference"
    assert finding.reason == (
        "curvature-shift (trace-difference) is 0.5 ± 0.062 (0.5625 with 1 standard error), above "
        "the failing limit of 0.25 by 0.3125."
    )


def test_warn_and_fail_at_the_same_value_fail():
    policy = policy_of({"sdi": {"warn": 0.5, "fail": 0.5}})
    finding = found(judged(policy, facts_with("sdi", 0.75)), "limits.sdi")
    assert finding.status is Status.FAIL
    assert "above the failing limit" in finding.reason


def test_the_layer_and_the_stratum_with_the_largest_value_are_named():
    name = SignalName.REPRESENTATION_DRIFT
    drift = signal(
        name,
        0.5,
        row("drift", 0.1, layer="layers.0"),
        row("drift", 0.9, layer="layers.1"),
        row("drift", 0.9, layer="layers.2"),
        row("drift", 5.0, layer="layers.3", tensor="mlp"),
        row("other", 7.0, layer="layers.4"),
        row("drift", 0.2, stratum="general"),
        row("drift", 0.3, stratum="safety"),
        metric="drift",
    )
    policy = policy_of(limits_at(f"signals.{name}", {"fail": 1.0}))
    finding = found(judged(policy, facts_of(signals=(drift,))), f"limits.signals.{name}")
    assert (finding.layer, finding.stratum) == ("layers.1", "safety")


def test_the_stratum_of_a_behaviour_metric_is_that_metrics_own():
    behaviour = signal(
        SignalName.BEHAVIOUR,
        0.5,
        row("nll-change", -0.5),
        row("nll-change", -0.5, stratum="general"),
        row("nll-change", -0.75, stratum="safety"),
        row("kl-divergence", 0.5, stratum="safety"),
        metric="kl-divergence",
    )
    policy = policy_of(limits_at("behaviour.nll-change", {"fail": -0.25}))
    finding = found(judged(policy, facts_of(signals=(behaviour,))), "limits.behaviour.nll-change")
    assert (finding.observed, finding.stratum, finding.layer) == (-0.5, "general", None)
    assert (finding.status, finding.margin) == (Status.PASS, 0.25)


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("required", Tier)
def test_a_scan_of_a_lower_tier_is_inconclusive(tier: Tier, required: Tier):
    policy = policy_of({"sdi": {"fail": 1.0}}, **{"required-tier": required.value})
    verdict = judged(policy, facts_of(tier=tier))
    lower = tier.rank < required.rank
    assert verdict.status is (Status.INCONCLUSIVE if lower else Status.PASS)
    finding = found(verdict, "required-tier")
    assert finding.reason == f"The scan is of tier {tier}, and the policy requires tier {required}."
    assert finding.metric == "tier"


def test_a_scan_of_a_lower_tier_says_why_it_ran_none_higher():
    policy = policy_of({"coverage": {"fail": 1.0}}, **{"required-tier": "full"})
    reason = "tier full needs about 90.0 GB of memory, more than is free"
    verdict = judged(policy, facts_of(tier=Tier.PROBE, tier_reason=reason))
    start = "The scan is of tier probe, and the policy requires tier full"
    assert found(verdict, "required-tier").reason == f"{start}: {reason}."
    higher = judged(policy, facts_of(tier_reason="tier full was asked for."))
    assert found(higher, "required-tier").reason == (
        "The scan is of tier full, and the policy requires tier full."
    )


CUT = "2 curvature draws for each stratum instead of 8, to keep to the budget of 5m"


@pytest.mark.parametrize("required", Tier)
@pytest.mark.parametrize("whole", Tier)
def test_what_was_cut_does_not_fulfil_what_is_required(whole: Tier, required: Tier):
    policy = policy_of({"coverage": {"fail": 1.0}}, **{"required-tier": required.value})
    verdict = judged(policy, facts_of(whole_tier=whole, cuts=(CUT,)))
    enough = whole.rank >= required.rank
    assert verdict.status is (Status.PASS if enough else Status.INCONCLUSIVE)
    assert verdict.exit_code is (ExitCode.OK if enough else ExitCode.INCONCLUSIVE)
    assert (CUT in found(verdict, "required-tier").reason) is not enough


def test_a_scan_with_cuts_says_them_all_and_up_to_where_it_is_whole():
    policy = policy_of({"coverage": {"fail": 1.0}}, **{"required-tier": "full"})
    facts = facts_of(
        whole_tier=Tier.WEIGHTS, cuts=("one.", "two"), tier_reason="the budget allows no more"
    )
    assert found(judged(policy, facts), "required-tier").reason == (
        "The scan is of tier full, whole up to tier weights, and the policy requires tier full: "
        "the budget allows no more; less was measured: one; less was measured: two."
    )


def test_a_scan_with_cuts_is_still_judged_and_can_fail():
    policy = policy_of({"sdi": {"fail": 0.5}}, **{"required-tier": "full"})
    facts = replace(facts_with("sdi", 0.75), whole_tier=Tier.PROBE, cuts=(CUT,))
    verdict = judged(policy, facts)
    assert verdict.status is Status.FAIL
    assert found(verdict, "required-tier").status is Status.INCONCLUSIVE


def test_no_tier_is_whole_beyond_the_one_that_ran():
    policy = policy_of({"coverage": {"fail": 1.0}}, **{"required-tier": "full"})
    facts = facts_of(tier=Tier.PROBE, whole_tier=Tier.FULL)
    assert facts.uncut_tier is Tier.PROBE
    assert judged(policy, facts).status is Status.INCONCLUSIVE


def test_a_limit_on_curvature_is_not_held_against_first_derivatives_alone():
    fisher = signal(SignalName.CURVATURE_SHIFT, 0.0, metric="fisher-trace-shift")
    policy = policy_of(limits_at("signals.curvature-shift", {"fail": 0.25}))
    finding = found(judged(policy, facts_of(signals=(fisher,))), "limits.signals.curvature-shift")
    assert finding.status is Status.INCONCLUSIVE
    assert finding.observed is None
    assert "another quantity than fisher-trace-shift" in finding.reason


@pytest.mark.parametrize("key", ["sdi", "sdi-plus"])
@pytest.mark.parametrize("value", [0.0, 0.3, 0.9])
def test_an_index_of_a_lower_tier_is_held_against_no_limit(key: str, value: float):
    policy = policy_of({key: {"warn": 0.25, "fail": 0.5}}, **{"required-tier": "full"})
    facts = replace(facts_with(key, value), tier=Tier.PROBE)
    finding = found(judged(policy, facts), f"limits.{key}")
    assert (finding.status, finding.observed) == (Status.INCONCLUSIVE, None)
    assert (finding.warn, finding.fail, finding.bound) == (0.25, 0.5, Bound.UPPER)
    assert finding.reason == (
        f"The limit is for the {key} of tier full or higher; that of tier probe is another formula."
    )


def test_a_signal_of_a_lower_tier_is_still_judged():
    key = "signals.weight-geometry"
    policy = policy_of(limits_at(key, {"fail": 0.5}), **{"required-tier": "full"})
    verdict = judged(policy, replace(facts_with(key, 0.75), tier=Tier.WEIGHTS))
    assert verdict.status is Status.FAIL


def test_parameters_left_out_need_a_policy_that_says_how_many_may_be():
    policy = policy_of({"sdi": {"fail": 0.5}})
    verdict = judged(policy, facts_of(coverage=0.75))
    finding = found(verdict, "limits.coverage")
    assert (verdict.status, finding.status) == (Status.INCONCLUSIVE, Status.INCONCLUSIVE)
    assert (finding.observed, finding.bound) == (None, None)
    assert finding.reason == (
        "A share of 0.25 of the parameters was not compared, and the policy does not say how much "
        "may be missing: it has no limit on coverage."
    )
    assert judged(policy, facts_of()).status is Status.PASS
    limited = policy_of({"sdi": {"fail": 0.5}, "coverage": {"warn": 0.5}})
    assert judged(limited, facts_of(coverage=0.75)).status is Status.PASS


def test_each_notice_warns_whatever_the_policy_says():
    facts = facts_of(defects=("Broken.",), notices=("The templates differ.", "So do the settings."))
    verdict = judged(policy_of({"sdi": {"warn": 1.0}}), facts)
    assert [(f.rule, f.metric, f.status, f.reason) for f in verdict.findings[:3]] == [
        ("defect", "defect", Status.INCONCLUSIVE, "Broken."),
        ("notice", "notice", Status.WARN, "The templates differ."),
        ("notice", "notice", Status.WARN, "So do the settings."),
    ]
    alone = judged(policy_of({"sdi": {"warn": 1.0}}), replace(facts, defects=()))
    assert (alone.status, alone.exit_code) == (Status.WARN, ExitCode.OK)


def test_each_defect_is_inconclusive_whatever_the_policy_says():
    defects = ("3 weights are not finite.", "The probe is not deterministic.")
    verdict = judged(policy_of({"sdi": {"warn": 1.0}}), facts_of(defects=defects))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.exit_code is ExitCode.INCONCLUSIVE
    assert [f.reason for f in verdict.findings if f.rule == "defect"] == list(defects)
    assert verdict.deciding.reason == defects[0]


def test_a_failure_outweighs_a_defect():
    verdict = judged(
        policy_of({"sdi": {"fail": 0.5}}),
        facts_of(sdi=Estimate(value=0.75), defects=("The probe is not deterministic.",)),
    )
    assert verdict.status is Status.FAIL
    assert verdict.deciding.rule == "limits.sdi"


def test_mode_observe_judges_the_same_and_keeps_the_gate_open():
    facts, limits = facts_with("sdi", 0.75), {"sdi": {"fail": 0.5}}
    enforced, observed = (
        judged(policy_of(limits), facts),
        judged(policy_of(limits, mode="observe"), facts),
    )
    assert enforced.findings == observed.findings
    assert (enforced.exit_code, observed.exit_code) == (ExitCode.FAIL, ExitCode.OK)
