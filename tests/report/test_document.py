import json

import jsonschema
import pytest
import report_documents
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.errors import UsageError
from sdi_gate.report import document as module
from sdi_gate.report.document import dump, json_schema, load
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
