import json
from io import StringIO

import jsonschema
import pytest
import report_documents
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sdi_gate.errors import UsageError
from sdi_gate.report import document as module
from sdi_gate.report.console import print_report
from sdi_gate.report.document import dump, json_schema, load
from sdi_gate.report.markdown import render_markdown
from sdi_gate.report.view import build_view

CASES = pytest.mark.parametrize(
    "make", report_documents.CASES.values(), ids=report_documents.CASES.keys()
)
finite = st.floats(allow_nan=False, allow_infinity=False)


def test_the_published_schema_is_that_of_the_code(assert_golden):
    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert_golden("docs/schema/result-v1.json", text)


@CASES
def test_every_document_is_valid_under_the_published_schema(make):
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(dump(make())))


def test_the_published_schema_refuses_an_unknown_key():
    plain = json.loads(dump(report_documents.passing())) | {"extra": 1}
    with pytest.raises(jsonschema.ValidationError, match="extra"):
        jsonschema.Draft202012Validator(json_schema()).validate(plain)


@CASES
def test_a_document_survives_writing_and_reading(make):
    whole = make()
    assert load(dump(whole), "result.json") == whole


@given(name=st.text(), value=finite, stderr=st.none() | st.floats(0, 1e9))
def test_any_name_and_any_finite_number_survive_writing_and_reading(name, value, stderr):
    signal = report_documents.unmeasured("behaviour", name).model_copy(
        update={
            "measurements": (
                report_documents.row(name, value, layer=name, stratum=name, stderr=stderr),
            )
        }
    )
    whole = report_documents.document(ran="weights", signals=(signal,), defects=(name,))
    assert load(dump(whole), "result.json") == whole


def test_equal_documents_give_equal_bytes():
    assert dump(report_documents.failing()) == dump(report_documents.failing())


def test_a_report_can_be_made_again_from_the_file():
    whole = report_documents.failing()
    assert build_view(load(dump(whole), "result.json")) == build_view(whole)


def test_a_signal_that_the_document_lacks_is_none():
    assert report_documents.document(signals=()).signal("behaviour") is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", r"r\.json: not a result document \(sdi-gate/result/v1\): document: Invalid JSON"),
        (b"[]", r"r\.json: not a result document .*: document: Input should be an object"),
        (b'{"schema": "other"}', r"schema: Input should be 'sdi-gate/result/v1'"),
    ],
    ids=["no JSON", "no object", "another schema"],
)
def test_other_files_are_refused_by_name(data, message):
    with pytest.raises(UsageError, match=message):
        load(data, "r.json")


def test_no_text_of_a_refused_file_forges_a_line_or_floods_the_log():
    plain = json.loads(dump(report_documents.passing()))
    plain["a\nsdi-gate: PASS" + "x" * 10_000] = 1
    with pytest.raises(UsageError) as caught:
        load(json.dumps(plain).encode(), "r.json")
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 700
    plain = json.loads(dump(report_documents.passing()))
    plain["verdict"]["findings"][0]["rule"] = "a\nsdi-gate: PASS"
    plain["verdict"]["findings"][0]["status"] = "fail"
    with pytest.raises(UsageError) as caught:
        load(json.dumps(plain).encode(), "r.json")
    assert "\n" not in caught.value.message


def test_a_deciding_finding_that_is_not_there_is_refused():
    plain = json.loads(dump(report_documents.passing()))
    plain["verdict"]["deciding"] = 3
    with pytest.raises(UsageError, match="an index into 3 findings; got 3"):
        load(json.dumps(plain).encode(), "r.json")


def test_a_number_that_is_not_finite_is_refused():
    plain = json.loads(dump(report_documents.passing()))
    plain["sdi"]["estimate"]["value"] = float("nan")
    with pytest.raises(UsageError, match=r"sdi\.estimate\.value"):
        load(json.dumps(plain).encode(), "r.json")


def test_a_file_that_is_too_large_is_refused_unread(monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 3)
    with pytest.raises(UsageError, match="4 bytes, at most 3 expected"):
        load(b"null", "r.json")


def edited(change, make=report_documents.failing):
    plain = json.loads(dump(make()))
    change(plain["verdict"])
    return json.dumps(plain).encode()


