"""Run `sdi-gate policy test` as a person does."""

import json
import re
import subprocess
import sys

import pytest
from commands import POLICIES, PROJECT, assert_one_clear_error, environment

HEAD = """apiVersion: sdi-gate/v1
kind: PolicyTest
policy: ./p.yml
given: {tier: weights, coverage: 1.0, sdi: 0.6}
cases:
"""
POLICY = """apiVersion: sdi-gate/v1
kind: Policy
metadata: {name: trial, owner: team, contact: team, revision: 3}
required-tier: weights
limits:
  sdi: {warn: 0.3, fail: 0.5}
"""
PASSING = "  - name: it is blocked\n    expect: {verdict: fail, gate: closed}\n"
FAILING = "  - name: it is let through\n    expect: {verdict: pass, decided-by: limits.sdl}\n"
UNREADABLE = "  - name: a record\n    result: gone.json\n    expect: {verdict: fail}\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "p.yml").write_text(POLICY, encoding="utf-8")
    return tmp_path


def write(folder, cases, name="x.test.yml"):
    path = folder / name
    path.write_text(HEAD + cases, encoding="utf-8")
    return path


def masked(text, folder):
    return re.sub("sha256:[0-9a-f]{64}", "@@DIGEST@@", text.replace(str(folder), "@@DIR@@"))


def test_the_shipped_policies_are_as_their_tests_say_and_every_rule_is_crossed(run_here):
    ended = run_here("policy", "test", "--require-crossed", POLICIES)
    assert (ended.code, ended.err) == (0, ""), ended.out
    assert ended.out.splitlines()[-1].endswith(": all as expected")
    assert "not crossed" not in ended.out


def test_all_as_expected_is_said_with_the_digest_of_each_policy(run_here, folder, assert_golden):
    ended = run_here("policy", "test", write(folder, PASSING))
    assert (ended.code, ended.err) == (0, "")
    assert run_here("policy", "digest", folder / "p.yml").out.split()[-1] in ended.out
    assert_golden("tests/goldens/policy-test-pass.txt", masked(ended.out, folder))


def test_a_case_that_comes_otherwise_is_shown_with_what_decided(run_here, folder, assert_golden):
    ended = run_here("policy", "test", write(folder, PASSING + FAILING))
    assert (ended.code, ended.err) == (10, "")
    assert_golden("tests/goldens/policy-test-fail.txt", masked(ended.out, folder))


def test_the_json_is_the_one_that_was_agreed_on(run_here, folder, assert_golden):
    write(folder, "  - name: b\n", "broken.test.yml")
    write(folder, PASSING + FAILING + UNREADABLE)
    ended = run_here("policy", "test", "--json", folder)
    assert ended.code == 3
    text = masked(ended.out, folder)
    assert_golden("tests/goldens/policy-test.json", text)
    found = json.loads(text)
    assert found["schema"] == "sdi-gate/policy-test/v1"
    assert (found["num_cases"], found["num_failed"], found["num_errors"]) == (3, 1, 2)


ENDS = {
    "all-as-expected": (PASSING, 0),
    "one-otherwise": (PASSING + FAILING, 10),
    "a-result-that-is-gone": (PASSING + UNREADABLE, 2),
    "a-result-that-is-gone-and-one-otherwise": (FAILING + UNREADABLE, 2),
    "no-test": ("  - name: b\n", 3),
}


@pytest.mark.parametrize(("cases", "code"), ENDS.values(), ids=ENDS)
def test_the_exit_code_says_what_became_of_the_tests(run_here, folder, cases, code):
    ended = run_here("policy", "test", write(folder, cases))
    assert ended.code == code
    assert "Traceback" not in ended.err


def test_every_file_is_tested_whatever_is_wrong_with_another(run_here, folder):
    write(folder, "  - name: b\n", "a.test.yml")
    write(folder, FAILING, "b.test.yml")
    write(folder, PASSING, "c.test.yml")
    ended = run_here("policy", "test", folder)
    assert ended.code == 3
    assert "a.test.yml: cannot be used" in ended.out
    assert "b.test.yml:6: it is let through" in ended.out
    assert "c.test.yml: 1 case of policy trial, all as expected" in ended.out
    assert f"{folder}/a.test.yml:6:5: cases.0.expect: the key is missing" in ended.err


