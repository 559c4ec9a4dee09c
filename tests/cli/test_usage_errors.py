import subprocess
import sys

import pytest
import torch
from commands import (
    assert_one_clear_error,
    environment,
    nobody_writing_to,
    references,
    run_process,
)

from sdi_gate.cli.options import Duration
from sdi_gate.cli.scanning import choose_dtype

USAGE = {
    "unknown-option": (("scan", "--nonsense"), "No such option"),
    "unknown-command": (("measure",), "No such command"),
    "no-candidate": (("scan", "--base", "file:x"), "Missing option '--candidate'"),
    "no-policy": (("check", "--base", "file:x", "--candidate", "file:x"), "'--policy'"),
    "tier": (("scan", "--tier", "deep"), "'deep' is not one of"),
    "device": (("scan", "--device", "tpu"), "'tpu' is not one of"),
    "seed": (("scan", "--seed", "-1"), "-1 is not in the range"),
    "no-threads": (("scan", "--threads", "0"), "0 is not in the range"),
    "too-many-threads": (("scan", "--threads", "3000000000"), "is not in the range"),
    "dtype": (("scan", "--dtype", "float16"), "'float16' is not one of"),
    "budget": (("scan", "--budget", "soon"), "expected a duration"),
    "report-without-file": (("report",), "Missing argument 'RESULT'"),
    "report-format": (("report", "x", "--format", "pdf"), "'pdf' is not one of"),
    "validate-nothing": (("policy", "validate"), "Missing argument 'FILES"),
}
NO_BUDGETS = (
    "",
    "0s",
    "0h0m",
    "10",
    "1.5h",
    "-1m",
    "1m 30s",
    "30s1m",
    "8h1h",
    "169h",
    "\uff110m",
    "1d",
)
DEPTH_WEIGHTS = ("", "deep", "1,,2", "1;2", "nan", "1,-1", "0,0", "inf", "1e308,1e308")
NO_REFERENCES = ("x", "file:", "ftp:x", "hf:a/b/c", "hf:../x", "hf:org/x@", "hf:org/x@..", "")


@pytest.mark.parametrize(("arguments", "words"), USAGE.values(), ids=USAGE)
def test_a_command_line_that_makes_no_sense_is_refused(arguments, words, run_here):
    ended = run_here(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert "Try 'sdi-gate" in ended.err


@pytest.mark.parametrize("option", ["--base", "--candidate"])
@pytest.mark.parametrize("text", NO_REFERENCES, ids=repr)
def test_what_is_no_reference_is_refused(text, option, run_here, tmp_path, models):
    given = {"--base": f"file:{models}/base", "--candidate": f"file:{models}/base", option: text}
    ended = run_here("scan", *(word for pair in given.items() for word in pair))
    assert_one_clear_error(ended, 2, "sdi-gate: hint: write hf:org/name")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("text", NO_BUDGETS, ids=ascii)
def test_what_is_no_duration_is_refused(text, run_here):
    ended = run_here("scan", "--candidate", "file:x", "--budget", text)
    assert (ended.code, ended.out) == (2, "")
    assert "expected a duration from 1s to a week, such as 10m or 1h30m; got " in ended.err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1h30m5s", 5405), ("168h", 604800)],
)
def test_a_duration_is_read_as_seconds(text, seconds):
    assert Duration().convert(text, None, None) == seconds


def test_a_profile_that_is_no_folder_is_refused_before_any_model_is_fetched(run_here, tmp_path):
    missing = references(tmp_path / "missing", tmp_path / "missing")
    ended = run_here("scan", *missing, "--out", tmp_path / "out", "--profile", tmp_path / "none")
    assert_one_clear_error(ended, 2, "--profile: expected a folder", "sdi-gate profile")


def scan_here(run_here, models, probe, out, *more):
    both = references(models / "base", models / "near")
    return run_here("scan", *both, "--tier", "probe", "--probe", probe, "--out", out, *more)


def test_with_a_budget_a_person_is_told_the_plan_before_the_work(run_here, models, probe, tmp_path):
    told = scan_here(run_here, models, probe, tmp_path, "--no-cache", "--budget", "1h").err
    assert "sdi-gate: plan: tier probe (the budget of 1h suffices for it here)" in told
    assert told.index("sdi-gate: plan: about") < told.index("sdi-gate: weights: ")
    assert "less is measured" not in told


def test_without_a_budget_nobody_is_told_of_a_plan(run_here, models, probe, tmp_path):
    assert "plan:" not in scan_here(run_here, models, probe, tmp_path, "--no-cache").err


