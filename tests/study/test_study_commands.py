"""Every command of the study, on models of a Hub on this machine."""

import json
import os
from dataclasses import dataclass

import pytest
import torch
import yaml
from hub_server import HubServer
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from study_manifests import plain_manifest, public_pair
from tiny_models import add_noise, build_base, perturb, tiny_probe
from transformers.utils import logging as transformers_logging

from sdi_gate.cli.main import main
from sdi_gate.study.rows import read_rows

SETTINGS = {"curvature_draws": 2, "curvature_samples": 2, "output_tokens": 16}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub with a base and a tune of two families."""
    folder = tmp_path_factory.mktemp("models")
    with HubServer() as server:
        for family in ("llama", "qwen2"):
            base = build_base(folder / f"{family}-base", family=family)
            tune = perturb(base, folder / f"{family}-tune", add_noise(0.05))
            server.commit(f"{family}/base", base)
            server.commit(f"{family}/tune", tune)
        yield server


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a manifest of three pairs, one of them of no model, a probe set and tests."""
    folder = tmp_path_factory.mktemp("study")
    lines = []
    for sample in tiny_probe().samples:
        plain = {"stratum": sample.stratum, "text": sample.text, "prompt": sample.prompt}
        lines.append(json.dumps({key: value for key, value in plain.items() if value}))
    (folder / "probe.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "tasks").mkdir()
    items = [
        {"prompt": f"the ferry number {i}", "choices": ["came in late", "fell"], "answer": i % 2}
        for i in range(6)
    ]
    for axis in ("mmlu", "truthfulqa"):
        text = "\n".join(map(json.dumps, items))
        (folder / "tasks" / f"{axis}.jsonl").write_text(text, encoding="utf-8")
    pairs = [
        public_pair("llama/tune", "llama/base", "llama/tune"),
        public_pair("qwen/tune", "qwen2/base", "qwen2/tune", family="qwen"),
        public_pair("llama/nothing", "llama/base", "llama/nothing", kind="degraded"),
    ]
    manifest = plain_manifest(
        *pairs,
        population="public",
        scale="hub",
        settings=SETTINGS,
        probe=str(folder / "probe.jsonl"),
    )
    (folder / "trial.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    return folder


@pytest.fixture
def run(hub, place, monkeypatch, capsys):
    """Run a command of the study in this process, and what it starts, without leaving traces."""
    for name in [name for name in os.environ if name.startswith(("HF_", "SDI_", "COV_"))]:
        monkeypatch.delenv(name)
    for name, value in (("HF_ENDPOINT", hub.url), ("HF_HOME", str(place / "home"))):
        monkeypatch.setenv(name, value)
    # The client reads its settings when it is imported, here long ago.
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(place / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    threads, verbosity = torch.get_num_threads(), transformers_logging.get_verbosity()

    def command(step, *more, where=True):
        places = ("--manifest", place / "trial.yaml", "--work", place / "work")
        places += ("--results", place / "results", "--tasks", place / "tasks")
        working = ("--threads", 1) if step in {"measure", "evaluate"} else ()
        arguments = [*(places if where else ()), *working, *more]
        capsys.readouterr()
        code = main(["study", step, *map(str, arguments)])
        captured = capsys.readouterr()
        return Ended(code=code, out=captured.out, err=captured.err)

    yield command
    close_session()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=False)
    transformers_logging.set_verbosity(verbosity)
    transformers_logging.enable_progress_bar()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def test_public_pairs_go_through_every_command_to_whole_rows(run, place, hub):
    table = place / "results" / "trial.jsonl"

    # What is public is not built.
    built = run("build")
    assert (built.code, built.out) == (2, "")
    assert "public models, which are not built" in built.err

    measured = run("measure", "--jobs", "2")
    assert measured.code == 0, measured.err
    assert "measure: 2 done, 1 failed\n" in measured.out
    assert "llama/nothing: NotFoundError: " in measured.err
    assert not table.exists()

    # The share of a second machine is done first, and then the rest by the first.
    evaluated = run("evaluate", "--shard", "2/2")
    assert evaluated.code == 0, evaluated.err
    assert [row.pair for row in read_rows(table)] == ["qwen/tune"]
    before = table.read_bytes()
    evaluated = run("evaluate")
    assert evaluated.code == 0, evaluated.err
    assert "evaluate: 4 done, 1 failed\n" in evaluated.out
    assert "2 of 3 pairs complete, 1 failed\n" in evaluated.out
    assert table.read_bytes().startswith(before)

    rows = {row.pair: row for row in read_rows(table)}
    for name in ("llama/tune", "qwen/tune"):
        row = rows[name]
        assert (row.status, row.tier, row.population) == ("complete", "full", "public")
        assert [*row.benchmarks] == ["mmlu", "truthfulqa"]
        assert row.benchmarks["mmlu"].n == 6
        assert row.features["weight-geometry/relative-distance"].overall > 0.0
        assert row.features["behaviour/kl-divergence"].strata
        assert row.cost.build_s is None
        assert row.cost.evaluate_s > 0.0
    assert rows["llama/nothing"].reason.count("NotFoundError") == 2

    # What is there is not done again, and nothing is written.
    asked, content = len(hub.requests), table.read_bytes()
    again = run("measure")
    assert "measure: 2 done, 1 failed\n" in again.out
    assert "2 of 3 pairs complete, 1 failed\n" in run("collect").out
    assert (len(hub.requests), table.read_bytes()) == (asked, content)

    # What failed is tried again on request.
    hub.repos["llama/nothing"] = hub.repos["llama/tune"]
    run("measure", "--retry-failed", "--only", "*/nothing")
    done = run("evaluate", "--retry-failed", "--only", "*/nothing")
    assert "3 of 3 pairs complete, 0 failed\n" in done.out, done.err
    assert table.read_bytes().startswith(content)

    merged = run("merge", table, "--results", place / "other.jsonl", where=False)
    assert merged.out == f"3 rows added to {place / 'other.jsonl'}\n"
    assert read_rows(place / "other.jsonl") == read_rows(table)
