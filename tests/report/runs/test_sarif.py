import json
import re

import jsonschema
import pytest

from sdi_gate.report.document import OriginEntry
from sdi_gate.report.runs.sarif import MAX_RESULTS, render_sarif
from tests.node_packages import node_folder
from tests.report_documents import finding, plain_finding
from tests.run_documents import (
    CASES,
    COMMIT,
    MANIFEST,
    POLICY_FILE,
    crowd,
    error,
    judged,
    mixed,
    policy,
    run,
    subject,
)

ALL = [*CASES.values(), crowd, lambda: crowd(mode="observe")]
IDS = [*CASES, "crowd", "crowd-observe"]


def log(document):
    (found,) = json.loads(render_sarif(document))["runs"]
    return found


def results(document):
    return log(document)["results"]


def at(file, line=54):
    return OriginEntry(file=file, line=line, column=7)


def failed(file=POLICY_FILE, **overrides):
    return run(subject("bot", judged(finding(origin=at(file))), **overrides))


def stands(document):
    (result,) = results(document)
    (location,) = result["locations"]
    physical = location["physicalLocation"]
    return physical["artifactLocation"]["uri"], physical["region"]["startLine"]


def prints(document):
    return [each["partialFingerprints"]["primaryLocationLineHash"] for each in results(document)]


@pytest.fixture(scope="module")
def validator():
    schemas = node_folder() / "@microsoft" / "jest-sarif" / "lib" / "schemas"
    (file,) = schemas.glob("sarif-2.1.0*.json")
    return jsonschema.Draft4Validator(
        json.loads(file.read_text(encoding="utf-8")),
        format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER,
    )


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_the_file_keeps_the_published_schema(make, validator):
    validator.validate(json.loads(render_sarif(make())))


def test_the_published_schema_refuses_what_is_no_result(validator):
    plain = json.loads(render_sarif(mixed()))
    plain["runs"][0]["results"][0]["level"] = "failure"
    with pytest.raises(jsonschema.ValidationError, match="failure"):
        validator.validate(plain)


def test_a_failure_is_a_result_at_the_line_of_the_policy_with_its_numbers():
    (result,) = results(mixed())
    assert (result["ruleId"], result["level"]) == ("limits.behaviour.nll-change", "error")
    assert result["message"]["text"] == (
        "support-bot: FAIL: nll-change is 0.193 ± 0.021 nats per token, above the failing limit of"
        " 0.1 by 0.0934 (4.43 standard errors)."
    )
    assert result["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {
                    "uri": "policies/production.yml",
                    "uriBaseId": "%SRCROOT%",
                },
                "region": {"startLine": 54, "startColumn": 7},
            }
        }
    ]
    numbers = {"observed": 0.1934, "stderr": 0.0211, "warn": 0.05, "fail": 0.1}
    assert numbers.items() <= result["properties"].items()
    assert result["properties"]["subject"] == "support-bot"


def test_an_error_is_a_notification_at_the_manifest_and_the_run_did_not_succeed():
    (invocation,) = log(mixed())["invocations"]
    assert invocation["executionSuccessful"] is False
    assert invocation["exitCode"] == 10
    (told,) = invocation["toolExecutionNotifications"]
    assert told["level"] == "error"
    assert told["message"]["text"].startswith("gated: hf:org/tune: the repository is gated")
    physical = told["locations"][0]["physicalLocation"]
    assert (physical["artifactLocation"]["uri"], physical["region"]["startLine"]) == (MANIFEST, 19)


def test_an_error_of_the_run_is_a_notification_without_a_place():
    (invocation,) = log(CASES["error"]())["invocations"]
    assert invocation["executionSuccessful"] is False
    (told,) = invocation["toolExecutionNotifications"]
    assert "locations" not in told


