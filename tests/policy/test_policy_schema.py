"""Test the format of policies and its published JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from sdi_gate.models.roles import Role
from sdi_gate.policy.facts import Tier
from sdi_gate.policy.format.published import schema_text
from sdi_gate.policy.format.schema import SCHEMA_ID, Policy, json_schema_text, keys_at
from sdi_gate.policy.format.shape import homes_of, known_keys
from sdi_gate.policy.format.texts import RoleName
from sdi_gate.policy.modes import Mode
from sdi_gate.policy.testing.cases import SCHEMA_ID as TEST_SCHEMA_ID
from sdi_gate.policy.testing.cases import PolicyTest

POLICIES = Path(__file__).parents[2] / "policies"
PUBLISHED = POLICIES / "schema" / "v1.json"
PUBLISHED_TESTS = POLICIES / "schema" / "test-v1.json"

DIGEST = "sha256:" + "0f" * 32
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WAIVER = {
    "id": "W-1",
    "owner": "model-team",
    "reason": "The safety texts were rewritten; their limits follow.",
    "approved-by": "model-governance",
    "granted": "2026-11-01",
    "expires": "2026-12-31",
    "model": "org/name",
    "metric": "sdi",
    "limit": 0.7,
}


def document(limits: object = None, **rest: object) -> dict[str, Any]:
    """Return a policy; an underscore in a name stands for a hyphen."""
    head = {"apiVersion": "sdi-gate/v1", "kind": "Policy", "metadata": {"name": "trial"}}
    limits = {"sdi": {"fail": 0.5}} if limits is None else limits
    return head | {"limits": limits} | {key.replace("_", "-"): rest[key] for key in rest}


def waived(**changes: object) -> dict[str, Any]:
    return document(waivers=[WAIVER | {key.replace("_", "-"): changes[key] for key in changes}])


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in document().items() if name != key}


def is_published_as_valid(instance: object) -> bool:
    schema = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema).is_valid(instance)


def nodes(node: object) -> list[dict[str, Any]]:
    """Return every mapping of a JSON document."""
    if isinstance(node, list):
        return [found for inner in node for found in nodes(inner)]
    if not isinstance(node, dict):
        return []
    return [node, *(found for inner in node.values() for found in nodes(inner))]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        pytest.param(PUBLISHED, json_schema_text(), id="policies"),
        pytest.param(PUBLISHED_TESTS, schema_text(PolicyTest, TEST_SCHEMA_ID), id="policy-tests"),
    ],
)
def test_the_committed_schema_is_what_the_code_generates(file: Path, text: str):
    assert file.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("file", "schema_id"),
    [
        pytest.param(PUBLISHED, SCHEMA_ID, id="policies"),
        pytest.param(PUBLISHED_TESTS, TEST_SCHEMA_ID, id="policy-tests"),
    ],
)
class TestPublished:
    def test_it_is_valid_draft_2020_12_with_an_id(self, file: Path, schema_id: str):
        schema = json.loads(file.read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert schema["$id"] == schema_id
        assert schema["title"]

    def test_every_property_has_a_description(self, file: Path, schema_id: str):
        schema = json.loads(file.read_text(encoding="utf-8"))
        found = [item for node in nodes(schema) for item in node.get("properties", {}).items()]
        assert len(found) > 40, schema_id
        # One that is the very description of what it refers to stands there alone.
        shared = {f"#/$defs/{name}": inner for name, inner in schema["$defs"].items()}
        said = [inner | shared.get(inner.get("$ref"), {}) for _, inner in found]
        assert [inner for inner in said if not inner.get("description")] == []

    def test_no_mapping_takes_keys_that_it_does_not_know(self, file: Path, schema_id: str):
        schema = json.loads(file.read_text(encoding="utf-8"))
        mappings = [node for node in nodes(schema) if node.get("type") == "object"]
        assert len(mappings) > 15, schema_id
        for node in mappings:
            by_rule = "propertyNames" in node and "additionalProperties" in node
            assert node["additionalProperties"] is False or by_rule, node

    def test_nothing_may_be_null(self, file: Path, schema_id: str):
        assert '"null"' not in file.read_text(encoding="utf-8"), schema_id
        assert '"default": null' not in file.read_text(encoding="utf-8")


def test_a_small_policy_states_nothing_that_it_does_not_say():
    policy = Policy.model_validate(document())
    assert policy.metadata.name == "trial"
    assert policy.model_dump(exclude_none=True, by_alias=True) == document()


def test_a_policy_cannot_be_changed():
    policy = Policy.model_validate(document())
    with pytest.raises(ValidationError, match="frozen"):
        policy.kind = "other"


UNIT = {"warn": 0, "fail": 1}
DISTANCE = {"warn": 0, "fail": 12.5}
CHANGE = {"warn": -3, "fail": 7}
SIGNALS = {
    "spectral-divergence": DISTANCE,
    "representation-drift": DISTANCE,
    "curvature-shift": DISTANCE,
    "weight-geometry": DISTANCE,
}
BEHAVIOUR = {"kl-divergence": DISTANCE, "nll-change": CHANGE, "top1-flip-rate": UNIT}
EVERY_LIMIT: dict[str, Any] = {
    "sdi": UNIT,
    "sdi-plus": UNIT,
    "predicted-degradation": {
        "mean": UNIT | {"confidence": 0.9},
        "axes": {"Safety (English)": {"fail": 0.1, "confidence": 0.95}},
    },
    "signals": SIGNALS,
    "behaviour": BEHAVIOUR,
    "coverage": {"warn": 1, "fail": 0},
    "by-stratum": {
        "safety": BEHAVIOUR | {"representation-drift": DISTANCE, "curvature-shift": DISTANCE},
        "Général": {"nll-change": CHANGE},
    },
    "by-layer": {
        "layers.0-3": SIGNALS,
        "layers.*": {"weight-geometry": DISTANCE},
        "layers.17": {"weight-geometry": DISTANCE},
        "embedding": {"weight-geometry": DISTANCE},
        "head": {"weight-geometry": DISTANCE},
    },
    "by-role": {
        "router": {"spectral-divergence": DISTANCE, "weight-geometry": DISTANCE},
        "q": {"weight-geometry": DISTANCE},
    },
}
EVERYTHING = document(
    EVERY_LIMIT,
    metadata={
        "name": "all",
        "owner": "model-governance",
        "contact": "the governance desk",
        "description": "All that there is.\nIn lines.",
        "version": "2.1",
        "revision": 3,
    },
    extends="./base.yml",
    mode="warn",
    required_tier="full",
    standard_errors=2,
    notices="fail",
    required_calibration={"families": ["llama", "qwen2"], "min-pairs": 40, "in-scope": False},
    required_parameters={"seed": 0, "depth-weights": "uniform", "x": True, "y": 0.5},
    accepted_formats=["full", "adapter"],
    allowed_bases=[
        {"name": "org/base", "revision": COMMIT},
        {"name": "org/base"},
        {"digest": DIGEST},
    ],
    allowed_families=["llama"],
    allowed_quantisations=["none", "bitsandbytes-nf4"],
    maximum_age=30,
    match=[
        {"match": {"family": "llama", "model": "org/name"}, "limits": {"sdi": {"fail": 0.3}}},
        {"match": {"family": "llama"}, "mode": "enforce"},
        {"match": {"model": "org/name"}, "required-tier": "full"},
    ],
    maximum_waiver_days=120,
    waivers=[WAIVER | {"ticket": "GOV-12", "candidate-digest": DIGEST}],
    documentation={"intended-change": "Support texts in German.", "reviewer": "second line"},
)


ACCEPTED = {
    "everything": EVERYTHING,
    "small": document(),
    "child-without-limits": without("limits") | {"extends": "org/rules//base.yml@" + COMMIT},
    "warn-at-fail": document({"sdi": {"warn": 0.5, "fail": 0.5}, "coverage": UNIT | {"warn": 1}}),
    "empty-calibration-key": document(required_calibration={"in-scope": True}),
}


@pytest.mark.parametrize("instance", ACCEPTED.values(), ids=ACCEPTED)
def test_code_and_published_schema_accept_the_same(instance: dict[str, Any]):
    assert Policy.model_validate(instance)
    assert is_published_as_valid(instance)


def test_everything_that_the_schema_knows_is_in_the_policy_with_everything():
    schema = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    known = {key for node in nodes(schema) for key in node.get("properties", {})}
    used = {key for node in nodes(EVERYTHING) for key in node}
    assert known <= used


REFUSED = {
    "no-limit": (document({}), "sets nothing; give at least one of sdi,"),
    "no-step": (document({"sdi": {}}), "give at least one of warn, fail"),
    "no-signal": (document({"signals": {}}), "sets nothing"),
    "no-stratum": (document({"by-stratum": {}}), "at least 1 item"),
    "no-limit-on-a-stratum": (document({"by-stratum": {"a": {}}}), "sets nothing"),
    "confidence-alone": (
        document({"predicted-degradation": {"mean": {"confidence": 0.5}}}),
        "sets no limit",
    ),
    "no-confidence": (document({"predicted-degradation": {"mean": UNIT}}), "required"),
    "confidence-1": (
        document({"predicted-degradation": {"mean": UNIT | {"confidence": 1}}}),
        "less than 1",
    ),
    "sdi-high": (document({"sdi": {"fail": 1.1}}), "less than or equal to 1"),
    "sdi-low": (document({"sdi": {"warn": -0.1}}), "or equal to 0"),
    "coverage": (document({"coverage": {"fail": 1.5}}), "or equal to 1"),
    "flips": (document({"behaviour": {"top1-flip-rate": {"fail": 1.5}}}), "equal to 1"),
    "kl": (document({"behaviour": {"kl-divergence": {"fail": -1}}}), "equal to 0"),
    "signal": (document({"signals": {"weight-geometry": {"warn": -1}}}), "equal to 0"),
    "text": (document({"sdi": {"fail": "0.5"}}), "valid number"),
    "truth-value": (document({"sdi": {"fail": True}}), "valid number"),
    "unknown-step": (document({"sdi": {"fial": 0.5}}), "not permitted"),
    "unknown-limit": (document({"SDI": {"fail": 0.5}}), "not permitted"),
    "python-name": (document({"sdi_plus": {"fail": 0.5}}), "not permitted"),
    "unknown-key": (document(extra=1), "not permitted"),
    "role": (document({"by-role": {"attn": {"weight-geometry": UNIT}}}), "'embedding', 'head'"),
    "layer": (document({"by-layer": {"layer.3": SIGNALS}}), "pattern"),
    "layer-without-number": (document({"by-layer": {"layers": SIGNALS}}), "pattern"),
    "layer-with-zero": (document({"by-layer": {"layers.03": SIGNALS}}), "pattern"),
    "open-range": (document({"by-layer": {"layers.3-": SIGNALS}}), "pattern"),
    "activations-of-a-role": (
        document({"by-role": {"q": {"representation-drift": UNIT}}}),
        "not permitted",
    ),
    "stratum-with-blank": (document({"by-stratum": {" a": BEHAVIOUR}}), "pattern"),
    "long-stratum": (document({"by-stratum": {"a" * 61: BEHAVIOUR}}), "at most 60"),
    "empty-name": (document(metadata={"name": ""}), "at least 1 character"),
    "long-name": (document(metadata={"name": "n" * 65}), "at most 64 characters"),
    "capital-name": (document(metadata={"name": "Trial"}), "pattern"),
    "blank-owner": (document(metadata={"name": "a", "owner": " "}), "pattern"),
    "two-line-owner": (document(metadata={"name": "a", "owner": "a\nb"}), "pattern"),
    "revision-0": (document(metadata={"name": "a", "revision": 0}), "equal to 1"),
    "revision-text": (document(metadata={"name": "a", "revision": "1"}), "valid integer"),
    "mode": (document(mode="off"), "'observe', 'warn' or 'enforce'"),
    "tier": (document(required_tier="all"), "'weights', 'probe'"),
    "notices": (document(notices="ignore"), "'warn' or 'fail'"),
    "standard-errors": (document(standard_errors=-1), "equal to 0"),
    "age": (document(maximum_age=0), "greater than 0"),
    "waiver-days": (document(maximum_waiver_days=367), "equal to 366"),
    "format": (document(accepted_formats=["full", "pickle"]), "'full', 'adapter' or 'gguf'"),
    "no-formats": (document(accepted_formats=[]), "at least 1 item"),
    "one-format": (document(accepted_formats="full"), "valid tuple"),
    "twice": (document(allowed_families=["a", "b", "a"]), "item 2 is the same as item 0"),
    "format-twice": (document(accepted_formats=["full", "full"]), "item 1 is the same"),
    "quantisation-twice": (document(allowed_quantisations=["x", "x"]), "item 1 is the same"),
    "family-twice": (
        document(required_calibration={"families": ["a", "a"]}),
        "item 1 is the same",
    ),
    "base-twice": (
        document(allowed_bases=[{"name": "a", "digest": DIGEST}, {"digest": DIGEST, "name": "a"}]),
        "item 1 is the same",
    ),
    "base-by-commit-alone": (document(allowed_bases=[{"revision": COMMIT}]), "the name or the"),
    "base-by-branch": (document(allowed_bases=[{"name": "a", "revision": "main"}]), "pattern"),
    "base-without-anything": (document(allowed_bases=[{}]), "sets nothing"),
    "short-digest": (document(allowed_bases=[{"digest": "sha256:0f"}]), "pattern"),
    "selector": (document(match=[{"match": {}, "mode": "warn"}]), "one of family, model"),
    "block-without-demand": (document(match=[{"match": {"family": "a"}}]), "demands nothing"),
    "block-without-selector": (document(match=[{"mode": "warn"}]), "required"),
    "no-blocks": (document(match=[]), "at least 1 item"),
    "calibration": (document(required_calibration={}), "sets nothing"),
    "parameters": (document(required_parameters={}), "at least 1 item"),
    "parameter-list": (document(required_parameters={"a": [1]}), "valid integer"),
    "documentation": (document(documentation={}), "at least 1 item"),
    "documentation-name": (document(documentation={"Intended change": "x"}), "pattern"),
    "documentation-flood": (
        document(documentation={f"k{i}": "x" for i in range(41)}),
        "at most 40 items",
    ),
    "waiver-without-reason": (
        document(waivers=[{key: WAIVER[key] for key in WAIVER if key != "reason"}]),
        "required",
    ),
    "waiver-with-blank-reason": (waived(reason="  "), "pattern"),
    "waiver-id": (waived(id="W 1"), "pattern"),
    "waiver-off": (waived(limit="off"), "valid number"),
    "waiver-without-limit": (waived(limit=True), "valid number"),
    "waiver-date": (waived(expires="31.12.2026"), "pattern"),
    "waiver-time": (waived(expires="2026-12-31T10:00:00"), "pattern"),
    "no-api-version": (without("apiVersion"), "required"),
    "no-kind": (without("kind"), "required"),
    "no-metadata": (without("metadata"), "required"),
    "other-api-version": (document() | {"apiVersion": "sdi-gate/v2"}, "'sdi-gate/v1'"),
    "other-kind": (document(kind="PolicyTest"), "'Policy'"),
}


@pytest.mark.parametrize(("instance", "match"), REFUSED.values(), ids=REFUSED)
def test_code_and_published_schema_refuse_the_same(instance: dict[str, Any], match: str):
    with pytest.raises(ValidationError, match=match):
        Policy.model_validate(instance)
    assert not is_published_as_valid(instance)


# A JSON Schema cannot say these.
REFUSED_BY_CODE_ALONE = {
    "upper-order": (
        document({"sdi": {"warn": 0.6, "fail": 0.5}}),
        r"warn \(0\.6\) must be at most fail \(0\.5\)",
    ),
    "lower-order": (
        document({"coverage": {"warn": 0.9, "fail": 0.95}}),
        r"warn \(0\.9\) must be at least fail \(0\.95\)",
    ),
    "no-such-day": (waived(expires="2026-02-30"), "no day 2026-02-30 in the calendar"),
    "no-such-month": (waived(granted="2026-13-01"), "no day 2026-13-01"),
    "no-leap-year": (waived(expires="2027-02-29"), "no day 2027-02-29"),
    "year-0": (waived(granted="0000-01-01"), "no day 0000-01-01"),
    "range": (
        document({"by-layer": {"layers.3-1": SIGNALS}}),
        r"range layers\.3-1 ends before it begins",
    ),
}


@pytest.mark.parametrize(
    ("instance", "match"), REFUSED_BY_CODE_ALONE.values(), ids=REFUSED_BY_CODE_ALONE
)
def test_code_refuses_what_a_schema_cannot_say(instance: dict[str, Any], match: str):
    with pytest.raises(ValidationError, match=match):
        Policy.model_validate(instance)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "built",
    [
        lambda x: document({"behaviour": {"nll-change": {"warn": x}}}),
        lambda x: document({"sdi": {"fail": x}}),
        lambda x: waived(limit=x),
        lambda x: document(standard_errors=x),
        lambda x: document(maximum_age=x),
    ],
    ids=["nll-change", "sdi", "waiver", "standard-errors", "maximum-age"],
)
def test_a_number_is_a_finite_number(built, number: float):
    with pytest.raises(ValidationError, match="finite number"):
        Policy.model_validate(built(number))


def test_a_day_is_a_day_of_the_calendar():
    policy = Policy.model_validate(waived(expires="2028-02-29"))
    assert policy.waivers is not None
    assert policy.waivers[0].first_day.isoformat() == "2026-11-01"
    assert policy.waivers[0].last_day.isoformat() == "2028-02-29"


def test_the_roles_of_a_policy_are_those_of_the_models():
    assert list(RoleName.__args__) == [role.value for role in Role]


@pytest.mark.parametrize("file", sorted(POLICIES.rglob("*.yml")), ids=lambda file: file.name)
def test_every_shipped_file_is_valid_by_its_published_schema(file: Path):
    loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    schema = PUBLISHED_TESTS if loaded["kind"] == "PolicyTest" else PUBLISHED
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    # A date is text to the schema, as it is to sdi-gate.
    plain = json.loads(json.dumps(loaded, default=lambda day: day.isoformat()))
    assert [error.message for error in validator.iter_errors(plain)] == []


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ((), ("apiVersion", "kind", "metadata")),
        (("limits", "behaviour", "top1-flip-rate"), ("warn", "fail")),
        (("limits", "by-stratum", "any"), ("representation-drift", "curvature-shift")),
        (("limits", "predicted-degradation", "axes", "any"), ("warn", "fail", "confidence")),
        (("match", "7", "match"), ("family", "model")),
        (("match", "7", "limits", "coverage"), ("warn", "fail")),
        (("documentation",), ()),
        (("documentation", "a"), ()),
        (("nowhere", "at", "all"), ()),
    ],
    ids=lambda value: ".".join(value) or "none",
)
def test_keys_are_known_at_every_place(path: tuple[str, ...], keys: tuple[str, ...]):
    assert keys_at(path)[: len(keys)] == keys
    assert bool(keys_at(path)) is bool(keys)


def test_keys_of_another_format_are_known_too():
    assert known_keys(PolicyTest, ("cases", "0", "expect"))[:2] == ("verdict", "gate")


def test_a_key_has_homes_in_any_spelling():
    assert homes_of(Policy, "nllChange") == (
        ("limits.behaviour", "nll-change"),
        ("limits.by-stratum.<name>", "nll-change"),
    )
    assert homes_of(Policy, "family") == (("match[].match", "family"),)
    assert homes_of(Policy, "MODE") == (("", "mode"), ("match[]", "mode"))
    assert homes_of(Policy, "nowhere") == ()


def test_modes_are_ordered_from_the_mildest_to_the_strictest():
    assert sorted(Mode, key=lambda mode: mode.rank) == [Mode.OBSERVE, Mode.WARN, Mode.ENFORCE]


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
