"""The published schema of manifests is what the code checks, as far as a schema can say it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from manifests import BASE, TUNE, document, entry
from pydantic import ValidationError

from sdi_gate.manifest.schema import SCHEMA_ID, Manifest, json_schema_text

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "policies" / "schema" / "candidates-v1.json"
EXAMPLE = Path(__file__).with_name("example.yml")


def is_valid(instance: object) -> bool:
    schema = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema).is_valid(instance)


def test_the_committed_schema_is_what_the_code_generates():
    assert PUBLISHED.read_text(encoding="utf-8") == json_schema_text()


def test_it_is_valid_draft_2020_12_and_describes_every_key():
    schema = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == SCHEMA_ID
    for mapping in (schema, *schema["$defs"].values()):
        assert mapping["additionalProperties"] is False
        assert all(found["description"] for found in mapping["properties"].values())
    assert '"null"' not in PUBLISHED.read_text(encoding="utf-8")


def test_the_example_is_valid_by_the_published_schema():
    assert is_valid(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")))


SAME = {
    "small": (document(), True),
    "all-keys": (document(entry(base=BASE, **{"registered-name": "x"}), base=BASE), True),
    "folder": (document(entry(candidate="file:models/tune")), True),
    "branch": (document(entry(candidate="hf:org/tune@main")), False),
    "absolute": (document(entry(candidate="file:/models")), False),
    "scheme": (document(entry(candidate="org/tune")), False),
    "unknown": (document(entry(more="x")), False),
    "unknown-on-top": (document(policy="x"), False),
    "no-name": (document({"candidate": TUNE}), False),
    "long-name": (document(entry("x" * 101)), False),
    "none": ({**document(), "candidates": []}, False),
    "many": (document(*(entry(str(i)) for i in range(201))), False),
    "kind": ({**document(), "kind": "Policy"}, False),
    "blank-registered-name": (document(entry(**{"registered-name": "a b"})), False),
}


@pytest.mark.parametrize(("instance", "expected"), SAME.values(), ids=SAME)
def test_code_and_schema_agree(instance: dict[str, object], expected: bool):
    assert is_valid(instance) is expected
    if expected:
        assert Manifest.model_validate(instance)
        return
    with pytest.raises(ValidationError, match="validation error"):
        Manifest.model_validate(instance)
