"""Test the laws of waivers: none makes anything pass that failed, or anything worse."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from scan_facts import NOW, every_limit, judged, policy_of
from waiver_policies import DIGEST, MODEL, OTHER_DIGEST, chat, waiver

from sdi_gate.policy.verdict import Status
from sdi_gate.policy.waiver_states import WaiverState
from sdi_gate.signals.interface import Estimate

if TYPE_CHECKING:
    from sdi_gate.policy.loader import LoadedPolicy

METRICS = ["sdi", "sdi-plus", "signals.weight-geometry", "coverage", "by-stratum.safety.nll-change"]
SPANS = [
    ("2026-11-01", "2026-12-31"),
    ("2026-11-23", "2026-11-23"),
    ("2026-10-01", "2026-11-22"),
    ("2026-11-24", "2026-12-24"),
]
STEPS = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@st.composite
def waivers(draw: st.DrawFn) -> list[dict[str, object]]:
    found = []
    for index in range(draw(st.integers(1, 3))):
        granted, expires = draw(st.sampled_from(SPANS))
        given = waiver(
            f"W-{index}",
            metric=draw(st.sampled_from(METRICS)),
            # Stricter ones, too: what the loader refuses must do no harm either.
            limit=draw(STEPS),
            granted=granted,
            expires=expires,
            model=draw(st.sampled_from([MODEL, "org/other"])),
        )
        if draw(st.booleans()):
            given["candidate-digest"] = draw(st.sampled_from([DIGEST, OTHER_DIGEST]))
        found.append(given)
    return found


@st.composite
def scans(draw: st.DrawFn):
    return chat(
        sdi=draw(st.none() | STEPS.map(lambda value: Estimate(value=value))),
        sdi_plus=Estimate(value=draw(STEPS), stderr=draw(st.sampled_from([None, 0.25]))),
        coverage=draw(STEPS),
        family=draw(st.sampled_from([None, "llama", "qwen"])),
        measured_at=draw(st.sampled_from([None, NOW, NOW + timedelta(days=1)])),
    )


BLOCKS = [
    {"match": {"family": "llama"}, "limits": {"sdi": {"warn": 0.1, "fail": 0.25}}},
    {"match": {"model": MODEL}, "limits": {"coverage": {"warn": 1.0, "fail": 0.75}}},
]


def policy_with(given: list[dict[str, object]], warn: float, fail: float) -> LoadedPolicy:
    limits = every_limit({"warn": min(warn, fail), "fail": max(warn, fail)})
    rest = {"waivers": given} if given else {}
    return policy_of(limits, match=BLOCKS, **rest)


@given(given_waivers=waivers(), facts=scans(), warn=STEPS, fail=STEPS)
def test_no_waiver_makes_a_failure_pass_or_anything_worse(given_waivers, facts, warn, fail):
    without = judged(policy_with([], warn, fail), facts)
    verdict = judged(policy_with(given_waivers, warn, fail), facts)
    for before, after in zip(without.findings, verdict.findings, strict=True):
        assert after.rule == before.rule
        assert after.status.severity <= before.status.severity
        assert (after.status is Status.PASS) == (before.status is Status.PASS)
        if after.status is not before.status:
            assert (before.status, after.status) == (Status.FAIL, Status.WARN)
            assert after.waiver is not None
            assert f"waived by {after.waiver} until" in after.reason
    names = [one["id"] for one in given_waivers if one["model"] == MODEL]
    assert [use.id for use in verdict.waivers] == names


@given(given_waivers=waivers(), facts=scans(), warn=STEPS, fail=STEPS)
def test_the_order_of_waivers_does_not_matter(given_waivers, facts, warn, fail):
    verdicts = [
        judged(policy_with([*order], warn, fail), facts)
        for order in itertools.permutations(given_waivers)
    ]
    assert len({verdict.status for verdict in verdicts}) == 1
    told = {
        tuple((f.rule, f.status, f.waiver, f.waived_limit, f.fail) for f in verdict.findings)
        for verdict in verdicts
    }
    assert len(told) == 1
    assert len({frozenset((u.id, u.state) for u in verdict.waivers) for verdict in verdicts}) == 1


@given(given_waivers=waivers(), facts=scans(), warn=STEPS, fail=STEPS)
def test_a_waiver_that_is_over_changes_no_finding_but_the_words_of_a_failure(
    given_waivers, facts, warn, fail
):
    over = [one | {"granted": "2026-10-01", "expires": "2026-11-22"} for one in given_waivers]
    without = judged(policy_with([], warn, fail), facts)
    verdict = judged(policy_with(over, warn, fail), facts)
    for before, after in zip(without.findings, verdict.findings, strict=True):
        same = after.reason == before.reason or before.status is Status.FAIL
        assert same
        assert replace(after, reason="", origin=None) == replace(before, reason="", origin=None)
    lapsed = {WaiverState.EXPIRED, WaiverState.OTHER_DIGEST, WaiverState.CLOCK_BEHIND}
    assert {use.state for use in verdict.waivers} <= lapsed


@given(given_waivers=waivers(), facts=scans(), days=st.integers(0, 60))
def test_a_later_day_never_revives_a_waiver_that_is_over(given_waivers, facts, days):
    policy = policy_with(given_waivers, 0.25, 0.5)
    today, later = (judged(policy, facts, NOW + timedelta(days=d)).waivers for d in (0, days))
    for before, after in zip(today, later, strict=True):
        if before.state is WaiverState.EXPIRED:
            assert after.state is WaiverState.EXPIRED
