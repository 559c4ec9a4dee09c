"""Test that a policy with a waiver that could not be right is refused, and says where."""

from __future__ import annotations

import pytest
from waiver_policies import MODEL, loaded, waiver

from sdi_gate.errors import PolicyError

NO_LIMIT = "this file sets no failing limit on"


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        (
            {"metric": "sdii"},
            "metric",
            f"{NO_LIMIT} 'sdii' for '{MODEL}' that a waiver could raise; did you mean sdi?",
        ),
        (
            {"metric": "coverage", "limit": 0.5},
            "metric",
            f"{NO_LIMIT} 'coverage' for '{MODEL}' that a waiver could raise",
        ),
        (
            {"metric": "limits.sdi"},
            "metric",
            f"{NO_LIMIT} 'limits.sdi' for '{MODEL}' that a waiver could raise",
        ),
        ({"limit": 0.5}, "limit", "0.5 does not raise the failing limit, which is 0.5"),
        ({"limit": 0.4}, "limit", "0.4 does not raise the failing limit, which is 0.5"),
        ({"limit": 1.5}, "limit", "1.5 is outside the range of sdi"),
        (
            {"expires": "2027-01-30"},
            "expires",
            "it holds for 91 days, and maximum-waiver-days allows 90",
        ),
        (
            {"expires": "2026-10-31"},
            "expires",
            "2026-10-31 is before the first day, 2026-11-01",
        ),
        ({"expires": "2026-11-31"}, "expires", "there is no day 2026-11-31 in the calendar"),
        ({"granted": "2026-02-30"}, "granted", "there is no day 2026-02-30 in the calendar"),
    ],
    ids=[
        "misspelt",
        "no-such-limit",
        "not-below-limits",
        "equal",
        "stricter",
        "out-of-range",
        "too-long",
        "ends-before-it-begins",
        "no-such-last-day",
        "no-such-first-day",
    ],
)
def test_a_waiver_that_cannot_be_right_is_refused_with_its_place(tmp_path, changes, key, message):
    with pytest.raises(PolicyError) as refused:
        loaded(tmp_path, waiver("W-0"), waiver(**changes))
    lines = (tmp_path / "policy.yml").read_text().split("\n")
    (told,) = str(refused.value).split("\n")[1:]
    where, _, what = told.partition(": ")
    assert what.startswith(f"waivers.1.{key}: {message}")
    line = int(where.rsplit(":", 2)[1])
    assert lines[line - 1].strip().startswith(f'"{key}"')


def test_every_problem_of_every_waiver_is_told_at_once(tmp_path):
    broken = waiver(granted="2026-12-02", expires="2026-12-01", limit=0.1)
    with pytest.raises(PolicyError) as refused:
        loaded(tmp_path, broken, waiver("W-2", metric="charm"))
    assert len(str(refused.value).split("\n")) == 1 + 3


def test_two_waivers_with_one_id_are_refused(tmp_path):
    with pytest.raises(PolicyError, match=r"waivers\.1\.id: the id 'W-1' is that of waivers\.0"):
        loaded(tmp_path, waiver(), waiver(limit=0.8))


@pytest.mark.parametrize("expires", ["2026-11-01", "2027-01-29"], ids=["one-day", "90-days"])
def test_a_waiver_may_hold_for_one_day_and_for_the_longest_time(tmp_path, expires: str):
    assert loaded(tmp_path, waiver(expires=expires)).name == "policy"


def test_a_policy_sets_the_longest_time_itself(tmp_path):
    assert loaded(tmp_path, waiver(expires="2026-11-07"), maximum_waiver_days=7)
    with pytest.raises(PolicyError, match="it holds for 8 days, and maximum-waiver-days allows 7"):
        loaded(tmp_path, waiver(expires="2026-11-08"), maximum_waiver_days=7)


@pytest.mark.parametrize(
    ("selector", "fail", "is_refused"),
    [
        ({"family": "llama"}, 0.8, True),
        ({"model": MODEL}, 0.8, True),
        ({"family": "llama", "model": MODEL}, 0.75, True),
        ({"model": "org/other"}, 0.8, False),
        ({"family": "llama", "model": "org/other"}, 0.8, False),
        ({"family": "llama"}, 0.7, False),
    ],
    ids=["its-family", "its-name", "both", "another-name", "another-with-family", "raised"],
)
def test_a_waiver_must_raise_every_limit_that_could_be_for_its_model(
    tmp_path, selector, fail: float, is_refused
):
    block = {"match": selector, "limits": {"sdi": {"fail": fail}}}
    if not is_refused:
        assert loaded(tmp_path, waiver(), match=[block])
        return
    with pytest.raises(PolicyError, match=f"does not raise the failing limit, which is {fail}"):
        loaded(tmp_path, waiver(), match=[block])


def test_a_waiver_may_be_for_a_limit_of_a_match_block_alone(tmp_path):
    block = {"match": {"family": "llama"}, "limits": {"sdi-plus": {"fail": 0.5}}}
    assert loaded(tmp_path, waiver(metric="sdi-plus"), match=[block])


@pytest.mark.parametrize(
    ("metric", "bounds", "limit", "is_refused"),
    [
        ("coverage", {"fail": 0.9}, 0.8, False),
        ("coverage", {"fail": 0.9}, 0.95, True),
        ("coverage", {"fail": 0.9}, -0.1, True),
        ("nll-change", {"fail": -0.5}, -0.25, False),
        ("nll-change", {"fail": -0.5}, -0.75, True),
        ("kl-divergence", {"fail": 0.5}, 7.0, False),
        ("sdi", {"warn": 0.5}, 0.75, True),
    ],
    ids=["lower", "higher", "no-share", "signed", "signed-lower", "unbounded", "only-a-warning"],
)
def test_what_raises_a_limit_depends_on_its_metric(tmp_path, metric, bounds, limit, is_refused):
    in_behaviour = metric in {"nll-change", "kl-divergence"}
    limits = {"behaviour": {metric: bounds}} if in_behaviour else {metric: bounds}
    name = f"behaviour.{metric}" if in_behaviour else metric
    given = waiver(metric=name, limit=limit)
    if not is_refused:
        assert loaded(tmp_path, given, limits=limits)
        return
    with pytest.raises(PolicyError, match=r"waivers\.0\."):
        loaded(tmp_path, given, limits=limits)


def test_a_waiver_of_predicted_degradation_keeps_to_its_range(tmp_path):
    limits = {"predicted-degradation": {"mean": {"fail": 0.5, "confidence": 0.9}}}
    metric = "predicted-degradation.mean"
    assert loaded(tmp_path, waiver(metric=metric), limits=limits)
    with pytest.raises(PolicyError, match="outside the range of predicted-degradation"):
        loaded(tmp_path, waiver(metric=metric, limit=1.1), limits=limits)
