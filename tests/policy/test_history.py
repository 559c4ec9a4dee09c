from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scan_facts import facts_of, limits_at, merged, policy_of
from written_policies import simple, write, write_chain

from sdi_gate.errors import UsageError
from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.facts import ModelIdentity
from sdi_gate.policy.loader import load_policy
from sdi_gate.policy.telling.comparing import Change
from sdi_gate.policy.telling.differing import diff
from sdi_gate.policy.telling.history import (
    Recorded,
    RecordedVerdict,
    once_each,
    outcome_of,
    replay,
    values_of,
)
from sdi_gate.policy.telling.trying import parse_trial, tried
from sdi_gate.policy.verdict import Status
from sdi_gate.signals.interface import Estimate

DAY = datetime(2026, 1, 20, 12, tzinfo=UTC)
KEYS = [
    "sdi",
    "sdi-plus",
    "behaviour.nll-change",
    "by-layer.layers.0-3.weight-geometry",
    "coverage",
]
NUMBERS = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
MIRROR = {
    Change.TIGHTENED: Change.LOOSENED,
    Change.LOOSENED: Change.TIGHTENED,
    Change.ADDED: Change.REMOVED,
    Change.REMOVED: Change.ADDED,
    Change.CHANGED: Change.CHANGED,
    Change.UNCHANGED: Change.UNCHANGED,
}


@st.composite
def limits(draw):
    found = {}
    for key in draw(st.lists(st.sampled_from(KEYS), min_size=1, unique=True)):
        steps = sorted(draw(st.lists(NUMBERS, min_size=2, max_size=2)), reverse=key == "coverage")
        names = draw(st.sampled_from([("warn",), ("fail",), ("warn", "fail")]))
        found = merged(found, limits_at(key, dict(zip(names, steps, strict=False))))
    return found


@st.composite
def policies(draw):
    rest = {"mode": draw(st.sampled_from(["observe", "warn", "enforce"]))}
    if draw(st.booleans()):
        rest["allowed-families"] = draw(
            st.lists(st.sampled_from(["llama", "qwen", "phi"]), min_size=1, unique=True)
        )
    if draw(st.booleans()):
        rest["match"] = [{"match": {"family": "llama"}, "limits": draw(limits())}]
    return policy_of(draw(limits()), **rest)


def facts(value=0.0, **changes):
    return facts_of(sdi=Estimate(value=value), **changes)


def recorded(path, found, verdict=None):
    return Recorded(path=path, facts=found, verdict=verdict)


def shown(policy_diff):
    sides = [("all", policy_diff.rules)]
    sides += [(str(other.candidates), other.changes) for other in policy_diff.others]
    return {
        (who, change.rule): change.change
        for who, changes in sides
        for change in changes
        if change.change is not Change.UNCHANGED
    }


@given(policy=policies())
def test_a_policy_does_not_differ_from_itself(policy):
    same = diff(policy, policy)
    assert shown(same) == {}
    assert (same.texts, same.looser, same.grants_more) == ((), (), ())
    assert same.never_looser
    assert same.as_lenient


@given(first=policies(), second=policies())
def test_swapping_the_policies_swaps_tightened_and_loosened(first, second):
    there, back = shown(diff(first, second)), shown(diff(second, first))
    assert back == {key: MIRROR[change] for key, change in there.items()}


@given(first=policies(), second=policies(), value=NUMBERS, coverage=NUMBERS)
def test_what_is_never_looser_passes_nothing_that_the_other_fails(first, second, value, coverage):
    if not diff(first, second).never_looser:
        return
    for family in (None, "llama", "phi"):
        found = facts(value, coverage=coverage, family=family)
        old, new = judge(first, found, now=DAY), judge(second, found, now=DAY)
        assert bool(old.exit_code) <= bool(new.exit_code)


