"""From a Hub to the report, each run a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import HubServer
from tiny_models import add_noise, build_base, perturb, tiny_probe

POLICY = Path(__file__).parents[2] / "policies" / "default.yml"
TOKEN = "hf_canaryCANARYcanaryCANARYcanary"  # noqa: S105 - nobody's


@pytest.fixture
def hub(tmp_path):
    """A Hub with ``org/base`` and ``org/tune``, and their commits."""
    base = build_base(tmp_path / "base")
    tune = perturb(base, tmp_path / "tune", add_noise(0.001))
    (tmp_path / "probe.jsonl").write_text(
        "\n".join(json.dumps({"stratum": s.stratum, "text": s.text}) for s in tiny_probe().samples),
        encoding="utf-8",
    )
    with HubServer() as server:
        server.base = server.commit("org/base", base)
        server.tune = server.commit("org/tune", tune)
        yield server


def run(tmp_path, hub, *more, candidate="hf:org/tune", **changes):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env = kept | {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}
    command = [sys.executable, "-m", "sdi_gate", "--verbose", "check", "--base", "hf:org/base"]
    command += ["--candidate", candidate, "--tier", "probe", "--policy", str(POLICY)]
    command += ["--probe", str(tmp_path / "probe.jsonl"), "--out", str(tmp_path / "out")]
    return subprocess.run(  # noqa: S603 - the arguments are ours
        [*command, "--threads", "1", *more],
        check=False,
        env=env | changes,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )


def test_models_of_a_hub_are_judged_and_named_by_commit(hub, tmp_path):
    done = run(tmp_path, hub)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert (result["base"]["commit"], result["candidate"]["commit"]) == (hub.base, hub.tune)
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert hub.base in report
    assert hub.tune in report

    # Neither the token nor the signature of a link is shown, even to whoever asks for more.
    shown = done.stdout + done.stderr + report + json.dumps(result)
    assert "signature=" not in shown
    assert "of-the-link" not in shown
    assert TOKEN not in shown
    assert {request.token for request in hub.requests if "/cdn/" in request.path} == {None}

    # What was fetched is there without a network, under the same commits.
    asked = len(hub.requests)
    first = (tmp_path / "out" / "result.json").read_text(encoding="utf-8")
    again = run(tmp_path, hub, HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert len(hub.requests) == asked
    second = (tmp_path / "out" / "result.json").read_text(encoding="utf-8")
    assert without_cost(first) == without_cost(second)


def without_cost(text):
    plain = json.loads(text)
    del plain["cost"]
    return json.dumps(plain)


def test_a_gpu_that_is_not_there_is_an_error_before_the_hub_is_asked(hub, tmp_path):
    done = run(tmp_path, hub, "--device", "cuda", CUDA_VISIBLE_DEVICES="")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--device cuda" in done.stderr
    assert hub.requests == []


def test_a_model_that_the_hub_does_not_have_is_a_source_error(hub, tmp_path):
    done = run(tmp_path, hub, candidate="hf:org/nothing")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.count("sdi-gate: error: ") == 1
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr
