"""Test the format of policy tests: what is refused, where, and what a case gives in the end."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.errors import PolicyError, UsageError
from sdi_gate.policy.facts import Tier
from sdi_gate.policy.format.published import schema_text
from sdi_gate.policy.testing.case_files import find_case_files, parse_cases, read_cases
from sdi_gate.policy.testing.cases import SCHEMA_ID, Given, PolicyTest
from sdi_gate.policy.testing.facts_given import HEADLINES, facts_given
from sdi_gate.policy.testing.laying import laid_over, without
from sdi_gate.signals import behaviour, curvature, geometry, representation, spectral
from sdi_gate.signals.interface import Outcome, SignalName

PROJECT = Path(__file__).parents[2]
PUBLISHED = PROJECT / "policies" / "schema" / "test-v1.json"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HEAD = "apiVersion: sdi-gate/v1\nkind: PolicyTest\npolicy: ./p.yml\n"
WHOLE = f"{HEAD}given: {{tier: probe, coverage: 1.0}}\n"
EXPECT = "    expect: {verdict: pass}\n"
CASE = f"{WHOLE}cases:\n  - name: a\n"
SCAN = "tier: probe\n  coverage: 1.0"
INVERTED = "value: 0.5, upper: 0.2, level: 0.9"
SECOND = "  - name: b\n    expect: {verdict: pass}\n"
ONE = "cases:\n  - name: a\n    expect: {verdict: pass}\n"


def parsed(text: str):
    return parse_cases(text.encode(), Path("folder/x.test.yml"))


def trial(rest: str, common: str = "tier: probe, coverage: 1.0"):
    text = f"{HEAD}given: {{{common}}}\ncases:\n  - name: a\n{rest}    expect: {{verdict: pass}}\n"
    (only,) = parsed(text).trials
    return only


def facts(own: str, common: str = "tier: full, coverage: 1.0"):
    return facts_given(trial(f"    given: {own}\n", common).given, NOON)


BROKEN = {
    "an-unknown-key-at-the-top": (f"{WHOLE}givn: {{}}\n{ONE}", ":5:1: ", "did you mean 'given'?"),
    "an-unknown-key-of-a-case": (
        f"{WHOLE}cases:\n  - name: a\n    expct: {{}}\n    expect: {{verdict: pass}}\n",
        ":7:5: ",
        "did you mean 'expect'?",
    ),
    "an-unknown-number": (
        f"{HEAD}given: {{tier: probe, coverage: 1.0, signals: {{weight-geometri: 0.1}}}}\n{ONE}",
        ":4:47: ",
        "did you mean 'weight-geometry'?",
    ),
    "another-kind": (f"{WHOLE}{ONE}".replace("PolicyTest", "Policy"), ":2:7: ", "a policy, not"),
    "no-policy": (f"{WHOLE}{ONE}".replace("policy: ./p.yml\n", ""), ":1:1: ", "policy: the key"),
    "no-case": (f"{WHOLE}cases: []\n", ":5:1: ", "cases"),
    "no-cases": (WHOLE, ":1:1: ", "cases: the key is missing"),
    "no-expectation": (f"{WHOLE}cases:\n  - name: a\n", ":6:5: ", "expect: the key is missing"),
    "no-verdict": (f"{WHOLE}{ONE}".replace("verdict: pass", "gate: open"), ":7:5: ", "verdict"),
    "no-such-verdict": (f"{WHOLE}{ONE}".replace("pass}", "passed}"), ":7:23: ", "inconclusive"),
    "no-such-gate": (f"{WHOLE}{ONE}".replace("pass}", "pass, gate: ajar}"), ":7:35: ", "closed"),
    "a-duplicate-key": (f"{WHOLE}{ONE}policy: ./q.yml\n", ":8:1: ", "there twice"),
    "a-duplicate-name": (f"{WHOLE}{ONE}{ONE[7:]}", ":8:11: ", "given first in line 6"),
    "a-number-as-text": (f"{HEAD}given: {{sdi: 1e-3}}\n{ONE}", ":4:14: ", "write 0.001"),
    "not-a-number": (f"{HEAD}given: {{sdi: .nan}}\n{ONE}", ":4:14: ", "finite decimal number"),
    "an-infinite-number": (f"{HEAD}given: {{sdi: 1.0e+400}}\n{ONE}", ":4:14: ", "finite"),
    "a-truth-value": (f"{HEAD}given: {{sdi: yes}}\n{ONE}", ":4:14: ", "expected a number or keys"),
    "above-its-range": (f"{HEAD}given: {{sdi: 2}}\n{ONE}", ":4:14: ", "at most 1"),
    "below-its-range": (
        f"{HEAD}given: {{signals: {{weight-geometry: -1}}}}\n{ONE}",
        ":4:36: ",
        "at least 0",
    ),
    "an-error-below-0": (
        f"{HEAD}given: {{sdi: {{value: 0.1, standard-error: -1}}}}\n{ONE}",
        ":4:43: ",
        "at least 0",
    ),
    "an-upper-end-below": (
        f"{HEAD}given:\n  predicted-degradation: {{mean: {{{INVERTED}}}}}\n{ONE}",
        ":5:27: ",
        "at most upper",
    ),
    "a-pattern-for-a-layer": (
        f"{HEAD}given: {{by-layer: {{layers.*: {{weight-geometry: 0}}}}}}\n{ONE}",
        ":4:20: ",
        "by-layer",
    ),
    "a-day-of-no-calendar": (f"{WHOLE}at: 2026-02-30\n{ONE}", ":5:5: ", "no day 2026-02-30"),
    "a-day-long-ago": (f"{WHOLE}at: 0001-01-01\n{ONE}", ":5:5: ", "2000 to 2999"),
    "a-day-far-off": (
        f"{CASE}    at: 9999-12-31\n    expect: {{verdict: pass}}\n",
        ":7:9: ",
        "cases.0.at: must be a day of the years 2000 to 2999",
    ),
    "no-day": (f"{WHOLE}at: tomorrow\n{ONE}", ":5:5: ", "at: "),
    "no-tier": (f"{HEAD}given: {{coverage: 1.0}}\n{ONE}", ":6:5: ", "no tier is given"),
    "no-coverage": (f"{HEAD}given: {{tier: full}}\n{ONE}", ":6:5: ", "no coverage is given"),
    "nothing-given": (f"{HEAD}{ONE}", ":5:5: ", "no tier is given"),
    "nothing-to-take-away": (
        f"{WHOLE}cases:\n  - name: a\n    without: [sdi]\n    expect: {{verdict: pass}}\n",
        ":7:15: ",
        "'sdi' takes nothing away",
    ),
    "a-part-of-a-number-to-take-away": (
        f"{CASE}    without: [coverage.value]\n    expect: {{verdict: pass}}\n",
        ":7:15: ",
        "'coverage.value' takes nothing away",
    ),
    "a-result-and-numbers": (
        f"{CASE}    result: r.json\n    given: {{sdi: 0}}\n    expect: {{verdict: pass}}\n",
        ":8:12: ",
        "recorded result has no 'given'",
    ),
    "a-result-and-less": (
        f"{CASE}    result: r.json\n    without: [tier]\n    expect: {{verdict: pass}}\n",
        ":8:14: ",
        "recorded result has no 'without'",
    ),
    "a-layer-without-the-whole": (
        f"{CASE}    given: {{by-layer: {{layers.3: {{weight-geometry: 0}}}}}}\n{EXPECT}",
        ":7:52: ",
        "needs signals.weight-geometry",
    ),
    "a-stratum-without-the-whole": (
        f"{HEAD}given:\n  {SCAN}\n  by-stratum: {{safety: {{nll-change: 0}}}}\n{ONE}",
        ":7:37: ",
        "needs behaviour.nll-change",
    ),
    "an-alias": (f"{HEAD}given: &x {{tier: probe}}\n{ONE}", ":4:8: ", "anchor"),
    "no-mapping": ("- 1\n", ":1:1: ", "list"),
    "nothing": ("", ":1:1: ", "nothing"),
}


@pytest.mark.parametrize(("text", "place", "words"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_policy_test_is_refused_with_line_and_column(text, place, words):
    with pytest.raises(PolicyError, match="the policy test cannot be used") as caught:
        parsed(text)
    lines = caught.value.message.splitlines()
    named = [line for line in lines if line.startswith(f"folder/x.test.yml{place}")]
    assert any(words in line for line in named), caught.value.message


def test_all_problems_are_told_at_once():
    text = f"{HEAD}giv: {{}}\ncases:\n  - name: a\n    expect: {{verdict: no}}\n  - name: b\n"
    with pytest.raises(PolicyError, match="3 problems"):
        parsed(text)


def test_bytes_that_are_no_text_and_files_that_are_too_large_are_refused():
    with pytest.raises(PolicyError, match="not UTF-8"):
        parse_cases(b"\xff\xfe", Path("x"))
    with pytest.raises(PolicyError, match="larger than"):
        parse_cases(b" " * 1_000_001, Path("x"))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(PolicyError, match="cannot be read: No such file"):
        read_cases(tmp_path / "x.test.yml")


def test_files_are_named_relative_to_the_test():
    text = f"{HEAD}cases:\n  - name: a\n    result: ../r/x.json\n    expect: {{verdict: pass}}\n"
    read = parsed(text)
    assert read.policy == Path("folder/p.yml")
    assert read.trials[0].result == Path("r/x.json")
    assert read.trials[0].given is None


def test_a_case_says_its_day_before_the_file_does():
    text = f"{WHOLE}at: 2026-01-01\n{ONE}  - name: b\n    at: 2026-12-31\n{EXPECT}"
    assert [one.at for one in parsed(text).trials] == [date(2026, 1, 1), date(2026, 12, 31)]
    assert trial("").at is None


@pytest.mark.parametrize("age", ["36500", "-3650"])
@pytest.mark.parametrize("day", ["2000-01-01", "2999-12-31"])
def test_any_age_can_be_counted_from_any_day(day, age):
    one = trial(f"    at: {day}\n    given: {{age: {age}}}\n")
    noon = datetime(one.at.year, one.at.month, one.at.day, 12, tzinfo=UTC)
    assert noon - facts_given(one.given, noon).measured_at == timedelta(days=float(age))


def test_a_case_is_found_again_by_its_line():
    assert [one.line for one in parsed(f"{WHOLE}{ONE}{SECOND}").trials] == [6, 8]


# Laying over: the leaves of both, the own ones first.


SIGNALS = [name.value for name in SignalName if name is not SignalName.BEHAVIOUR]
LEAVES = [
    "sdi",
    "coverage",
    "tier",
    *(f"signals.{name}" for name in SIGNALS),
    "behaviour.nll-change",
    "by-layer.layers.3.weight-geometry",
    "by-layer.embedding.weight-geometry",
    "by-stratum.safety.nll-change",
    "candidate.format",
    "candidate.quantisation",
    "parameters.seed",
]
_WORDS = {
    "tier": ["probe", "full"],
    "candidate.format": ["full", "gguf"],
    "candidate.quantisation": ["none", "fp8"],
}


def keys_of(leaf: str) -> list[str]:
    return leaf.replace("layers.3", "layers/3").split(".")


def given_of(leaves: dict[str, object]) -> Given:
    plain: dict = {}
    for leaf, value in leaves.items():
        *above, last = (key.replace("/", ".") for key in keys_of(leaf))
        below = plain
        for key in above:
            below = below.setdefault(key, {})
        below[last] = value
    return Given.model_validate(plain) if plain else Given.model_construct()


def leaves_of(value: Given) -> dict[str, object]:
    found = {}

    def walk(plain: dict, path: str) -> None:
        for key, below in plain.items():
            here = f"{path}.{key}" if path else key
            if here in LEAVES:
                found[here] = below["value"] if isinstance(below, dict) else below
            elif isinstance(below, dict):
                walk(below, here)

    walk(value.model_dump(mode="json", by_alias=True, exclude_none=True), "")
    return found


def values(leaf: str):
    return st.sampled_from(_WORDS.get(leaf, [0.0, 0.25, 1.0]))


some_leaves = st.fixed_dictionaries({}, optional={leaf: values(leaf) for leaf in LEAVES})


@given(some_leaves, some_leaves)
def test_laying_over_takes_the_leaves_of_both_and_the_own_ones_first(under, over):
    assert leaves_of(laid_over(given_of(under), given_of(over))) == under | over


@given(some_leaves, st.sampled_from([*LEAVES, "signals", "by-layer", "by-layer.layers.3"]))
def test_without_takes_away_all_that_is_below_a_key_and_nothing_else(leaves, key):
    left = {
        leaf: value
        for leaf, value in leaves.items()
        if leaf != key and not leaf.startswith(f"{key}.")
    }
    less = without(given_of(leaves), key)
    assert (less is None) == (left == leaves)
    assert less is None or leaves_of(less) == left


def test_what_is_given_by_part_goes_with_what_is_given_for_all():
    common = (
        "tier: full, coverage: 1, signals: {weight-geometry: 0.1, curvature-shift: 0.1}, "
        "by-layer: {layers.3: {weight-geometry: 0.2, curvature-shift: 0.2}}"
    )
    found = trial("    without: [signals.weight-geometry]\n", common).given
    assert found.by_layer["layers.3"].weight_geometry is None
    assert found.by_layer["layers.3"].curvature_shift == 0.2


def test_a_number_with_its_error_is_laid_over_whole():
    common = "tier: full, coverage: 1, sdi: {value: 0.1, standard-error: 0.3}"
    assert trial("    given: {sdi: 0.2}\n", common).given.sdi == 0.2


# Facts.


def test_what_is_not_given_was_not_measured():
    found = facts("{sdi: 0.1}")
    assert (found.tier, found.coverage, found.sdi.value) == (Tier.FULL, 1.0, 0.1)
    assert (found.sdi_plus, found.signals, found.predictions) == (None, (), ())
    assert (found.base, found.candidate, found.family, found.model_name) == (None,) * 4
    assert (found.calibration, found.measured_at, found.tensor_roles) == (None, None, ())


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_is_given_as_a_scan_would_measure_it(name):
    own = f"{{signals: {{{name}: {{value: 0.1, standard-error: 0.02}}}}, parameters: {{seed: 7}}}}"
    (result,) = facts(own).signals
    assert (result.name, result.outcome) == (SignalName(name), Outcome.MEASURED)
    assert (result.estimate.value, result.estimate.stderr) == (0.1, 0.02)
    assert result.metric == HEADLINES[result.name]
    assert result.id.parameters == (("seed", "7"),)


def test_the_headlines_are_those_of_the_signals():
    modules = (spectral, representation, curvature, geometry, behaviour)
    assert list(HEADLINES.values()) == [module.METRIC for module in modules]


def test_behaviour_has_the_metrics_that_are_given_and_no_others():
    (both,) = facts("{behaviour: {kl-divergence: 0.1, nll-change: -0.2}}").signals
    assert both.overall("kl-divergence").value == 0.1
    assert both.overall("nll-change").value == -0.2
    assert both.overall("top1-flip-rate") is None
    (one,) = facts("{behaviour: {nll-change: 0.2}}").signals
    assert one.overall("kl-divergence") is None
    assert one.overall("nll-change").value == 0.2


def test_rows_stand_where_a_scan_has_them():
    own = (
        "{signals: {weight-geometry: 0.1, representation-drift: 0.1},"
        " behaviour: {kl-divergence: 0.1, nll-change: 0.1},"
        " by-layer: {layers.3: {weight-geometry: 0.3}}, by-role: {head: {weight-geometry: 0.4}},"
        " by-stratum: {safety: {representation-drift: 0.5, nll-change: 0.6}}}"
    )
    found = facts(own)
    geometry = found.signal(SignalName.WEIGHT_GEOMETRY)
    (layer,) = geometry.by_layer("relative-distance")
    assert (layer.layer, layer.estimate.value) == ("layers.3", 0.3)
    (tensor,) = (row for row in geometry.measurements if row.tensor)
    assert (dict(found.tensor_roles)[tensor.tensor], tensor.estimate.value) == (("head",), 0.4)
    (drift,) = found.signal(SignalName.REPRESENTATION_DRIFT).by_stratum("cka-angle")
    assert (drift.stratum, drift.estimate.value) == ("safety", 0.5)
    (nll,) = found.signal(SignalName.BEHAVIOUR).by_stratum("nll-change")
    assert (nll.stratum, nll.estimate.value) == ("safety", 0.6)


def test_the_models_the_calibration_and_the_rest_are_given():
    commit, digest = "0" * 40, f"sha256:{'1' * 64}"
    found = facts(
        f"{{family: llama, model: registered, base: {{name: org/base, revision: '{commit}'}},"
        f" candidate: {{name: org/tune, digest: '{digest}', format: full, quantisation: none}},"
        " calibration: {families: [llama, qwen], pairs: 40, in-scope: false}, age: 2.5,"
        " predicted-degradation: {mean: {value: 0.1, upper: 0.3, level: 0.9},"
        " axes: {safety: {value: 0.2, upper: 0.4, level: 0.8}}},"
        " whole-tier: probe, cuts: [less], notices: [odd], defects: [bad]}"
    )
    assert (found.family, found.model_name, found.base.name) == ("llama", "registered", "org/base")
    assert (found.base.commit, found.candidate.digest) == (commit, digest)
    assert (found.candidate.format, found.candidate.quantisation) == ("full", "none")
    calibration = found.calibration
    assert (calibration.families, calibration.num_pairs) == (("llama", "qwen"), 40)
    assert calibration.fitted
    assert calibration.out_of_scope
    assert NOON - found.measured_at == timedelta(days=2.5)
    shown = [(one.axis, one.value, one.upper, one.level) for one in found.predictions]
    assert shown == [("mean", 0.1, 0.3, 0.9), ("safety", 0.2, 0.4, 0.8)]
    assert (found.uncut_tier, found.cuts) == (Tier.PROBE, ("less",))
    assert (found.notices, found.defects) == (("odd",), ("bad",))


def test_an_axis_is_predicted_alone():
    own = "{predicted-degradation: {axes: {safety: {value: 0.2, upper: 0.4, level: 0.8}}}}"
    assert [one.axis for one in facts(own).predictions] == ["safety"]


def test_a_calibration_that_is_given_speaks_for_the_models_unless_it_is_said_otherwise():
    calibration = facts("{calibration: {pairs: 1}}").calibration
    assert (calibration.fitted, calibration.out_of_scope) == (True, None)


# Searching.


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("", encoding="utf-8")
    return path


def test_a_folder_is_searched_with_all_that_is_in_it(tmp_path):
    named = [write(tmp_path / name) for name in ("a/b/x.test.yml", "a/c.test.yaml", "z.test.yml")]
    for other in ("a/x.yml", "a/test.yml", "x.test.yml.bak", ".git/x.test.yml"):
        write(tmp_path / other)
    assert find_case_files([tmp_path]) == tuple(named)


def test_a_folder_that_is_a_link_is_not_searched(tmp_path):
    write(tmp_path / "elsewhere" / "x.test.yml")
    here = write(tmp_path / "here" / "y.test.yml")
    (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here" / "loop").symlink_to(tmp_path / "here")
    assert find_case_files([tmp_path / "here"]) == (here,)


def test_a_file_is_taken_once_and_a_named_one_under_any_name(tmp_path):
    file = write(tmp_path / "x.test.yml")
    other = write(tmp_path / "cases")
    assert find_case_files([file, tmp_path, other, other]) == (file, other)


def test_a_folder_without_a_test_is_refused(tmp_path):
    write(tmp_path / "full" / "x.test.yml")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no policy test in the folder"):
        find_case_files([tmp_path / "full", tmp_path / "empty"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may search any folder")
def test_a_folder_that_cannot_be_searched_is_no_empty_one(tmp_path):
    write(tmp_path / "x.test.yml")
    shut = write(tmp_path / "shut" / "y.test.yml").parent
    shut.chmod(0)
    try:
        with pytest.raises(UsageError, match="cannot search"):
            find_case_files([tmp_path])
    finally:
        shut.chmod(0o700)


def test_a_search_that_fails_is_told(tmp_path, monkeypatch):
    write(tmp_path / "x.test.yml")

    def walk(folder, onerror):
        yield folder, [], ["x.test.yml"]
        onerror(PermissionError(13, "Permission denied", str(folder / "shut")))

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(UsageError, match=r"cannot search .*shut"):
        find_case_files([tmp_path])


# The published schema.


def test_the_published_schema_is_that_of_the_code(request):
    text = schema_text(PolicyTest, SCHEMA_ID)
    if request.config.getoption("--update-goldens"):
        PUBLISHED.write_text(text, encoding="utf-8")
    assert PUBLISHED.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("file", sorted(PROJECT.glob("policies/*.test.yml")), ids=lambda f: f.name)
def test_a_shipped_test_is_valid_by_the_published_schema(file):
    schema = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    plain = yaml.safe_load(file.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(plain, default=str)))


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}given: {{sdi: 2}}\n{ONE}",
        f"{HEAD}given: {{sdi: text}}\n{ONE}",
        f"{HEAD}givn: {{}}\n{ONE}",
        f"{HEAD}cases: []\n",
    ],
    ids=["a-range", "a-text", "a-key", "no-case"],
)
def test_what_the_code_refuses_the_published_schema_refuses(text):
    schema = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(text))