FORGED = {
    "status": lambda v: v.update(status="pass", exit_code=0),
    "status that no finding has": lambda v: v.update(status="inconclusive", exit_code=11),
    "code": lambda v: v.update(exit_code=0),
    "not enforced": lambda v: v.update(enforced=False),
    "deciding": lambda v: v.update(deciding=0),
    "finding": lambda v: v["findings"][3].update(status="pass"),
    "observed": lambda v: v["findings"][3].update(observed=0.01),
    "limit": lambda v: v["findings"][3].update(warn=0.5, fail=0.9),
    "no limit": lambda v: v["findings"][3].update(warn=None, fail=None),
    "no bound": lambda v: v["findings"][3].update(bound=None),
    "other bound": lambda v: v["findings"][3].update(bound="lower"),
    "margin": lambda v: v["findings"][3].update(margin=0.1),
    "no number and failed": lambda v: v["findings"][3].update(observed=None, margin=None),
    "no number and passed": lambda v: v["findings"][1].update(observed=None, margin=None),
    "margin alone": lambda v: v["findings"][0].update(margin=0.5),
    "tier that warns": lambda v: v["findings"][0].update(status="warn"),
    "mode": lambda v: v.update(mode="warn"),
    "mode and code": lambda v: v.update(mode="observe", exit_code=0),
    "limits that none holds for, and passed": lambda v: v["findings"][0].update(rule="limits"),
    "defect that fails": lambda v: v["findings"][0].update(rule="defect", status="fail"),
    "notice that passes": lambda v: v["findings"][0].update(rule="notice"),
    "parameter that fails": lambda v: v["findings"][0].update(
        rule="required-parameters.seed", status="fail"
    ),
    "format that warns": lambda v: v["findings"][0].update(rule="accepted-formats", status="warn"),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_a_verdict_that_contradicts_itself_is_refused(change):
    with pytest.raises(UsageError, match=r"verdict.*expected status|verdict.*(give|got none)"):
        load(edited(change), "r.json")


WAIVED = {
    "saved and passed": (
        lambda v: v["findings"][0].update(warn=None, status="pass", margin=0.25 - 0.2145),
        "what waiver W-1 tolerates is a warning",
    ),
    "no name": (lambda v: v["findings"][0].update(waiver=None), "come together"),
    "no limit without it": (lambda v: v["findings"][0].update(waived_limit=None), "come together"),
    "not in the list": (lambda v: v.update(waivers=[]), "W-1 is not among those in force"),
    "another limit's": (
        lambda v: v["waivers"][0].update(metric="sdi"),
        "W-1 is not among those in force",
    ),
    "saved by one that has expired": (
        lambda v: v["waivers"][0].update(state="expired"),
        "W-1 is not among those in force",
    ),
    "exceeded and not": (
        lambda v: v["waivers"][1].update(state="exceeded"),
        "W-2: no finding shows that it is exceeded",
    ),
    "waived and nothing found": (
        lambda v: v["waivers"].append({**v["waivers"][0], "id": "W-3", "metric": "coverage"}),
        "W-3: no finding shows that it is waived",
    ),
    "held on the good side": (
        lambda v: v["findings"][0].update(judged=0.1, margin=-0.05),
        "0.1 was held for an observed 0.1934",
    ),
    "held for nothing": (
        lambda v: v["findings"][1].update(judged=0.1),
        "0.1 was held for an observed None",
    ),
    "observed instead of held": (
        lambda v: v["findings"][0].update(margin=0.05 - 0.1934),
        "expected status warn, margin -0.16",
    ),
}


@pytest.mark.parametrize(("change", "message"), WAIVED.values(), ids=WAIVED)
def test_a_waiver_that_its_findings_do_not_bear_out_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        load(edited(change, report_documents.waived), "r.json")


DEMANDS = {
    **dict.fromkeys(("accepted-formats", "allowed-bases"), ("pass", "inconclusive", "fail")),
    **dict.fromkeys(("allowed-families", "allowed-quantisations"), ("pass", "fail")),
    **dict.fromkeys(("required-tier", "required-calibration"), ("pass", "inconclusive")),
    **dict.fromkeys(("maximum-age", "required-parameters.seed"), ("pass", "inconclusive")),
    "notice": ("warn", "fail"),
    "defect": ("inconclusive",),
    "limits": ("inconclusive",),
    "limits.by-stratum.code.nll-change": ("inconclusive",),
}


@pytest.mark.parametrize(
    ("rule", "status"), [(rule, status) for rule, all_ in DEMANDS.items() for status in all_]
)
def test_a_demand_without_a_number_comes_out_as_policies_say(rule, status):
    entry = report_documents.plain_finding(rule, status, "So it is.")
    assert entry.to_finding().status == status


@pytest.mark.parametrize(("enforced", "mode"), [(True, "enforce"), (False, "observe")])
def test_a_document_from_before_there_were_three_modes_is_still_read(enforced, mode):
    make = report_documents.failing if enforced else report_documents.observing
    plain = json.loads(dump(make()))
    for key in ("mode", "blocks", "waivers", "documentation", "policy_file", "policy_owner"):
        del plain["verdict"][key]
    for finding in plain["verdict"]["findings"]:
        for key in ("judged", "waiver", "waived_limit", "origin"):
            del finding[key]
    found = load(json.dumps(plain).encode(), "r.json")
    assert (found, found.verdict.mode) == (make(), mode)


MODELS = {
    "a name that is none": (
        lambda plain: plain["base"].update(name="org/other/third"),
        "base: .*'hf:org/base' cannot have the name 'org/other/third' on the Hub",
    ),
    "a folder with a name": (
        lambda plain: plain["base"].update(reference="file:base"),
        "base: .*'file:base' cannot have the name 'org/base' on the Hub",
    ),
    "quantised and not": (
        lambda plain: plain["candidate"].update(quantisation_method="none", quantisation="fp8"),
        "candidate: .*quantised by 'none', and described as 'fp8'",
    ),
    "not quantised and so": (
        lambda plain: plain["candidate"].update(quantisation_method="fp8"),
        "candidate: .*quantised by 'fp8', and described as None",
    ),
}


@pytest.mark.parametrize(("change", "message"), MODELS.values(), ids=MODELS)
def test_a_model_that_contradicts_itself_is_refused(change, message):
    plain = json.loads(dump(report_documents.failing()))
    change(plain)
    with pytest.raises(UsageError, match=message):
        load(json.dumps(plain).encode(), "r.json")


def test_the_hub_may_call_a_model_otherwise_than_its_user():
    plain = json.loads(dump(report_documents.failing()))
    plain["base"]["name"] = "Org/Renamed"
    assert load(json.dumps(plain).encode(), "r.json").base.name == "Org/Renamed"


SIGNED = {
    "verified by no key": {"signature": "verified", "signature_key": None},
    "not checked by a key": {"signature": "not-checked", "signature_key": f"sha256:{'0' * 16}"},
    "unknown by a key": {"signature": None, "signature_key": f"sha256:{'0' * 16}"},
}


@pytest.mark.parametrize("change", SIGNED.values(), ids=SIGNED)
def test_a_signature_is_verified_by_a_key_and_by_none_otherwise(change):
    plain = json.loads(dump(report_documents.failing()))
    plain["verdict"].update(change)
    with pytest.raises(UsageError, match="a signature is verified by a key"):
        load(json.dumps(plain).encode(), "r.json")


INTERVALS = {
    "without its own": ([(0.8, 0.0, 0.2)], "the interval of a prediction is among all of them"),
    "narrower": ([(0.9, 0.0213, 0.1449), (0.95, 0.05, 0.2)], "at a higher level is as wide"),
    "lower level": ([(0.9, 0.0213, 0.1449), (0.8, 0.0, 0.2)], "at a higher level is as wide"),
}


@pytest.mark.parametrize(("intervals", "message"), INTERVALS.values(), ids=INTERVALS)
def test_intervals_that_do_not_widen_with_their_level_are_refused(intervals, message):
    plain = json.loads(dump(report_documents.calibrated()))
    keys = ("level", "lower", "upper")
    plain["prediction"]["intervals"] = [dict(zip(keys, each, strict=True)) for each in intervals]
    with pytest.raises(UsageError, match=message):
        load(json.dumps(plain).encode(), "r.json")


def leaves(plain, path=()):
    """Return the place of every number in a document."""
    items = plain.items() if isinstance(plain, dict) else enumerate(plain)
    for key, value in items:
        if isinstance(value, (dict, list)):
            yield from leaves(value, (*path, key))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield (*path, key)


EXTREMES = {
    "largest": 1.7e308,
    "least": -1.7e308,
    "smallest": 5e-324,
    "zero": 0,
    "endless": 10**400,
    "last count": 2**63 - 1,
    "below 0": -1,
}


@pytest.mark.parametrize("extreme", EXTREMES.values(), ids=EXTREMES)
def test_no_number_makes_a_report_overflow(extreme):
    resized = report_documents.resized().alignment
    small = report_documents.document(layers=("a", "b"), strata=("s",), alignment=resized)
    whole = small.model_copy(update={"verdict": report_documents.failing().verdict})
    text = dump(whole)
    for path in leaves(json.loads(text)):
        plain = json.loads(text)
        *parents, last = path
        place = plain
        for key in parents:
            place = place[key]
        place[last] = extreme
        try:
            view = build_view(load(json.dumps(plain).encode(), "r.json"))
        except UsageError:
            continue
        print_report(view, Console(file=StringIO(), width=80))
        render_markdown(view)


def test_a_document_from_before_calibrations_were_fitted_is_still_read():
    plain = json.loads(dump(report_documents.failing()))
    del plain["prediction"]
    for key in ("status", "own", "reason", "threshold"):
        del plain["calibration"][key]
    for index in ("sdi", "sdi_plus"):
        for part in plain[index]["contributions"]:
            del part["aggregation"], part["reason"]
    found = load(json.dumps(plain).encode(), "r.json")
    assert found == report_documents.failing()
    build_view(found)


def test_a_document_from_before_adapters_and_quantised_models_is_still_read():
    plain = json.loads(dump(report_documents.failing()))
    for model in (plain["base"], plain["candidate"]):
        for key in ("kind", "quantisation", "adapter", "ignored", "tied_copies"):
            del model[key]
    for key in ("vocabulary", "missing_layers", "extra_layers", "rounding", "roles"):
        del plain["alignment"][key]
    found = load(json.dumps(plain).encode(), "r.json")
    assert found == report_documents.failing()
    assert build_view(found).compared.sentences == ()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("candidate", "kind"), r"candidate\.kind: Input should be 'full', 'adapter' or 'gguf'"),
        (("alignment", "rounding", "floor"), r"alignment\.rounding\.floor"),
        (("alignment", "vocabulary", 0, "compared_rows"), r"vocabulary\.0\.compared_rows"),
        (("alignment", "vocabulary", 0, "added_norm_ratio"), r"vocabulary\.0\.added_norm_ratio"),
    ],
    ids=["kind", "rounding", "rows", "ratio"],
)
def test_what_is_no_kind_and_what_is_below_nothing_is_refused(place, message):
    plain = json.loads(dump(report_documents.resized()))
    *parents, last = place
    part = plain
    for key in parents:
        part = part[key]
    part[last] = -1
    with pytest.raises(UsageError, match=message):
        load(json.dumps(plain).encode(), "r.json")


