"""Test waivers: they raise a limit for a time, stay in sight, and never make anything pass."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from scan_facts import EVERY_KEY, NOW, facts_with, found, judged, limits_at
from waiver_policies import DIGEST, MODEL, OTHER_DIGEST, chat, loaded, waiver, written

from sdi_gate.policy.chain.effective import effective
from sdi_gate.policy.chain.waivers import waived
from sdi_gate.policy.facts import ModelIdentity
from sdi_gate.policy.judging.waiver_uses import uses_of
from sdi_gate.policy.loader import load_policy
from sdi_gate.policy.verdict import Status
from sdi_gate.policy.waiver_states import WaiverState
from sdi_gate.signals.interface import Estimate


def sdi(value: float, **changes: Any):
    return chat(sdi=Estimate(value=value), **changes)


@pytest.mark.parametrize(
    ("value", "status", "state", "reason"),
    [
        (
            0.25,
            Status.PASS,
            WaiverState.UNUSED,
            "sdi is 0.25, within the warning limit of 0.3 by 0.05.",
        ),
        (
            0.4,
            Status.WARN,
            WaiverState.UNUSED,
            "sdi is 0.4, above the warning limit of 0.3 by 0.1.",
        ),
        (
            0.5,
            Status.WARN,
            WaiverState.UNUSED,
            "sdi is 0.5, above the warning limit of 0.3 by 0.2.",
        ),
        (
            0.625,
            Status.WARN,
            WaiverState.WAIVED,
            (
                "sdi is 0.625, above the warning limit of 0.3 by 0.325; waived by W-1 until"
                " 2026-12-31: the failing limit is 0.5 without it."
            ),
        ),
        (0.75, Status.WARN, WaiverState.WAIVED, None),
        (
            0.875,
            Status.FAIL,
            WaiverState.EXCEEDED,
            (
                "sdi is 0.875, above the failing limit of 0.75 by 0.125; beyond what waiver W-1"
                " grants until 2026-12-31: the failing limit is 0.5 without it."
            ),
        ),
    ],
    ids=["passes", "warns", "at-the-limit", "waived", "at-the-waiver", "exceeded"],
)
def test_a_waived_value_warns_and_says_by_what(tmp_path, value, status, state, reason):
    verdict = judged(loaded(tmp_path, waiver()), sdi(value))
    finding = found(verdict, "limits.sdi")
    assert (finding.status, verdict.waivers[0].state) == (status, state)
    assert reason is None or finding.reason == reason
    # In sight, whether or not the value needs it.
    assert (finding.waiver, finding.waived_limit, finding.fail) == ("W-1", 0.5, 0.75)


def test_a_waived_limit_without_a_warning_step_warns_from_where_it_failed(tmp_path):
    policy = loaded(tmp_path, waiver(), limits={"sdi": {"fail": 0.5}})
    assert judged(policy, sdi(0.5)).status is Status.PASS
    finding = found(judged(policy, sdi(0.625)), "limits.sdi")
    assert (finding.status, finding.warn, finding.fail) == (Status.WARN, 0.5, 0.75)
    assert finding.reason == (
        "sdi is 0.625, above the warning limit of 0.5 by 0.125; waived by W-1 until 2026-12-31: the"
        " failing limit is 0.5 without it."
    )


def test_the_origin_of_an_exceeded_limit_is_the_waivers_and_of_a_waived_one_the_limits(tmp_path):
    policy = loaded(tmp_path, waiver(), limits={"sdi": {"fail": 0.5}})
    lines = (tmp_path / "policy.yml").read_text().split("\n")
    waived_at = found(judged(policy, sdi(0.625)), "limits.sdi").origin
    exceeded_at = found(judged(policy, sdi(0.875)), "limits.sdi").origin
    assert waived_at is not None
    assert exceeded_at is not None
    assert lines[waived_at.line - 1].strip() == '"fail": 0.5'
    assert lines[exceeded_at.line - 1].strip() == '"limit": 0.75'


@pytest.mark.parametrize(
    ("now", "state"),
    [
        ("2026-10-31T23:59:59.999999+00:00", WaiverState.NOT_YET),
        ("2026-11-01T00:00:00+00:00", WaiverState.WAIVED),
        ("2026-12-31T23:59:59.999999+00:00", WaiverState.WAIVED),
        ("2027-01-01T00:00:00+00:00", WaiverState.EXPIRED),
        ("2027-01-01T00:59:59+01:00", WaiverState.WAIVED),
        ("2026-12-31T20:00:00-04:00", WaiverState.EXPIRED),
        ("2026-11-01T00:59:59+01:00", WaiverState.NOT_YET),
    ],
    ids=[
        "before-the-first-day",
        "first-moment",
        "last-moment",
        "first-moment-after",
        "east-of-utc",
        "west-of-utc",
        "east-of-utc-before",
    ],
)
def test_a_waiver_holds_from_its_first_day_to_the_end_of_its_last_one_in_utc(tmp_path, now, state):
    verdict = judged(loaded(tmp_path, waiver()), sdi(0.625), datetime.fromisoformat(now))
    held = state is WaiverState.WAIVED
    assert verdict.status is (Status.WARN if held else Status.FAIL)
    assert verdict.waivers[0].state is state
    finding = found(verdict, "limits.sdi")
    assert (finding.waiver, finding.fail) == (("W-1", 0.75) if held else (None, 0.5))


@pytest.mark.parametrize(
    ("day", "days_left", "expiring"),
    [
        ("2026-12-16", 15, False),
        ("2026-12-17", 14, True),
        ("2026-12-31", 0, True),
        ("2027-01-01", -1, False),
        ("2026-10-30", 62, False),
    ],
)
def test_a_waiver_in_force_that_ends_within_14_days_is_expiring(tmp_path, day, days_left, expiring):
    policy = loaded(tmp_path, waiver(ticket="GOV-7"))
    for time in ("00:00:00", "23:59:59"):
        now = datetime.fromisoformat(f"{day}T{time}+00:00")
        (use,) = judged(policy, sdi(0.0), now).waivers
        assert (use.days_left, use.expiring) == (days_left, expiring)
    assert (use.owner, use.approved_by) == ("chat-team", "model-governance")
    assert (use.id, use.ticket, use.expires) == ("W-1", "GOV-7", "2026-12-31")
    assert (use.metric, use.limit) == ("sdi", 0.75)
    assert use.origin.file == policy.path


def test_an_expired_waiver_is_named_only_where_its_finding_occurs(tmp_path):
    policy = loaded(tmp_path, waiver(granted="2026-10-01", expires="2026-10-31"))
    plain = loaded(tmp_path, name="plain")
    failing = judged(policy, sdi(0.625))
    assert found(failing, "limits.sdi").reason == (
        "sdi is 0.625, above the failing limit of 0.5 by 0.125; waiver W-1 expired on 2026-10-31."
    )
    for value in (0.1, 0.4, 0.625, 0.9):
        verdict, without = judged(policy, sdi(value)), judged(plain, sdi(value))
        assert verdict.status is without.status
        assert verdict.waivers[0].state is WaiverState.EXPIRED
        if value <= 0.5:
            reasons = [finding.reason for finding in verdict.findings]
            assert reasons == [finding.reason for finding in without.findings]


def test_a_waiver_that_is_not_yet_in_force_is_named_where_its_finding_occurs(tmp_path):
    policy = loaded(tmp_path, waiver(granted="2026-12-01", expires="2026-12-31"))
    finding = found(judged(policy, sdi(0.625)), "limits.sdi")
    assert finding.status is Status.FAIL
    assert finding.reason.endswith("; waiver W-1 is not yet in force.")


@pytest.mark.parametrize(
    ("ahead", "status"),
    [(timedelta(minutes=5), Status.WARN), (timedelta(minutes=5, seconds=1), Status.FAIL)],
    ids=["skew", "wrong"],
)
def test_no_waiver_holds_where_the_clock_is_behind_the_result(tmp_path, ahead, status):
    verdict = judged(loaded(tmp_path, waiver()), sdi(0.625, measured_at=NOW + ahead))
    finding = found(verdict, "limits.sdi")
    assert verdict.status is finding.status is status
    wrong = status is Status.FAIL
    told = "; waiver W-1 does not hold, for the clock is behind the scan."
    assert finding.reason.endswith(told) is wrong
    assert (verdict.waivers[0].state is WaiverState.CLOCK_BEHIND) is wrong
    assert verdict.waivers[0].expiring is False


def test_a_clock_that_was_set_back_revives_no_expired_waiver(tmp_path):
    policy = loaded(tmp_path, waiver(granted="2026-10-01", expires="2026-10-31"))
    facts = sdi(0.625, measured_at=NOW)
    for days in range(40):
        assert judged(policy, facts, NOW - timedelta(days=days)).status is Status.FAIL


def test_times_without_a_time_zone_are_refused(tmp_path):
    policy, naive = loaded(tmp_path, waiver()), datetime(2026, 11, 23)  # noqa: DTZ001 - tested
    (level,) = policy.levels
    demands = effective(policy, chat(), NOW)
    for act in (
        lambda: judged(policy, chat(), naive),
        lambda: effective(policy, chat(), naive),
        lambda: waived(level, demands, chat(), naive),
        lambda: uses_of(policy.levels, chat(), (), naive),
    ):
        with pytest.raises(ValueError, match="has a time zone; got 2026-11-23 00:00:00"):
            act()


@pytest.mark.parametrize(
    "changes",
    [
        {"registered_name": None, "candidate": None},
        {"registered_name": None, "candidate": ModelIdentity(reference="file:x", digest=DIGEST)},
        {"registered_name": "registry/other"},
        {"registered_name": MODEL.upper()},
        {
            "registered_name": "registry/other",
            "candidate": ModelIdentity(reference="x", name=MODEL),
        },
    ],
    ids=["nothing-known", "no-name", "other-name", "other-case", "the-registered-name-comes-first"],
)
def test_a_waiver_is_only_for_the_model_that_it_names(tmp_path, changes):
    verdict = judged(loaded(tmp_path, waiver()), sdi(0.625, **changes))
    assert (verdict.status, verdict.waivers) == (Status.FAIL, ())


def test_a_waiver_may_name_the_candidate_by_its_own_name(tmp_path):
    policy = loaded(tmp_path, waiver(model="org/chat"))
    assert judged(policy, sdi(0.625, registered_name=None)).status is Status.WARN


@pytest.mark.parametrize(
    ("digest", "status"),
    [(DIGEST, Status.WARN), (OTHER_DIGEST, Status.FAIL), (None, Status.FAIL)],
    ids=["same", "other", "unknown"],
)
def test_a_waiver_for_certain_weights_is_for_no_others(tmp_path, digest, status):
    policy = loaded(tmp_path, waiver(candidate_digest=DIGEST))
    candidate = ModelIdentity(reference="hf:org/chat", name="org/chat", digest=digest)
    verdict = judged(policy, sdi(0.625, candidate=candidate))
    assert verdict.status is status
    other = status is Status.FAIL
    assert (verdict.waivers[0].state is WaiverState.OTHER_DIGEST) is other
    # It is not for these weights: their finding has nothing to do with it.
    assert ("W-1" in found(verdict, "limits.sdi").reason) is not other


def test_a_waiver_for_certain_weights_is_for_none_where_the_candidate_is_not_known(tmp_path):
    policy = loaded(tmp_path, waiver(candidate_digest=DIGEST))
    assert judged(policy, sdi(0.625, candidate=None)).status is Status.FAIL


def test_of_two_waivers_for_one_limit_the_loosest_in_force_counts(tmp_path):
    low, high = waiver("W-low", limit=0.6), waiver("W-high", limit=0.9)
    ended = waiver("W-ended", limit=1.0, granted="2026-10-01", expires="2026-10-31")
    for order in ((low, high, ended), (ended, high, low)):
        verdict = judged(loaded(tmp_path, *order), sdi(0.8))
        finding = found(verdict, "limits.sdi")
        assert (finding.status, finding.waiver, finding.fail) == (Status.WARN, "W-high", 0.9)
        assert {use.id: use.state for use in verdict.waivers} == {
            "W-low": WaiverState.EXCEEDED,
            "W-high": WaiverState.WAIVED,
            "W-ended": WaiverState.EXPIRED,
        }


def test_of_two_equal_waivers_the_name_decides_not_the_order(tmp_path):
    for order in (("W-a", "W-b"), ("W-b", "W-a")):
        policy = loaded(tmp_path, *(waiver(ident) for ident in order))
        assert found(judged(policy, sdi(0.625)), "limits.sdi").waiver == "W-a"


def test_a_waiver_on_coverage_lowers_the_limit(tmp_path):
    limits = {"coverage": {"warn": 1.0, "fail": 0.99}}
    policy = loaded(tmp_path, waiver(metric="coverage", limit=0.9), limits=limits)
    states = {}
    for value in (1.0, 0.995, 0.95, 0.9, 0.85):
        verdict = judged(policy, chat(coverage=value))
        states[value] = (verdict.status, verdict.waivers[0].state)
    assert states == {
        1.0: (Status.PASS, WaiverState.UNUSED),
        0.995: (Status.WARN, WaiverState.UNUSED),
        0.95: (Status.WARN, WaiverState.WAIVED),
        0.9: (Status.WARN, WaiverState.WAIVED),
        0.85: (Status.FAIL, WaiverState.EXCEEDED),
    }
    assert found(judged(policy, chat(coverage=0.95)), "limits.coverage").reason == (
        "coverage is 0.95, below the warning limit of 1 by 0.05; waived by W-1 until 2026-12-31:"
        " the failing limit is 0.99 without it."
    )


@pytest.mark.parametrize("key", EVERY_KEY)
def test_a_waiver_can_be_for_every_limit_by_the_name_that_reports_give_it(tmp_path, key: str):
    value, limit = (0.25, 0.125) if key == "coverage" else (0.625, 0.75)
    policy = loaded(tmp_path, waiver(metric=key, limit=limit), limits=limits_at(key, {"fail": 0.5}))
    facts = replace(facts_with(key, value), registered_name=MODEL)
    finding = found(judged(policy, facts), f"limits.{key}")
    assert (finding.status, finding.waiver) == (Status.WARN, "W-1")
    assert judged(policy, replace(facts, registered_name=None)).status is Status.FAIL


def test_standard_errors_count_against_a_waived_limit_too(tmp_path):
    policy = loaded(tmp_path, waiver())
    states = {}
    for stderr in (0.0, 0.125, 0.25):
        verdict = judged(policy, chat(sdi=Estimate(value=0.5, stderr=stderr, n=8)))
        states[stderr] = (verdict.status, verdict.waivers[0].state)
    assert states[0.0] == (Status.WARN, WaiverState.UNUSED)
    assert states[0.125] == (Status.WARN, WaiverState.WAIVED)
    assert states[0.25] == (Status.WARN, WaiverState.WAIVED)
    beyond = judged(policy, chat(sdi=Estimate(value=0.5, stderr=0.375, n=8)))
    assert beyond.waivers[0].state is WaiverState.EXCEEDED
    assert found(beyond, "limits.sdi").reason.startswith(
        "sdi is 0.5 ± 0.38 (0.875 with 1 standard error), above the failing limit of 0.75 by 0.125;"
    )


def test_a_waiver_for_what_was_not_measured_leaves_it_inconclusive(tmp_path):
    verdict = judged(loaded(tmp_path, waiver()), chat(sdi=None))
    finding = found(verdict, "limits.sdi")
    assert (finding.status, finding.waiver) == (Status.INCONCLUSIVE, "W-1")
    assert finding.reason == "sdi was not measured."
    assert verdict.waivers[0].state is WaiverState.NO_LIMIT


BLOCK = {
    "match": {"family": "llama"},
    "mode": "warn",
    "limits": {"sdi": {"warn": 0.2, "fail": 0.25}},
}


@pytest.mark.parametrize(
    ("family", "value", "status", "state"),
    [
        ("llama", 0.4, Status.WARN, WaiverState.WAIVED),
        ("llama", 0.8, Status.FAIL, WaiverState.EXCEEDED),
        ("qwen", 0.4, Status.WARN, WaiverState.UNUSED),
        (None, 0.4, Status.WARN, WaiverState.WAIVED),
    ],
)
def test_a_waiver_raises_what_a_match_block_says_for_the_model(
    tmp_path, family, value, status, state
):
    policy = loaded(tmp_path, waiver(), match=[BLOCK])
    verdict = judged(policy, sdi(value, family=family))
    assert (verdict.status, verdict.waivers[0].state) == (status, state)
    if family == "llama":
        assert verdict.blocks == ("family llama",)
        assert found(verdict, "limits.sdi").waived_limit == 0.25


def test_a_waiver_for_a_limit_that_only_other_families_have_is_shown_as_such(tmp_path):
    block = {"match": {"family": "llama"}, "limits": {"sdi-plus": {"fail": 0.25}}}
    policy = loaded(tmp_path, waiver(metric="sdi-plus"), match=[block])
    verdict = judged(policy, sdi(0.0, family="qwen"))
    assert verdict.waivers[0].state is WaiverState.NO_LIMIT
    assert verdict.status is Status.PASS


def chain(folder, parent: dict[str, Any], child: dict[str, Any]):
    written(folder, "parent", **parent)
    return load_policy(written(folder, "child", extends="./parent.yml", **child))


def limit(fail: float) -> dict[str, Any]:
    return {"sdi": {"fail": fail}}


def test_a_childs_waiver_raises_no_limit_of_its_parent(tmp_path):
    policy = chain(
        tmp_path, {"limits": limit(0.5)}, {"limits": limit(0.4), "waivers": [waiver(limit=0.9)]}
    )
    waived_one = found(judged(policy, sdi(0.45)), "limits.sdi")
    assert (waived_one.status, waived_one.waiver, waived_one.waived_limit) == (
        Status.WARN,
        "W-1",
        0.4,
    )
    verdict = judged(policy, sdi(0.6))
    assert verdict.status is Status.FAIL
    assert verdict.waivers[0].state is WaiverState.WAIVED
    assert found(verdict, "limits.sdi").reason == (
        "sdi is 0.6, above the failing limit of 0.5 by 0.1; waiver W-1 raises another file's limit,"
        " not this one."
    )


def test_a_parents_waiver_raises_no_limit_of_its_child(tmp_path):
    policy = chain(tmp_path, {"limits": limit(0.5), "waivers": [waiver()]}, {"limits": limit(0.5)})
    verdict = judged(policy, sdi(0.6))
    assert verdict.status is Status.FAIL
    silent = chain(tmp_path, {"limits": limit(0.5), "waivers": [waiver()]}, {"mode": "enforce"})
    assert judged(silent, sdi(0.6)).status is Status.WARN


def test_where_both_files_waive_their_limits_the_stricter_one_is_named(tmp_path):
    policy = chain(
        tmp_path,
        {"limits": limit(0.5), "waivers": [waiver("P-1", limit=0.7)]},
        {"limits": limit(0.4), "waivers": [waiver("C-1", limit=0.8)]},
    )
    verdict = judged(policy, sdi(0.6))
    finding = found(verdict, "limits.sdi")
    assert (finding.status, finding.waiver, finding.waived_limit) == (Status.WARN, "C-1", 0.4)
    assert {use.id: use.state for use in verdict.waivers} == dict.fromkeys(
        ("P-1", "C-1"), WaiverState.WAIVED
    )
    assert judged(policy, sdi(0.75)).status is Status.FAIL


def test_where_two_files_use_one_id_the_finding_names_the_earlier_day(tmp_path):
    policy = chain(
        tmp_path,
        {"limits": limit(0.5), "waivers": [waiver(expires="2026-12-01")]},
        {"limits": limit(0.4), "waivers": [waiver()]},
    )
    finding = found(judged(policy, sdi(0.6)), "limits.sdi")
    assert "waived by W-1 until 2026-12-01" in finding.reason


def test_waivers_of_all_files_are_listed_in_their_order(tmp_path):
    parent = {"limits": limit(0.5), "waivers": [waiver("P-1"), waiver("P-2", model="org/other")]}
    child = {"limits": limit(0.4), "waivers": [waiver("C-1"), waiver("C-2", metric="sdi")]}
    verdict = judged(chain(tmp_path, parent, child), sdi(0.0), datetime(2026, 12, 1, tzinfo=UTC))
    assert [use.id for use in verdict.waivers] == ["P-1", "C-1", "C-2"]
