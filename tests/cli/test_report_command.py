import subprocess
import sys

import pytest
from commands import assert_one_clear_error, environment
from report_documents import CASES

from sdi_gate.report.document import dump

_LIGHT = """
import sys
from sdi_gate.cli.main import main
code = main(sys.argv[1:])
heavy = {"torch", "transformers", "safetensors", "huggingface_hub"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else code)
"""


@pytest.mark.parametrize("candidate", ["near", "far"])
def test_a_result_gives_the_same_reports_again(candidate, check_here, run_here, models, tmp_path):
    ended = check_here(models / candidate)
    out = tmp_path / "out"
    markdown = run_here("report", out / "result.json", "--format", "markdown")
    assert (markdown.code, markdown.err) == (0, "")
    assert markdown.out.encode() == (out / "report.md").read_bytes()
    console = run_here("report", out / "result.json")
    assert (console.code, console.err) == (0, "")
    assert ended.out == f"{console.out}\nReport: {out}/report.md\nResult: {out}/result.json\n"


@pytest.mark.parametrize("case", CASES)
def test_every_result_can_be_shown_whatever_it_says(case, run_here, tmp_path):
    path = tmp_path / "result.json"
    path.write_bytes(dump(CASES[case]()))
    for form in ("console", "markdown"):
        ended = run_here("report", path, "--format", form)
        assert (ended.code, ended.err) == (0, "")
        assert "\x1b" not in ended.out


@pytest.mark.parametrize("form", ["console", "markdown"])
def test_showing_a_result_again_loads_no_machine_learning_library(form, tmp_path):
    path = tmp_path / "result.json"
    path.write_bytes(dump(CASES["pass"]()))
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [sys.executable, "-c", _LIGHT, "report", str(path), "--format", form],
        check=False,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("PASS") or form == "markdown"


NO_RESULTS = {
    "missing": (None, "cannot read"),
    "text": (b"PASS", "not a result document"),
    "other-json": (b"{}", "not a result document"),
    "no-text": (b"\xff\xff", "not a result document"),
    "other-version": (b'{"schema": "sdi-gate/result/v2"}', "not a result document"),
}


@pytest.mark.parametrize(("content", "words"), NO_RESULTS.values(), ids=NO_RESULTS)
def test_what_is_no_result_is_refused(content, words, run_here, tmp_path):
    path = tmp_path / "result.json"
    if content is not None:
        path.write_bytes(content)
    assert_one_clear_error(run_here("report", path), 2, words, str(path), "sdi-gate: hint: give")


def test_a_folder_is_no_result(run_here, tmp_path):
    assert_one_clear_error(run_here("report", tmp_path), 2, "Is a directory")
