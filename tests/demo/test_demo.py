import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import demo.__main__ as program
from demo.train import (
    BASE,
    CARELESS,
    GENTLE,
    Recipe,
    new_model,
    save,
    texts,
    train,
    train_tokenizer,
)
from sdi_gate.models.probe import load_default

AS_EXPECTED = {"gentle": 0, "careless": 10}
OTHERWISE = {
    "gentle-blocked": {"gentle": 10, "careless": 10},
    "careless-let-through": {"gentle": 0, "careless": 0},
    "swapped": {"gentle": 10, "careless": 0},
    "inconclusive": {"gentle": 11, "careless": 11},
    "not-published": {"gentle": 6, "careless": 10},
    "crashed": {"gentle": 1, "careless": 10},
    "killed": {"gentle": 0, "careless": -9},
    "out-of-memory": {"gentle": 137, "careless": 10},
}


@pytest.fixture
def stage(monkeypatch):
    """Run the demo without training and judging; ``told`` collects what would have been done."""
    told = {"recipes": [], "saved": [], "commands": [], "offline": set()}
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(program.transformers_logging, "disable_progress_bar", lambda: None)
    monkeypatch.setattr(program, "train_tokenizer", lambda: ["token"])
    monkeypatch.setattr(program, "new_model", lambda size, seed: {"size": size, "seed": seed})
    monkeypatch.setattr(program, "train", lambda _m, _t, recipe, _s: told["recipes"].append(recipe))
    monkeypatch.setattr(program, "save", lambda _m, _t, folder: told["saved"].append(folder))

    def run(codes):
        def start(command, *, check, env):
            assert not check
            told["commands"].append(command)
            told["offline"].add(env["HF_HUB_OFFLINE"])
            name = Path(command[command.index("--out") + 1]).name
            return subprocess.CompletedProcess(command, codes[name])

        monkeypatch.setattr(program.subprocess, "run", start)
        return CliRunner().invoke(program.demo, ["--out", "somewhere"])

    run.told = told
    return run


def test_the_demo_succeeds_if_the_gentle_passes_and_the_careless_is_blocked(stage):
    ended = stage(AS_EXPECTED)
    assert ended.exit_code == 0, ended.output
    assert "The gentle fine-tune was let through (exit code 0)" in ended.output
    assert "The careless fine-tune was blocked (exit code 10)" in ended.output
    assert "expected" not in ended.output


@pytest.mark.parametrize("codes", OTHERWISE.values(), ids=OTHERWISE)
def test_the_demo_fails_whatever_else_happens(codes, stage):
    ended = stage(codes)
    assert ended.exit_code == 1, ended.output
    assert isinstance(ended.exception, SystemExit)
    assert "expected the gentle one let through and the careless one blocked" in ended.output


def test_an_exit_code_that_is_no_verdict_is_called_neither(stage):
    assert "was neither (exit code 137)" in stage(OTHERWISE["out-of-memory"]).output


def test_the_recipes_are_used_as_they_are_named(stage):
    stage(AS_EXPECTED)
    models = Path("somewhere/models")
    assert stage.told["recipes"] == [BASE, GENTLE, CARELESS]
    assert stage.told["saved"] == [models / name for name in ("base", "gentle", "careless")]


def test_both_are_judged_against_the_base_by_the_default_policy_without_network(stage):
    stage(AS_EXPECTED)
    for name, command in zip(("gentle", "careless"), stage.told["commands"], strict=True):
        assert command[:4] == [sys.executable, "-m", "sdi_gate", "check"]
        given = dict(zip(command[4::2], command[5::2], strict=True))
        assert given == {
            "--base": "file:somewhere/models/base",
            "--candidate": f"file:somewhere/models/{name}",
            "--policy": "policies/default.yml",
            "--out": f"somewhere/{name}",
            "--threads": "1",
            "--cache": "somewhere/cache",
        }
    assert stage.told["offline"] == {"1"}


def test_the_careless_recipe_is_the_one_that_forgets():
    assert GENTLE.strata == ()
    assert CARELESS.strata == ("code",)
    assert CARELESS.learning_rate > 10 * GENTLE.learning_rate
    assert len({BASE.seed, GENTLE.seed, CARELESS.seed}) == 3


def test_the_texts_are_those_of_the_probe_set_or_of_some_strata():
    strata = load_default().strata
    assert len(texts(())) == sum(strata.values())
    assert len(texts(("code", "safety"))) == strata["code"] + strata["safety"]


def test_training_moves_the_model_tells_the_loss_and_repeats_itself(tmp_path):
    tokenizer = train_tokenizer(300)
    told, weights = [], []
    for seed in (1, 1, 2):
        model = new_model(len(tokenizer), 0)
        before = model.model.norm.weight.detach().clone()
        recipe = Recipe(steps=2, learning_rate=1e-3, strata=("code",), seed=seed)
        train(model, tokenizer, recipe, told.append)
        weights.append(model.model.norm.weight.detach())
        assert not torch.equal(before, weights[-1])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert told[0].startswith("  step 2/2: ")
    save(model, tokenizer, tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
