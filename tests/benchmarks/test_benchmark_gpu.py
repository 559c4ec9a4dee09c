import json
import sys

import pytest
import torch

from benchmarks import gpu, gpu_scan, gpu_summary, passes
from benchmarks.gpu_summary import summarise
from benchmarks.passes import READINGS, Rates, Reading

H200 = "NVIDIA H200"


def scan_row(limit="all", state="cold", seconds=100.0, ran="full"):
    return {
        "model": "M",
        "limit": limit,
        "state": state,
        "not_measured": None,
        "seconds": seconds,
        "peak_rss_bytes": 1,
        "peak_device_bytes": 2,
        "ran": ran,
        "cuts": [],
    }


def pass_row(seconds):
    readings = {reading.name: {"all": seconds} for reading in READINGS}
    return {
        "model": "M",
        "limit": "all",
        "state": "pass",
        "not_measured": None,
        "extrapolated_seconds": readings,
    }


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (scan_row(), True),
        (scan_row(seconds=121.0), False),
        (scan_row(ran="probe"), False),
        (scan_row(state="base cached", seconds=71.0), False),
        (scan_row(limit="24", seconds=480.0), True),
        (scan_row(limit="16"), None),
    ],
    ids=["cold", "slow", "cut", "cached", "24", "16"],
)
def test_a_scan_is_held_against_its_own_target(row, met):
    (line,) = summarise([row], H200)
    assert line["met"] is met


def test_targets_of_an_h200_hold_for_no_other_gpu():
    (line,) = summarise([scan_row()], "NVIDIA H100")
    assert line["met"] is None


@pytest.mark.parametrize(("seconds", "met"), [(2000.0, True), (1999.0, False)])
def test_a_scan_must_be_twenty_times_cheaper_than_the_pass(seconds, met):
    (line,) = summarise([scan_row(), pass_row(seconds)], H200)
    assert line["times_cheaper_than_pass"]["usual"] == seconds / 100
    assert line["cheaper_met"] is met


def test_a_pass_costs_tokens_at_their_rate_and_answers_in_batches():
    rates = Rates(short_token_s=1.0, long_token_s=2.0, step_s=3.0, answers_at_once=100, load_s=5.0)
    reading = Reading(name="r", requests=(("a", 10, 100), ("b", 10, 700)), answer_tokens=7)
    seconds = passes.extrapolate(rates, reading)
    assert seconds == {
        "a": 1000.0,
        "b": 14_000.0,
        "IFEval": 6 * 7 * 3.0,
        "load": 5.0,
        "all": 15_131.0,
    }


def test_mmlu_has_its_size():
    reading = next(reading for reading in READINGS if reading.name == "as requested")
    requested = {name: count for name, count, _ in reading.requests}
    assert requested["MMLU"] == 14_042 * 4


def test_without_a_gpu_every_row_says_why_it_was_not_measured(tmp_path, capsys):
    assert not torch.cuda.is_available()
    assert gpu.main(["--results", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["not_measured"] == gpu.NO_GPU
    assert len(result["rows"]) == 3 * (3 * 2 + 1)
    assert {row["not_measured"] for row in result["rows"]} == {gpu.NO_GPU}
    assert capsys.readouterr().out.count("not measured") >= 18


def test_what_a_gpu_measured_is_not_overwritten_by_a_machine_without_one(tmp_path, capsys):
    document = {"schema": "sdi-gate/benchmark/v1", "not_measured": None, "rows": []}
    (tmp_path / "gpu.json").write_text(json.dumps(document))
    assert gpu.main(["--results", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "gpu.json").read_text()) == document
    assert "is kept" in capsys.readouterr().out


def test_rows_of_the_same_gpu_are_kept_and_replaced_one_by_one():
    gpus = [{"name": H200, "memory_bytes": 1}]
    old = [scan_row(seconds=1.0), scan_row(limit="24", seconds=2.0)]
    earlier = {"not_measured": None, "machine": {"gpus": gpus}, "rows": old}
    new = [scan_row(seconds=9.0)]
    assert [row["seconds"] for row in gpu.kept(new, gpus, earlier)] == [2.0, 9.0]
    assert gpu.kept(new, [], earlier) == new
    assert gpu.kept(new, gpus, None) == new


@pytest.fixture
def gpu_of_48_gib(monkeypatch):
    set_to = []
    properties = torch.nn.Module()
    properties.total_memory = 48 * 2**30
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda share, _device: set_to.append(share)
    )
    return set_to


def test_a_gpu_is_held_to_its_part_before_the_command_runs(gpu_of_48_gib, capsys):
    assert gpu_scan.main(["--limit-gib", "24", "--", "--help"]) == 0
    assert gpu_of_48_gib == [0.5]
    assert "sdi-gate" in capsys.readouterr().out


def test_a_gpu_is_not_held_to_more_than_it_has(gpu_of_48_gib):
    with pytest.raises(SystemExit, match="48 GiB, which cannot be held to 64"):
        gpu_scan.limit(64.0)
    assert not gpu_of_48_gib


def test_the_same_code_runs_on_a_tiny_pair_without_a_gpu(tmp_path, capsys):
    samples = [
        {"stratum": stratum, "text": f"number {i}: the ferry came in with {stratum} apples"}
        for stratum in ("a", "b")
        for i in range(9)
    ]
    probe = tmp_path / "probe.jsonl"
    probe.write_text("\n".join(map(json.dumps, samples)), encoding="utf-8")
    arguments = ["--tiny", "--device", "cpu", "--probe", str(probe)]
    work = ["--work", str(tmp_path / "work"), "--results", str(tmp_path)]
    assert gpu.main([*arguments, *work]) == 0
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert [row["state"] for row in result["rows"]] == ["cold", "base cached", "pass"]
    assert {row["not_measured"] for row in result["rows"]} == {None}
    assert {row["ran"] for row in result["rows"][:2]} == {"full"}
    assert str(tmp_path) not in json.dumps(result)
    assert "as requested" in capsys.readouterr().out


def test_the_summary_of_a_scan_that_failed_has_its_reason_and_no_figure():
    failed = scan_row() | {"not_measured": "exit code 4", "seconds": None}
    (line,) = summarise([failed], H200)
    assert line["not_measured"] == "exit code 4"
    assert "met" not in line
    gpu_summary.show([line])


def test_a_reason_names_no_folder_of_this_machine(tmp_path):
    told = gpu._told(gpu.BenchmarkError(f"{tmp_path}/x and {sys.prefix}"), tmp_path)
    assert str(tmp_path) not in told
