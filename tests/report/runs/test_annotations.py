import unicodedata

import pytest

from sdi_gate.report.document import OriginEntry
from sdi_gate.report.runs.annotations import MAX_PER_LEVEL, annotations_of
from sdi_gate.report.runs.locations import is_inside, repository_path
from sdi_gate.report.runs.remarks import MESSAGE_LIMIT, TITLE_LIMIT, level_of, remarks_of
from tests.report_documents import finding, waiver
from tests.run_documents import (
    CASES,
    COMMIT,
    MANIFEST,
    POLICY_FILE,
    crowd,
    edit,
    error,
    event,
    judged,
    mixed,
    place,
    proposed,
    run,
    subject,
)


def at(file, line=54, column=7):
    return OriginEntry(file=file, line=line, column=column)


def placed(file, **overrides):
    found = run(subject("bot", judged(finding(origin=at(file))), **overrides))
    (annotation,) = annotations_of(found)
    return annotation


def where(annotation):
    return annotation.file, annotation.line, annotation.column


def test_a_failure_stands_at_the_line_of_the_policy_that_decided():
    failed, gated = annotations_of(mixed())
    assert where(failed) == ("policies/production.yml", 54, 7)
    assert (failed.level, failed.title) == (
        "error",
        "support-bot: FAIL: behaviour.nll-change",
    )
    assert failed.message == (
        "nll-change is 0.193 ± 0.021 nats per token, above the failing limit of 0.1 by 0.0934"
        " (4.43 standard errors). This is hf:org/tune against hf:org/base."
    )
    assert (gated.level, *where(gated)) == ("error", MANIFEST, 19, 5)
    assert gated.title == "gated: not judged"
    assert gated.message == "hf:org/tune: the repository is gated. Hint: give hf-token"


@pytest.mark.parametrize(
    "file",
    [
        f"other/policies//production.yml@{COMMIT}",
        f"acme/models2//policies/production.yml@{COMMIT}",
        f"hf:acme/models@{COMMIT}//policies/production.yml",
        "policies/production.yml",
        "acme/models//../other/policy.yml",
        "acme/models///etc/passwd",
    ],
)
def test_a_policy_of_elsewhere_has_no_line_here_and_is_named_in_the_message(file):
    found = placed(file, place=None)
    assert where(found) == (None, None, None)
    assert "The rule stands at " in found.message
    assert ":54." in found.message


def test_a_policy_of_elsewhere_leaves_the_line_of_the_manifest():
    found = placed(f"other/policies//production.yml@{COMMIT}", place=place(12))
    assert where(found) == (MANIFEST, 12, 5)
    assert "The rule stands at " in found.message


def test_names_of_repositories_are_alike_in_upper_and_lower_case():
    assert where(placed(f"Acme/Models//policies/strict.yml@{COMMIT}"))[0] == "policies/strict.yml"


def test_a_default_that_no_file_states_stands_at_the_manifest():
    found = run(subject("bot", judged(finding(origin=at(POLICY_FILE, line=0)))))
    assert where(annotations_of(found)[0]) == (MANIFEST, 12, 5)


def test_an_unknown_column_is_left_out():
    found = run(subject("bot", judged(finding(origin=at(POLICY_FILE, column=0)))))
    assert where(annotations_of(found)[0]) == ("policies/production.yml", 54, None)


@pytest.mark.parametrize("path", ["/etc/passwd", "a/../b", "a//b", "", ".", "a\\b", "a\nb", "x/"])
def test_a_path_that_could_lead_out_is_no_path_of_the_repository(path):
    assert not is_inside(path)


def test_without_a_repository_no_policy_is_its_own():
    alone = run(subject(), event=event(repository=None))
    assert repository_path(POLICY_FILE, alone) is None


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("enforce", ["error", "error", "warning"]),
        ("warn", ["warning"] * 3),
        ("observe", ["notice"] * 3),
    ],
)
def test_the_level_follows_the_mode(mode, expected):
    inconclusive = finding(status="inconclusive", observed=None, stderr=None, margin=None)
    warned = finding(status="warn", fail=0.9, margin=0.05 - 0.1934)
    passed = finding(status="pass", warn=None, fail=0.9, margin=0.9 - 0.1934)
    result = judged(passed, warned, inconclusive, finding(), mode=mode, deciding=3)
    found = annotations_of(run(subject("bot", result)))
    assert [each.level for each in found] == expected
    assert [each.title.split(": ")[1] for each in found] == ["FAIL", "INCONCLUSIVE", "WARN"]
    open_ = f"The policy is in {mode} mode: the gate stays open."
    assert all((open_ in each.message) == (mode != "enforce") for each in found)


def test_another_base_is_a_warning_at_the_manifest_and_comes_first():
    warned = finding(status="warn", fail=0.9, margin=0.05 - 0.1934)
    found = annotations_of(run(subject("bot", judged(warned), former_base="hf:org/old")))
    assert [each.level for each in found] == ["warning", "warning"]
    assert where(found[0]) == (MANIFEST, 12, 5)
    assert "The base was hf:org/old before this change, and is now hf:org/base" in found[0].message


