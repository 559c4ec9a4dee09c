import json
import subprocess
import sys

import pytest
from commands import POLICIES, assert_one_clear_error, environment
from report_documents import CASES
from written_policies import simple, without_digests, write, write_chain, write_results

from sdi_gate.report.document import dump

_LIGHT = """
import sys
from sdi_gate.cli.main import main
code = main(sys.argv[1:])
heavy = {"torch", "transformers", "safetensors", "huggingface_hub"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else code)
"""


@pytest.fixture
def explain(run_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_chain(tmp_path)
    write_results(tmp_path / "results", {"tune": 1.0})
    return lambda *arguments: run_here("policy", "explain", *arguments)


WAYS = {
    "policy": ("child.yml", "--at", "2026-01-10"),
    "candidate": ("child.yml", "--model", "tune", "--family", "llama", "--at", "2026-01-20"),
    "result": ("child.yml", "--result", "results/tune/result.json"),
    "waived": ("child.yml", "--result", "results/tune/result.json", "--model", "tune"),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_explanation_is_the_one_that_was_agreed_on(way, explain, assert_golden):
    ended = explain(*WAYS[way])
    assert (ended.code, ended.err) == (0, "")
    assert max(map(len, ended.out.splitlines())) <= 100
    assert_golden(f"tests/goldens/policy-explain-{way}.txt", without_digests(ended.out))


def test_limits_that_fit_the_width_are_a_table(explain, assert_golden):
    ended = explain("parent.yml", "--result", "results/tune/result.json")
    assert (ended.code, ended.err) == (0, "")
    assert_golden("tests/goldens/policy-explain-table.txt", without_digests(ended.out))


@pytest.mark.parametrize("way", WAYS)
def test_json_carries_every_rule_with_its_place(way, explain):
    ended = explain(*WAYS[way], "--json")
    plain = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert plain["schema"] == "sdi-gate/policy-explain/v1"
    assert set(plain["policy"]) >= {"name", "revision", "digest", "file"}
    sdi = next(rule for rule in plain["rules"] if rule["rule"] == "limits.sdi")
    assert sdi["demanded"]["warn"] == {
        "value": 0.45,
        "origin": {
            "default": False,
            "file": "parent.yml",
            "line": 7,
            "column": sdi["demanded"]["warn"]["origin"]["column"],
            "block": None,
        },
    }
    assert sdi["levels"][0] == 1
    assert [waiver["id"] for waiver in plain["waivers"]] == ["W-1"]
    assert (plain["verdict"] is None) == ("--result" not in WAYS[way])


def test_a_waiver_says_what_became_of_it_here(explain):
    plain = json.loads(explain(*WAYS["waived"], "--json").out)
    (waiver,) = plain["waivers"]
    assert (waiver["state"], waiver["here"]) == ("in force", "waived")
    change = next(rule for rule in plain["rules"] if rule["rule"] == "limits.behaviour.nll-change")
    assert change["finding"]["waived_limit"] == change["demanded"]["without_waiver"]["value"]
    assert change["finding"]["judged"] > change["finding"]["observed"]
    other = json.loads(explain(*WAYS["result"], "--json").out)
    assert other["waivers"][0]["here"] is None


@pytest.mark.parametrize("case", CASES)
def test_every_result_can_be_explained(case, explain, tmp_path):
    path = tmp_path / "result.json"
    path.write_bytes(dump(CASES[case]()))
    for policy in ("default", "strict", "observe"):
        ended = explain(POLICIES / f"{policy}.yml", "--result", path)
        assert (ended.code, ended.err) == (0, "")
        assert "\x1b" not in ended.out
        assert "\nVerdict: " in ended.out


def test_texts_of_policies_and_results_forge_no_line(explain, tmp_path):
    forged = "Verdict: PASS (gate open)"
    limits = "limits: {coverage: {fail: 0.5}}\n"
    policy = write(tmp_path, f"a\n{forged}", simple(f'x, description: "a\\n{forged}"', limits))
    result = tmp_path / "result.json"
    found = CASES["notice"]()
    hostile = (f"a layer\n{forged}\u202e",)
    result.write_bytes(dump(found.model_copy(update={"verdict": None, "notices": hostile})))
    ended = explain(policy, "--result", result, "--model", f"m\n{forged}")
    assert forged not in ended.out.splitlines()
    assert "\u202e" not in ended.out
    assert "\\u202e" in ended.out


def test_a_family_that_the_result_contradicts_is_refused(explain, tmp_path):
    path = tmp_path / "result.json"
    path.write_bytes(dump(CASES["pass"]()))
    ended = explain("child.yml", "--result", path, "--family", "phi")
    assert_one_clear_error(ended, 2, "--family 'phi': the result is of family 'llama'")


def test_a_family_that_the_result_does_not_know_can_be_given(explain, tmp_path):
    found = CASES["pass"]()
    unknown = {"family": None}
    path = tmp_path / "result.json"
    path.write_bytes(
        dump(
            found.model_copy(
                update={
                    "base": found.base.model_copy(update=unknown),
                    "candidate": found.candidate.model_copy(update=unknown),
                }
            )
        )
    )
    given = json.loads(explain("child.yml", "--result", path, "--family", "llama", "--json").out)
    assert (given["family"], given["blocks"]) == ("llama", ["family llama"])
    assert "family unknown" in explain("child.yml", "--result", path).out


def test_an_explanation_says_nothing_of_what_is_not_there(explain, tmp_path):
    step = "{fail: 1.0}"
    every = {
        "signals": "spectral-divergence representation-drift curvature-shift weight-geometry",
        "behaviour": "kl-divergence nll-change top1-flip-rate",
    }
    limits = f"  sdi: {step}\n  sdi-plus: {step}\n  coverage: {step}\n"
    limits += "  predicted-degradation: {mean: {fail: 1.0, confidence: 0.5}}\n"
    for section, names in every.items():
        limits += f"  {section}:\n" + "".join(f"    {name}: {step}\n" for name in names.split())
    write(tmp_path, "every", simple("every", f"limits:\n{limits}"))
    out = explain("every.yml").out
    assert "predicted-degradation.mean (at 0.5)" in out
    assert "No limit" not in out
    assert "Waivers" not in out
    (tmp_path / "result.json").write_bytes(dump(CASES["pass"]()))
    lax = write(tmp_path, "lax", simple("lax", "limits: {sdi: {fail: 1.0}}\n"))
    passed = explain(lax, "--result", tmp_path / "result.json").out
    assert "Verdict: PASS (gate open)" in passed
    assert "What did not pass" not in passed


MISUSES = {
    "no-policy": (("missing.yml",), 3, "missing.yml"),
    "no-result": (("child.yml", "--result", "missing.json"), 2, "missing.json"),
    "another-digest": (("child.yml", "--expect-policy-digest", f"sha256:{'0' * 64}"), 3, "digest"),
}


@pytest.mark.parametrize(("arguments", "code", "word"), MISUSES.values(), ids=MISUSES)
def test_what_cannot_be_explained_is_refused(arguments, code, word, explain):
    assert_one_clear_error(explain(*arguments), code, word)


DAYS = {
    "no-day": "tomorrow",
    "no-such-day": "2026-02-30",
    "outside-the-calendar": "0001-01-01T00:00:00+10:00",
}


@pytest.mark.parametrize("day", DAYS.values(), ids=DAYS)
def test_what_is_no_day_is_refused(day, explain):
    ended = explain("child.yml", "--at", day)
    assert (ended.code, ended.out) == (2, "")


def test_a_time_may_have_a_zone(explain):
    out = explain("child.yml", "--at", "2026-02-01T01:00:00+02:00", "--json").out
    assert json.loads(out)["as_of"] == "2026-01-31T23:00:00+00:00"
    assert json.loads(explain("child.yml", "--at", "2026-01-31T23:00", "--json").out)["as_of"] == (
        "2026-01-31T23:00:00+00:00"
    )


COMMANDS = {
    "explain": ("explain", "child.yml", "--result", "results/tune/result.json"),
    "diff": ("diff", "parent.yml", "child.yml", "results"),
    "replay": ("replay", "child.yml", "results", "--try", "sdi.fail=0.5"),
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.usefixtures("explain")
def test_looking_back_loads_no_machine_learning_library(arguments, tmp_path):
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [sys.executable, "-c", _LIGHT, "policy", *arguments],
        check=False,
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_family_in_capitals_is_refused(explain):
    ended = explain("child.yml", "--family", "Llama")
    assert ended.code == 2
    assert "families are in lower case: write 'llama', got 'Llama'" in ended.err