@pytest.mark.parametrize(
    ("name", "device", "dtype"),
    [
        ("auto", "cpu", torch.float32),
        ("auto", "cuda", torch.bfloat16),
        ("float32", "cuda", torch.float32),
        ("bfloat16", "cpu", torch.bfloat16),
    ],
)
def test_models_run_in_the_type_that_suits_the_device_or_that_was_asked_for(name, device, dtype):
    assert choose_dtype(name, torch.device(device)) is dtype


@pytest.mark.parametrize("text", DEPTH_WEIGHTS, ids=repr)
def test_bad_depth_weights_are_refused_before_any_model_is_read(text, run_here, tmp_path):
    missing = references(tmp_path / "missing", tmp_path / "missing")
    ended = run_here("scan", *missing, "--depth-weights", text)
    assert_one_clear_error(ended, 2, "--depth-weights", repr(text))


def test_depth_weights_that_do_not_fit_the_model_are_refused(run_here, models, tmp_path):
    both = references(models / "base", models / "near")
    ended = run_here("scan", *both, "--out", tmp_path, "--depth-weights", "1,2")
    assert_one_clear_error(ended, 2, "depth weights", "expected 5 weights")


def test_a_gpu_that_is_not_there_is_an_error_before_any_model_is_fetched(
    run_here, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out = tmp_path / "out"
    missing = references(tmp_path / "missing", tmp_path / "missing")
    ended = run_here("scan", *missing, "--device", "cuda", "--out", out)
    assert_one_clear_error(ended, 2, "--device cuda", "sdi-gate: hint: sdi-gate doctor")
    assert not out.exists()


@pytest.mark.parametrize("under", ["file", "file/deeper"])
def test_an_output_folder_that_cannot_be_is_an_error_before_any_model_is_fetched(
    under, run_here, tmp_path
):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    missing = references(tmp_path / "missing", tmp_path / "missing")
    ended = run_here("scan", *missing, "--out", tmp_path / under)
    assert_one_clear_error(ended, 2, "cannot write to the output folder", "--out")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "in the way"


PROBES = {
    "missing": (None, "cannot read the probe set"),
    "no-json": (b"once upon a time", ":1: not JSON"),
    "no-stratum": (b'{"text": "x"}', ":1: expected the keys text and stratum"),
    "too-few": (b'{"text": "x", "stratum": "code"}', "at least 4 samples"),
    "empty": (b"", "at least 4 samples"),
}


@pytest.mark.parametrize(("content", "words"), PROBES.values(), ids=PROBES)
def test_a_bad_probe_set_is_an_error_before_any_model_is_fetched(
    content, words, run_here, tmp_path
):
    path = tmp_path / "probe.jsonl"
    if content is not None:
        path.write_bytes(content)
    missing = references(tmp_path / "missing", tmp_path / "missing")
    assert_one_clear_error(run_here("scan", *missing, "--probe", path), 2, words, path.name)


@pytest.mark.parametrize(
    ("option", "what"), [("--probe", "probe set"), ("--calibration", "calibration")]
)
def test_a_pipe_that_nobody_writes_to_is_refused_and_not_waited_for(
    option, what, run_here, tmp_path
):
    pipe = tmp_path / "pipe"
    missing = references(tmp_path / "missing", tmp_path / "missing")
    with nobody_writing_to(pipe):
        ended = run_here("scan", *missing, option, pipe)
    words = f"cannot read the {what} {str(pipe)!r}: it is not a regular file"
    assert_one_clear_error(ended, 2, words)


ENDPOINTS = ("foo", "http://[bad", "http://x:99999999", "http://a b", "ftp://x")


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=repr)
def test_an_address_of_the_hub_that_is_no_url_matters_to_models_of_the_hub_alone(
    endpoint, models, tmp_path
):
    env = environment(tmp_path / "home", HF_ENDPOINT=endpoint)
    rest = ("--candidate", f"file:{models}/near", "--tier", "weights", "--out", tmp_path / "out")
    ended = run_process("scan", "--base", "hf:org/name", *rest, env=env)
    assert_one_clear_error(ended, 2, "HF_ENDPOINT is not a URL")
    ended = run_process("scan", "--base", f"file:{models}/base", *rest, env=env)
    assert ended.code == 0, ended.err


_LIGHT = """
import sys
from sdi_gate.cli.main import main
code = main(sys.argv[1:])
heavy = {"torch", "transformers"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else code)
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--base", "nonsense", "--policy", "policies/default.yml"), 2),
        (("--base", "file:x", "--policy", "missing.yml"), 3),
        (("--policy", "missing.yml"), 3),
    ],
    ids=["reference", "policy", "no base"],
)
def test_what_is_wrong_with_the_options_is_told_before_torch_is_loaded(arguments, code, tmp_path):
    words = [*arguments, "--candidate", "file:x", "--out", str(tmp_path / "out")]
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [sys.executable, "-c", _LIGHT, "check", *words],
        check=False,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