def test_a_base_that_the_adapter_names_now_is_told_as_that():
    failed = subject("bot", error=error(), base=None, former_base="hf:org/old")
    assert "is now the one that the adapter names" in annotations_of(run(failed))[1].message


def of_the_edit(found):
    return next(each for each in found if each.title == "The policy is edited")


@pytest.mark.parametrize(("loosens", "level"), [(True, "warning"), (False, "notice")])
def test_an_edit_of_the_policy_is_told_at_its_file_and_louder_if_it_loosens(loosens, level):
    other = subject("a", judged(finding()), proposed=proposed("pass"))
    same = subject("b", proposed=proposed("pass"))
    found = of_the_edit(annotations_of(run(other, same, edit=edit(loosens=loosens))))
    assert (found.level, *where(found)) == (level, "policies/production.yml", 1, None)
    assert "By the edited policy 1 of 2 candidates would come to another status." in found.message


def test_an_edited_policy_that_cannot_be_used_is_told():
    found = annotations_of(run(subject(), edit=edit(problem="no rules", files=("/x",))))
    assert "The edited policy cannot be used: no rules" in found[0].message
    assert found[0].file is None


def test_an_expiring_waiver_is_told_once_however_many_candidates_it_names():
    soon = waiver(id="W-9", state="unused", expiring=True, days_left=3, origin=at(POLICY_FILE, 70))
    late = waiver(id="W-8", state="unused", expiring=False, origin=at(POLICY_FILE, 80))
    foreign = waiver(id="W-7", state="unused", expiring=True, days_left=9, origin=at("x.yml", 9))
    passed = finding(status="pass", warn=None, fail=0.9, margin=0.9 - 0.1934)
    result = judged(passed, waivers=(foreign, soon, late))
    found = annotations_of(run(subject("a", result), subject("b", result)))
    assert [each.title for each in found] == ["Waiver W-9 expires soon", "Waiver W-7 expires soon"]
    assert where(found[0]) == ("policies/production.yml", 70, 7)
    assert where(found[1]) == (MANIFEST, 12, 5)
    assert "for 3 more days" in found[0].message
    assert found[1].message.endswith("It stands at x.yml:9.")


@pytest.mark.parametrize("mode", ["enforce", "warn", "observe"])
def test_there_are_never_more_than_ten_of_a_level_and_the_last_counts_the_rest(mode):
    found = annotations_of(crowd(mode=mode))
    by_level = {
        level: [each for each in found if each.level == level]
        for level in ("error", "warning", "notice")
    }
    assert all(len(each) <= MAX_PER_LEVEL for each in by_level.values())
    total = sum(remark.level == found[0].level for remark in remarks_of(crowd(mode=mode)))
    first = by_level[found[0].level]
    assert len(first) == MAX_PER_LEVEL
    assert first[-1].title.startswith(f"{total - 9:,} more {found[0].level}")
    assert where(first[-1]) == (None, None, None)


def test_ten_of_a_level_are_all_shown():
    exactly = run(*(subject(f"c{i}", judged(finding())) for i in range(10)))
    found = annotations_of(exactly)
    assert [each.title for each in found] == [
        f"c{i}: FAIL: behaviour.nll-change" for i in range(10)
    ]


def test_what_decided_comes_before_what_did_not():
    several = judged(finding(rule="limits.a"), finding(rule="limits.b"), deciding=1)
    found = annotations_of(run(subject("x", several), subject("y", several)))
    assert [each.title for each in found] == [
        "x: FAIL: b",
        "y: FAIL: b",
        "x: FAIL: a",
        "y: FAIL: a",
    ]


@pytest.mark.parametrize("make", [*CASES.values(), crowd], ids=[*CASES, "crowd"])
def test_every_finding_that_is_no_pass_and_every_error_is_in_one_remark(make):
    found = make()
    verdicts = [each.result.verdict for each in found.subjects if each.result is not None]
    expected = sum(entry.status != "pass" for each in verdicts for entry in each.findings)
    expected += sum(each.error is not None for each in found.subjects)
    expected += sum(each.former_base is not None for each in found.subjects)
    expected += (found.error is not None) + (found.edit is not None)
    assert len(remarks_of(found)) == expected


@pytest.mark.parametrize("make", [*CASES.values(), crowd], ids=[*CASES, "crowd"])
def test_texts_are_one_printable_line_of_bounded_length(make):
    for remark in remarks_of(make()):
        assert 0 < len(remark.title) <= TITLE_LIMIT
        assert 0 < len(remark.message) <= MESSAGE_LIMIT
        texts = [remark.title, remark.message]
        texts += [] if remark.location is None else [remark.location.file]
        assert not {unicodedata.category(char) for char in "".join(texts)} & {"Cc", "Cf", "Zl"}


def test_a_pass_and_a_run_without_candidates_need_no_annotation():
    assert annotations_of(CASES["pass"]()) == ()
    assert annotations_of(CASES["none"]()) == ()


def test_a_run_that_judged_nothing_is_an_error():
    (found,) = annotations_of(CASES["error"]())
    assert (found.level, found.title, found.file) == ("error", "Nothing was judged", None)


@pytest.mark.parametrize("mode", ["enforce", "warn", "observe"])
def test_a_pass_has_no_level_in_any_mode(mode):
    assert level_of("pass", mode) is None
