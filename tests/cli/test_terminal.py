"""What a person sees: progress, errors, an interrupted scan."""

import errno
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from commands import assert_one_clear_error, environment, references
from tiny_models import build_base, rewrite

from sdi_gate.cli.main import cli
from sdi_gate.cli.output import (
    fail,
    have_stderr,
    printable,
    progress_on_stderr,
    put,
    say,
    settle,
)
from sdi_gate.errors import PublishError, UsageError

# A process that was started in the background ignores SIGINT, and so would its children.
_PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from sdi_gate.cli.main import entry
entry()
"""
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture
def long_scan(models, tmp_path):
    """Start a scan of tier full over the whole probe set: some seconds of work."""
    (tmp_path / "tmp").mkdir()
    arguments = ("scan", *references(models / "base", models / "near"), "--tier", "full")
    processes = []

    def start(**pipes):
        process = subprocess.Popen(  # noqa: S603 - the arguments are ours
            [sys.executable, "-c", _PROGRAM, *arguments, "--out", tmp_path / "out"],
            env=environment(tmp_path / "home", TMPDIR=str(tmp_path / "tmp"), TERM="xterm"),
            **pipes,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def test_an_interrupted_scan_ends_with_130_and_leaves_nothing(long_scan, tmp_path):
    process = long_scan(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("sdi-gate: weights"):
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "sdi-gate: interrupted: no verdict was reached" in err
    assert "Traceback" not in err
    assert not any((tmp_path / "out").iterdir())
    assert not any(path for path in (tmp_path / "tmp").rglob("*") if path.is_file())


def read_terminal(master, until=None):
    seen = b""
    while until is None or until not in seen:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # Linux says EIO when the other side is closed
            break
        if not chunk:
            break
        seen += chunk
    return seen.decode()


def test_an_interrupted_scan_gives_the_terminal_back(long_scan):
    master, slave = pty.openpty()
    process = long_scan(stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    before = read_terminal(master, until=b"probe")
    process.send_signal(signal.SIGINT)
    after = read_terminal(master)
    os.close(master)
    assert process.wait(timeout=60) == 130
    assert HIDE in before
    assert after.rindex(SHOW) < after.rindex("interrupted")
    assert HIDE not in after[after.rindex(SHOW) :]


def test_a_terminal_gets_a_bar_and_ends_clean(models, probe, tmp_path):
    master, slave = pty.openpty()
    arguments = ("scan", *references(models / "base", models / "near"), "--tier", "probe")
    process = subprocess.Popen(  # noqa: S603 - the arguments are ours
        [sys.executable, "-m", "sdi_gate", *arguments, "--probe", probe, "--out", tmp_path / "out"],
        env=environment(tmp_path / "home", TERM="xterm-256color"),
        stdout=subprocess.PIPE,
        stderr=slave,
    )
    os.close(slave)
    seen = read_terminal(master)
    out = process.communicate(timeout=60)[0].decode()
    os.close(master)
    assert process.returncode == 0, seen
    assert "weights" in seen
    assert re.search("[━╸]", seen), "no bar was drawn"
    assert "done in" not in seen, "the plain lines are for logs"
    assert seen.count(HIDE) == seen.count(SHOW) == 1
    assert "\x1b[2K" in seen, "the bar was not wiped away"
    assert not re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\s", "", seen[seen.rindex(SHOW) :])
    assert out.startswith("MEASURED, NOT JUDGED")
    assert "\x1b" not in out


def test_a_result_on_a_terminal_has_colours_and_fits_it(models, tmp_path, run_here):
    both = references(models / "base", models / "near")
    assert run_here("scan", *both, "--tier", "weights", "--out", tmp_path / "out").code == 0
    master, slave = pty.openpty()
    process = subprocess.Popen(  # noqa: S603 - the arguments are ours
        [sys.executable, "-m", "sdi_gate", "report", tmp_path / "out" / "result.json"],
        env=environment(tmp_path / "home", TERM="xterm-256color", COLUMNS="90"),
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
    )
    os.close(slave)
    seen = read_terminal(master)
    assert process.communicate(timeout=60)[1] == b""
    os.close(master)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
    assert "\x1b[1m" in seen
    assert max(map(len, plain.splitlines())) <= 90


def test_a_log_gets_one_plain_line_per_stage_and_the_result_none_of_it(check_here, models):
    ended = check_here(models / "near")
    lines = ended.err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == [
        "digest",
        "digest",
        "weights",
        "probe-base",
        "outputs-base",
        "probe",
        "outputs",
    ]
    assert all(re.fullmatch(r"sdi-gate: [\w-]+: \d+ done in \d+\.\d s", line) for line in lines)
    assert "\x1b" not in ended.err + ended.out
    assert "sdi-gate:" not in ended.out


def test_verbose_says_more_on_standard_error_and_the_same_on_standard_output(
    run_here, models, tmp_path
):
    both = references(models / "base", models / "near")
    arguments = ("scan", *both, "--tier", "weights", "--out", tmp_path / "out")
    quiet, verbose = run_here(*arguments), run_here("-v", *arguments)
    assert verbose.out == quiet.out
    assert "sdi_gate.cli.scanning: device cpu, 1 threads" in verbose.err
    assert "device cpu" not in quiet.err


HOSTILE = ("a\x1b[2Jb", "a\rb", "a\bb", "a\x07b", "a\u202eb", "a\x9bb", "a\udcffb")


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_control_characters_in_a_path_are_made_visible(name, run_here, tmp_path):
    ended = run_here("scan", *references(tmp_path / name, tmp_path / name), "--out", tmp_path)
    assert ended.code == 4
    assert name not in ended.err
    assert repr(name)[1:-1] in ended.err


def test_a_line_break_in_a_path_forges_no_line_of_another_tool(run_here, tmp_path):
    folder = tmp_path / "x\n::set-output name=a::b\nPASS"
    ended = run_here("scan", *references(folder, folder), "--out", tmp_path / "out")
    assert ended.code == 4
    assert all(line.startswith("sdi-gate: ") for line in ended.err.splitlines())


def test_the_folder_of_the_report_is_named_without_control_characters(run_here, models, tmp_path):
    both = references(models / "base", models / "near")
    ended = run_here("scan", *both, "--tier", "weights", "--out", tmp_path / "\x1b[31mred")
    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert f"Result: {tmp_path}/\\x1b[31mred/result.json" in ended.out


@pytest.mark.parametrize(
    ("name", "code"),
    [("model.layers.0.\x1b[31mred\n::error::x", 4), ("::error::[red]x", 0)],
    ids=["refused", "printable"],
)
def test_a_tensor_with_a_hostile_name_colours_no_log(name, code, run_here, tmp_path):
    def add(tensors):
        tensors[name] = tensors["model.norm.weight"].clone()

    folder = rewrite(build_base(tmp_path / "base"), add)
    both = references(folder, folder)
    ended = run_here("-v", "scan", *both, "--tier", "weights", "--out", tmp_path / "out")
    assert ended.code == code, ended.err
    assert "\x1b" not in ended.err + ended.out
    assert not re.search("^::error", ended.err + ended.out, re.MULTILINE)


def test_only_line_breaks_stay_among_the_characters_that_cannot_be_printed():
    assert printable("a\tb\nc\x00") == "a\\tb\nc\\x00"
    assert printable("naïve 模型 🙂") == "naïve 模型 🙂"


def test_an_error_has_its_hint_below_it_if_there_is_one(capsys):
    fail(UsageError("wrong", hint="right"))
    fail(UsageError("bare"))
    assert capsys.readouterr().err == (
        "sdi-gate: error: wrong\nsdi-gate: hint: right\nsdi-gate: error: bare\n"
    )


@pytest.fixture
def full():
    """A stream of the system's that has no room."""
    with Path("/dev/full").open("w", encoding="utf-8") as stream:
        yield stream
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def test_a_standard_error_that_takes_nothing_is_no_reason_to_fail(full, monkeypatch):
    monkeypatch.setattr(sys, "stderr", full)
    say("nobody hears this")


