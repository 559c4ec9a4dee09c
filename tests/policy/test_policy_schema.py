"""Test the format of policies and its published JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from sdi_gate.policy.facts import Tier
from sdi_gate.policy.rules import rules_of
from sdi_gate.policy.schema import SCHEMA_ID, Mode, Policy, json_schema_text, keys_at

PUBLISHED = Path(__file__).parents[2] / "policies" / "schema" / "v1.json"


def document(limits: object = None, **rest: object) -> dict[str, Any]:
    limits = {"sdi": {"fail": 0.5}} if limits is None else limits
    return {"version": 1, "name": "trial", "limits": limits} | rest


def published_schema() -> Any:
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))


def is_published_as_valid(instance: object) -> bool:
    return jsonschema.Draft202012Validator(published_schema()).is_valid(instance)


def properties(node: object) -> list[tuple[str, Any]]:
    if isinstance(node, list):
        return [found for inner in node for found in properties(inner)]
    if not isinstance(node, dict):
        return []
    here = list(node.get("properties", {}).items())
    return here + [found for inner in node.values() for found in properties(inner)]


def test_the_committed_schema_is_what_the_code_generates():
    assert PUBLISHED.read_text(encoding="utf-8") == json_schema_text()


def test_the_published_schema_is_valid_draft_2020_12_with_id_and_title():
    schema = published_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == SCHEMA_ID
    assert schema["title"] == "sdi-gate policy, version 1"


def test_every_published_property_has_a_description():
    found = properties(published_schema())
    assert len(found) > 20
    assert [name for name, schema in found if not schema.get("description")] == []


def test_no_published_property_may_be_null():
    assert '"null"' not in PUBLISHED.read_text(encoding="utf-8")
    assert '"default": null' not in PUBLISHED.read_text(encoding="utf-8")


def test_a_small_policy_gets_the_documented_defaults():
    policy = Policy.model_validate(document())
    assert policy.mode is Mode.ENFORCE
    assert policy.required_tier is Tier.PROBE
    assert policy.owner is None
    assert policy.description is None
    assert [str(rule) for rule in rules_of(policy)] == ["limits.sdi"]


def test_a_policy_cannot_be_changed():
    policy = Policy.model_validate(document())
    with pytest.raises(ValidationError, match="frozen"):
        policy.name = "other"


UNIT = {"warn": 0, "fail": 1}
DISTANCE = {"warn": 0, "fail": 12.5}
EVERY_LIMIT: dict[str, Any] = {
    "sdi": UNIT,
    "sdi-plus": UNIT,
    "signals": {
        "spectral-divergence": DISTANCE,
        "representation-drift": DISTANCE,
        "curvature-shift": DISTANCE,
        "weight-geometry": DISTANCE,
    },
    "behaviour": {
        "kl-divergence": DISTANCE,
        "nll-change": {"warn": -3, "fail": 7},
        "top1-flip-rate": UNIT,
    },
    "coverage": {"warn": 1, "fail": 0},
}


def test_a_policy_with_every_limit_is_valid_and_has_its_rules_in_schema_order():
    full = document(
        EVERY_LIMIT, owner="us", description="all", mode="observe", **{"required-tier": "full"}
    )
    assert is_published_as_valid(full)
    assert [str(rule) for rule in rules_of(Policy.model_validate(full))] == [
        "limits.sdi",
        "limits.sdi-plus",
        "limits.signals.spectral-divergence",
        "limits.signals.representation-drift",
        "limits.signals.curvature-shift",
        "limits.signals.weight-geometry",
        "limits.behaviour.kl-divergence",
        "limits.behaviour.nll-change",
        "limits.behaviour.top1-flip-rate",
        "limits.coverage",
    ]


def test_rules_come_in_schema_order_whatever_the_order_of_the_file():
    turned = {key: EVERY_LIMIT[key] for key in reversed(EVERY_LIMIT)}
    first, second = (Policy.model_validate(document(limits)) for limits in (EVERY_LIMIT, turned))
    assert rules_of(first) == rules_of(second)


@pytest.mark.parametrize(
    ("instance", "match"),
    [
        pytest.param(document({}), "sets no limit", id="no-limit"),
        pytest.param(document({"sdi": {}}), "give at least one of warn, fail", id="no-bound"),
        pytest.param(document({"signals": {}}), "sets no limit", id="no-signal"),
        pytest.param(document({"behaviour": {}}), "sets no limit", id="no-behaviour"),
        pytest.param(document({"coverage": {}}), "sets no limit", id="no-coverage"),
        pytest.param(document({"sdi": {"fail": 1.1}}), "less than or equal to 1", id="sdi-high"),
        pytest.param(document({"sdi": {"warn": -0.1}}), "or equal to 0", id="sdi-low"),
        pytest.param(document({"sdi-plus": {"fail": 2}}), "or equal to 1", id="sdi-plus"),
        pytest.param(document({"coverage": {"fail": 1.5}}), "or equal to 1", id="coverage"),
        pytest.param(
            document({"behaviour": {"top1-flip-rate": {"fail": 1.5}}}), "equal to 1", id="flips"
        ),
        pytest.param(
            document({"behaviour": {"kl-divergence": {"fail": -1}}}), "equal to 0", id="kl"
        ),
        pytest.param(
            document({"signals": {"weight-geometry": {"warn": -1}}}), "equal to 0", id="signal"
        ),
        pytest.param(document({"sdi": {"fail": "0.5"}}), "valid number", id="text"),
        pytest.param(document({"sdi": {"fail": True}}), "valid number", id="truth-value"),
        pytest.param(document({"sdi": {"fial": 0.5}}), "not permitted", id="unknown-bound"),
        pytest.param(document({"SDI": {"fail": 0.5}}), "not permitted", id="unknown-limit"),
        pytest.param(
            document({"sdi_plus": {"fail": 0.5}}), "not permitted", id="python-name-of-a-key"
        ),
        pytest.param(document(extra=1), "not permitted", id="unknown-key"),
        pytest.param(document(name=""), "at least 1 character", id="empty-name"),
        pytest.param(document(name="n" * 65), "at most 64 characters", id="long-name"),
        pytest.param(document(name="Trial"), "pattern", id="capital-name"),
        pytest.param(document(name="a b"), "pattern", id="spaced-name"),
        pytest.param(document(owner=""), "at least 1 character", id="empty-owner"),
        pytest.param(document(mode="warn"), "'enforce' or 'observe'", id="mode"),
        pytest.param(document(**{"required-tier": "all"}), "'weights', 'probe'", id="tier"),
        pytest.param(document(version=2), "version 1 of the format", id="version-2"),
        pytest.param(document(version="1"), "version 1 of the format", id="version-text"),
        pytest.param(document(version=True), "version 1 of the format", id="version-truth-value"),
        pytest.param({"name": "a", "limits": {"sdi": {"fail": 1}}}, "required", id="no-version"),
        pytest.param({"version": 1, "limits": {"sdi": {"fail": 1}}}, "required", id="no-name"),
        pytest.param({"version": 1, "name": "a"}, "required", id="no-limits"),
    ],
)
def test_code_and_published_schema_refuse_the_same(instance: dict[str, Any], match: str):
    with pytest.raises(ValidationError, match=match):
        Policy.model_validate(instance)
    assert not is_published_as_valid(instance)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "limits",
    [lambda x: {"behaviour": {"nll-change": {"warn": x}}}, lambda x: {"sdi": {"fail": x}}],
    ids=["nll-change", "sdi"],
)
def test_a_limit_is_a_finite_number(limits, number: float):
    with pytest.raises(ValidationError, match="finite number"):
        Policy.model_validate(document(limits(number)))


def test_version_must_be_the_integer_1_and_not_1_0():
    with pytest.raises(ValidationError, match="version 1 of the format"):
        Policy.model_validate(document(version=1.0))


def test_an_upper_limit_warns_before_it_fails():
    with pytest.raises(ValidationError, match=r"warn \(0\.6\) must be at most fail \(0\.5\)"):
        Policy.model_validate(document({"sdi": {"warn": 0.6, "fail": 0.5}}))


def test_a_lower_limit_warns_before_it_fails():
    with pytest.raises(ValidationError, match=r"warn \(0\.9\) must be at least fail \(0\.95\)"):
        Policy.model_validate(document({"coverage": {"warn": 0.9, "fail": 0.95}}))


@pytest.mark.parametrize("key", ["sdi", "coverage"])
def test_warn_may_equal_fail(key: str):
    assert Policy.model_validate(document({key: {"warn": 0.5, "fail": 0.5}}))


def test_keys_are_known_at_every_place():
    assert keys_at(())[:2] == ("version", "name")
    assert keys_at(("limits",)) == ("sdi", "sdi-plus", "signals", "behaviour", "coverage")
    assert keys_at(("limits", "behaviour", "top1-flip-rate")) == ("warn", "fail")


def test_tiers_are_ordered_by_what_they_look_at_and_not_by_the_alphabet():
    weights, probe, full = Tier.WEIGHTS, Tier.PROBE, Tier.FULL
    assert sorted([full, weights, probe]) == [weights, probe, full]
    assert weights < probe < full
    assert full > probe > weights
    assert weights <= Tier("weights") <= full
    assert full >= Tier("full") >= weights
    assert not weights >= probe
    assert not full <= probe
    assert [tier.rank for tier in Tier] == [0, 1, 2]


def test_a_tier_is_not_compared_with_another_text():
    with pytest.raises(ValueError, match="not a valid Tier"):
        assert Tier.FULL > "everything"