def test_each_change_is_called_by_its_name():
    before = policy_of(
        {"sdi": {"fail": 0.5}, "sdi-plus": {"fail": 0.5}, "coverage": {"fail": 0.9}},
        **{"allowed-families": ["llama", "qwen"]},
    )
    after = policy_of(
        {
            "sdi": {"fail": 0.4},
            "behaviour": {"nll-change": {"fail": 1.0}},
            "coverage": {"fail": 0.8},
        },
        **{"allowed-families": ["qwen", "phi"]},
    )
    found = diff(before, after)
    assert shown(found) == {
        ("all", "limits.sdi"): Change.TIGHTENED,
        ("all", "limits.sdi-plus"): Change.REMOVED,
        ("all", "limits.behaviour.nll-change"): Change.ADDED,
        ("all", "limits.coverage"): Change.LOOSENED,
        ("all", "allowed-families"): Change.CHANGED,
    }
    assert found.looser == (
        "limits.coverage (all)",
        "allowed-families (all)",
        "limits.sdi-plus (all)",
    )
    assert not found.never_looser


def test_a_block_that_loosens_one_family_is_found():
    limit = {"sdi": {"fail": 0.4}}
    block = {"match": {"family": "llama"}, "limits": {"sdi": {"fail": 0.6}}}
    found = diff(policy_of(limit), policy_of(limit, match=[block]))
    assert shown(found) == {("family llama", "limits.sdi"): Change.LOOSENED}
    assert found.looser == ("limits.sdi (family llama)",)
    assert not found.never_looser


def test_a_model_of_a_family_is_told_only_where_both_blocks_do_not_say_it():
    def both(model_limits):
        return policy_of(
            {"sdi": {"fail": 0.4}},
            match=[
                {"match": {"family": "llama"}, "limits": {"sdi": {"fail": 0.3}}},
                {"match": {"model": "tune"}, "limits": model_limits},
            ],
        )

    silent, speaking = both({"sdi-plus": {"fail": 0.5}}), both({"sdi": {"fail": 0.4}})
    everyone = policy_of({"sdi": {"fail": 0.4}})
    assert set(shown(diff(everyone, silent))) == {
        ("family llama", "limits.sdi"),
        ("model tune", "limits.sdi-plus"),
    }
    # The block of the model, which is narrower, takes the family's limit back.
    assert {who for who, _ in shown(diff(everyone, speaking))} == {"family llama"}
    told = [str(other.candidates) for other in diff(everyone, speaking).others]
    assert told == ["family llama", "model tune of family llama"]


def test_a_limit_on_coverage_where_there_was_none_may_let_parameters_out():
    bare = policy_of({"sdi": {"fail": 0.5}})
    lax = policy_of({"sdi": {"fail": 0.5}, "coverage": {"fail": 0.5}})
    whole = policy_of({"sdi": {"fail": 0.5}, "coverage": {"fail": 1.0}})
    assert not diff(bare, lax).never_looser
    assert diff(bare, lax).looser == ("limits.coverage (all)",)
    assert diff(bare, whole).never_looser
    assert diff(lax, bare).never_looser
    assert diff(lax, bare).looser == ()
    assert diff(whole, lax).looser == ("limits.coverage (all)",)


WAIVER = {
    "id": "W-1",
    "owner": "research",
    "reason": "It is known.",
    "approved-by": "risk-committee",
    "granted": "2026-01-01",
    "expires": "2026-01-31",
    "model": "tune",
    "metric": "sdi",
    "limit": 0.6,
}
OTHER_WAIVERS = {
    "longer": ({"expires": "2026-02-28"}, Change.LOOSENED),
    "higher": ({"limit": 0.7}, Change.LOOSENED),
    "shorter": ({"expires": "2026-01-30"}, Change.TIGHTENED),
    "later": ({"granted": "2026-01-02"}, Change.TIGHTENED),
    "for-certain-weights": ({"candidate-digest": f"sha256:{'0' * 64}"}, Change.TIGHTENED),
    "for-another-model": ({"model": "other"}, Change.CHANGED),
    "lower-and-longer": ({"limit": 0.55, "expires": "2026-02-28"}, Change.CHANGED),
}


