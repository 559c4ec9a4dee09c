"""The whole study on bases that know next to nothing: every step, one after the other."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

MANIFEST = "organisms-smoke"


def study(work, step, *options):
    command = [sys.executable, "-m", "sdi_gate", "study", step, "--manifest", MANIFEST]
    command += ["--work", str(work), "--results", str(work), *options]
    finished = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def digests(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    for step in ("build", "evaluate", "measure"):
        study(folder, step, "--jobs", "2")
    return folder


def test_every_pair_of_the_smoke_study_becomes_a_whole_row(work):
    rows = [json.loads(line) for line in (work / f"{MANIFEST}.jsonl").read_text().splitlines()]
    assert len(rows) == 24
    assert {row["status"] for row in rows} == {"complete"}
    assert {row["tier"] for row in rows} == {"full"}
    assert {row["family"] for row in rows} == {"llama", "gemma", "qwen"}
    axes = {"knowledge", "instruction", "safety", "truth", "grammar"}
    for row in rows:
        assert set(row["benchmarks"]) == axes
        assert {
            "curvature-shift/fisher-trace-shift",
            "representation-drift/output-cka-angle",
            "spectral-divergence/loss-metric-spectrum-distance",
            "weight-geometry/loss-metric-energy",
            "behaviour/kl-divergence",
            "micro-benchmark/drop",
        } <= set(row["features"])
        assert row["cost"]["build_s"] > 0
        assert row["cost"]["measure_s"] > 0


def test_fitting_and_reporting_again_changes_no_byte(work):
    out = work / "document" / "study.md"
    out.parent.mkdir()
    calibration = work / "document" / "smoke.json"
    found = []
    for _ in range(2):
        study(work, "fit", "--calibration", str(calibration))
        study(work, "report", "--out", str(out))
        found.append(
            digests(out.parent) | {Path("fit"): (work / f"{MANIFEST}-fit.json").read_bytes()}
        )
    assert found[0] == found[1]
    assert "24" in out.read_text("utf-8")


def test_running_the_steps_again_does_no_work_twice(work):
    before = digests(work / "units")
    for step in ("build", "evaluate", "measure"):
        study(work, step, "--jobs", "2")
    assert digests(work / "units") == before