JUDGED = [("near", "probe", 0), ("far", "probe", 10), ("near", "weights", 11)]


@pytest.mark.parametrize("judged", JUDGED, ids=str)
@pytest.mark.parametrize(
    ("verbose", "end"),
    [((), "2>&-"), (("--verbose",), "2>/dev/full")],
    ids=["closed", "full-and-verbose"],
)
def test_a_closed_or_full_standard_error_changes_no_code(
    verbose, end, judged, models, probe, tmp_path
):
    candidate, tier, code = judged
    both = references(models / "base", models / candidate)
    words = ["check", *both, "--tier", tier, "--probe", probe, "--out", tmp_path / "out"]
    words += ["--policy", "policies/default.yml"]
    command = shlex.join([sys.executable, "-m", "sdi_gate", *verbose])
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        ["/bin/sh", "-c", f"{command} {shlex.join(map(str, words))} {end}"],
        check=False,
        env=environment(tmp_path / "home"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == code
    assert done.stdout.startswith(("PASS", "FAIL", "INCONCLUSIVE"))
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize("end", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize("words", ["scan --nonsense", "scan --base x --candidate x"])
def test_an_error_that_nobody_can_be_told_of_keeps_its_code(words, end, tmp_path):
    command = f"{shlex.quote(sys.executable)} -m sdi_gate {words} {end}"
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        ["/bin/sh", "-c", command], check=False, env=environment(tmp_path)
    )
    assert done.returncode == 2


def test_progress_that_cannot_be_written_is_dropped(full, monkeypatch):
    monkeypatch.setattr(sys, "stderr", full)
    with progress_on_stderr() as progress:
        progress.advance("weights", 1, 1)


def test_what_standard_error_did_not_take_is_dropped_at_the_end(full, monkeypatch):
    monkeypatch.setattr(sys, "stderr", full)
    full.write("nobody hears this")
    settle()
    full.flush()


def test_a_process_without_standard_error_gets_one_that_loses_all(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    have_stderr()
    with sys.stderr as lost:
        lost.write("nobody hears this")


def test_a_standard_output_that_takes_nothing_is_an_error_once(full, monkeypatch):
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(PublishError, match="standard output: No space left on device"):
        put("nobody reads this")
    # What is left in its buffer goes nowhere, and the interpreter's last flush finds no error.
    full.flush()


class NoFile(StringIO):
    """A stream that is no file of the system's, and takes nothing."""

    def write(self, _text):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def test_a_standard_output_that_is_no_file_is_an_error_too(monkeypatch):
    monkeypatch.setattr(sys, "stdout", NoFile())
    with pytest.raises(PublishError, match="standard output: Broken pipe"):
        put("nobody reads this")


@pytest.mark.parametrize(("candidate", "code"), [("near", 6), ("far", 10)])
def test_a_result_that_nobody_can_read_is_still_in_the_files(
    candidate, code, check_here, models, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", NoFile())
        ended = check_here(models / candidate)
    assert_one_clear_error(ended, code, "standard output: Broken pipe")
    assert len(list((tmp_path / "out").iterdir())) == 2


class Terminal(StringIO):
    def isatty(self):
        return True


def test_a_bar_is_drawn_where_standard_error_is_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with progress_on_stderr() as progress:
        progress.advance("weights", 1, 2, "layers.\x1b[31mred\r\n::error::x")
    seen = sys.stderr.getvalue()
    assert "weights" in seen
    assert r"layers.\x1b[31mred\r\n::error::x" in seen
    assert "\x1b[31mred" not in seen


def test_an_interrupt_outside_any_command_is_an_interrupt_too(run_here, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupt)
    ended = run_here("doctor")
    assert (ended.code, ended.out) == (130, "")
    assert ended.err == "sdi-gate: interrupted: no verdict was reached\n"
