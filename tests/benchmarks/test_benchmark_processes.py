import sys

import pytest

from benchmarks import processes
from benchmarks.processes import BenchmarkError

PYTHON = [sys.executable, "-I", "-S", "-c"]


def run(code, folder, **environment):
    return processes.run([*PYTHON, code], folder, processes.environment(None) | environment)


def test_the_peak_is_that_of_the_process_and_not_of_who_started_it(tmp_path):
    # The tests' own process has torch in it, some hundred megabytes.
    small, large = run("", tmp_path), run("x = bytearray(150_000_000)", tmp_path)
    assert small.peak_rss_bytes < 60_000_000
    assert 150_000_000 < large.peak_rss_bytes < 210_000_000


def test_processes_of_one_tree_are_added_up(tmp_path):
    hold = "x = bytearray(100_000_000); import time; time.sleep(0.6)"
    both = (
        f"import subprocess, sys; c = [sys.executable, '-c', {hold!r}]; x = bytearray(100_000_000)"
    )
    measured = run(f"{both}; subprocess.run(c)", tmp_path)
    assert measured.peak_rss_bytes > 200_000_000


def test_code_and_output_are_kept(tmp_path):
    measured = run("print('words'); raise SystemExit(7)", tmp_path)
    assert (measured.code, measured.output) == (7, "words\n")


def test_everybody_gets_the_same_threads_and_no_network(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    everything, two = processes.environment(None), processes.environment(2)
    assert "OMP_NUM_THREADS" not in everything
    assert "OMP_WAIT_POLICY" not in everything
    assert (two["OMP_NUM_THREADS"], two["MKL_NUM_THREADS"]) == ("2", "2")
    assert everything["HF_HUB_OFFLINE"] == "1"


def test_a_module_that_fails_is_told_with_its_last_words():
    with pytest.raises(BenchmarkError, match="checkpoints: exit code 2: usage"):
        processes.call("checkpoints")


def test_the_folder_of_work_keeps_itself_out_of_the_repository(tmp_path):
    folder = processes.work_folder(tmp_path / "work")
    assert (folder / ".gitignore").read_text().splitlines()[-1] == "*"
