"""Test the identity of a policy: it depends on what is demanded, and on nothing else."""

from __future__ import annotations

import json
from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from policy_strategies import (
    NOW,
    children,
    documents,
    facts,
    families_of_policies,
    parse,
    present,
    put,
)

from sdi_gate.errors import PolicyError
from sdi_gate.policy.chain.canonical import canonical_text, digest_of
from sdi_gate.policy.chain.demands import stricter
from sdi_gate.policy.chain.matching import demands_of, selectors_of
from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.loader import parse_policy

if TYPE_CHECKING:
    from policy_strategies import Document

    from sdi_gate.policy.chain.demands import Demands
    from sdi_gate.policy.facts import Facts
    from sdi_gate.policy.loader import LoadedPolicy

HEAD = {"apiVersion": "sdi-gate/v1", "kind": "Policy", "metadata": {"name": "trial"}}
DOCUMENT: dict[str, Any] = {
    **HEAD,
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
    assert parse_policy(text.encode(), path="other.yml").digest == parse(DOCUMENT).digest


CANONICAL = """\
{"demands":[{"bases":null,"calibration-families":null,"calibration-in-scope":null,\
"calibration-pairs":null,"families":null,"family":"","formats":null,\
"limits":{"limits.sdi":{"confidence":null,"fail":0.5,"warn":null}},"maximum-age":null,\
"mode":"enforce","model":"","notices":"warn","parameters":[],"quantisations":null,\
"required-tier":"probe","standard-errors":1.0}],"documentation":{},"format":"sdi-gate/v1",\
"maximum-waiver-days":90,"metadata":{"contact":null,"description":null,"name":"trial",\
"owner":null,"revision":null,"version":null},"waived":[]}"""
SMALL = {**HEAD, "limits": {"sdi": {"fail": 0.5}}}


def test_the_canonical_text_has_every_demand_with_its_default():
    loaded = parse(SMALL)
    assert canonical_text(loaded.levels) == CANONICAL
    assert loaded.digest == digest_of(loaded.levels)


def waiver(**changes: object) -> list[Document]:
    return [
        {
            "id": "W-1",
            "owner": "team",
            "reason": "known",
            "approved-by": "model-governance",
            "granted": "2026-11-01",
            "expires": "2026-11-30",
            "model": "org/m",
            "metric": "sdi",
            "limit": 0.75,
            **changes,
        }
    ]


LLAMA = {"match": {"family": "llama"}, "mode": "enforce"}
CHANGES: dict[str, Document] = {
    "limit": {"limits": {"sdi": {"fail": 0.51}}},
    "step": {"limits": {"sdi": {"warn": 0.5}}},
    "rule": {"limits": {"sdi-plus": {"fail": 0.5}}},
    "name": {"metadata": {"name": "other"}},
    "revision": {"metadata": {"name": "trial", "revision": 1}},
    "mode": {"mode": "warn"},
    "tier": {"required-tier": "full"},
    "standard-errors": {"standard-errors": 2},
    "notices": {"notices": "fail"},
    "calibration": {"required-calibration": {"min-pairs": 3}},
    "parameters": {"required-parameters": {"seed": 0}},
    "formats": {"accepted-formats": ["full"]},
    "bases": {"allowed-bases": [{"name": "org/x"}]},
    "families": {"allowed-families": ["llama"]},
    "quantisations": {"allowed-quantisations": ["none"]},
    "age": {"maximum-age": 3},
    "block": {"match": [{**LLAMA, "mode": "warn"}]},
    "waiver-days": {"maximum-waiver-days": 30},
    "waiver": {"waivers": waiver()},
    "documentation": {"documentation": {"reviewer": "a role"}},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_demand_has_another_digest(change: Document):
    assert parse({**SMALL, **change}).digest != parse(SMALL).digest


@pytest.mark.parametrize(
    "change",
    [{"limit": 0.8}, {"expires": "2026-11-29"}, {"model": "org/n"}, {"reason": "other"}],
    ids=["limit", "expires", "model", "reason"],
)
def test_another_waiver_has_another_digest(change: Document):
    waived, other = (parse({**SMALL, "waivers": waiver(**each)}) for each in ({}, change))
    assert waived.digest != other.digest


def test_the_order_of_waivers_changes_nothing():
    both = [*waiver(), *waiver(id="W-2", limit=0.8)]
    assert (
        parse({**SMALL, "waivers": both}).digest == parse({**SMALL, "waivers": both[::-1]}).digest
    )


def test_a_default_that_is_written_out_does_not_change_the_digest():
    written = {
        "mode": "enforce",
        "required-tier": "probe",
        "standard-errors": 1,
        "notices": "warn",
        "maximum-waiver-days": 90,
    }
    assert parse({**SMALL, **written}).digest == parse(SMALL).digest


def test_which_file_has_a_waiver_matters_because_it_raises_that_file_s_limits():
    above = {**SMALL, "waivers": waiver()}
    assert parse(SMALL, above).digest != parse(above, SMALL).digest


def test_a_child_that_demands_what_its_parent_waives_is_another_policy():
    above = {**SMALL, "waivers": waiver()}
    assert parse(SMALL, above).digest != parse(above).digest


def test_silence_on_coverage_is_not_taken_for_a_child_that_leaves_it_to_its_parent():
    # Beside a silent root, the other file's limit on coverage is full coverage, waiver or not.
    plain = {**SMALL, "mode": "observe", "required-tier": "weights", "standard-errors": 0}
    full = {**plain, "limits": {"sdi": {"fail": 0.5}, "coverage": {"fail": 1.0}}}
    lent = {**waiver()[0], "metric": "coverage", "limit": 0.5}
    waiving = {**full, "waivers": [lent]}
    assert parse(waiving, plain).digest != parse(plain, waiving).digest


def merged(loaded: LoadedPolicy) -> Document:
    """Write a policy with all that it extends as one file."""
    cells = {
        (family, model): reduce(
            stricter,
            (demands_of(level, family=family, model=model) for level in loaded.levels),
        )
        for family, model in selectors_of(loaded.levels)
    }
    general = cells.pop(("", ""))
    blocks = [
        {
            "match": present({"family": family or None, "model": model or None}),
            **written(demands),
        }
        for (family, model), demands in cells.items()
    ]
    return present({**HEAD, **written(general), **lists(general), "match": blocks or None})


def written(demands: Demands) -> Document:
    limits: Document = {}
    for limit in demands.limits:
        found = {
            # A warning that was dropped must not be taken from what holds for all.
            "warn": limit.warn or limit.fail,
            "fail": limit.fail,
            "confidence": limit.confidence,
        }
        steps = {key: step.value for key, step in found.items() if step is not None}
        put(limits, limit.path[1:], steps)
    mode, tier = demands.mode.value.value, demands.required_tier.value.value
    return {"mode": mode, "required-tier": tier, "limits": limits}


def lists(demands: Demands) -> Document:
    calibration = {
        "families": demands.calibration_families and sorted(demands.calibration_families.value),
        "min-pairs": demands.calibration_pairs and demands.calibration_pairs.value,
        "in-scope": demands.calibration_in_scope and demands.calibration_in_scope.value,
    }
    named = (("accepted-formats", demands.formats), ("allowed-families", demands.families))
    known = (*named, ("allowed-quantisations", demands.quantisations))
    return present(
        {
            **{key: sorted(names.value) for key, names in known if names is not None},
            "standard-errors": demands.standard_errors.value,
            "notices": demands.notices.value,
            "required-calibration": present(calibration) or None,
            "required-parameters": {n: int(v.value) for n, v in demands.parameters} or None,
            "allowed-bases": demands.bases
            and [present(base.model_dump()) for base in demands.bases.value],
            "maximum-age": demands.maximum_age_days and demands.maximum_age_days.value,
        }
    )


@given(families_of_policies(waiving=False), st.data(), facts())
def test_a_chain_written_as_one_file_is_the_same_policy(
    pair: tuple[Document, Document], data: st.DataObject, found: Facts
):
    parent, child = pair
    chain = [child, parent]
    try:
        parse(*chain)
        if data.draw(st.booleans()):
            chain.insert(0, data.draw(children(*chain, waiving=False)))
        loaded = parse(*chain)
    except PolicyError:
        assume(False)
    flat = parse(merged(loaded))
    assert flat.digest == loaded.digest
    one, other = (judge(each, found, now=NOW) for each in (loaded, flat))
    assert (one.status, one.mode) == (other.status, other.mode)
    assert [(f.rule, f.status) for f in one.findings] == [
        (f.rule, f.status) for f in other.findings
    ]


@given(documents())
def test_the_digest_is_that_of_the_text_written_again(document: Document):
    again = json.loads(json.dumps(document, sort_keys=True))
    assert parse(again).digest == parse(document).digest
