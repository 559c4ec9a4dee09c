"""Test the policies that are shipped: valid by two validators, explained, and ordered."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.facts import Facts, Tier
from sdi_gate.policy.loader import load_policy
from sdi_gate.policy.rules import rules_of
from sdi_gate.policy.schema import Mode
from sdi_gate.policy.verdict import Bound, Status

POLICIES = Path(__file__).parents[2] / "policies"
NAMES = ["default", "strict", "observe"]


def test_these_are_all_shipped_policies():
    assert sorted(file.stem for file in POLICIES.glob("*.y*ml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_policy_is_loaded_and_bears_the_name_of_its_file(name: str):
    assert load_policy(POLICIES / f"{name}.yml").policy.name == name


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_policy_is_valid_by_the_published_schema(name: str):
    schema = json.loads((POLICIES / "schema" / "v1.json").read_text(encoding="utf-8"))
    instance = yaml.safe_load((POLICIES / f"{name}.yml").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(instance)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_policy_says_that_it_is_provisional_and_how_to_tighten_it(name: str):
    text = (POLICIES / f"{name}.yml").read_text(encoding="utf-8")
    assert "THE FIGURES ARE PROVISIONAL." in text
    assert "# How to tighten" in text


def test_observe_is_default_that_blocks_nothing():
    default, observe = (load_policy(POLICIES / f"{name}.yml").policy for name in NAMES[::2])
    assert (default.mode, observe.mode) == (Mode.ENFORCE, Mode.OBSERVE)
    assert observe.limits == default.limits
    assert observe.required_tier is default.required_tier


def test_strict_demands_everything_that_default_demands_and_more():
    default, strict = (load_policy(POLICIES / f"{name}.yml").policy for name in NAMES[:2])
    assert strict.required_tier > default.required_tier
    stricter = {rule.path: rule.limit for rule in rules_of(strict)}
    assert len(stricter) > len(rules_of(default))
    for rule in rules_of(default):
        tight, loose = stricter[rule.path].fail, rule.limit.fail
        assert tight is not None
        assert loose is not None
        assert (tight < loose) if rule.limit.bound is Bound.UPPER else (tight > loose)


@pytest.mark.parametrize("name", NAMES)
def test_a_scan_that_measured_nothing_passes_no_shipped_policy(name: str):
    nothing = Facts(tier=Tier.FULL, coverage=1.0, sdi=None, sdi_plus=None, signals=())
    verdict = judge(load_policy(POLICIES / f"{name}.yml").policy, nothing)
    assert verdict.status is Status.INCONCLUSIVE
