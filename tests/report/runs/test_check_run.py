import pytest

from sdi_gate.report.document import OriginEntry
from sdi_gate.report.runs.check_run import (
    MAX_ANNOTATIONS,
    TEXT_LIMIT,
    TITLE_LIMIT,
    CheckAnnotation,
    check_run_of,
)
from sdi_gate.report.runs.locations import is_inside
from sdi_gate.report.runs.remarks import remarks_of
from tests.report_documents import finding
from tests.run_documents import CASES, MANIFEST, crowd, edit, error, judged, mixed, run, subject

ALL = [*CASES.values(), crowd, lambda: crowd(mode="observe")]
IDS = [*CASES, "crowd", "crowd-observe"]
_MESSAGE_BYTES = 64 * 1024


def test_a_check_run_says_what_the_exit_code_says():
    found = check_run_of(mixed())
    assert found.conclusion == "failure"
    assert found.title == "FAIL: 1 of 3 candidates is beyond policy production"
    assert found.text == ""
    assert found.annotations[0] == CheckAnnotation(
        path="policies/production.yml",
        start_line=54,
        end_line=54,
        annotation_level="failure",
        message=(
            "nll-change is 0.193 ± 0.021 nats per token, above the failing limit of 0.1 by 0.0934"
            " (4.43 standard errors). This is hf:org/tune against hf:org/base."
        ),
        title="support-bot: FAIL: behaviour.nll-change",
    )
    assert (found.annotations[1].path, found.annotations[1].start_line) == (MANIFEST, 19)


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_the_conclusion_is_a_success_if_and_only_if_the_exit_code_is_zero(make):
    document = make()
    conclusion = check_run_of(document).conclusion
    assert conclusion == ("success" if document.exit_code == 0 else "failure")


def test_a_failure_that_is_not_enforced_is_a_success_with_a_warning():
    found = check_run_of(run(subject("bot", judged(finding(), mode="warn"))))
    assert found.conclusion == "success"
    assert [each.annotation_level for each in found.annotations] == ["warning"]


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_every_text_keeps_the_bounds_of_the_interface(make):
    found = check_run_of(make())
    assert 0 < len(found.title) <= TITLE_LIMIT
    assert 0 < len(found.summary.encode()) <= TEXT_LIMIT
    assert len(found.text.encode()) <= TEXT_LIMIT
    assert len(found.annotations) <= MAX_ANNOTATIONS
    for each in found.annotations:
        assert is_inside(each.path)
        assert 1 <= each.start_line == each.end_line
        assert 0 < len(each.title) <= TITLE_LIMIT
        assert 0 < len(each.message.encode()) <= _MESSAGE_BYTES


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_what_is_not_annotated_is_listed_or_counted_in_the_text(make):
    document = make()
    found = check_run_of(document)
    lines = found.text.splitlines()
    counted = 0
    if lines and lines[-1].endswith(" more: the report has them all."):
        counted = int(lines.pop().removeprefix("- ").split(" ")[0].replace(",", ""))
    assert len(lines) + counted == len(remarks_of(document)) - len(found.annotations)


def test_the_summary_has_no_marker_of_a_comment():
    assert "sdi-gate:comment" not in check_run_of(mixed()).summary


def test_hostile_text_has_no_mention_and_no_element():
    found = check_run_of(CASES["hostile"]())
    assert "@octocat" in found.annotations[0].message + found.text.replace("\u200b", "")
    for text in (found.text, found.summary):
        assert "<script>" not in text
        assert "@octocat" not in text
        assert "<!-- comment -->" not in text


def test_an_error_without_a_place_is_in_the_text():
    found = check_run_of(CASES["error"]())
    assert found.annotations == ()
    assert found.text.startswith("- error: Nothing was judged: policies/production.yml: not found")


def test_fifty_of_the_most_important_are_annotated_and_the_rest_is_text():
    failed = judged(finding(origin=OriginEntry(file="x.yml", line=1, column=1)))
    many = [subject(f"c{i}", failed) for i in range(60)]
    unplaced = subject("unplaced", error=error(), place=None)
    found = check_run_of(run(*many, unplaced, edit=edit()))
    assert len(found.annotations) == MAX_ANNOTATIONS
    assert {each.annotation_level for each in found.annotations} == {"failure"}
    told = found.text.splitlines()
    assert len(told) == 12
    assert any(line.startswith("- error: unplaced: not judged") for line in told)
    assert any(line.startswith("- warning: The policy is edited") for line in told)