def test_a_policy_that_is_broken_is_told_once(run_here, folder):
    (folder / "p.yml").write_text("limits: [", encoding="utf-8")
    for name in ("a.test.yml", "b.test.yml"):
        write(folder, PASSING, name)
    ended = run_here("policy", "test", folder)
    assert ended.code == 3
    assert ended.err.count("sdi-gate: error: ") == 1


def test_nothing_to_test_is_no_success(run_here, tmp_path):
    ended = run_here("policy", "test", tmp_path)
    assert_one_clear_error(ended, 2, "no policy test in the folder")
    assert run_here("policy", "test").code == 2


def test_a_file_that_is_not_there_is_refused(run_here, tmp_path):
    ended = run_here("policy", "test", tmp_path / "x.test.yml")
    assert ended.code == 3
    assert "cannot be read: No such file" in ended.err


def test_rules_that_no_case_crosses_are_told_and_fail_only_if_that_is_asked(run_here, folder):
    file = write(folder, "  - name: a\n    given: {sdi: 0}\n    expect: {verdict: pass}\n")
    told = "not crossed by any case: limits.sdi, required-tier"
    for option, code in (((), 0), (("--require-crossed",), 10)):
        ended = run_here("policy", "test", *option, file)
        assert ended.code == code
        assert told in ended.out


def test_a_policy_that_is_not_the_expected_one_is_not_tested(run_here, folder):
    file = write(folder, PASSING)
    ended = run_here("policy", "test", "--expect-policy-digest", f"sha256:{'0' * 64}", file)
    assert ended.code == 3
    assert "digest" in ended.err


def test_a_recorded_result_is_judged(run_here, check_here, models, folder):
    policy = str(folder / "p.yml")
    assert check_here(models / "near", tier="weights", policy=policy).code == 0
    record = "  - name: a\n    result: out/result.json\n    expect: {verdict: pass}\n"
    ended = run_here("policy", "test", write(folder, record))
    assert (ended.code, ended.err) == (0, ""), ended.out


def test_no_text_of_a_test_forges_a_line_or_moves_the_cursor(run_here, folder):
    name = folder / "a\u202eb\n1 case of 1 policy: all as expected.test.yml"
    cases = '  - name: "x\\u00ad all as expected"\n    expect: {verdict: pass}\n'
    name.write_text(HEAD + cases, encoding="utf-8")
    ended = run_here("policy", "test", folder)
    assert ended.code == 10
    assert not set(ended.out) & {"\u202e", "\u00ad"}
    assert "x\\xad all as expected" in ended.out
    assert "\\u202e" in ended.out
    assert [line for line in ended.out.splitlines() if line.startswith("1 case of")] == [
        "1 case of 1 policy: 1 not as expected"
    ]


_LIGHT = """
import sys
from sdi_gate.cli.main import main
code = main(sys.argv[1:])
sys.exit("loaded torch" if "torch" in sys.modules else code)
"""


def test_many_policies_are_tested_in_one_run_without_torch(tmp_path):
    cases = "".join(
        f"  - name: case {number}\n    given: {{sdi: 0.3, signals: {{weight-geometry: 0.1}}}}\n"
        "    expect: {verdict: fail, gate: closed, findings: {limits.sdi: fail}}\n"
        for number in range(10)
    )
    head = (POLICIES / "strict.test.yml").read_text(encoding="utf-8").partition("cases:\n")
    policy = (POLICIES / "strict.yml").read_text(encoding="utf-8")
    for number in range(15):
        here = tmp_path / f"{number}"
        here.mkdir()
        (here / "strict.yml").write_text(policy, encoding="utf-8")
        (here / "strict.test.yml").write_text("".join(head[:2]) + cases, encoding="utf-8")
    command = [sys.executable, "-c", _LIGHT, "policy", "test", str(tmp_path)]
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        command,
        check=False,
        env=environment(tmp_path),
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "150 cases of 15 policies: all as expected"