def test_a_verdict_that_closes_the_gate_is_no_failure_to_run():
    (invocation,) = log(failed())["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (True, 10)


@pytest.mark.parametrize(("mode", "level"), [("warn", "warning"), ("observe", "note")])
def test_what_is_not_enforced_is_no_error(mode, level):
    document = run(subject("bot", judged(finding(), mode=mode)))
    assert [each["level"] for each in results(document)] == [level]


def test_uploads_under_two_policies_do_not_replace_each_other():
    other = run(subject(), policy=policy(key="f" * 16))
    found = [log(each)["automationDetails"]["id"] for each in (run(subject()), other)]
    assert found == ["sdi-gate/0123456789abcdef/", "sdi-gate/ffffffffffffffff/"]


@pytest.mark.parametrize(
    ("file", "manifest", "named"),
    [
        (POLICY_FILE, True, ("policies/production.yml", 54)),
        (f"other/rules//strict.yml@{COMMIT}", True, (MANIFEST, 12)),
        (f"other/rules//strict.yml@{COMMIT}", False, ("other/rules/strict.yml", 54)),
        (f"hf:acme/p@{COMMIT}//strict.yml", False, ("hf%3Aacme/p/strict.yml", 54)),
        ("/etc/passwd", False, ("policy", 54)),
        ("a/../../b", False, ("policy", 54)),
        ("acme/models//policies/a b#c%?.yml", False, ("policies/a%20b%23c%25%3F.yml", 54)),
    ],
)
def test_every_result_stands_in_a_file_by_a_relative_path(file, manifest, named):
    assert stands(failed(file, **({} if manifest else {"place": None}))) == named


def test_a_default_that_no_file_states_stands_at_the_policy():
    document = run(subject("bot", judged(finding(origin=None)), place=None))
    assert stands(document) == ("policies/production.yml", 1)


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_every_finding_that_is_no_pass_is_one_result_of_a_rule_that_is_listed(make):
    document = make()
    verdicts = [each.result.verdict for each in document.subjects if each.result is not None]
    expected = sum(entry.status != "pass" for each in verdicts for entry in each.findings)
    found = log(document)
    rules = [rule["id"] for rule in found["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules) <= MAX_RESULTS
    assert len(found["results"]) == min(expected, MAX_RESULTS)
    for result in found["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[A-Za-z0-9._~%-][A-Za-z0-9._~%/-]*", uri)
        assert ".." not in uri.split("/")
    assert len(set(prints(document))) == len(found["results"])


def test_beyond_five_thousand_the_least_important_are_left_out_and_counted():
    found = log(crowd())
    total = 200 * 59
    assert len(found["results"]) == MAX_RESULTS < total
    assert {each["level"] for each in found["results"]} == {"error"}
    deciding = {each["properties"]["subject"] for each in found["results"][:200]}
    assert len(deciding) == 200
    (invocation,) = found["invocations"]
    (told,) = invocation["toolExecutionNotifications"]
    assert told["message"]["text"].startswith(f"{total - MAX_RESULTS:,} results left out")
    assert invocation["executionSuccessful"] is True


def test_rules_that_passed_are_listed_and_have_no_result():
    found = log(CASES["pass"]())
    assert [rule["id"] for rule in found["tool"]["driver"]["rules"]] == [
        "required-tier",
        "limits.sdi",
        "limits.coverage",
    ]
    assert found["results"] == []


def test_a_fingerprint_stays_while_numbers_and_places_change_and_differs_by_candidate():
    moved = finding(observed=0.3, margin=0.1 - 0.3, origin=at(POLICY_FILE, 60), layer="layers.1")
    later = run(subject("bot", judged(moved)))
    assert prints(later) == prints(failed())
    assert prints(failed()) != prints(run(subject("other", judged(finding()))))
    another = run(subject("bot", judged(finding())), policy=policy(key="f" * 16))
    assert prints(failed()) != prints(another)


def test_findings_of_one_rule_have_fingerprints_of_their_own():
    notices = [plain_finding("notice", "warn", text) for text in ("one", "two")]
    first = prints(run(subject("a", judged(*notices))))
    assert len(set(first)) == 2
    swapped = prints(run(subject("a", judged(*notices, deciding=1))))
    assert swapped == first[::-1]


def test_a_lone_surrogate_is_written_as_text():
    document = run(subject("a\ud800", error=error("\ud800")))
    assert "\ufffd" in render_sarif(document).decode()


@pytest.mark.parametrize("make", ALL, ids=IDS)
def test_equal_documents_give_equal_bytes(make):
    assert render_sarif(make()) == render_sarif(make())