@pytest.mark.parametrize(("other", "change"), OTHER_WAIVERS.values(), ids=OTHER_WAIVERS)
def test_a_waiver_that_grants_more_is_no_stricter(other, change):
    limit = {"sdi": {"fail": 0.5}}
    found = diff(policy_of(limit, waivers=[WAIVER]), policy_of(limit, waivers=[WAIVER | other]))
    assert [waiver.change for waiver in found.waivers] == [change]
    assert found.as_strict
    assert found.never_looser is (change is Change.TIGHTENED)


def test_a_new_waiver_is_no_stricter_and_one_that_ends_is():
    limit = {"sdi": {"fail": 0.5}}
    without, with_one = policy_of(limit), policy_of(limit, waivers=[WAIVER])
    assert diff(without, with_one).grants_more == ("W-1",)
    assert not diff(without, with_one).never_looser
    assert diff(with_one, without).never_looser


def test_texts_that_differ_are_told():
    limit = {"sdi": {"fail": 0.5}}
    old = policy_of(
        limit, metadata={"name": "x", "owner": "a"}, documentation={"tolerance": "One."}
    )
    new = policy_of(
        limit, metadata={"name": "x", "revision": 2}, documentation={"tolerance": "Two."}
    )
    texts = {text.name: (text.before, text.after) for text in diff(old, new).texts}
    assert texts == {
        "metadata.owner": ("a", None),
        "metadata.revision": (None, "2"),
        "documentation.tolerance": ("One.", "Two."),
    }


@given(policy=policies(), value=NUMBERS)
def test_the_recorded_policy_gives_the_recorded_verdict_again(policy, value):
    found = facts(value, family="llama", measured_at=DAY)
    verdict = judge(policy, found, now=DAY)
    status, closed = outcome_of(verdict)
    then = RecordedVerdict(
        status=status,
        closed=closed,
        rule=verdict.deciding.rule,
        policy_name=policy.name,
        policy_digest=policy.digest,
    )
    (again,) = replay(policy, [recorded("r", found, then)], at=None, today=DAY).results
    assert again.after == verdict
    assert (again.changed, again.at) == (False, DAY)


def test_each_result_is_judged_as_of_its_own_time_unless_another_is_given():
    policy = policy_of({"sdi": {"fail": 0.5}}, waivers=[WAIVER])
    early, late = DAY, DAY.replace(month=3)
    results = [
        recorded("early", facts(0.55, registered_name="tune", measured_at=early)),
        recorded("late", facts(0.55, registered_name="tune", measured_at=late)),
        recorded("undated", facts(0.55, registered_name="tune")),
    ]

    def statuses(at):
        judged = replay(policy, results, at=at, today=late)
        return [(each.at, each.after.status) for each in judged.results]

    assert statuses(None) == [(early, Status.WARN), (late, Status.FAIL), (late, Status.FAIL)]
    assert statuses(late) == [(late, Status.FAIL)] * 3


def test_a_scan_that_is_recorded_again_counts_once():
    model = ModelIdentity(reference="hf:a/b", digest=f"sha256:{'1' * 64}")
    found = facts(candidate=model, measured_at=DAY)
    later = replace(found, measured_at=DAY.replace(hour=13))
    unknown = facts(measured_at=DAY)
    files = {"a": found, "b": later, "c": found, "d": unknown, "e": unknown, "f": found}
    kept = once_each([recorded(path, each) for path, each in files.items()])
    assert [(each.path, each.duplicates) for each in kept] == [
        ("a", ("c", "f")),
        ("b", ()),
        ("d", ()),
        ("e", ()),
    ]


def test_a_result_that_copies_digest_and_time_of_another_does_not_hide_it():
    model = ModelIdentity(reference="hf:a/b", digest=f"sha256:{'1' * 64}")
    forged, true = (facts(value, candidate=model, measured_at=DAY) for value in (0.0, 0.9))
    results = [recorded("a", forged), recorded("b", true)]
    policy = policy_of({"sdi": {"fail": 0.5}})
    judged = replay(policy, results, at=None, today=DAY).results
    assert [each.after.status for each in judged] == [Status.PASS, Status.FAIL]


