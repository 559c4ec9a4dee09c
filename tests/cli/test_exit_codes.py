"""The codes of a judged scan, and those of an incident after it."""

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import (
    POLICIES,
    assert_one_clear_error,
    environment,
    references,
    result_of,
    run_process,
)

import sdi_gate.cli.main as main_module
import sdi_gate.cli.scanning as scanning_module
from sdi_gate.cli.main import entry
from sdi_gate.policy.facts import Tier

REPORT = ["report.md", "result.json"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_candidate_near_its_base_passes_with_0(check_here, models, tmp_path):
    ended = check_here(models / "near")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("PASS")
    assert names(tmp_path / "out") == REPORT
    assert result_of(tmp_path / "out")["verdict"]["exit_code"] == 0


def test_a_warning_is_0_too(check_here, models, tmp_path):
    policy = tmp_path / "policy.yml"
    head = "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata: {name: careful}\n"
    text = f"{head}limits:\n  sdi: {{warn: 0.0, fail: 0.9}}\n"
    policy.write_text(text, encoding="utf-8")
    ended = check_here(models / "near", policy=policy)
    assert (ended.code, ended.out.split(":")[0]) == (0, "WARN"), ended.err


def test_a_candidate_far_from_its_base_fails_with_10(check_here, models, tmp_path):
    ended = check_here(models / "far")
    assert (ended.code, ended.out.split(":")[0]) == (10, "FAIL"), ended.err
    assert result_of(tmp_path / "out")["verdict"]["exit_code"] == 10


def test_a_tier_below_the_required_one_is_inconclusive_with_11(check_here, models):
    ended = check_here(models / "near", tier="weights")
    assert (ended.code, ended.out.split(":")[0]) == (11, "INCONCLUSIVE"), ended.err


def test_a_policy_that_observes_reports_a_failure_and_returns_0(check_here, models):
    ended = check_here(models / "far", policy=POLICIES / "observe.yml")
    assert ended.code == 0, ended.err
    assert "FAIL" in ended.out.splitlines()[0]


def test_a_scan_judges_nothing_and_returns_0(run_here, models, tmp_path):
    both = references(models / "base", models / "far")
    ended = run_here("scan", *both, "--tier", "weights", "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("MEASURED, NOT JUDGED")
    assert result_of(tmp_path / "out")["verdict"] is None


JUDGED = {"PASS": ("near", "probe", 6), "FAIL": ("far", "probe", 10)}
JUDGED["INCONCLUSIVE"] = ("near", "weights", 11)


@pytest.mark.parametrize("status", JUDGED)
def test_a_disk_without_room_turns_a_0_into_6_and_hides_no_10_or_11(
    status, check_here, models, tmp_path, monkeypatch
):
    candidate, tier, code = JUDGED[status]

    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "out"
    out.mkdir()
    for name in REPORT:
        (out / name).write_text("from the last run", encoding="utf-8")
    monkeypatch.setattr(os, "fsync", full)
    ended = check_here(models / candidate, tier=tier)
    assert ended.code == code, ended.err
    assert ended.err.count("sdi-gate: error: cannot write") == 1
    assert "No space left on device" in ended.err
    assert "Report:" not in ended.out
    assert ended.out.startswith(f"{status}: ")
    assert names(out) == []


@pytest.mark.parametrize(
    "more",
    [
        ("--policy", "missing.yml"),
        ("--base", "nonsense"),
        ("--base", "file:missing"),
        ("--depth-weights", "nonsense"),
    ],
    ids=["policy", "reference", "model", "option"],
)
def test_a_run_that_reaches_no_verdict_leaves_no_report_of_a_former_one(
    more, check_here, models, tmp_path
):
    out = tmp_path / "out"
    assert check_here(models / "near").code == 0
    assert names(out) == REPORT
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    ended = check_here(models / "near", *more)
    assert 2 <= ended.code <= 4, ended.err
    assert names(out) == ["notes.txt"]


def test_a_process_that_may_write_only_little_leaves_nothing_half_written(models, probe, tmp_path):
    out = tmp_path / "out"
    ended = run_process(
        *("check", *references(models / "base", models / "near"), "--tier", "probe"),
        *("--probe", probe, "--policy", POLICIES / "default.yml", "--out", out),
        env=environment(tmp_path / "home"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    assert ended.code == 6, ended.err
    assert "File too large" in ended.err
    assert ended.out.startswith("PASS")
    assert names(out) == []


@pytest.mark.parametrize(("tier", "code"), [("probe", 6), ("weights", 11)])
def test_a_full_standard_output_hides_no_verdict_and_keeps_the_files(
    tier, code, models, probe, tmp_path
):
    out = tmp_path / "out"
    with Path("/dev/full").open("wb") as full:
        ended = run_process(
            *("check", *references(models / "base", models / "near"), "--tier", tier),
            *("--probe", probe, "--policy", POLICIES / "default.yml", "--out", out),
            env=environment(tmp_path / "home"),
            stdout=full,
        )
    assert_one_clear_error(ended, code, "standard output: No space left on device")
    assert names(out) == REPORT


def test_a_reader_that_has_gone_is_told_in_one_line(models, tmp_path, run_here):
    both = references(models / "base", models / "near")
    assert run_here("scan", *both, "--tier", "weights", "--out", tmp_path / "out").code == 0
    reader, writer = os.pipe()
    os.close(reader)
    result = tmp_path / "out" / "result.json"
    ended = run_process("report", result, env=environment(tmp_path), stdout=writer)
    os.close(writer)
    assert_one_clear_error(ended, 6, "standard output: Broken pipe")


def test_a_crash_says_that_no_verdict_was_reached(check_here, models, tmp_path, monkeypatch):
    def crash(*_):
        msg = "boom"
        raise KeyError(msg)

    monkeypatch.setattr(scanning_module, "run_scan", crash)
    ended = check_here(models / "near")
    assert (ended.code, ended.out) == (1, "")
    assert "sdi-gate: internal error: KeyError: no verdict was reached" in ended.err
    assert "Traceback" not in ended.err
    assert names(tmp_path / "out") == []


def test_a_crash_shows_its_traceback_if_asked(run_here, models, tmp_path, monkeypatch):
    def crash(*_):
        msg = "\x1b[31mboom"
        raise KeyError(msg)

    monkeypatch.setattr(scanning_module, "run_scan", crash)
    both = references(models / "base", models / "near")
    ended = run_here("--verbose", "scan", *both, "--out", tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert "Traceback (most recent call last)" in ended.err
    assert "boom" in ended.err
    assert "\x1b" not in ended.err


@pytest.mark.parametrize("error", [KeyboardInterrupt, EOFError])
def test_an_end_of_file_inside_is_no_interrupt(error, check_here, models, monkeypatch):
    def crash(*_):
        raise error

    monkeypatch.setattr(scanning_module, "run_scan", crash)
    ended = check_here(models / "near")
    code, says = (1, "internal error: EOFError") if error is EOFError else (130, "interrupted")
    assert (ended.code, ended.out) == (code, "")
    assert f"sdi-gate: {says}: no verdict was reached" in ended.err


class PanicException(BaseException):
    """What a library in Rust raises when it panics: no Exception."""


@pytest.mark.parametrize("error", [PanicException("boom"), SystemExit(0)], ids=repr)
def test_a_library_that_panics_or_ends_the_process_is_a_crash(
    error, check_here, models, monkeypatch
):
    def crash(*_):
        raise error

    monkeypatch.setattr(scanning_module, "run_scan", crash)
    ended = check_here(models / "near")
    name = type(error).__name__
    assert (ended.code, ended.out) == (1, "")
    assert f"sdi-gate: internal error: {name}: no verdict was reached" in ended.err
    assert "Traceback" not in ended.err


def test_auto_is_told_which_tier_the_policy_requires(check_here, run_here, models, monkeypatch):
    asked = []

    def stop(request, _effects):
        asked.append(request.required)
        raise KeyboardInterrupt

    monkeypatch.setattr(scanning_module, "run_scan", stop)
    check_here(models / "near")
    run_here("scan", *references(models / "base", models / "near"), "--out", models / "none")
    assert asked == [Tier.PROBE, None]


def end_with(monkeypatch, code):
    monkeypatch.setattr(main_module, "main", code)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def test_a_second_interrupt_ends_with_130_too(monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    end_with(monkeypatch, interrupt)
    with pytest.raises(SystemExit) as ended:
        entry()
    assert ended.value.code == 130


def test_an_interrupt_that_nobody_can_be_told_of_is_no_crash(run_here, monkeypatch):
    def interrupt(*_, **__):
        try:
            raise KeyboardInterrupt
        finally:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(main_module.cli, "main", interrupt)
    assert run_here("doctor").code == 130


def test_the_process_ends_with_the_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sdi-gate", "--version"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit, match=r"^0$"):
        entry()
    assert capsys.readouterr().out.startswith("sdi-gate, version")


def test_the_module_runs_as_a_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sdi_gate", "nonsense"],
        check=False,
        env=environment(tmp_path),
        capture_output=True,
    )
    assert done.returncode == 2
