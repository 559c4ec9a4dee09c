"""Test that a policy that extends another only tightens: what the parent fails, no child passes."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from policy_strategies import (
    COMMIT,
    FAMILIES,
    MODELS,
    NOW,
    MemorySources,
    children,
    documents,
    facts,
    families_of_policies,
    parse,
)
from scan_facts import facts_of

from sdi_gate.errors import PolicyError
from sdi_gate.policy.chain.matching import demands_of
from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.facts import Tier
from sdi_gate.policy.loader import parse_policy
from sdi_gate.policy.verdict import Status
from sdi_gate.signals.interface import Estimate

if TYPE_CHECKING:
    from policy_strategies import Document

    from sdi_gate.policy.facts import Facts
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.verdict import Verdict

CLOSED = {Status.FAIL, Status.INCONCLUSIVE}


def loaded_or_none(*chain: Document) -> LoadedPolicy | None:
    try:
        return parse(*chain)
    except PolicyError:
        return None


def judged(loaded: LoadedPolicy, found: Facts) -> Verdict:
    return judge(loaded, found, now=NOW)


def assert_no_milder(strict: Verdict, other: Verdict) -> None:
    """Assert the law: what the one does not let pass, the other does not let pass."""
    assert strict.mode.rank >= other.mode.rank
    assert strict.exit_code or not other.exit_code
    if other.status in CLOSED:
        assert strict.status in CLOSED
    elif other.status is Status.WARN:
        assert strict.status is not Status.PASS


@settings(max_examples=100)
@given(families_of_policies(), facts())
def test_what_a_parent_fails_no_child_passes(pair: tuple[Document, Document], found: Facts):
    parent, child = pair
    loaded = loaded_or_none(child, parent)
    event(f"the child loads: {loaded is not None}")
    assume(loaded is not None)
    above = judged(parse(parent), found)
    event(f"the parent: {above.status}")
    assert_no_milder(judged(loaded, found), above)


@given(families_of_policies(), facts(), st.data())
def test_what_a_grandparent_fails_no_grandchild_passes(
    pair: tuple[Document, Document], found: Facts, data: st.DataObject
):
    top, middle = pair
    assume(loaded_or_none(middle, top) is not None)
    loaded = loaded_or_none(data.draw(children(middle, top)), middle, top)
    assume(loaded is not None)
    for above in (parse(top), parse(middle, top)):
        assert_no_milder(judged(loaded, found), judged(above, found))


def test_the_laws_are_tried_on_children_that_load_and_parents_that_fail():
    seen: Counter[Any] = Counter()

    @settings(max_examples=80, derandomize=True, database=None)
    @given(families_of_policies(), facts())
    def look(pair: tuple[Document, Document], found: Facts) -> None:
        parent, child = pair
        loaded = loaded_or_none(child, parent)
        seen["refused" if loaded is None else "loads"] += 1
        if loaded is not None:
            seen[judged(parse(parent), found).status] += 1
            seen["waived"] += bool(judged(loaded, found).waivers)

    look()
    assert min(seen[key] for key in ("refused", "loads", "waived", *Status)) >= 3, seen


@given(families_of_policies(), facts())
def test_a_severer_verdict_of_the_parent_stays_where_no_child_asks_to_measure_more(
    pair: tuple[Document, Document], found: Facts
):
    # A fail becomes inconclusive only where the child wants what the scan does not have: a higher
    # tier, with another formula of the index, or a surer prediction.
    parent, child = pair
    for part in (child, *child.get("match", ())):
        part.pop("required-tier", None)
        part.get("limits", {}).pop("predicted-degradation", None)
        if not part.get("limits", True):
            part["limits"] = {"sdi": {"fail": 0.0}}
    child.pop("waivers", None)
    loaded = loaded_or_none(child, parent)
    assume(loaded is not None)
    above, below = judged(parse(parent), found), judged(loaded, found)
    assert below.status.severity >= above.status.severity


def test_a_failing_index_stays_closed_under_a_child_that_demands_a_higher_tier():
    head = {"apiVersion": "sdi-gate/v1", "kind": "Policy", "metadata": {"name": "trial"}}
    parent = {**head, "limits": {"sdi": {"fail": 0.5}}}
    found = facts_of(tier=Tier.PROBE, sdi=Estimate(value=0.75))
    above = judged(parse(parent), found)
    below = judged(parse({**head, "required-tier": "full"}, parent), found)
    # The index of tier probe is another formula than the one that the child asks for.
    assert (above.status, below.status) == (Status.FAIL, Status.INCONCLUSIVE)
    assert below.exit_code


@given(families_of_policies(waiving=False), st.data(), facts())
def test_a_waiver_of_the_child_changes_nothing_that_the_parent_fails(
    pair: tuple[Document, Document], data: st.DataObject, found: Facts
):
    parent, child = pair
    parent["limits"]["sdi"] = {"fail": 0.5}
    child["limits"]["sdi"] = {"fail": data.draw(st.sampled_from([0.125, 0.5]))}
    waiver = {
        "id": "W-1",
        "owner": "team",
        "reason": "known",
        "approved-by": "model-governance",
        "granted": "2026-11-20",
        "expires": "2026-11-30",
        "model": data.draw(st.sampled_from(MODELS)),
        "metric": "sdi",
        "limit": 0.75,
    }
    for block in child.get("match", ()):
        block.get("limits", {}).pop("sdi", None)
        block["mode"] = "enforce"
        if not block.get("limits", True):
            del block["limits"]
    loaded = loaded_or_none({**child, "waivers": [waiver]}, parent)
    assume(loaded is not None)
    above = judged(parse(parent), found)
    event(f"the parent: {above.status}")
    assert_no_milder(judged(loaded, found), above)


@given(documents(), facts())
def test_a_child_that_repeats_its_parent_changes_no_verdict(parent: Document, found: Facts):
    above, below = judged(parse(parent), found), judged(parse(parent, parent), found)
    assert (above.status, above.mode) == (below.status, below.mode)
    assert [(f.rule, f.status) for f in above.findings] == [
        (f.rule, f.status) for f in below.findings
    ]


@given(documents(), facts())
def test_a_child_that_adds_nothing_changes_no_verdict(parent: Document, found: Facts):
    child = {key: parent[key] for key in ("apiVersion", "kind", "metadata")}
    above, below = judged(parse(parent), found), judged(parse(child, parent), found)
    assert (above.status, above.mode) == (below.status, below.mode)
    told = [[replace(finding, origin=None) for finding in each.findings] for each in (above, below)]
    assert told[0] == told[1]


@given(documents(), facts())
def test_leaving_a_name_out_is_never_milder_than_any_name(document: Document, found: Facts):
    loaded = parse(document)
    for family in (found.family, None):
        unknown = _judged_as(loaded, found, family, None)
        for model in (*MODELS, "org/new"):
            assert_no_milder(unknown, _judged_as(loaded, found, family, model))
    for model in (*MODELS, "org/new", None):
        unknown = _judged_as(loaded, found, None, model)
        for family in (*FAMILIES, "gemma"):
            named = _judged_as(loaded, found, family, model)
            if "allowed-families" not in document:
                assert_no_milder(unknown, named)


def _judged_as(
    loaded: LoadedPolicy, found: Facts, family: str | None, model: str | None
) -> Verdict:
    candidate = None if found.candidate is None else replace(found.candidate, name=None)
    return judged(loaded, replace(found, family=family, registered_name=model, candidate=candidate))


def test_a_waiver_does_not_raise_what_is_demanded_of_another_family_it_could_be():
    waiver = {
        "id": "W-1",
        "owner": "team",
        "reason": "known",
        "approved-by": "model-governance",
        "granted": "2026-11-20",
        "expires": "2026-11-30",
        "model": "org/a",
        "metric": "coverage",
        "limit": 0.25,
    }
    document = {
        "apiVersion": "sdi-gate/v1",
        "kind": "Policy",
        "metadata": {"name": "trial"},
        "limits": {"sdi": {"fail": 0.5}},
        "match": [{"match": {"family": "llama"}, "limits": {"coverage": {"fail": 0.5}}}],
        "waivers": [waiver],
    }
    found = facts_of(coverage=0.375)
    statuses = {
        family: _judged_as(parse(document), found, family, "org/a").status
        for family in ("llama", "gemma", None)
    }
    assert statuses["llama"] is Status.WARN
    assert statuses["gemma"] is Status.INCONCLUSIVE
    assert statuses[None] is Status.FAIL


@given(documents(), facts(), st.randoms(use_true_random=False))
def test_the_order_of_blocks_changes_nothing(document: Document, found: Facts, random: Any):
    assume(len(document.get("match", ())) > 1)
    other = copy.deepcopy(document)
    random.shuffle(other["match"])
    assert parse(other).digest == parse(document).digest
    assert judged(parse(other), found).status is judged(parse(document), found).status


HEAD = "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata:\n  name: trial\n"
REF = f"org/policies//base.yml@{COMMIT}"
RULE = "a policy that extends another only tightens"


def problems_of(child: str, *parents: str) -> list[str]:
    """Return the problems of a child; both texts start in line 6, after the head."""
    names = [REF.replace("base", f"base{i or ''}") for i in range(len(parents))]
    chain = [
        HEAD
        + (f"extends: {names[i]}\n" if i < len(names) else "kind: Policy\n"[:0] + "# root\n")
        + text
        for i, text in enumerate((child, *parents))
    ]
    files = {n: text.encode() for n, text in zip(names, chain[1:], strict=True)}
    with pytest.raises(PolicyError, match=r"^c\.yml: the policy cannot be used") as caught:
        parse_policy(chain[0].encode(), path="c.yml", sources=MemorySources(files))
    return caught.value.message.splitlines()[1:]


SDI = "limits: {sdi: {fail: 0.5}}\n"
LLAMA = "match:\n- match: {family: llama}\n"
COMPARED = "a demand that every parameter was compared, the default, which holds in BASE"

CASES = {
    "fail": (
        "limits: {sdi: {fail: 0.6}}",
        SDI,
        "6:22: limits.sdi.fail: 0.6 is looser than 0.5 at BASE:6:22",
    ),
    "warn": (
        "limits: {sdi: {warn: 0.4}}",
        "limits: {sdi: {warn: 0.25, fail: 0.5}}",
        "6:22: limits.sdi.warn: 0.4 is looser than 0.25 at BASE:6:22",
    ),
    "lower": (
        "limits: {coverage: {fail: 0.8}}",
        "limits: {coverage: {fail: 0.9}}",
        "6:27: limits.coverage.fail: 0.8 is looser than 0.9 at BASE:6:27",
    ),
    "confidence": (
        "limits: {predicted-degradation: {mean: {fail: 0.1, confidence: 0.5}}}",
        "limits: {predicted-degradation: {mean: {fail: 0.1, confidence: 0.8}}}",
        "6:64: limits.predicted-degradation.mean.confidence: 0.5 is looser than 0.8 at BASE:6:64",
    ),
    "stratum": (
        "limits: {by-stratum: {safety: {nll-change: {fail: 1}}}}",
        "limits: {by-stratum: {safety: {nll-change: {fail: -1}}}}",
        "6:51: limits.by-stratum.safety.nll-change.fail: 1 is looser than -1 at BASE:6:51",
    ),
    "mode": (
        "mode: warn",
        SDI + "mode: enforce",
        "6:7: mode: warn is looser than enforce at BASE:7:7",
    ),
    "default-mode": (
        "mode: observe",
        SDI,
        "6:7: mode: observe is looser than enforce, the default, which holds in BASE",
    ),
    "tier": (
        "required-tier: weights",
        SDI + "required-tier: full",
        "6:16: required-tier: weights is looser than full at BASE:7:16",
    ),
    "default-tier": (
        "required-tier: weights",
        SDI,
        "6:16: required-tier: weights is looser than probe, the default, which holds in BASE",
    ),
    "standard-errors": (
        "standard-errors: 0",
        SDI,
        "6:18: standard-errors: 0 is looser than 1, the default, which holds in BASE",
    ),
    "notices": (
        "notices: warn",
        SDI + "notices: fail",
        "6:10: notices: warn is looser than fail at BASE:7:10",
    ),
    "maximum-age": (
        "maximum-age: 31",
        SDI + "maximum-age: 30",
        "6:14: maximum-age: 31 is looser than 30 at BASE:7:14",
    ),
    "pairs": (
        "required-calibration: {min-pairs: 10}",
        SDI + "required-calibration: {min-pairs: 20}",
        "6:35: required-calibration.min-pairs: 10 is looser than 20 at BASE:7:35",
    ),
    "in-scope": (
        "required-calibration: {in-scope: false}",
        SDI + "required-calibration: {min-pairs: 20}",
        "6:34: required-calibration.in-scope: false is looser than true at BASE:7:23",
    ),
    "calibration-families": (
        "required-calibration: {families: [llama]}",
        SDI + "required-calibration: {families: [llama, qwen]}",
        "6:34: required-calibration.families: 'qwen' is missing, which is required at BASE:7:34",
    ),
    "parameter": (
        "required-parameters: {seed: 1}",
        SDI + "required-parameters: {seed: 0}",
        "6:29: required-parameters.seed: '1' is not '0', which is required at BASE:7:29",
    ),
    "format": (
        "accepted-formats: [full, gguf]",
        SDI + "accepted-formats: [full]",
        "6:26: accepted-formats.1: 'gguf' is not among what is allowed at BASE:7:19",
    ),
    "family": (
        "allowed-families: [qwen]",
        SDI + "allowed-families: [llama]",
        "6:20: allowed-families.0: 'qwen' is not among what is allowed at BASE:7:19",
    ),
    "quantisation": (
        "allowed-quantisations: [bitsandbytes-nf4, bitsandbytes]",
        SDI + "allowed-quantisations: [bitsandbytes-nf4]",
        "6:43: allowed-quantisations.1: 'bitsandbytes' is not among what is allowed at BASE:7:24",
    ),
    "base": (
        "allowed-bases:\n- {name: org/x}",
        SDI + f"allowed-bases:\n- name: org/x\n  revision: {COMMIT}",
        "7:3: allowed-bases.0: name org/x is not among what is allowed at BASE:8:1",
    ),
    "waiver-days": (
        "maximum-waiver-days: 31",
        SDI + "maximum-waiver-days: 30",
        "6:22: maximum-waiver-days: 31 is looser than 30 at BASE:7:22",
    ),
    "default-waiver-days": (
        "maximum-waiver-days: 91",
        SDI,
        "6:22: maximum-waiver-days: 91 is looser than 90, the default, which holds in BASE",
    ),
    "block-under-all": (
        LLAMA + "  limits: {sdi: {fail: 0.6}}",
        SDI,
        "8:24: match.0.limits.sdi.fail: 0.6 is looser than 0.5 at BASE:6:22",
    ),
    "block-under-block": (
        LLAMA + "  limits: {sdi: {fail: 0.4}}",
        SDI + LLAMA + "  limits: {sdi: {fail: 0.25}}",
        "8:24: match.0.limits.sdi.fail: 0.4 is looser than 0.25 at BASE:9:24",
    ),
    "block-mode": (
        LLAMA + "  mode: warn",
        SDI,
        "8:9: match.0.mode: warn is looser than enforce, the default, which holds in BASE",
    ),
    "block-tier": (
        LLAMA + "  required-tier: probe",
        SDI + "required-tier: full",
        "8:18: match.0.required-tier: probe is looser than full at BASE:7:16",
    ),
    "coverage": (
        "limits: {coverage: {fail: 0.9}}",
        SDI,
        f"6:27: limits.coverage.fail: 0.9 is looser than {COMPARED}",
    ),
    "coverage-warning": (
        "limits: {coverage: {warn: 1}}",
        SDI,
        f"6:27: limits.coverage.warn: a warning alone is looser than {COMPARED}",
    ),
}


@pytest.mark.parametrize(("child", "parent", "expected"), CASES.values(), ids=CASES)
def test_a_looser_statement_is_named_with_both_places(child: str, parent: str, expected: str):
    assert problems_of(child, parent) == [f"c.yml:{expected.replace('BASE', REF)}; {RULE}"]


def test_all_looser_statements_are_listed_at_once():
    found = problems_of("mode: warn\nlimits: {sdi: {fail: 0.6}}\n", SDI)
    assert [line.split(" ")[1] for line in found] == ["mode:", "limits.sdi.fail:"]


def test_of_several_ancestors_the_nearest_that_states_it_is_named():
    (found,) = problems_of("limits: {sdi: {fail: 0.6}}", "limits: {sdi: {fail: 0.4}}", SDI)
    assert f"0.6 is looser than 0.4 at {REF}:6:22" in found


def test_a_statement_is_named_rather_than_a_default():
    middle = "limits: {sdi: {warn: 0.1}}"
    (found,) = problems_of("mode: warn", middle, SDI + "mode: enforce")
    assert found.endswith(
        f"warn is looser than enforce at {REF.replace('base', 'base1')}:7:7; {RULE}"
    )


EQUAL = {
    "limit": ("limits: {sdi: {fail: 0.5}}", SDI),
    "default": ("mode: enforce\nrequired-tier: probe\nstandard-errors: 1\nnotices: warn", SDI),
    "stricter": ("mode: enforce\nlimits: {sdi: {warn: 0.1, fail: 0.2}}", SDI + "mode: observe"),
    "looser-block-of-the-parent": (
        LLAMA + "  limits: {sdi: {fail: 0.6}}",
        SDI + LLAMA + "  limits: {sdi: {fail: 0.75}}",
    ),
    "other-block-of-the-parent": (
        "match:\n- match: {family: qwen}\n  limits: {sdi: {fail: 0.5}}",
        SDI + LLAMA + "  limits: {sdi: {fail: 0.1}}",
    ),
    "type-of-quantisation": (
        "allowed-quantisations: [bitsandbytes-nf4]",
        SDI + "allowed-quantisations: [bitsandbytes]",
    ),
    "pinned-base": (
        f"allowed-bases: [{{name: org/x, revision: {COMMIT}}}]",
        SDI + "allowed-bases: [{name: org/x}]",
    ),
    "coverage": ("limits: {coverage: {fail: 1}}", SDI),
}


@pytest.mark.parametrize(("child", "parent"), EQUAL.values(), ids=EQUAL)
def test_what_is_equal_or_stricter_is_accepted(child: str, parent: str):
    files = MemorySources({REF: (HEAD + parent).encode()})
    text = f"{HEAD}extends: {REF}\n{child}\n"
    assert len(parse_policy(text.encode(), path="c.yml", sources=files).levels) == 2


def test_what_overlaps_in_part_is_settled_by_the_stricter():
    parent = SDI + LLAMA + "  limits: {sdi: {fail: 0.1}}"
    child = "match:\n- match: {model: org/a}\n  limits: {sdi: {fail: 0.3}}"
    files = MemorySources({REF: (HEAD + parent).encode()})
    loaded = parse_policy(f"{HEAD}extends: {REF}\n{child}\n".encode(), path="c.yml", sources=files)
    found = [
        demands_of(level, family="llama", model="org/a").limits[0].fail for level in loaded.levels
    ]
    assert [step.value for step in found if step] == [0.1, 0.3]


def test_a_looser_warning_is_refused_where_the_files_own_failing_limit_hides_it():
    parent = "limits: {sdi: {warn: 0.125}}"
    child = "limits: {sdi: {warn: 0.375, fail: 0.375}}"
    files = MemorySources({REF: (HEAD + parent).encode()})
    text = f"{HEAD}extends: {REF}\n{child}\n"
    with pytest.raises(PolicyError, match=r"sdi\.warn: 0\.375 is looser than 0\.125 at"):
        parse_policy(text.encode(), path="c.yml", sources=files)
