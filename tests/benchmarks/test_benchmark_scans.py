from pathlib import Path

import pytest

from benchmarks import floors, scans, tables
from benchmarks.processes import BenchmarkError, Run
from benchmarks.scans import Floors, Measured, Scan, Stage
from benchmarks.shapes import TINY

FLOORS = Floors(read_bytes_per_s=100.0, operations_per_s={"float64": 10.0, "float32": 20.0})


def run_of(seconds=10.0, code=0):
    return Run(
        seconds=seconds, cpu_seconds=1.0, peak_rss_bytes=7, load=0.0, code=code, output="words"
    )


def test_a_floor_is_the_larger_of_reading_and_computing():
    stage = Stage(name="weights/read", seconds=1.0, bytes_read=300, operations=40.0)
    assert FLOORS.of(stage) == 3.0


@pytest.mark.parametrize(
    ("name", "floor"), [("weights/spectra", 4.0), ("probe/cka", 4.0), ("probe/forward", 2.0)]
)
def test_spectra_and_cka_are_held_against_double_precision(name, floor):
    assert FLOORS.of(Stage(name=name, seconds=1.0, operations=40.0)) == floor


def test_what_was_not_counted_has_no_floor():
    assert FLOORS.of(Stage(name="align", seconds=1.0)) is None
    assert FLOORS.of(Stage(name="align", seconds=1.0, bytes_read=0, operations=0.0)) is None


def test_the_rows_of_stages_add_up_to_the_whole():
    stages = (
        Stage(name="weights", seconds=4.0),
        Stage(name="weights/spectra", seconds=6.0, operations=20.0),
    )
    rows = scans.stage_rows(Measured(run=run_of(), stages=stages), FLOORS, 3.0)
    told = {row["stage"]: row["seconds"] for row in rows}
    assert told == {
        scans.START: 3.0,
        "weights": 4.0,
        "weights/spectra": 6.0,
        scans.REST: 3.0,
        scans.TOTAL: 10.0,
    }
    assert [row["ratio_to_floor"] for row in rows] == [None, None, 3.0, None, None]


def test_fields_of_other_versions_of_a_result_are_optional():
    entry = {"stage": "align", "seconds": 1.0, "peak_host_bytes": 5, "peak_device_bytes": None}
    result = {"cost": {"stages": [entry]}, "tier": {"ran": "weights", "reason": "asked for"}}
    measured = scans.read(run_of(), result)
    assert measured.stages == (Stage(name="align", seconds=1.0, peak_host_bytes=5),)
    assert (measured.cuts, measured.reused) == ((), ())
    assert measured.seconds_of("align") == 1.0
    assert measured.peak_device_bytes is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "-m sdi_gate scan --no-cache"),
        ({"cache": Path("c")}, "--cache c"),
        ({"threads": 2}, "--threads 2"),
        ({"limit_gib": 24.0}, "-m benchmarks.gpu_scan --limit-gib 24.0 -- scan"),
        ({"more": ("--probe", "p")}, "--probe p"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_a_scan_is_the_command_that_users_call(changes, words):
    scan = Scan(base=Path("b"), candidate=Path("c"), work=Path("w"), **changes)
    line = scans.command(scan)
    assert set(words.split()) <= set(line)


def test_a_scan_that_fails_is_no_measurement(tmp_path, monkeypatch):
    monkeypatch.setattr(scans.processes, "run", lambda *_: run_of(code=4))
    scan = Scan(base=tmp_path, candidate=tmp_path, work=tmp_path)
    with pytest.raises(BenchmarkError, match="exit code 4: words"):
        scans.measure(scan)


def test_floors_are_measured_on_the_models_files(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    options = floors.Options(folder=tmp_path, device="cpu", threads=None, size=16)
    measured = floors.measure(options)
    assert measured["read_bytes_per_s"] > 0
    assert set(measured["operations_per_s"]) == {"float64", "float32", "bfloat16"}
    assert all(rate > 0 for rate in measured["operations_per_s"].values())


def test_a_table_aligns_its_columns():
    text = tables.text_table(("name", "s"), [("a", "10.0"), ("longer", "1.0")])
    assert text == "name       s\na       10.0\nlonger   1.0"


def test_a_markdown_table_has_a_rule():
    assert tables.markdown_table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"


def test_absent_figures_are_a_dash_and_large_sizes_gigabytes():
    assert tables.number(None, 1) == tables.size(None) == "-"
    assert (tables.size(5_400_000), tables.size(15e9)) == ("5 MB", "15.0 GB")


def test_a_shape_says_how_large_its_largest_tensor_is():
    assert TINY.largest_bytes == 2 * 320 * 64
