"""Test what a policy demands without a number: models, calibration, parameters, age."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scan_facts import NOW, facts_of, found, judged, policy_of, signal

from sdi_gate.policy.chain.allowing import common_bases
from sdi_gate.policy.facts import CalibrationFacts, ModelIdentity
from sdi_gate.policy.format.provisions import AllowedBase
from sdi_gate.policy.judging.allow_lists import allows_base
from sdi_gate.policy.verdict import Finding, Status
from sdi_gate.signals.interface import SignalName, inconclusive

COMMIT, OTHER_COMMIT = "a" * 40, "b" * 40
DIGEST, OTHER_DIGEST = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
BASE = ModelIdentity(reference="hf:org/base@main", name="org/base", commit=COMMIT, digest=DIGEST)
CANDIDATE = ModelIdentity(reference="tuned", format="full", quantisation="none")


def finding_of(rule: str, demand: dict[str, Any], now: datetime = NOW, **facts: Any) -> Finding:
    """Return what becomes of one demand, the only reason for which the gate could close."""
    policy = policy_of({"sdi": {"fail": 1.0}}, **demand)
    verdict = judged(policy, facts_of(**facts), now)
    finding = found(verdict, rule)
    assert verdict.status is finding.status
    assert finding.origin is not None
    assert (finding.origin.file, finding.origin.line) == ("policy", 1)
    assert (finding.observed, finding.bound) == (None, None)
    return finding


@pytest.mark.parametrize(
    "rule",
    [
        "required-calibration",
        "accepted-formats",
        "allowed-bases",
        "allowed-families",
        "allowed-quantisations",
        "maximum-age",
        "limits",
    ],
)
def test_what_is_not_demanded_gives_no_finding(rule: str):
    verdict = judged(policy_of({"sdi": {"fail": 1.0}}), facts_of())
    assert rule not in {finding.rule for finding in verdict.findings}


FORMATS = {"accepted-formats": ["adapter", "gguf"]}


@pytest.mark.parametrize(
    ("candidate", "status", "reason"),
    [
        (
            replace(CANDIDATE, format="gguf"),
            Status.PASS,
            "The format of the candidate is gguf, which the policy allows.",
        ),
        (
            CANDIDATE,
            Status.FAIL,
            (
                "The format of the candidate is full, which the policy does not allow; it allows"
                " adapter, gguf."
            ),
        ),
        (
            replace(CANDIDATE, format=None),
            Status.INCONCLUSIVE,
            "The format of the candidate is not known; the policy allows adapter, gguf.",
        ),
        (
            None,
            Status.INCONCLUSIVE,
            "The format of the candidate is not known; the policy allows adapter, gguf.",
        ),
    ],
    ids=["allowed", "other", "unknown", "no-candidate"],
)
def test_a_format_that_is_not_accepted_fails(candidate, status: Status, reason: str):
    finding = finding_of("accepted-formats", FORMATS, candidate=candidate)
    assert (finding.status, finding.metric, finding.reason) == (status, "format", reason)


@pytest.mark.parametrize(
    ("family", "status"),
    [("llama", Status.PASS), ("qwen", Status.FAIL), (None, Status.INCONCLUSIVE)],
)
def test_a_family_that_is_not_allowed_fails(family: str | None, status: Status):
    demand = {"allowed-families": ["llama", "mistral"]}
    finding = finding_of("allowed-families", demand, family=family)
    assert (finding.status, finding.metric) == (status, "family")


@pytest.mark.parametrize(
    ("allowed", "method", "status"),
    [
        (["none"], "none", Status.PASS),
        (["none"], "bitsandbytes-nf4", Status.FAIL),
        (["bitsandbytes"], "bitsandbytes-nf4", Status.PASS),
        (["bitsandbytes"], "bitsandbytes", Status.PASS),
        (["bitsandbytes-nf4"], "bitsandbytes", Status.FAIL),
        (["bitsandbytes-nf4"], "bitsandbytes-fp4", Status.FAIL),
        (["bits"], "bitsandbytes", Status.FAIL),
        (["none", "fp8"], None, Status.INCONCLUSIVE),
    ],
)
def test_a_quantisation_is_allowed_by_its_method_or_its_type(allowed, method, status: Status):
    demand = {"allowed-quantisations": allowed}
    candidate = replace(CANDIDATE, quantisation=method)
    finding = finding_of("allowed-quantisations", demand, candidate=candidate)
    assert (finding.status, finding.metric) == (status, "quantisation")


@pytest.mark.parametrize(
    ("entry", "base", "status"),
    [
        ({"name": "org/base"}, BASE, Status.PASS),
        ({"name": "Org/base"}, BASE, Status.FAIL),
        ({"name": "org/base", "revision": COMMIT}, BASE, Status.PASS),
        ({"name": "org/base", "revision": OTHER_COMMIT}, BASE, Status.FAIL),
        ({"name": "org/base", "revision": COMMIT}, replace(BASE, commit=None), Status.INCONCLUSIVE),
        ({"digest": DIGEST}, replace(BASE, name=None, commit=None), Status.PASS),
        ({"name": "org/base", "digest": OTHER_DIGEST}, BASE, Status.FAIL),
        ({"name": "org/base"}, replace(BASE, name=None), Status.INCONCLUSIVE),
        ({"name": "org/base", "digest": DIGEST}, replace(BASE, digest=None), Status.INCONCLUSIVE),
        (
            {"name": "org/base", "digest": OTHER_DIGEST},
            replace(BASE, name=None),
            Status.FAIL,
        ),
        ({"name": "org/base"}, None, Status.INCONCLUSIVE),
    ],
    ids=[
        "name",
        "case",
        "revision",
        "other-revision",
        "unknown-revision",
        "digest-alone",
        "other-digest",
        "folder-without-a-name",
        "unknown-digest",
        "other-digest-and-unknown-name",
        "no-base",
    ],
)
def test_all_that_an_allowed_base_gives_must_agree(entry, base, status: Status):
    finding = finding_of("allowed-bases", {"allowed-bases": [entry]}, base=base)
    assert (finding.status, finding.metric) == (status, "base")


def test_one_of_several_allowed_bases_is_enough():
    entries = [{"name": "org/other"}, {"name": "org/base"}]
    assert finding_of("allowed-bases", {"allowed-bases": entries}, base=BASE).status is Status.PASS
    fails = finding_of(
        "allowed-bases", {"allowed-bases": entries}, base=replace(BASE, name="org/third")
    )
    assert fails.reason == (
        f"The base is org/third at {COMMIT} with weights {DIGEST}, which the policy does not allow;"
        " it allows org/base, org/other."
    )
    unknown = finding_of(
        "allowed-bases", {"allowed-bases": entries}, base=ModelIdentity(reference="file:x")
    )
    assert unknown.reason == (
        "The base is a model without a name, which does not tell whether it is meant; the policy"
        " allows org/base, org/other."
    )


NAMES = st.sampled_from([None, "org/a", "org/b"])
COMMITS = st.sampled_from([None, COMMIT, OTHER_COMMIT])
DIGESTS = st.sampled_from([None, DIGEST, OTHER_DIGEST])
ENTRIES = (
    st.tuples(NAMES, COMMITS, DIGESTS)
    .filter(lambda entry: entry[0] or entry[2])
    .map(lambda entry: AllowedBase(name=entry[0], revision=entry[1], digest=entry[2]))
)
LISTS = st.lists(ENTRIES, min_size=1, max_size=3).map(tuple)


def answer(entries: tuple[AllowedBase, ...], base: ModelIdentity) -> int:
    """Return 2 for allowed, 1 for not known, 0 for not allowed."""
    return max(({True: 2, None: 1, False: 0}[allows_base(e, base)] for e in entries), default=0)


@given(first=LISTS, second=LISTS, name=NAMES, commit=COMMITS, digest=DIGESTS)
def test_what_two_lists_have_in_common_allows_no_base_that_one_does_not(
    first, second, name, commit, digest
):
    base = ModelIdentity(reference="x", name=name, commit=commit, digest=digest)
    both = answer(common_bases(first, second), base)
    assert both <= min(answer(first, base), answer(second, base))
    if None not in {name, commit, digest}:
        assert both == min(answer(first, base), answer(second, base))


CALIBRATION = CalibrationFacts(
    name="trial", fitted=True, families=("llama", "qwen"), num_pairs=40, out_of_scope=None
)
MET = {"families": ["qwen"], "min-pairs": 40}


@pytest.mark.parametrize(
    ("demand", "changes", "why"),
    [
        (MET, {}, None),
        (MET, {"fitted": False}, "trial was not fitted"),
        (MET, {"families": None}, "trial was not fitted on qwen"),
        (
            {"families": ["mistral", "gemma"]},
            {},
            "trial was not fitted on gemma, mistral",
        ),
        (
            {"min-pairs": 41},
            {},
            "it rests on 40 pairs, and 41 are required",
        ),
        (
            {"min-pairs": 1},
            {"num_pairs": None},
            "it rests on an unknown number of pairs, and 1 are required",
        ),
        (
            MET,
            {"out_of_scope": "another probe set."},
            "it does not speak for these models: another probe set",
        ),
        ({"min-pairs": 40, "in-scope": False}, {"out_of_scope": "another probe set"}, None),
        (
            {"families": ["gemma"], "min-pairs": 50},
            {"out_of_scope": "too large"},
            (
                "trial was not fitted on gemma; it rests on 40 pairs, and 50 are required; it does"
                " not speak for these models: too large"
            ),
        ),
    ],
    ids=[
        "met",
        "unfitted",
        "unknown-families",
        "other-families",
        "too-few-pairs",
        "unknown-pairs",
        "out-of-scope",
        "scope-not-required",
        "everything",
    ],
)
def test_a_calibration_that_rests_on_less_is_inconclusive(demand, changes, why):
    finding = finding_of(
        "required-calibration",
        {"required-calibration": demand},
        calibration=replace(CALIBRATION, **changes),
    )
    told = "." if why is None else f" not what the policy requires: {why}."
    assert finding.status is (Status.PASS if why is None else Status.INCONCLUSIVE)
    assert finding.reason.endswith(told)


def test_a_scan_without_a_calibration_does_not_have_the_required_one():
    finding = finding_of("required-calibration", {"required-calibration": MET})
    assert (finding.status, finding.metric) == (Status.INCONCLUSIVE, "calibration")
    assert finding.reason == "The calibration is not what the policy requires: the scan has none."


def with_parameters(name: SignalName, *parameters: tuple[str, str]):
    result = signal(name, 0.0)
    return replace(result, id=replace(result.id, parameters=parameters))


@pytest.mark.parametrize(
    ("wanted", "values", "status", "reason"),
    [
        (0, ["0", "0"], Status.PASS, "The policy requires seed to be 0, as it is."),
        (
            0,
            ["0", "1"],
            Status.INCONCLUSIVE,
            "The policy requires seed to be 0: curvature-shift has 1.",
        ),
        (
            7,
            ["0", "1"],
            Status.INCONCLUSIVE,
            "The policy requires seed to be 7: representation-drift has 0; curvature-shift has 1.",
        ),
        (
            0,
            [],
            Status.INCONCLUSIVE,
            "The policy requires seed to be 0: no measured signal has it.",
        ),
        ("uniform", ["uniform"], Status.PASS, "The policy requires seed to be uniform, as it is."),
    ],
    ids=["all", "one-of-two", "none-of-two", "nowhere", "text"],
)
def test_a_parameter_must_have_its_value_wherever_it_is(wanted, values, status, reason):
    names = [SignalName.REPRESENTATION_DRIFT, SignalName.CURVATURE_SHIFT]
    signals = tuple(
        with_parameters(name, ("seed", value), ("top-k", "8"))
        for name, value in zip(names, values, strict=False)
    )
    demand = {"required-parameters": {"seed": wanted}}
    finding = finding_of("required-parameters.seed", demand, signals=signals)
    assert (finding.status, finding.metric, finding.reason) == (status, "parameter", reason)


def test_the_parameters_of_a_signal_that_gave_no_number_do_not_count():
    measured = with_parameters(SignalName.CURVATURE_SHIFT, ("seed", "0"))
    broken = inconclusive(measured.id, measured.metric, "Not a number.")
    demand = {"required-parameters": {"seed": 0}}
    finding = finding_of("required-parameters.seed", demand, signals=(broken,))
    assert finding.reason == "The policy requires seed to be 0: no measured signal has it."


@pytest.mark.parametrize(
    ("age", "status", "reason"),
    [
        (timedelta(days=7), Status.PASS, "The result is 7 days old; the policy allows 7."),
        (
            timedelta(days=7.5),
            Status.INCONCLUSIVE,
            "The result is 7.5 days old; the policy allows 7.",
        ),
        (timedelta(days=7, microseconds=1), Status.INCONCLUSIVE, None),
        (timedelta(0), Status.PASS, "The result is 0 days old; the policy allows 7."),
        (timedelta(minutes=-5), Status.PASS, "The result is 0 days old; the policy allows 7."),
        (
            timedelta(minutes=-5, seconds=-1),
            Status.INCONCLUSIVE,
            (
                "The clock must be wrong: it says 2026-11-23T12:00:00+00:00, and the scan began at"
                " 2026-11-23T12:05:01+00:00; the policy allows 7 days."
            ),
        ),
        (
            None,
            Status.INCONCLUSIVE,
            "Nobody knows how many days old the result is; the policy allows 7.",
        ),
    ],
    ids=["last-moment", "later", "just-later", "now", "skew", "clock-behind", "unknown"],
)
def test_a_result_that_is_too_old_is_inconclusive(age, status: Status, reason: str | None):
    measured_at = None if age is None else NOW - age
    finding = finding_of("maximum-age", {"maximum-age": 7.0}, measured_at=measured_at)
    assert (finding.status, finding.metric) == (status, "age")
    assert reason is None or finding.reason == reason


def test_a_clock_in_another_time_zone_tells_the_same_age():
    elsewhere = datetime.fromisoformat("2026-11-23T23:00:00+11:00")
    assert elsewhere == NOW
    measured_at = datetime(2026, 11, 16, 12, tzinfo=UTC)
    finding = finding_of("maximum-age", {"maximum-age": 7.0}, elsewhere, measured_at=measured_at)
    assert finding.status is Status.PASS


@pytest.mark.parametrize(("word", "status"), [("warn", Status.WARN), ("fail", Status.FAIL)])
def test_a_policy_says_whether_a_notice_warns_or_fails(word: str, status: Status):
    finding = finding_of("notice", {"notices": word}, notices=("The templates differ.",))
    assert (finding.status, finding.reason) == (status, "The templates differ.")


def test_demands_without_numbers_come_after_the_tier_and_before_the_limits():
    demand = {
        "required-calibration": MET,
        "required-parameters": {"top-k": 8, "seed": 0},
        "accepted-formats": ["full"],
        "allowed-bases": [{"name": "org/base"}],
        "allowed-families": ["llama"],
        "allowed-quantisations": ["none"],
        "maximum-age": 7.0,
    }
    verdict = judged(policy_of({"sdi": {"fail": 1.0}}, **demand), facts_of())
    assert [finding.rule for finding in verdict.findings] == [
        "required-tier",
        "required-calibration",
        "required-parameters.seed",
        "required-parameters.top-k",
        "accepted-formats",
        "allowed-bases",
        "allowed-families",
        "allowed-quantisations",
        "maximum-age",
        "limits.sdi",
    ]
    assert {finding.status for finding in verdict.findings[1:-1]} == {Status.INCONCLUSIVE}
