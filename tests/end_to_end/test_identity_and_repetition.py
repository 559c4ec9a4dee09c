"""A model against itself, and a scan done twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import add_noise, build_base, perturb, tiny_probe
from transformers.utils import logging as transformers_logging

from sdi_gate.cli.main import main

POLICY = Path(__file__).parents[2] / "policies" / "default.yml"
FAMILIES = ("llama", "gpt2", "gemma2", "qwen3")


@pytest.fixture
def run(tmp_path, capsys):
    """Check a candidate in this process; return exit code, result and what was printed."""
    lines = [json.dumps({"stratum": s.stratum, "text": s.text}) for s in tiny_probe().samples]
    (tmp_path / "probe.jsonl").write_text("\n".join(lines), encoding="utf-8")
    before = torch.get_num_threads(), transformers_logging.get_verbosity()

    def check(base, candidate, out, *more):
        code = main(arguments(base, candidate, out, *more))
        captured = capsys.readouterr()
        assert (out / "result.json").exists(), captured.err
        return code, (out / "result.json").read_bytes(), captured.out

    def arguments(base, candidate, out, *more):
        return [
            *("check", "--base", f"file:{base}", "--candidate", f"file:{candidate}"),
            *("--tier", "full", "--policy", str(POLICY), "--out", str(out)),
            *("--probe", str(tmp_path / "probe.jsonl"), "--threads", "1", *more),
        ]

    check.arguments = arguments
    yield check
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(mode=False)
    transformers_logging.set_verbosity(before[1])
    transformers_logging.enable_progress_bar()


def without_cost(content):
    """Return the bytes of a result with the one part removed that may differ."""
    plain = json.loads(content)
    del plain["cost"]
    return json.dumps(plain, indent=1, ensure_ascii=False).encode()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_against_itself_is_exactly_zero_and_passes(family, run, tmp_path):
    base = build_base(tmp_path / "base", family=family)
    code, content, out = run(base, base, tmp_path / "out")
    result = json.loads(content)
    assert code == 0, out
    assert out.startswith("PASS")
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "PASS" in report[: report.index("\n\n")]
    assert result["tier"]["ran"] == "full"
    assert result["sdi"]["estimate"]["value"] == 0.0
    assert result["sdi_plus"]["estimate"]["value"] == 0.0
    headlines = {entry["name"]: entry["headline"]["value"] for entry in result["signals"]}
    assert headlines == dict.fromkeys(headlines, 0.0)
    assert len(headlines) == 5


def test_the_same_scan_gives_the_same_bytes_here_and_in_another_process(run, tmp_path):
    base = build_base(tmp_path / "base")
    tune = perturb(base, tmp_path / "tune", add_noise(0.2))
    _, first, shown = run(base, tune, tmp_path / "out")
    _, second, shown_again = run(base, tune, tmp_path / "out")
    assert without_cost(first) == without_cost(second)
    assert shown == shown_again
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [sys.executable, "-m", "sdi_gate", *run.arguments(base, tune, tmp_path / "out")],
        check=False,
        env=os.environ | {"PYTHONHASHSEED": "77", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        timeout=300,
    )
    third = (tmp_path / "out" / "result.json").read_bytes()
    assert done.returncode in {0, 10}, done.stderr
    assert without_cost(first) == without_cost(third)
    # Nothing but the cost differs, and its bytes are those of the file that was written.
    assert first != second
    assert without_cost(first)[:-2] in first


def test_another_seed_moves_the_headline_of_the_stochastic_signal_only(run, tmp_path):
    base = build_base(tmp_path / "base")
    tune = perturb(base, tmp_path / "tune", add_noise(0.2))
    results = [
        json.loads(run(base, tune, tmp_path / "out", "--seed", seed)[1]) for seed in ("0", "1")
    ]
    values = [
        {entry["name"]: entry["headline"]["value"] for entry in result["signals"]}
        for result in results
    ]
    assert {name for name in values[0] if values[0][name] != values[1][name]} == {"curvature-shift"}
