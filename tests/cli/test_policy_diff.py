import json
import re
import shutil

import pytest
from commands import assert_one_clear_error
from written_policies import (
    CHILD,
    PARENT,
    simple,
    without_digests,
    write,
    write_chain,
    write_results,
)


@pytest.fixture
def diff(run_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_chain(tmp_path)
    # A base that demands less than the parent of the chain.
    write(tmp_path, "lax", PARENT.replace("0.6}", "0.7}").replace("name: parent", "name: lax"))
    unlike = CHILD.replace("limit: 0.3", "limit: 0.4").replace("nll-change: {fail: 0.2}", "")
    write(tmp_path, "unlike", unlike.replace("      behaviour:\n        \n", ""))
    write_results(tmp_path / "results", {"near": 0.2, "tune": 1.0})
    return lambda *arguments: run_here("policy", "diff", *arguments)


WAYS = {
    "same": ("child.yml", "child.yml", "results"),
    "stricter": ("parent.yml", "child.yml", "results"),
    "looser": ("child.yml", "lax.yml", "results"),
    "waivers": ("child.yml", "unlike.yml"),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_differences_are_those_that_were_agreed_on(way, diff, assert_golden):
    ended = diff(*WAYS[way])
    assert (ended.code, ended.err) == (0, "")
    assert max(map(len, ended.out.splitlines())) <= 100
    assert_golden(f"tests/goldens/policy-diff-{way}.txt", without_digests(ended.out))


def test_files_of_one_name_are_told_apart_by_their_folders(run_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, limit in (("old/rules", 0.5), ("new/rules", 0.4)):
        (tmp_path / folder).mkdir(parents=True)
        text = simple("house", f"limits:\n  sdi: {{fail: {limit}}}\n")
        write(tmp_path / folder, "house", text)
    ended = run_here("policy", "diff", "old/rules/house.yml", "new/rules/house.yml")
    assert "[old/rules/house.yml:5]" in ended.out
    assert "[new/rules/house.yml:5]" in ended.out


def test_a_parent_of_the_same_name_is_told_apart_too(run_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "team").mkdir()
    write(tmp_path, "house", simple("house", "limits:\n  coverage: {fail: 0.9}\n"))
    child = simple("team", "extends: ../house.yml\nlimits:\n  sdi: {fail: 0.4}\n")
    write(tmp_path / "team", "house", child)
    ended = run_here("policy", "explain", "team/house.yml")
    assert (ended.code, ended.err) == (0, "")
    assert "team/house.yml:6" in ended.out
    assert re.search(r"(?<!/)house\.yml:5", ended.out)


STRICT = {"same": True, "stricter": True, "looser": False, "waivers": False}


@pytest.mark.parametrize("way", WAYS)
def test_json_says_whether_b_is_at_least_as_strict(way, diff):
    ended = diff(*WAYS[way], "--json")
    plain = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert plain["schema"] == "sdi-gate/policy-diff/v1"
    assert plain["policy"]["file"] == WAYS[way][1]
    assert plain["other_policy"]["file"] == WAYS[way][0]
    assert plain["at_least_as_strict"] is STRICT[way]
    assert len(plain["results"]) == (0 if way == "waivers" else 2)


def test_a_verdict_that_changes_can_close_the_pipeline(diff):
    assert diff(*WAYS["stricter"]).code == 0
    assert diff(*WAYS["stricter"], "--fail-on-change").code == 10
    assert diff(*WAYS["same"], "--fail-on-change").code == 0


def test_json_names_the_rule_that_changes_a_verdict(diff):
    plain = json.loads(diff(*WAYS["stricter"], "--json").out)
    changed = {each["candidate"]: each["because"] for each in plain["results"] if each["changed"]}
    assert changed == dict.fromkeys(("org/near", "org/tune"), "limits.behaviour.nll-change")
    assert plain["num_changed"] == 2


def test_what_is_expected_of_the_policy_is_expected_of_b(diff):
    digest = json.loads(diff("parent.yml", "child.yml", "--json").out)["policy"]["digest"]
    assert diff("parent.yml", "child.yml", "--expect-policy-digest", digest).code == 0
    refused = diff("child.yml", "parent.yml", "--expect-policy-digest", digest)
    assert_one_clear_error(refused, 3, "parent.yml")
    assert diff("parent.yml", "child.yml", "--minimum-policy-revision", "7").code == 0
    assert diff("child.yml", "parent.yml", "--minimum-policy-revision", "7").code == 3


def test_a_scan_that_is_recorded_twice_counts_once(diff, tmp_path):
    shutil.copytree(tmp_path / "results" / "near", tmp_path / "results" / "again")
    out = diff(*WAYS["stricter"]).out
    assert "2 of 2 come out otherwise" in out
    assert out.endswith("Counted once: 1 file with a scan that another file holds, too.\n")


def test_an_unreadable_result_hides_no_difference_and_no_other_result(diff, tmp_path):
    (tmp_path / "results" / "near" / "result.json").write_text("{}", encoding="utf-8")
    ended = diff(*WAYS["stricter"], "--fail-on-change")
    assert ended.code == 2
    assert "1 of 1 come out otherwise" in ended.out
    assert "unreadable: results/near/result.json: not a result document" in ended.out
    assert ended.err.startswith("sdi-gate: error: results/near/result.json: ")


def test_texts_of_policies_forge_no_line(diff, tmp_path):
    limits = "limits: {sdi: {fail: 0.5}}\n"
    forged = "A and B demand the same of every candidate."
    write(tmp_path, "a", simple("a", limits))
    write(tmp_path, "b", simple(f'b, description: "x\\n{forged}"', limits))
    ended = diff("a.yml", "b.yml")
    assert [line for line in ended.out.splitlines() if line.startswith("A and B")] == [forged]
    assert f"    B: x\\n{forged}" in ended.out.splitlines()
