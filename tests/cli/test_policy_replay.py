import json
import shutil

import pytest
from commands import POLICIES, assert_one_clear_error, result_of
from written_policies import without_digests, write_chain, write_results

SCALES = {"near": 0.2, "nearer": 0.1, "known": 0.4, "far": 1.0}


@pytest.fixture
def replay(run_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_chain(tmp_path)
    write_results(tmp_path / "results", SCALES)
    return lambda *arguments: run_here("policy", "replay", "child.yml", *arguments)


WAYS = {
    "plain": ("results",),
    "trial": ("results", "--try", "sdi.fail=0.35", "--try", "sdi-plus.warn=0.3"),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_history_is_told_as_was_agreed_on(way, replay, assert_golden):
    ended = replay(*WAYS[way])
    assert (ended.code, ended.err) == (0, "")
    assert max(map(len, ended.out.splitlines())) <= 100
    assert_golden(f"tests/goldens/policy-replay-{way}.txt", without_digests(ended.out))


def test_json_carries_the_verdicts_and_the_values_that_were_tried(replay):
    plain = json.loads(replay(*WAYS["trial"], "--json").out)
    untried = json.loads(replay(*WAYS["plain"], "--json").out)
    assert plain["schema"] == "sdi-gate/policy-replay/v1"
    assert plain["trial"]["untried_digest"] == untried["policy"]["digest"]
    assert plain["policy"]["digest"] != untried["policy"]["digest"]
    assert untried["trial"] is None
    values = plain["values"]["limits.sdi"]
    assert [each["file"].split("/")[1] for each in values] == ["nearer", "near", "known", "far"]
    assert [each["judged"] for each in values] == sorted(each["judged"] for each in values)
    assert sum(plain["counts"].values()) == len(SCALES)
    (known,) = (each for each in plain["results"] if each["recorded"] is not None)
    assert known["candidate"] == "org/known"
    assert known["recorded"]["policy_name"] == "production"


def test_trying_the_same_number_changes_nothing(replay):
    ended = replay("results", "--try", "coverage.fail=0.9", "--fail-on-change", "--json")
    plain = json.loads(ended.out)
    assert (ended.code, plain["num_changed"]) == (0, 0)
    assert plain["policy"]["digest"] == plain["trial"]["untried_digest"]


def test_a_change_can_close_the_pipeline(replay):
    tried = ("results", "--try", "sdi-plus.fail=0.01")
    assert replay(*tried).code == 0
    assert replay(*tried, "--fail-on-change").code == 10


def test_results_are_judged_as_of_the_day_that_is_asked_for(replay):
    plain = json.loads(replay("results", "--at", "2026-03-01", "--json").out)
    assert {each["judged_at"] for each in plain["results"]} == {"2026-03-01T12:00:00+00:00"}
    own = json.loads(replay("results", "--json").out)
    assert {each["judged_at"] for each in own["results"]} == {"2026-01-02T03:04:05+00:00"}


def test_a_scan_that_is_recorded_twice_counts_once(replay, tmp_path):
    shutil.copytree(tmp_path / "results" / "far", tmp_path / "results" / "again")
    plain = json.loads(replay("results", "results/far/result.json", "--json").out)
    assert (len(plain["results"]), plain["num_duplicates"]) == (len(SCALES), 1)
    assert "Counted once: 1 file with a scan" in replay("results").out


BROKEN = {
    "not-json": b"PASS",
    "foreign": b'{"schema": "else"}',
    "no-text": b"\xff",
    "another-version": b'{"schema": "sdi-gate/result/v2"}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_an_unreadable_file_is_listed_and_the_others_are_shown(content, replay, tmp_path):
    broken = tmp_path / "results" / "near" / "result.json"
    broken.write_bytes(content)
    ended = replay("results", "--fail-on-change")
    assert ended.code == 2
    assert "3 results: " in ended.out
    assert "Unreadable\n  results/near/result.json: not a result document" in ended.out
    assert "sdi-gate: error: results/near/result.json: not a result document" in ended.err
    plain = json.loads(replay("results", "--json").out)
    assert len(plain["unreadable"]) == 1


def test_a_signal_that_is_there_twice_is_no_result(replay, tmp_path):
    path = tmp_path / "results" / "near" / "result.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    plain["signals"].append(plain["signals"][0])
    path.write_text(json.dumps(plain), encoding="utf-8")
    ended = replay("results")
    assert ended.code == 2
    assert "results/near/result.json: not the result of a scan: each signal" in ended.err


def test_folders_and_files_without_a_result_are_named(replay, tmp_path):
    (tmp_path / "empty").mkdir()
    ended = replay("empty", "missing.json", "results", "missing.json")
    assert ended.code == 2
    assert "4 results: " in ended.out
    assert ended.err.splitlines() == [
        "sdi-gate: error: no result.json in the folder 'empty'",
        "sdi-gate: error: cannot read 'missing.json': No such file or directory",
    ]


def test_a_folder_that_cannot_be_searched_is_named(replay, monkeypatch):
    def walk(_, *, onerror):
        onerror(PermissionError(13, "Permission denied", "results/secret"))
        return []

    monkeypatch.setattr("os.walk", walk)
    ended = replay("results")
    assert ended.code == 2
    assert "cannot search 'results/secret': Permission denied" in ended.err


def test_a_limit_that_cannot_be_tried_is_refused_before_anything_is_read(replay):
    assert_one_clear_error(replay("missing", "--try", "sdi.fail=high"), 2, "sdi.fail=high")
    assert_one_clear_error(replay("results", "--try", "sdi.warn=0.9"), 2, "the trial is no policy")


def test_many_values_are_shown_as_bars_with_the_cuts(replay, tmp_path):
    write_results(tmp_path / "many", {f"m{n}": n / 40 for n in range(40)})
    out = replay("many", "--try", "sdi.fail=0.35").out
    bars = out.partition("sdi: 40 values\n")[2].splitlines()
    assert len(bars) == 20
    assert sum(int(bar.split()[1]) for bar in bars) == 40
    (cut,) = (bar for bar in bars if "<- fail 0.35" in bar)
    assert float(cut.split()[0]) <= 0.35


def test_values_that_no_limit_parts_say_so(replay):
    out = replay("results", "--try", "sdi.fail=0.9").out
    assert "---- no limit cuts here (warn 0.45, fail 0.9)" in out


def test_a_rule_without_a_value_says_so(replay):
    out = replay("results", "--try", "by-stratum.safety.kl-divergence.fail=0.9").out
    assert out.endswith("by-stratum.safety.kl-divergence: 0 values; 4 results without a value\n")


@pytest.mark.parametrize("candidate", ["near", "far"])
def test_the_recorded_policy_gives_the_recorded_verdict(
    candidate, check_here, run_here, models, tmp_path
):
    check_here(models / candidate)
    ended = run_here("policy", "replay", POLICIES / "default.yml", tmp_path / "out", "--json")
    (judged,) = json.loads(ended.out)["results"]
    recorded = result_of(tmp_path / "out")["verdict"]
    assert ended.code == 0
    assert judged["changed"] is False
    assert judged["after"]["status"] == recorded["status"]
    assert judged["after"]["exit_code"] == recorded["exit_code"]
    assert judged["recorded"]["policy_digest"] == json.loads(ended.out)["policy"]["digest"]


def test_no_name_of_a_folder_and_no_text_of_a_result_passes_for_a_line_of_ours(replay, tmp_path):
    folder = tmp_path / "results" / "x\nwarning: all results pass\n"
    folder.mkdir()
    (folder / "result.json").write_text('{"schema": "sdi-gate/result/v1", "a\\nwarning: b": 1}')
    ended = replay("results")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith("sdi-gate: error: ")