def test_a_change_names_the_rule_of_the_worse_verdict():
    strict, lax = policy_of({"sdi": {"fail": 0.2}}), policy_of({"sdi-plus": {"fail": 0.9}})
    result = recorded("r", facts(0.3))
    (tightened,) = replay(strict, [result], before=lax, at=DAY, today=DAY).results
    (loosened,) = replay(lax, [result], before=strict, at=DAY, today=DAY).results
    assert (tightened.changed, tightened.because) == (True, "limits.sdi")
    assert (loosened.changed, loosened.because) == (True, "limits.sdi")


def test_a_recorded_verdict_that_was_worse_names_its_own_rule():
    then = RecordedVerdict(
        status=Status.FAIL, closed=True, rule="limits.sdi-plus", policy_name="x", policy_digest="y"
    )
    policy = policy_of({"sdi": {"fail": 0.5}})
    (judged,) = replay(policy, [recorded("r", facts(0.3), then)], at=None, today=DAY).results
    assert (judged.changed, judged.because) == (True, "limits.sdi-plus")


def test_the_mode_alone_changes_the_gate():
    limit = {"sdi": {"fail": 0.2}}
    observing, enforcing = policy_of(limit, mode="observe"), policy_of(limit)
    history = replay(enforcing, [recorded("r", facts(0.3))], before=observing, at=DAY, today=DAY)
    assert history.num_changed == 1
    assert history.counts[Status.FAIL] == 1


def test_a_result_without_a_verdict_has_none_to_change():
    (judged,) = replay(
        policy_of({"sdi": {"fail": 0.2}}), [recorded("r", facts(0.3))], at=None, today=DAY
    ).results
    assert judged.changed is None
    assert judged.because == "limits.sdi"


def test_values_are_in_order_and_are_those_that_were_held():
    results = [
        recorded("high", facts(0.4)),
        recorded("low", facts(0.1)),
        recorded("uncertain", facts_of(sdi=Estimate(value=0.3, stderr=0.05))),
        recorded("none", facts_of(sdi=None)),
    ]
    history = replay(policy_of({"sdi": {"fail": 0.35}}), results, at=DAY, today=DAY)
    paths = [each.recorded.path for each, _ in values_of(history, "limits.sdi")]
    statuses = [finding.status for _, finding in values_of(history, "limits.sdi")]
    assert paths == ["low", "uncertain", "high"]
    assert statuses == [Status.PASS, Status.PASS, Status.FAIL]


TRIALS = {
    "sdi.fail=0.35": (("sdi",), "fail", 0.35),
    "limits.sdi.warn=1e-3": (("sdi",), "warn", 0.001),
    "behaviour.nll-change.fail=-0.5": (("behaviour", "nll-change"), "fail", -0.5),
    "by-layer.layers.0-3.weight-geometry.warn=1": (
        ("by-layer", "layers.0-3", "weight-geometry"),
        "warn",
        1.0,
    ),
    "predicted-degradation.axes.a.b.fail=0.5": (
        ("predicted-degradation", "axes", "a.b"),
        "fail",
        0.5,
    ),
}


@pytest.mark.parametrize(("text", "parts"), TRIALS.items(), ids=TRIALS)
def test_a_trial_is_read_as_it_is_meant(text, parts):
    trial = parse_trial(text)
    assert (trial.path, trial.step, trial.value) == parts
    assert parse_trial(str(trial)) == trial


NO_TRIALS = {
    "no-number": ("sdi.fail=high", "a finite number"),
    "not-finite": ("sdi.fail=nan", "a finite number"),
    "infinite": ("sdi.fail=inf", "a finite number"),
    "no-step": ("sdi=0.5", "warn or fail"),
    "other-step": ("sdi.confidence=0.5", "warn or fail"),
    "no-rule": ("fail=0.5", "a rule"),
    "nothing": ("", "a rule"),
    "no-sign": ("sdi.fail", "a rule"),
    "unknown-rule": ("sdy.fail=0.5", "known are sdi, sdi-plus"),
    "unknown-metric": ("behaviour.nll.fail=0.5", "behaviour.nll"),
    "out-of-range": ("sdi.fail=1.5", "less than or equal to 1"),
    "section": ("behaviour.fail=0.5", "behaviour.fail"),
}


