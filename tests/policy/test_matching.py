"""Test match blocks: the most specific statement decides, and unknown names gain nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_strategies import FAMILIES, MODELS, documents, maybe, parse
from test_stricter import assert_at_least_as_strict

from sdi_gate.errors import PolicyError
from sdi_gate.policy.chain.extending import MAX_KINDS
from sdi_gate.policy.chain.matching import OTHER, demands_of, selectors_of
from sdi_gate.policy.loader import LoadedPolicy, parse_policy

if TYPE_CHECKING:
    from policy_strategies import Document

    from sdi_gate.policy.chain.demands import Demands, Sourced

TEXT = """\
apiVersion: sdi-gate/v1
kind: Policy
metadata: {name: trial}
mode: warn
limits:
  sdi: {warn: 0.2, fail: 0.5}
match:
- match: {family: llama, model: org/a}
  limits: {sdi: {fail: 0.1}}
- match: {family: llama}
  mode: enforce
  limits:
    sdi: {warn: 0.3, fail: 0.6}
    sdi-plus: {fail: 0.7}
- match: {model: org/a}
  required-tier: full
  limits: {sdi: {warn: 0.05}}
"""


def loaded(text: str = TEXT) -> LoadedPolicy:
    return parse_policy(text.encode(), path="p.yml")


def of(family: str | None, model: str | None) -> Demands:
    return demands_of(loaded().levels[0], family=family, model=model)


def where(demand: Sourced[object] | None) -> tuple[object, int, str]:
    assert demand is not None
    return demand.value, demand.origin.line, demand.origin.block


def steps(demands: Demands) -> tuple[float | None, float | None]:
    limit = demands.limit(("limits", "sdi"))
    assert limit is not None
    return (limit.warn and limit.warn.value), (limit.fail and limit.fail.value)


def test_what_no_block_is_for_is_what_holds_for_all():
    found = of("qwen", "org/b")
    assert steps(found) == (0.2, 0.5)
    assert where(found.mode) == ("warn", 4, "")
    assert where(found.required_tier) == ("probe", 0, "")
    assert found.blocks == ()


def test_a_family_comes_before_all_each_thing_by_itself():
    found = of("llama", "org/b")
    assert steps(found) == (0.3, 0.6)
    assert where(found.mode) == ("enforce", 11, "family llama")
    assert [str(limit) for limit in found.limits] == ["limits.sdi", "limits.sdi-plus"]
    assert found.blocks == ("family llama",)


def test_a_model_with_its_family_comes_before_a_model_before_a_family():
    found = of("llama", "org/a")
    limit = found.limits[0]
    # The warning step of the model stands; the failing one is that of the block for both.
    assert where(limit.warn) == (0.05, 17, "model org/a")
    assert where(limit.fail) == (0.1, 9, "model org/a of family llama")
    assert where(found.required_tier) == ("full", 16, "model org/a")
    assert found.blocks == ("family llama", "model org/a", "model org/a of family llama")


def test_a_warning_that_a_more_specific_failure_comes_before_is_dropped():
    text = TEXT.replace("{warn: 0.05}", "{warn: 0.15}")
    found = demands_of(loaded(text).levels[0], family="llama", model="org/a")
    assert steps(found) == (None, 0.1)


def test_an_unknown_name_gets_the_strictest_of_all_that_could_apply():
    found = of(None, None)
    assert steps(found) == (0.05, 0.1)
    assert where(found.mode) == ("enforce", 11, "family llama")
    assert where(found.required_tier) == ("full", 16, "model org/a")


def test_a_known_name_leaves_out_the_blocks_for_other_names():
    assert steps(of(None, "org/b")) == (0.2, 0.5)
    assert steps(of("qwen", None)) == (0.05, 0.5)
    assert steps(of("llama", None)) == (0.05, 0.1)


def test_names_match_exactly():
    assert of("Llama", "org/other").blocks == ()
    assert of("llama2", "org/a2").blocks == ()


@given(documents(), st.sampled_from([*FAMILIES, "gemma"]), st.sampled_from([*MODELS, "org/new"]))
def test_demands_without_a_name_are_as_strict_as_with_any(
    document: Document, family: str, model: str
):
    level = parse(document).levels[0]
    named = demands_of(level, family=family, model=model)
    for known in ((None, None), (family, None), (None, model)):
        assert_at_least_as_strict(demands_of(level, family=known[0], model=known[1]), named)


@given(documents(), maybe(st.sampled_from(FAMILIES)), maybe(st.sampled_from(MODELS)))
def test_an_unknown_name_gets_nothing_that_no_name_gets(
    document: Document, family: str | None, model: str | None
):
    level = parse(document).levels[0]
    unknown = demands_of(level, family=family, model=model)
    named = [
        demands_of(level, family=f, model=m)
        for f in ([*FAMILIES, OTHER] if family is None else [family])
        for m in ([*MODELS, OTHER] if model is None else [model])
    ]
    assert unknown.mode.value in {each.mode.value for each in named}
    assert unknown.required_tier.value in {each.required_tier.value for each in named}
    for limit in unknown.limits:
        same = [found for each in named if (found := each.limit(limit.path)) is not None]
        if limit.fail is not None and not any(each.silent_on_coverage for each in named):
            assert limit.fail.value in {each.fail and each.fail.value for each in same}


def test_a_second_block_for_the_same_candidates_is_named_with_both_lines():
    text = TEXT + "- match: {model: org/a, family: llama}\n  mode: observe\n"
    with pytest.raises(PolicyError, match="1 problem") as caught:
        loaded(text)
    assert caught.value.message.splitlines()[1] == (
        "p.yml:18:3: match.3: a second block for model org/a of family llama; the first is in"
        " line 8; write one block"
    )


def test_the_kinds_of_candidates_are_all_pairs_of_names():
    assert selectors_of(loaded().levels) == (
        (OTHER, OTHER),
        (OTHER, "org/a"),
        ("llama", OTHER),
        ("llama", "org/a"),
    )


def test_more_limits_for_more_kinds_than_can_be_judged_are_refused():
    blocks = [
        {"match": {key: f"{key}{i}"}, "limits": {"sdi": {"fail": 0.1}}}
        for key in ("family", "model")
        for i in range(48)
    ]
    strata = {f"s{i}": {"nll-change": {"fail": 0.1}} for i in range(200)}
    policy = {
        "apiVersion": "sdi-gate/v1",
        "kind": "Policy",
        "metadata": {"name": "wide"},
        "limits": {"sdi": {"fail": 0.5}, "by-stratum": strata},
        "match": blocks,
    }
    text = json.dumps(policy)
    with pytest.raises(PolicyError, match="2401 kinds of candidates and 297 limits are too many"):
        parse_policy(text.encode(), path="p.yml")
    policy["match"] = blocks[:10]
    assert parse_policy(json.dumps(policy).encode(), path="p.yml").name == "wide"


def test_more_kinds_of_candidates_than_can_be_told_apart_are_refused():
    blocks = "".join(f"- match: {{family: f{i}}}\n  mode: enforce\n" for i in range(51))
    blocks += "".join(f"- match: {{model: m{i}}}\n  mode: enforce\n" for i in range(51))
    with pytest.raises(PolicyError, match=f"p.yml:8:1: match: .* more than {MAX_KINDS} kinds"):
        loaded(TEXT.partition("match:")[0] + "match:\n" + blocks)
