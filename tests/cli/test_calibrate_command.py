"""Calibrating by one's own history, from the command line to a scan that uses it."""

import json
import os
import subprocess
import sys

import pytest
import study_rows
from commands import environment

from sdi_gate.cli import calibrate
from sdi_gate.errors import ExitCode
from sdi_gate.study.row import dump_row


def write(path, rows):
    path.write_text("".join(map(dump_row, rows)), "utf-8")
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write(tmp_path_factory.mktemp("own") / "rows.jsonl", study_rows.rows(variants=6))


def test_a_history_becomes_a_calibration_and_says_what_it_established(table, tmp_path, run_here):
    out = tmp_path / "own.json"
    ended = run_here("calibrate", table, "--out", out, "--name", "own-1")
    assert (ended.code, ended.err) == (0, "")
    assert "60 pairs of 10 bases, families gemma, llama, mistral, phi, qwen" in ended.out
    established, _, rest = ended.out.partition("Not established")
    assert "tier full, sdi: rank correlation with degradation" in " ".join(established.split())
    assert "spectral-divergence" in rest
    assert f"--calibration {out}" in ended.out
    assert json.loads(out.read_text())["name"] == "own-1"


def test_calibrating_again_changes_no_byte(table, tmp_path, run_here):
    files = [tmp_path / name for name in ("a.json", "b.json")]
    for file in files:
        assert run_here("calibrate", table, "--out", file, "--name", "own-1").code == 0
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda: study_rows.rows(("llama",), bases=1, variants=12), "12 complete pairs; expected"),
        (
            lambda: [
                *study_rows.rows(("llama",)),
                *(r.model_copy(update={"probe": "other"}) for r in study_rows.rows(("phi",))),
            ],
            "the rows mix probe sets",
        ),
    ],
    ids=["few", "mixed"],
)
def test_rows_that_make_no_calibration_are_refused(rows, message, tmp_path, run_here):
    table = write(tmp_path / "rows.jsonl", rows())
    out = tmp_path / "own.json"
    ended = run_here("calibrate", table, "--out", out, "--name", "own-1")
    assert (ended.code, ended.out) == (ExitCode.USAGE, "")
    assert message in ended.err
    assert "hint:" in ended.err
    assert not out.exists()


def test_without_scipy_the_hint_says_how_to_install_it(table, tmp_path, run_here, monkeypatch):
    monkeypatch.setattr(calibrate, "find_spec", lambda _name: None)
    ended = run_here("calibrate", table, "--out", tmp_path / "o.json", "--name", "own-1")
    assert ended.code == ExitCode.USAGE
    assert "pip install 'sdi-gate[calibrate]'" in ended.err


def test_calibrating_loads_no_machine_learning_library(table, tmp_path):
    code = (
        "import sys; from sdi_gate.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'transformers'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    arguments = ("calibrate", str(table), "--out", str(tmp_path / "o.json"), "--name", "own-1")
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [sys.executable, "-c", code, *arguments],
        check=False,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_calibration_never_takes_the_place_of_its_own_rows(table, tmp_path, run_here):
    own = tmp_path / "rows.jsonl"
    own.write_bytes(table.read_bytes())
    for results, out in ((own, own), (tmp_path, own), (own, tmp_path / "." / "rows.jsonl")):
        ended = run_here("calibrate", results, "--out", out, "--name", "own-1")
        assert ended.code is ExitCode.USAGE
        assert "is the table of results itself" in ended.err
    assert own.read_bytes() == table.read_bytes()


def test_a_calibration_never_takes_the_place_of_a_pipe(table, tmp_path, run_here):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ended = run_here("calibrate", table, "--out", pipe, "--name", "own-1")
    assert ended.code is ExitCode.NOT_PUBLISHED
    assert "what is there is no regular file" in ended.err
    assert pipe.is_fifo()


@pytest.mark.parametrize("value", [1e200, -1e200])
def test_numbers_beyond_any_measurement_are_refused(table, tmp_path, run_here, value):
    lines = [json.loads(line) for line in table.read_text("utf-8").splitlines()]
    next(iter(lines[0]["features"].values()))["overall"] = value
    own = tmp_path / "rows.jsonl"
    own.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    ended = run_here("calibrate", own, "--out", tmp_path / "o.json", "--name", "own-1")
    assert ended.code is ExitCode.USAGE
    assert "not a row of a study" in ended.err
