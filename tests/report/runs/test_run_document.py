import json

import jsonschema
import page_documents as pages
import pytest
import report_documents as docs
from pydantic import ValidationError

from sdi_gate.errors import UsageError
from sdi_gate.report.runs import document as module
from sdi_gate.report.runs.document import MAX_SUBJECTS, RunDocument, dump, json_schema, load

CASES = pytest.mark.parametrize(
    "make", [*pages.CASES.values(), pages.hostile], ids=[*pages.CASES, "hostile"]
)


def test_the_published_schema_is_that_of_the_code(assert_golden):
    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert_golden("docs/schema/run-v1.json", text)


@CASES
def test_every_document_is_valid_under_the_published_schema(make):
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(dump(make())))


@CASES
def test_a_document_that_was_written_is_read_back_as_it_was(make):
    run = make()
    assert load(dump(run), "run.json") == run
    assert dump(load(dump(run), "run.json")) == dump(run)


def observed(**overrides):
    return pages.subject(docs.observing(), name="observed", **overrides)


def failed(**overrides):
    return pages.subject(docs.failing(), name="failed", **overrides)


def unsure():
    return pages.subject(docs.inconclusive(), name="unsure")


def refused(code):
    return pages.subject(name=f"refused {code}", error=pages.error(exit_code=code))


def passed():
    return pages.subject(docs.passing(), name="passed")


@pytest.mark.parametrize(
    ("subjects", "decision", "deciding", "code"),
    [
        ((), "none", None, 0),
        ((passed(),), "pass", 0, 0),
        ((passed(), refused(4), refused(2)), "error", 1, 2),
        ((refused(2), unsure()), "inconclusive", 1, 11),
        ((unsure(), passed(), failed()), "fail", 2, 10),
        ((observed(),), "fail", 0, 0),
        ((observed(), refused(4)), "fail", 0, 4),
        ((observed(), unsure()), "fail", 0, 11),
        ((observed(), failed()), "fail", 1, 10),
    ],
    ids=[
        "nothing",
        "pass",
        "the least code of errors",
        "inconclusive before error",
        "fail before all",
        "observed",
        "an error beside what is observed",
        "inconclusive beside what is observed",
        "of two that fail the one that closes",
    ],
)
def test_the_worst_decides_and_modes_are_respected(subjects, decision, deciding, code):
    run = pages.run(*subjects)
    assert (run.decision, run.deciding, run.exit_code) == (decision, deciding, code)


def test_an_error_of_the_whole_run_is_the_decision():
    run = pages.broken()
    assert (run.decision, run.deciding, run.exit_code) == ("error", None, 3)


def test_candidates_are_ranked_by_decision_and_else_in_their_order():
    assert [pages.several().subjects[i].name for i in pages.several().ranked] == [
        "support-bot",
        "summariser",
        "translator",
        "coder",
    ]


def other_policy():
    verdict = docs.failing().verdict.model_copy(update={"policy_digest": "sha256:" + "00" * 32})
    return pages.subject(docs.failing().model_copy(update={"verdict": verdict}))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (pages.subject, "expected a result or an error; got neither"),
        (lambda: failed(error=pages.error()), "expected a result or an error; got both"),
        (lambda: pages.subject(docs.unjudged()), "expected a result with a verdict"),
        (lambda: failed(candidate="hf:org/other"), "hf:org/other was asked for, and hf:org/tune"),
        (lambda: failed(base="hf:org/other"), "hf:org/other was asked for, and hf:org/base"),
        (lambda: pages.run(passed(), passed()), "got one twice"),
        (lambda: pages.run(passed(), error=pages.error()), "leaves nothing judged"),
        (lambda: pages.run(other_policy()), "judged by policy"),
        (lambda: pages.run(failed(), policy=pages.policy(name="other")), "judged by policy"),
        (lambda: pages.run(failed(), policy=pages.policy(digest=None)), "judged by policy"),
        (lambda: pages.run(*pages.editing().subjects), "says nothing of an edit"),
        (lambda: pages.error(exit_code=10), "less than or equal to 6"),
        (lambda: pages.error(exit_code=0), "greater than or equal to 1"),
        (lambda: pages.policy(key="--> <img>"), "match pattern"),
    ],
    ids=[
        "neither result nor error",
        "result and error",
        "no verdict",
        "another candidate",
        "another base",
        "two of one name",
        "error and candidates",
        "another digest",
        "another name",
        "no digest",
        "proposal without an edit",
        "an error with the code of a verdict",
        "an error without a code",
        "a key that is none",
    ],
)
def test_a_document_that_contradicts_itself_is_refused(make, told):
    with pytest.raises(ValidationError, match=told):
        make()


def test_more_candidates_than_two_hundred_are_refused():
    many = [refused(2).model_copy(update={"name": str(i)}) for i in range(MAX_SUBJECTS + 1)]
    with pytest.raises(ValidationError, match="at most 200"):
        pages.run(*many)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "run.json: not a run document"),
        (b"[]", "run.json: not a run document"),
        (b'{"schema": "sdi-gate/result/v1"}', "schema: Input should be 'sdi-gate/run/v1'"),
        (b"\xff\xfe", "run.json: not a run document"),
    ],
    ids=["nothing", "no object", "another schema", "no UTF-8"],
)
def test_what_is_no_run_document_is_refused_with_its_place(data, told):
    with pytest.raises(UsageError, match=told):
        load(data, "run.json")


def test_a_document_that_is_too_large_is_refused_unread(monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(UsageError, match="11 bytes, at most 10 expected"):
        load(b"x" * 11, "run.json")


def test_hostile_keys_of_a_document_are_told_visibly_and_shortly():
    plain = json.loads(dump(pages.failing()))
    plain["\x1b[2J\n::error::" + "k" * 2000] = 1
    with pytest.raises(UsageError, match="::error::kkk") as caught:
        load(json.dumps(plain).encode(), "run.json")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 700


def test_a_forged_verdict_is_refused():
    text = dump(pages.failing()).decode()
    assert text.count('"status": "fail"') == 2
    forged = text.replace('"status": "fail"', '"status": "pass"', 1)
    with pytest.raises(UsageError, match="verdict"):
        load(forged.encode(), "run.json")


def test_a_run_document_is_strict():
    with pytest.raises(ValidationError, match="num_unchanged"):
        RunDocument.model_validate({**dict(pages.nothing()), "num_unchanged": "2"})
