"""Build by a stand-in for the builder; fit and report rows whose truth is known."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import study_rows
import yaml
from study_manifests import end, pair_of, plain_manifest, planned

from sdi_gate.cli.main import main
from sdi_gate.errors import UsageError
from sdi_gate.prediction.calibration import Calibration
from sdi_gate.study.keys import signal_versions
from sdi_gate.study.manifest_file import load_manifest
from sdi_gate.study.organisms import build as builder
from sdi_gate.study.plan import plan
from sdi_gate.study.rows import append_rows, read_rows
from sdi_gate.study.units import UnitStore


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(tmp_path, capsys):
    """Run a command of the study on the manifest of this test."""

    def command(step, *more):
        places = ("--manifest", tmp_path / "trial.yaml", "--work", tmp_path / "work")
        places += ("--results", tmp_path / "results")
        capsys.readouterr()
        code = main(["study", step, *map(str, (*places, *more))])
        captured = capsys.readouterr()
        return Ended(code=code, out=captured.out, err=captured.err)

    return command


def write_manifest(folder, *pairs):
    path = folder / "trial.yaml"
    path.write_text(yaml.safe_dump(plain_manifest(*pairs)), encoding="utf-8")
    return load_manifest(path)


def test_what_could_not_be_built_has_its_row_and_is_not_measured(run, tmp_path, monkeypatch):
    built = []

    def build_pair(pair, work, device):
        assert (work, device.type) == (tmp_path / "work", "cpu")
        built.append(pair.pair)
        if pair.pair == "llama-s-0/b":
            raise UsageError("a base must score 0.9")
        return {"num_parameters": 10}

    monkeypatch.setattr(builder, "build_pair", build_pair)
    names = ("llama-s-0/a", "llama-s-0/b", "phi-s-0/a")
    write_manifest(tmp_path, *(pair_of(name) for name in names))
    waiting = run("measure", "--device", "cpu")
    assert "3 pairs are not built yet" in waiting.err
    assert "measure: 0 done, 0 failed\n" in waiting.out
    ended = run("build", "--device", "cpu", "--threads", "1")
    assert ended.code == 0
    assert built == ["llama-s-0/a", "phi-s-0/a", "llama-s-0/b"]
    assert "build: 2 done, 1 failed\n" in ended.out
    assert "build failed: llama-s-0/b: UsageError: a base must score 0.9" in ended.err
    (row,) = read_rows(tmp_path / "results" / "trial.jsonl")
    assert (row.pair, row.status) == ("llama-s-0/b", "failed")
    run("build", "--device", "cpu", "--threads", "1")
    assert len(built) == 3


def test_a_pair_measured_elsewhere_is_whole_as_soon_as_its_units_are_copied_here(run, tmp_path):
    manifest = write_manifest(tmp_path, pair_of("llama-s-0/a"), pair_of("llama-s-0/b"))
    entries = plan(manifest, signal_versions())
    for unit in entries[0].units:
        end(UnitStore(folder=tmp_path / "elsewhere"), unit)
    assert "0 rows added" in run("collect").out
    (tmp_path / "elsewhere").rename(tmp_path / "work")
    assert "1 rows added" in run("collect").out
    assert "1 of 2 pairs complete, 0 failed" in run("collect").out


def test_what_no_model_can_help_is_an_error_and_no_failed_pair(run, tmp_path):
    write_manifest(tmp_path, pair_of("llama-s-0/a"))
    ended = run("evaluate", "--tasks", tmp_path / "nothing")
    assert (ended.code, ended.out) == (2, "")
    assert "expected a file AXIS.jsonl for each axis" in ended.err
    plain = plain_manifest(pair_of("llama-s-0/a"), probe=str(tmp_path / "nothing.jsonl"))
    (tmp_path / "trial.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    assert run("measure").code == 2
    assert not (tmp_path / "work").exists()


def test_collecting_what_is_of_another_recipe_adds_nothing(run, tmp_path):
    entries = planned(write_manifest(tmp_path, pair_of("llama-s-0/a")))
    for unit in entries[0].units:
        end(UnitStore(folder=tmp_path / "work"), unit)
    write_manifest(tmp_path, pair_of("llama-s-0/a", recipe={"method": "prune"}))
    assert "0 rows added" in run("collect").out


@pytest.fixture(scope="module")
def known():
    return study_rows.rows(families=("gemma", "llama", "phi"), bases=2, variants=5)


@pytest.fixture
def fitted(known, tmp_path):
    """A manifest whose rows are there."""
    manifest = write_manifest(tmp_path, *(pair_of(row.pair, family=row.family) for row in known))
    entries = plan(manifest, signal_versions())
    rows = [
        row.model_copy(update={"key": entry.key}) for row, entry in zip(known, entries, strict=True)
    ]
    append_rows(tmp_path / "results" / "trial.jsonl", rows)
    return tmp_path


def test_fitting_twice_changes_no_byte_and_makes_a_calibration(run, fitted):
    file = fitted / "made" / "trial-1.json"
    ended = run("fit", "--calibration", file, "--version", "3")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("30 pairs of 6 bases, ")
    result = fitted / "results" / "trial-fit.json"
    first = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (file, result)}
    assert run("fit", "--calibration", file, "--version", "3").out == ended.out
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in first} == first
    calibration = Calibration.model_validate_json(file.read_bytes())
    assert (calibration.name, calibration.version) == ("trial-1", 3)
    assert calibration.num_pairs == json.loads(result.read_bytes())["num_pairs"] == 30


def test_rows_of_a_former_recipe_are_not_fitted(run, fitted):
    write_manifest(fitted, pair_of("gemma-0/v-0", recipe={"method": "other"}))
    ended = run("fit")
    assert (ended.code, ended.out) == (2, "")
    assert "has no row of the manifest as it is now" in ended.err


def test_there_is_no_report_without_a_fit_of_these_rows(run, fitted):
    ended = run("report", "--out", fitted / "study.md")
    assert (ended.code, ended.out) == (2, "")
    assert "cannot read the fit" in ended.err
    run("fit")
    table = fitted / "results" / "trial.jsonl"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    ended = run("report", "--out", fitted / "study.md")
    assert ended.code == 2
    assert "a fit of other rows" in ended.err
    assert not (fitted / "study.md").exists()


def test_reporting_twice_changes_no_byte(run, fitted):
    run("fit")
    out = fitted / "docs" / "study.md"
    ended = run("report", "--out", out)
    assert ended.code == 0, ended.err
    written = [line.removeprefix("Wrote ") for line in ended.out.splitlines()]
    assert written[0] == str(out)
    assert sum(name.endswith(".svg") for name in written) >= 4
    first = [Path(name).read_bytes() for name in written]
    assert run("report", "--out", out) == ended
    assert [Path(name).read_bytes() for name in written] == first


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--shard", "0/2"), "expected I/N with I from 1 to N, such as 2/8; got '0/2'"),
        (("--shard", "3/2"), "expected I/N"),
        (("--shard", "1"), "expected I/N"),
        (("--only", "gpt*"), "no pair of the manifest is named 'gpt*'"),
        (("--jobs", "0"), "--jobs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_that_cannot_be_used_is_one_clear_error(run, tmp_path, more, words):
    write_manifest(tmp_path)
    ended = run("build", *more)
    assert (ended.code, ended.out) == (2, "")
    assert words in " ".join(ended.err.split())


def test_the_public_manifest_is_found_by_its_name(run):
    ended = run("build", "--manifest", "public")
    assert ended.code == 2
    assert "the manifest 'public' is of public models" in ended.err
