"""Test limits on parts: strata, layer groups, tensors by role, of which the worst counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scan_facts import facts_of, found, judged, limits_at, policy_of, row, signal

from sdi_gate.policy.judging.parts import covers
from sdi_gate.policy.verdict import Status
from sdi_gate.signals.interface import Estimate, Measurement, SignalName

DRIFT, GEOMETRY = SignalName.REPRESENTATION_DRIFT, SignalName.WEIGHT_GEOMETRY


@pytest.mark.parametrize(
    ("selector", "layer", "is_covered"),
    [
        ("embedding", "embedding", True),
        ("embedding", "head", False),
        ("layers", "layers.3", False),
        ("layers.3", "layers.3", True),
        ("layers.3", "layers.30", False),
        ("layers.*", "layers.0", True),
        ("layers.*", "layers.9999", True),
        ("layers.*", "embedding", False),
        ("layers.*", "layers.x", False),
        ("layers.*", "blocks.3", False),
        ("layers.2-4", "layers.1", False),
        ("layers.2-4", "layers.2", True),
        ("layers.2-4", "layers.4", True),
        ("layers.2-4", "layers.5", False),
        ("layers.2-4", "layers.20", False),
        ("layers.4-2", "layers.3", False),
    ],
)
def test_a_selector_covers_a_name_a_kind_or_a_range_with_both_ends(selector, layer, is_covered):
    assert covers(selector, layer) is is_covered


@given(first=st.integers(0, 30), last=st.integers(0, 30), number=st.integers(0, 40))
def test_a_range_covers_as_counting_does(first: int, last: int, number: int):
    covered = covers(f"layers.{first}-{last}", f"layers.{number}")
    assert covered is (number in range(first, last + 1))


def drift(*rows: Measurement):
    return signal(DRIFT, 0.0, *rows, metric="drift")


def by_layer(selector: str, *rows: Measurement, others=(), **rest):
    policy = policy_of(
        limits_at(f"by-layer.{selector}.{DRIFT}", {"warn": 0.2, "fail": 0.5}), **rest
    )
    verdict = judged(policy, facts_of(signals=(drift(*rows), *others)))
    return found(verdict, f"limits.by-layer.{selector}.{DRIFT}")


LAYERED = [
    row("drift", 0.1, layer="layers.0"),
    row("drift", 0.3, layer="layers.1"),
    row("drift", 0.9, layer="layers.2"),
    row("drift", 0.4, layer="embedding"),
    row("other", 5.0, layer="layers.1"),
    row("drift", 6.0, layer="layers.1", tensor="q"),
    row("drift", 7.0, layer="layers.1", stratum="safety"),
]


@pytest.mark.parametrize(
    ("selector", "layer", "value", "status"),
    [
        ("layers.0", "layers.0", 0.1, Status.PASS),
        ("layers.0-1", "layers.1", 0.3, Status.WARN),
        ("layers.*", "layers.2", 0.9, Status.FAIL),
        ("layers.1-99", "layers.2", 0.9, Status.FAIL),
        ("embedding", "embedding", 0.4, Status.WARN),
    ],
)
def test_the_worst_layer_group_that_a_selector_covers_counts(selector, layer, value, status):
    finding = by_layer(selector, *LAYERED)
    assert (finding.status, finding.observed, finding.layer) == (status, value, layer)
    assert (finding.metric, finding.stratum) == ("drift", None)


def test_the_sentence_names_the_layer_group():
    assert by_layer("layers.0-1", *LAYERED).reason == (
        "representation-drift (drift) of layers.1 is 0.3, above the warning limit of 0.2 by 0.1."
    )


@pytest.mark.parametrize("selector", ["layers.3", "layers.3-9", "head"])
def test_a_selector_that_covers_nothing_measured_is_inconclusive(selector: str):
    finding = by_layer(selector, *LAYERED)
    assert (finding.status, finding.observed) == (Status.INCONCLUSIVE, None)
    assert finding.reason == (
        f"representation-drift was measured on no layer group that {selector} covers."
    )


OTHERS = (
    signal(GEOMETRY, 0.0, *(row("x", 0.0, layer=f"layers.{n}", tensor="q") for n in range(7))),
)


def test_layer_groups_that_only_other_signals_saw_are_missing():
    finding = by_layer("layers.*", *LAYERED[:2], others=OTHERS)
    assert (finding.status, finding.observed) == (Status.INCONCLUSIVE, None)
    assert finding.reason == (
        "representation-drift was measured without drift of layers.2, layers.3, layers.4 and 2"
        " more."
    )
    assert by_layer("layers.0-1", *LAYERED[:2], others=OTHERS).status is Status.WARN


def test_what_was_measured_still_fails_where_something_is_missing():
    assert by_layer("layers.*", *LAYERED[:3], others=OTHERS).status is Status.FAIL


def test_the_worst_part_is_the_worst_with_its_standard_error():
    rows = [
        replace(row("drift", 0.0, layer="layers.0"), estimate=Estimate(value=0.4, stderr=0.2)),
        replace(row("drift", 0.0, layer="layers.1"), estimate=Estimate(value=0.45)),
    ]
    with_errors = by_layer("layers.*", *rows)
    assert (with_errors.layer, with_errors.status) == ("layers.0", Status.FAIL)
    assert (with_errors.observed, with_errors.judged) == (0.4, pytest.approx(0.6))
    without = by_layer("layers.*", *rows, **{"standard-errors": 0.0})
    assert (without.layer, without.status, without.judged) == ("layers.1", Status.WARN, None)


def test_a_limit_on_a_stratum_reads_that_stratum_alone():
    behaviour = signal(
        SignalName.BEHAVIOUR,
        0.9,
        row("kl-divergence", 0.9, stratum="general"),
        row("kl-divergence", 0.25, stratum="safety"),
        row("kl-divergence", 0.8, stratum="safety", layer="layers.0"),
        row("nll-change", 0.7, stratum="safety"),
        metric="kl-divergence",
    )
    key = "by-stratum.safety.kl-divergence"
    policy = policy_of(limits_at(key, {"fail": 0.5}))
    finding = found(judged(policy, facts_of(signals=(behaviour,))), f"limits.{key}")
    assert (finding.status, finding.observed, finding.stratum) == (Status.PASS, 0.25, "safety")
    assert finding.reason == (
        "kl-divergence on safety is 0.25 nats per token, within the failing limit of 0.5 by 0.25."
    )


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (
            "by-stratum.medical.kl-divergence",
            "behaviour was measured without kl-divergence on medical.",
        ),
        (
            "by-stratum.medical.representation-drift",
            "representation-drift was measured without representation-drift on medical.",
        ),
    ],
)
def test_a_stratum_that_the_probe_set_does_not_have_is_inconclusive(key: str, reason: str):
    finding = found(judged(policy_of(limits_at(key, {"warn": 9.0})), facts_of()), f"limits.{key}")
    assert (finding.status, finding.reason) == (Status.INCONCLUSIVE, reason)


@pytest.mark.parametrize("part", ["by-stratum.safety", "by-layer.layers.0"])
def test_a_limit_on_a_part_is_not_held_against_first_derivatives_alone(part: str):
    metric = "fisher-trace-shift"
    rows = (row(metric, 0.0, stratum="safety"), row(metric, 0.0, layer="layers.0"))
    fisher = signal(SignalName.CURVATURE_SHIFT, 0.0, *rows, metric=metric)
    key = f"{part}.curvature-shift"
    finding = found(
        judged(policy_of(limits_at(key, {"fail": 0.5})), facts_of(signals=(fisher,))),
        f"limits.{key}",
    )
    assert finding.status is Status.INCONCLUSIVE
    assert "another quantity than fisher-trace-shift" in finding.reason


def geometry(*rows: Measurement):
    return signal(GEOMETRY, 0.0, *rows, metric="relative-distance")


ROLES = (("a.qkv.weight", ("q", "k", "v")), ("b.q.weight", ("q",)), ("b.q.bias", ("q",)))


def by_role(role: str, *rows: Measurement):
    key = f"by-role.{role}.{GEOMETRY}"
    facts = facts_of(signals=(geometry(*rows),), tensor_roles=ROLES)
    return found(judged(policy_of(limits_at(key, {"fail": 0.5})), facts), f"limits.{key}")


TENSORS = [
    row("relative-distance", 0.4, layer="layers.0", tensor="a.qkv.weight"),
    row("relative-distance", 0.7, layer="layers.1", tensor="b.q.weight"),
    row("relative-distance", 0.9, layer="layers.1"),
    row("distance", 9.0, layer="layers.1", tensor="b.q.weight"),
    row("relative-distance", 8.0, layer="layers.1", tensor="b.q.weight", stratum="safety"),
]


@pytest.mark.parametrize(
    ("role", "tensor", "layer", "value", "status"),
    [
        ("q", "b.q.weight", "layers.1", 0.7, Status.FAIL),
        ("v", "a.qkv.weight", "layers.0", 0.4, Status.PASS),
    ],
)
def test_the_worst_tensor_of_a_role_counts(role, tensor, layer, value, status):
    finding = by_role(role, *TENSORS)
    assert (finding.status, finding.observed, finding.layer) == (status, value, layer)
    assert finding.reason.startswith(f"weight-geometry (relative-distance) of {tensor} is {value}")


def test_a_role_that_no_measured_tensor_has_is_inconclusive():
    finding = by_role("expert", *TENSORS)
    assert finding.status is Status.INCONCLUSIVE
    assert finding.reason == "weight-geometry was measured on no tensor of role expert."


def test_a_tensor_that_moved_and_has_no_relative_distance_is_not_passed_over():
    bias = row("distance", 3.0, layer="layers.1", tensor="b.q.bias")
    small = row("relative-distance", 0.1, layer="layers.1", tensor="b.q.weight")
    finding = by_role("q", small, bias)
    assert finding.status is Status.INCONCLUSIVE
    assert finding.reason == "weight-geometry was measured without relative-distance of b.q.bias."
    assert by_role("q", *TENSORS, bias).status is Status.FAIL
