"""Test, item by item, that the gate closes where it must not open: nothing unknown ever passes.

Each test is one item of the list; the modules beside this one test each of them in depth.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from checkpoint_files import write_checkpoint
from scan_facts import (
    EVERY_KEY,
    NOW,
    facts_of,
    found,
    judged,
    limits_at,
    policy_of,
    predicted,
    signal_of,
)
from waiver_policies import DIGEST, OTHER_DIGEST, chat, loaded, waiver, written

from sdi_gate.errors import ExitCode, IntegrityError, PolicyError
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.inspection import verify_unchanged
from sdi_gate.models.ref import ModelRef
from sdi_gate.policy.facts import ModelIdentity
from sdi_gate.policy.loader import load_policy, parse_policy
from sdi_gate.policy.verdict import Status
from sdi_gate.policy.waiver_states import WaiverState
from sdi_gate.progress import NullProgress
from sdi_gate.signals.interface import Estimate

CLOSED = {Status.FAIL: ExitCode.FAIL, Status.INCONCLUSIVE: ExitCode.INCONCLUSIVE}


def assert_closed(verdict, rule: str, status: Status) -> None:
    assert found(verdict, rule).status is status
    assert verdict.exit_code is CLOSED[verdict.status]


def assert_refused(refused: pytest.ExceptionInfo[PolicyError]) -> None:
    assert refused.value.exit_code is ExitCode.POLICY


def test_a_missing_policy_is_an_error(tmp_path):
    with pytest.raises(PolicyError, match="the policy cannot be read") as refused:
        load_policy(tmp_path / "absent.yml")
    assert_refused(refused)


def test_an_unreadable_policy_is_an_error(tmp_path):
    with pytest.raises(PolicyError, match="the policy cannot be read: Is a directory") as refused:
        load_policy(tmp_path)
    assert_refused(refused)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[]", b"sdi: 0.5", b"limits: {sdi: {fail: 0.5}", b"null"],
    ids=["empty", "not-utf-8", "a-list", "no-policy", "broken-off", "null"],
)
def test_an_invalid_policy_is_an_error(content: bytes):
    with pytest.raises(PolicyError) as refused:
        parse_policy(content, path="policy.yml")
    assert_refused(refused)


def test_a_misspelt_limit_is_an_error_and_switches_nothing_off(tmp_path):
    path = written(tmp_path, limits={"sdi": {"fail": 0.5}, "sdii": {"fail": 0.1}})
    with pytest.raises(PolicyError, match="sdii") as refused:
        load_policy(path)
    assert_refused(refused)


@pytest.mark.parametrize("key", [key for key in EVERY_KEY if key != "coverage"])
def test_a_metric_that_was_not_produced_is_inconclusive(key: str):
    policy = policy_of(limits_at(key, {"fail": 1.0}))
    nothing = facts_of(signals=(), sdi=None, sdi_plus=None, predictions=())
    assert_closed(judged(policy, nothing), f"limits.{key}", Status.INCONCLUSIVE)


@pytest.mark.parametrize("key", [key for key in EVERY_KEY if signal_of(key)])
def test_a_part_that_was_not_produced_is_inconclusive(key: str):
    policy = policy_of(limits_at(key, {"fail": 1.0}))
    bare = tuple(
        replace(result, measurements=(), metric="another-metric") for result in facts_of().signals
    )
    verdict = judged(policy, facts_of(signals=bare))
    if key.startswith("signals."):
        # A headline goes by its signal; its metric is told.
        assert found(verdict, f"limits.{key}").metric == "another-metric"
    else:
        assert_closed(verdict, f"limits.{key}", Status.INCONCLUSIVE)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_never_a_fact(number: float):
    with pytest.raises(ValueError, match="an Estimate is finite"):
        Estimate(value=number)
    with pytest.raises(ValueError, match="a standard error is finite"):
        Estimate(value=0.0, stderr=number)
    with pytest.raises(ValueError, match="three finite numbers"):
        predicted("mean", number)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -0.5, 1.5])
@pytest.mark.parametrize("key", ["coverage", "sdi"])
def test_a_coverage_that_is_no_share_is_inconclusive(number: float, key: str):
    verdict = judged(policy_of({key: {"warn": 0.0}}), facts_of(coverage=number))
    assert_closed(verdict, "defect", Status.INCONCLUSIVE)


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf", "1e999"])
def test_a_limit_that_is_not_finite_is_an_error(number: str):
    head = "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata: {name: trial}\n"
    text = f"{head}limits: {{behaviour: {{nll-change: {{fail: {number}}}}}}}\n"
    with pytest.raises(PolicyError, match="nll-change") as refused:
        parse_policy(text.encode(), path="policy.yml")
    assert_refused(refused)


BASE = ModelIdentity(reference="hf:org/base", name="org/base", digest=DIGEST)


@pytest.mark.parametrize(
    ("base", "status"),
    [
        (BASE, Status.PASS),
        (replace(BASE, name="org/other"), Status.FAIL),
        (replace(BASE, digest=OTHER_DIGEST), Status.FAIL),
        (replace(BASE, digest=None), Status.INCONCLUSIVE),
        (None, Status.INCONCLUSIVE),
    ],
    ids=["allowed", "other-name", "other-weights", "unknown-weights", "unknown"],
)
def test_a_base_that_is_not_the_allowed_one_closes_the_gate(base, status: Status):
    allowed = [{"name": "org/base", "digest": DIGEST}]
    verdict = judged(
        policy_of({"sdi": {"fail": 1.0}}, **{"allowed-bases": allowed}), facts_of(base=base)
    )
    assert found(verdict, "allowed-bases").status is status
    assert verdict.exit_code is CLOSED.get(status, ExitCode.OK)


def test_a_candidate_that_was_swapped_while_it_was_measured_gets_no_verdict(tmp_path):
    # Every scan ends with this check, before anything is judged; a whole scan shows it in
    # test_a_model_that_changes_while_it_is_measured_is_an_error.
    folder = write_checkpoint(tmp_path / "candidate")
    pinned = FolderSource().fetch(ModelRef.parse(f"file:{folder}"), NullProgress())
    twin = folder / "model.safetensors.new"
    twin.write_bytes((folder / "model.safetensors").read_bytes())
    twin.replace(folder / "model.safetensors")
    with pytest.raises(IntegrityError, match="changed while it was measured") as refused:
        verify_unchanged(pinned)
    assert refused.value.exit_code is ExitCode.SOURCE


def test_what_was_granted_to_the_measured_weights_is_not_granted_to_others(tmp_path):
    policy = loaded(tmp_path, waiver(candidate_digest=DIGEST))
    measured = chat(sdi=Estimate(value=0.625))
    assert judged(policy, measured).status is Status.WARN
    moved = replace(measured, candidate=ModelIdentity(reference="x", digest=OTHER_DIGEST))
    assert_closed(judged(policy, moved), "limits.sdi", Status.FAIL)


@pytest.mark.parametrize(
    "rest",
    [{}, {"required_tier": "full"}, {"allowed_families": ["llama"]}, {"mode": "enforce"}],
    ids=["nothing", "a-tier", "a-family", "a-mode"],
)
def test_a_policy_without_a_rule_is_an_error(tmp_path, rest):
    with pytest.raises(PolicyError, match="sets no limit") as refused:
        load_policy(written(tmp_path, **rest))
    assert_refused(refused)


def test_a_policy_without_a_rule_for_every_candidate_is_an_error(tmp_path):
    block = {"match": {"family": "llama"}, "limits": {"sdi": {"fail": 0.5}}}
    with pytest.raises(PolicyError, match="would be judged by nothing") as refused:
        load_policy(written(tmp_path, match=[block]))
    assert_refused(refused)


@pytest.mark.parametrize("hours", [-24 * 400, -24, -1], ids=["a-year", "a-day", "an-hour"])
def test_a_clock_behind_the_result_revives_no_waiver(tmp_path, hours: int):
    policy = loaded(tmp_path, waiver(expires="2026-11-22"))
    facts = chat(sdi=Estimate(value=0.625), measured_at=NOW)
    verdict = judged(policy, facts, NOW + timedelta(hours=hours))
    assert_closed(verdict, "limits.sdi", Status.FAIL)
    assert verdict.waivers[0].state is WaiverState.CLOCK_BEHIND
    assert judged(policy, facts).waivers[0].state is WaiverState.EXPIRED


def test_a_clock_behind_the_result_makes_no_result_young():
    policy = policy_of({"sdi": {"fail": 1.0}}, **{"maximum-age": 7.0})
    verdict = judged(policy, facts_of(measured_at=NOW), NOW - timedelta(days=3))
    assert_closed(verdict, "maximum-age", Status.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ({"sdi": {"fail": 1.0}}, Status.INCONCLUSIVE),
        ({"sdi": {"fail": 1.0}, "coverage": {"fail": 0.99}}, Status.FAIL),
    ],
    ids=["without-a-limit-on-it", "below-the-limit"],
)
def test_partial_coverage_closes_the_gate(limits, status: Status):
    assert_closed(judged(policy_of(limits), facts_of(coverage=0.98)), "limits.coverage", status)


def test_a_layer_that_was_not_measured_closes_the_gate():
    policy = policy_of(limits_at("by-layer.layers.*.representation-drift", {"fail": 1.0}))
    signals = tuple(
        replace(one, measurements=tuple(row for row in one.measurements if row.layer != "layers.1"))
        if one.name == "representation-drift"
        else one
        for one in facts_of().signals
    )
    rule = "limits.by-layer.layers.*.representation-drift"
    assert judged(policy, facts_of()).status is Status.PASS
    assert_closed(judged(policy, facts_of(signals=signals)), rule, Status.INCONCLUSIVE)
