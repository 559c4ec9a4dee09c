"""Test the identity of a policy and its description: both depend on its meaning only."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.policy.describe import describe
from sdi_gate.policy.loader import LoadedPolicy, digest_of, parse_policy

GOOD = "version: 1\nname: trial\nlimits:\n  sdi:\n    fail: 0.5\n"


def parse(text: str) -> LoadedPolicy:
    return parse_policy(text.encode(), path="p.yml")


DOCUMENT: dict[str, Any] = {
    "version": 1,
    "name": "trial",
    "owner": "us",
    "mode": "observe",
    "limits": {
        "sdi": {"warn": 0.25, "fail": 1},
        "behaviour": {"nll-change": {"fail": -0.5}, "top1-flip-rate": {"warn": 0.125}},
        "coverage": {"warn": 1, "fail": 0.5},
    },
}


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """Write DOCUMENT with any order of keys, any quotes, any comments, in block or flow style."""

    def text(value: str) -> str:
        return draw(st.sampled_from([value, f"'{value}'", f'"{value}"']))

    def value(node: object) -> str:
        return (
            text(node) if isinstance(node, str) else draw(st.sampled_from([f"{node}", f" {node}"]))
        )

    def block(node: dict[str, Any], indent: str) -> str:
        lines = ""
        for key in draw(st.permutations(list(node))):
            lines += draw(st.sampled_from(["", f"{indent}# a comment\n", "\n"]))
            inner = node[key]
            if not isinstance(inner, dict):
                lines += f"{indent}{text(key)}: {value(inner)}  # why\n"
            elif draw(st.booleans()):
                lines += f"{indent}{text(key)}: {flow(inner)}\n"
            else:
                lines += f"{indent}{text(key)}:\n{block(inner, indent + '  ')}"
        return lines

    def flow(node: dict[str, Any]) -> str:
        pairs = (
            f"{text(key)}: {flow(node[key]) if isinstance(node[key], dict) else value(node[key])}"
            for key in draw(st.permutations(list(node)))
        )
        return "{" + ", ".join(pairs) + "}"

    return block(DOCUMENT, "")


@given(spellings())
def test_the_digest_is_independent_of_comments_order_and_quotes(text: str):
    assert parse(text).digest == parse(json.dumps(DOCUMENT)).digest


def test_the_digest_is_that_of_canonical_json_with_defaults():
    bounds = '{"fail":0.5,"warn":null}'
    empty = '"behaviour":null,"coverage":null'
    canonical = (
        f'{{"description":null,"limits":{{{empty},"sdi":{bounds},"sdi-plus":null,"signals":null}},'
        '"mode":"enforce","name":"trial","owner":null,"required-tier":"probe","version":1}'
    )
    loaded = parse(GOOD)
    assert loaded.digest == "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()
    assert loaded.digest == digest_of(loaded.policy)


@pytest.mark.parametrize(
    "change",
    [("0.5", "0.51"), ("trial", "other"), ("fail", "warn"), ("sdi", "sdi-plus")],
    ids=["limit", "name", "bound", "rule"],
)
def test_another_demand_has_another_digest(change: tuple[str, str]):
    assert parse(GOOD.replace(*change)).digest != parse(GOOD).digest


def test_a_default_that_is_written_out_does_not_change_the_digest():
    written = GOOD + "mode: enforce\nrequired-tier: probe\n"
    assert parse(written).digest == parse(GOOD).digest


def test_a_policy_is_described_in_plain_lines():
    loaded = parse(json.dumps(DOCUMENT | {"description": "A trial.\n", "required-tier": "probe"}))
    assert describe(loaded).splitlines() == [
        "Policy trial, owned by us",
        "Description:",
        "    A trial.",
        "File: p.yml",
        f"Digest: {loaded.digest}",
        "Mode observe: the verdict is reported, and the gate stays open.",
        "Required tier: probe; a scan of a lower tier is inconclusive.",
        "Limits:",
        "  sdi: warns above 0.25, fails above 1.0",
        "  behaviour.nll-change: fails above -0.5",
        "  behaviour.top1-flip-rate: warns above 0.125",
        "  coverage: warns below 1.0, fails below 0.5",
    ]


def test_a_policy_without_owner_and_description_is_described_without_them():
    lines = describe(parse(GOOD)).splitlines()
    assert lines[:2] == ["Policy trial", "File: p.yml"]
    assert "Mode enforce: a verdict of fail or inconclusive closes the gate." in lines