@pytest.mark.parametrize(("text", "words"), NO_TRIALS.values(), ids=NO_TRIALS)
def test_what_no_policy_could_limit_cannot_be_tried(text, words):
    with pytest.raises(UsageError, match=words):
        parse_trial(text)


def limit_of(policy, rule="limits.sdi"):
    return {change.rule: change.after for change in diff(policy, policy).rules}[rule].words


@given(policy=policies(), value=NUMBERS)
def test_trying_the_number_that_holds_changes_nothing(policy, value):
    plain = policy.policy.limits
    if plain.sdi is None or plain.sdi.fail is None or policy.policy.match is not None:
        return
    same = tried(policy, [parse_trial(f"sdi.fail={plain.sdi.fail!r}")])
    assert same == policy
    assert judge(same, facts(value), now=DAY) == judge(policy, facts(value), now=DAY)


def test_a_trial_holds_for_everyone_and_may_be_looser(tmp_path):
    chain = load_policy(write_chain(tmp_path))
    trial = tried(chain, [parse_trial("sdi.fail=0.8")])
    assert limit_of(chain) == "warns above 0.45, fails above 0.6"
    assert limit_of(trial) == "warns above 0.45, fails above 0.8"
    assert trial.digest != chain.digest
    assert "limits.sdi" not in {
        c.rule for other in diff(trial, trial).others for c in other.changes
    }
    assert load_policy(tmp_path / "child.yml") == chain


def test_a_trial_adds_a_limit_that_nobody_has(tmp_path):
    chain = load_policy(write_chain(tmp_path))
    trial = tried(chain, [parse_trial("by-stratum.safety.kl-divergence.fail=0.1")])
    assert limit_of(trial, "limits.by-stratum.safety.kl-divergence") == "fails above 0.1"
    bare = load_policy(
        write(tmp_path, "bare", simple("bare", "extends: ./parent.yml\nmode: enforce\n"))
    )
    assert limit_of(tried(bare, [parse_trial("sdi-plus.warn=0.1")]), "limits.sdi-plus") == (
        "warns above 0.1"
    )


def test_a_tried_failing_step_overtakes_the_warning_and_the_waiver():
    policy = policy_of({"sdi": {"warn": 0.4, "fail": 0.5}}, waivers=[WAIVER])
    assert limit_of(tried(policy, [parse_trial("sdi.fail=0.3")])) == "fails above 0.3"
    assert len(tried(policy, [parse_trial("sdi.fail=0.3")]).policy.waivers) == 1
    assert tried(policy, [parse_trial("sdi.fail=0.6")]).policy.waivers is None


def test_of_two_trials_for_one_step_the_later_counts():
    policy = policy_of({"sdi": {"warn": 0.4, "fail": 0.5}})
    trials = [parse_trial("sdi.fail=0.1"), parse_trial("sdi.fail=0.45")]
    assert limit_of(tried(policy, trials)) == "warns above 0.4, fails above 0.45"


IMPOSSIBLE = {
    "a-warning-after-the-failure": "sdi.warn=0.9",
    "a-prediction-without-confidence": "predicted-degradation.mean.fail=0.5",
}


@pytest.mark.parametrize("text", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_trial_that_gives_no_policy_is_refused(text):
    policy = policy_of({"sdi": {"warn": 0.4, "fail": 0.5}})
    with pytest.raises(UsageError, match="the trial is no policy"):
        tried(policy, [parse_trial(text)])


def test_trials_of_lower_bounds_work_the_other_way_round():
    policy = policy_of(
        {"coverage": {"warn": 0.9, "fail": 0.5}},
        waivers=[
            WAIVER | {"metric": "coverage", "limit": 0.4},
        ],
    )
    trial = tried(policy, [parse_trial("coverage.fail=0.95")])
    assert limit_of(trial, "limits.coverage") == "fails below 0.95"
    assert trial.policy.waivers is not None
    assert tried(policy, [parse_trial("coverage.fail=0.3")]).policy.waivers is None
