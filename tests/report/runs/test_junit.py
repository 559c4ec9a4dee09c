from itertools import product
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.report.parts import clean
from sdi_gate.report.runs.junit import render_junit
from tests.report_documents import HOSTILE_NAMES, finding, plain_finding
from tests.run_documents import (
    CASES,
    crowd,
    error,
    judged,
    mixed,
    nothing,
    run,
    subject,
    unfinished,
)

ALL = [*CASES.values(), crowd, lambda: crowd(mode="warn")]
IDS = [*CASES, "crowd", "crowd-warn"]

FAIL = finding()
INCONCLUSIVE = finding(status="inconclusive", observed=None, stderr=None, margin=None)
WARN = finding(status="warn", fail=0.9, margin=0.05 - 0.1934)
PASS = finding(status="pass", warn=None, fail=0.9, margin=0.9 - 0.1934)


def parsed(document):
    return ET.fromstring(render_junit(document).decode())  # noqa: S314 - our own


def red(root):
    return [*root.iter("failure"), *root.iter("error")]


def test_a_candidate_is_a_suite_and_a_finding_a_case():
    root = parsed(mixed())
    tone, bot, gated = root
    assert [suite.get("name") for suite in root] == ["tone", "support-bot", "gated"]
    assert [case.get("name") for case in tone.iter("testcase")] == [
        "required-tier",
        "limits.sdi",
        "limits.coverage",
    ]
    (failure,) = bot.iter("failure")
    assert failure.get("type") == "fail"
    assert failure.text == (
        "FAIL. nll-change is 0.193 ± 0.021 nats per token, above the failing limit of 0.1 by"
        " 0.0934 (4.43 standard errors). The rule stands at"
        " acme/models//policies/production.yml@0123456:54."
    )
    (missing,) = gated.iter("error")
    assert missing.text == "hf:org/tune: the repository is gated. Hint: give hf-token"
    properties = {each.get("name"): each.get("value") for each in bot.iter("property")}
    assert properties == {"base": "hf:org/base", "candidate": "hf:org/tune", "change": "added"}


def test_a_suite_has_the_time_and_the_start_of_its_scan_without_counting_parts_twice():
    result = judged(PASS)
    whole = result.cost.stages[0]
    part = whole.model_copy(update={"stage": f"{whole.stage}/read"})
    cost = result.cost.model_copy(update={"stages": (whole, part)})
    (suite,) = parsed(run(subject("a", result.model_copy(update={"cost": cost}))))
    assert (suite.get("time"), suite.get("timestamp")) == ("1.250", "2026-01-02T03:04:05Z")


def test_a_start_that_is_no_time_is_left_out():
    result = judged(PASS)
    cost = result.cost.model_copy(update={"started_at": "yesterday"})
    (suite,) = parsed(run(subject("a", result.model_copy(update={"cost": cost}))))
    assert suite.get("timestamp") is None


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_the_counts_are_those_of_the_elements(make):
    root = parsed(make())
    for each in (root, *root.iter("testsuite")):
        counts = {
            "tests": len([*each.iter("testcase")]),
            "failures": len([*each.iter("failure")]),
            "errors": len([*each.iter("error")]),
            "skipped": 0,
        }
        assert {key: int(each.get(key)) for key in counts} == counts
    assert not [*root.iter("skipped")]


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_every_finding_and_every_error_is_one_case(make):
    document = make()
    if document.error is not None or not document.subjects:
        assert len([*parsed(document).iter("testcase")]) == 1
        return
    for suite, each in zip(parsed(document), document.subjects, strict=True):
        verdict = None if each.result is None else each.result.verdict
        expected = 1 if verdict is None else len(verdict.findings)
        names = [case.get("name") for case in suite.iter("testcase")]
        assert len(names) == len(set(names)) == expected


@pytest.mark.parametrize("mode", ["enforce", "warn", "observe"])
@pytest.mark.parametrize("first", [FAIL, INCONCLUSIVE, WARN, PASS], ids=lambda each: each.status)
@pytest.mark.parametrize("others", [*product((True, False), repeat=2)])
def test_a_case_is_red_if_and_only_if_the_exit_code_is_not_zero(mode, first, others):
    subjects = [subject("judged", judged(first, PASS, mode=mode))]
    subjects += [subject("passed", judged(PASS, mode=mode))] * others[0]
    subjects += [subject("failed", error=error(exit_code=5))] * others[1]
    document = run(*subjects)
    assert bool(red(parsed(document))) == (document.exit_code != 0)


@pytest.mark.parametrize("mode", ["warn", "observe"])
def test_what_is_not_enforced_passes_and_says_what_would_have_happened(mode):
    root = parsed(run(subject("a", judged(FAIL, INCONCLUSIVE, WARN, mode=mode))))
    failed, unclear, warned = (case.findtext("system-out") for case in root.iter("testcase"))
    ending = f"under mode enforce; the policy is in mode {mode}."
    assert failed.startswith(f"FAIL. It would have failed {ending}")
    assert unclear.startswith(f"INCONCLUSIVE. It would have been an error {ending}")
    assert warned.startswith("WARN. nll-change is")


def test_findings_of_one_rule_have_names_of_their_own():
    notices = (plain_finding("notice", "warn", text) for text in ("one", "two"))
    root = parsed(run(subject("a", judged(*notices))))
    assert [case.get("name") for case in root.iter("testcase")] == ["notice", "notice [2]"]


def test_nothing_to_judge_is_a_case_that_passes_and_says_so():
    root = parsed(nothing())
    (case,) = root.iter("testcase")
    assert case.findtext("system-out").startswith("3 candidates of models/candidates.yml were left")
    assert not red(root)


def test_an_error_of_the_run_is_a_case_that_is_red():
    (found,) = red(parsed(unfinished()))
    assert found.text == "policies/production.yml: not found. Hint: give hf-token"


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "]]>", "&amp;", "\ufffe\uffff", "\ud800", "\x00"])
def test_a_hostile_name_reads_back_as_its_cleaned_text(name):
    root = parsed(run(subject(name, error=error(name, hint=""))))
    expected = clean(name, 240).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
    assert root[0].get("name") == expected
    (found,) = root.iter("error")
    assert found.get("message") == expected


@given(text=st.text())
def test_any_text_reads_back(text):
    (found,) = parsed(run(subject("a", error=error(text, hint="")))).iter("error")
    assert found.text == clean(text, 2000).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_equal_documents_give_equal_bytes(make):
    assert render_junit(make()) == render_junit(make())


def test_a_base_that_nobody_named_is_no_property():
    (suite,) = parsed(run(subject("a", error=error(), base=None)))
    assert [each.get("name") for each in suite.iter("property")] == ["candidate", "change"]
