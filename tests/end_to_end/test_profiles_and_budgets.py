"""The command line with profiles of bases and with time budgets: the same numbers, or less said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import add_noise, build_base, perturb, request_of, snapshot, tiny_probe
from transformers.utils import logging as transformers_logging

from sdi_gate.cli.main import main
from sdi_gate.gate import budget as budgets
from sdi_gate.gate import plan as planning
from sdi_gate.gate.budget import Budget, first_that_fits, part_of
from sdi_gate.gate.models import open_pair
from sdi_gate.gate.plan import make_plan
from sdi_gate.gate.rates import Rates
from sdi_gate.gate.request import CurvatureMethod, Settings
from sdi_gate.gate.tier import Machine
from sdi_gate.models.probe import ProbeSet
from sdi_gate.policy.facts import Tier

POLICY = Path(__file__).parents[2] / "policies" / "default.yml"
PROBE = ProbeSet(
    name="plain", samples=tuple(replace(sample, prompt=None) for sample in tiny_probe(12).samples)
)
REUSED = [
    "spectra of 16 matrices of the base were taken from its profile",
    "predictions and activations of the base were taken from its profile",
    "curvature draws of the base were taken from its profile",
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return a folder with a base, two candidates and a copy, and a probe of two strata."""
    folder = tmp_path_factory.mktemp("models")
    base = build_base(folder / "base")
    perturb(base, folder / "near", add_noise(0.001))
    perturb(base, folder / "far", add_noise(0.3, seed=2))
    perturb(base, folder / "copy")
    texts = [{"stratum": s.stratum, "text": s.text} for s in PROBE.samples]
    lines = [json.dumps(text) for text in texts]
    (folder / "probe.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def arguments(models, candidate, out, *more):
    return [
        *(
            "check",
            "--base",
            f"file:{models / 'base'}",
            "--candidate",
            f"file:{models / candidate}",
        ),
        *("--tier", "full", "--policy", str(POLICY), "--out", str(out), "--threads", "1"),
        *("--probe", str(models / "probe.jsonl"), *map(str, more)),
    ]


@pytest.fixture
def run(capsys):
    """Run the command line in this process; return the exit code and what it said."""
    before = torch.get_num_threads(), transformers_logging.get_verbosity()

    def call(*given):
        code = main([*map(str, given)])
        return code, capsys.readouterr()

    yield call
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(mode=False)
    transformers_logging.set_verbosity(before[1])
    transformers_logging.enable_progress_bar()


@pytest.fixture
def check(run, models, tmp_path):
    """Check a candidate; return the exit code, the result without its cost, and the reused."""

    def call(candidate, *more):
        out = tmp_path / "out"
        code, said = run(*arguments(models, candidate, out, *more))
        assert (out / "result.json").exists(), said.err
        return code, *read(out)

    return call


def read(out):
    """Return the bytes of a result but for its cost, and what it says was reused."""
    plain = json.loads((out / "result.json").read_bytes())
    reused = plain.pop("cost")["reused"]
    return json.dumps(plain, indent=1).encode(), reused


@pytest.fixture(scope="module")
def plain(models, tmp_path_factory):
    """Return what each candidate gives without any profile."""
    found = {}
    verbosity = transformers_logging.get_verbosity()
    for candidate in ("near", "far", "copy"):
        out = tmp_path_factory.mktemp("plain")
        code = main(arguments(models, candidate, out, "--no-cache"))
        content, reused = read(out)
        assert reused == []
        found[candidate] = code, content
    transformers_logging.set_verbosity(verbosity)
    transformers_logging.enable_progress_bar()
    return found


def test_an_empty_and_a_full_cache_give_the_same_bytes_as_none(check, plain, tmp_path):
    assert plain["near"][0] == 0
    cache = ("--cache", tmp_path / "cache")
    assert check("near", *cache) == (*plain["near"], [])
    assert check("near", *cache) == (*plain["near"], REUSED)
    # The second candidate of a base reuses all three parts.
    assert check("far", *cache) == (*plain["far"], REUSED)
    # Equal matrices need no spectra.
    assert check("copy", *cache) == (*plain["copy"], REUSED[1:])
    assert not (tmp_path / "profiles-of-bases").exists()


def test_a_profile_that_was_shipped_gives_the_same_bytes_and_is_only_read(
    run, check, plain, models, tmp_path
):
    made = tmp_path / "profile"
    probe = ("--probe", models / "probe.jsonl")
    code, said = run(
        *("profile", "--base", f"file:{models / 'base'}", "--tier", "full", *probe),
        *("--threads", "1", "--out", made),
    )
    assert code == 0, said.err
    assert said.out == (
        f"Profile of file:{models / 'base'}: spectra, probe, curvature, in {made}\n"
    )
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert check("near", "--profile", made, "--no-cache") == (*plain["near"], REUSED)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before
    # Another seed is another curvature.
    _, _, reused = check("near", "--profile", made, "--no-cache", "--seed", "1")
    assert reused == REUSED[:2]


def test_a_copy_is_exactly_zero_with_and_without_a_profile(plain):
    code, content = plain["copy"]
    result = json.loads(content)
    assert code == 0
    assert {entry["headline"]["value"] for entry in result["signals"]} == {0.0}
    assert result["sdi"]["estimate"]["value"] == result["sdi_plus"]["estimate"]["value"] == 0.0


def test_two_processes_fill_one_cache_at_once(models, plain, check, tmp_path):
    cache = ("--cache", tmp_path / "cache")
    own = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    started = {
        candidate: subprocess.Popen(  # noqa: S603 - the arguments are ours
            [
                *(sys.executable, "-m", "sdi_gate"),
                *arguments(models, candidate, tmp_path / candidate, *cache),
            ],
            env=os.environ | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for candidate in ("near", "far")
    }
    for candidate, process in started.items():
        _, told = process.communicate(timeout=300)
        assert process.returncode == plain[candidate][0], told
        assert b"warning" not in told.lower()
        assert read(tmp_path / candidate)[0] == plain[candidate][1]
    # What they left is whole.
    assert check("near", *cache) == (*plain["near"], REUSED)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name.endswith(".tmp")]


# Budgets.

SECONDS = 600.0
RICH = Machine(memory_bytes=10**15, rate=1e18)
STEPS = ("whole", "draws", "fisher", "probe", "samples", "weights")


def rates_of(products):
    return Rates(products=products, exact_products=1e12, eigenvalues=1e12, reading=1e12)


def step_of(work, rung):
    """Name the step of the ladder to which a plan was cut."""
    if not rung.sixteenths:
        return "weights"
    if not rung.curvature:
        return "probe" if part_of(work, rung).num_samples == 24 else "samples"
    if rung.settings.curvature_method is not CurvatureMethod.JOINT:
        return rung.settings.curvature_method.value
    return "whole" if rung.settings == work.settings else "draws"


def plan_for(models, budget):
    request = request_of(models / "base", models / "near", probe=PROBE)
    weights = open_pair(snapshot(models / "base"), snapshot(models / "near"))
    return make_plan(replace(request, settings=Settings()), weights, budget)


@pytest.fixture(scope="module")
def speeds(models):
    """Return a made-up rate of the machine for each step of the ladder."""
    budget = Budget(seconds=SECONDS, spent_s=0.0, rates=rates_of(1e15))
    work = plan_for(models, budget).work
    found: dict[str, list] = {}
    for exponent in range(1000, 160, -1):
        rates = rates_of(2.0 ** (exponent / 20))
        rung = first_that_fits(work, Tier.FULL, RICH, replace(budget, rates=rates))
        found.setdefault(step_of(work, rung), []).append(rates)
    assert found.keys() == {*STEPS}
    return {step: rates[len(rates) // 2] for step, rates in found.items()}


CUT = {
    "whole": ("full", "full", (), 0),
    "draws": ("full", "probe", ("curvature draws for each stratum",), 0),
    "fisher": ("probe", "probe", ("first derivatives alone",), 0),
    "probe": ("probe", "probe", ("no curvature",), 0),
    "samples": ("probe", "weights", ("no curvature", "probe samples instead of 24"), 11),
    "weights": ("weights", "weights", ("the weights alone",), 11),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_scan_runs_through_at_each_step_of_the_ladder_and_says_so(
    step, speeds, check, monkeypatch
):
    monkeypatch.setattr(planning, "this_machine", lambda *_: RICH)
    monkeypatch.setattr(budgets, "measure_rates", lambda *_: speeds[step])
    code, content, _ = check("near", "--budget", "10m", "--no-cache")
    result = json.loads(content)
    ran, whole, words, expected = CUT[step]
    tier = result["tier"]
    assert (tier["ran"], code) == (ran, expected), tier
    assert len(tier["cuts"]) >= len(words)
    assert all(any(word in cut for cut in tier["cuts"]) for word in words)
    assert all(cut.endswith("to keep to the budget of 10m") for cut in tier["cuts"])
    assert bool(tier["cuts"]) == (step != "whole")
    strata = [stratum["num_samples"] for stratum in (result["probe"] or {"strata": []})["strata"]]
    assert sum(strata) in {"samples": range(16, 24), "weights": range(1)}.get(step, range(24, 25))
    assert (code == 0) == (Tier(whole) >= Tier.PROBE)


def test_where_memory_is_short_curvature_is_measured_by_blocks(speeds, check, models, monkeypatch):
    work = plan_for(models, None).work
    blocks = replace(work, settings=replace(work.settings, curvature_method=CurvatureMethod.BLOCKS))
    need = [w.memory(Tier.FULL).bytes_in_all for w in (blocks, work)]
    assert need[0] < need[1]
    short = Machine(memory_bytes=int(sum(need) / 2), rate=1e18)
    monkeypatch.setattr(planning, "this_machine", lambda *_: short)
    monkeypatch.setattr(budgets, "measure_rates", lambda *_: speeds["whole"])
    code, content, _ = check("near", "--no-cache", "--budget", "10m")
    tier = json.loads(content)["tier"]
    assert (code, tier["ran"], len(tier["cuts"])) == (0, "probe", 1)
    assert tier["cuts"][0].startswith("curvature over 8 blocks of layers instead of")
    assert tier["cuts"][0].endswith("for memory is short")