@pytest.mark.parametrize(
    "change",
    [
        {"value": None},
        {"reason": "no"},
        {"lower": 0.2},
        {"upper": 0.01},
        {"value": None, "lower": None, "upper": None, "level": None},
    ],
    ids=["no value", "value and reason", "above", "below", "nothing"],
)
def test_a_prediction_that_contradicts_itself_is_refused(change):
    plain = json.loads(dump(report_documents.calibrated()))
    plain["prediction"].update(change)
    with pytest.raises(UsageError, match=r"a prediction (has all|lies in)"):
        load(json.dumps(plain).encode(), "r.json")


def test_a_calibration_that_speaks_and_says_why_not_is_refused():
    plain = json.loads(dump(report_documents.calibrated()))
    plain["calibration"]["reason"] = "too large"
    with pytest.raises(UsageError, match="speaks for the models has no reason"):
        load(json.dumps(plain).encode(), "r.json")


def test_shares_that_only_overflow_together_are_refused():
    plain = json.loads(dump(report_documents.failing()))
    for entry in plain["sdi"]["by_layer"]:
        entry["contribution"] = 1e308
    with pytest.raises(UsageError, match=r"by_layer\.0\.contribution: .*less than or equal to 1"):
        load(json.dumps(plain).encode(), "r.json")
