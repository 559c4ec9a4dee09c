"""A candidate without a base: an adapter names its own, and nothing else does."""

import json

import pytest
import torch
from commands import assert_one_clear_error, environment, result_of, run_process
from hub_server import HubServer
from safetensors.torch import save_file

from sdi_gate.cli.options import ScanOptions
from sdi_gate.cli.precheck import needs_hub
from sdi_gate.cli.scanning import make_request, sources_for
from sdi_gate.models.ref import ModelRef, Scheme

PREFIX = "base_model.model.model.layers.0.self_attn.q_proj"
HUB, FILE = ModelRef.parse("hf:org/name"), ModelRef.parse("file:x")


def save_adapter(folder, base):
    """Write a LoRA of rank 2 on one matrix of the small Llama."""
    folder.mkdir()
    settings = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": "model.layers.0.self_attn.q_proj",
        "base_model_name_or_path": base,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"{PREFIX}.lora_A.weight": torch.randn(2, 16, generator=generator),
        f"{PREFIX}.lora_B.weight": torch.randn(16, 2, generator=generator),
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def options(base, candidate="file:x", **changes):
    given = {
        "base": base,
        "candidate": candidate,
        "tier": "weights",
        "device": "cpu",
        "out": None,
        "probe": None,
        "calibration": None,
        "seed": 0,
        "depth_weights": "uniform",
        "threads": 1,
    }
    return ScanOptions(**given | changes)


@pytest.mark.parametrize(
    ("references", "needed"),
    [
        ((FILE, FILE), False),
        ((HUB, FILE), True),
        ((FILE, HUB), True),
        ((None, FILE), True),
        ((None, HUB), True),
    ],
    ids=str,
)
def test_the_hub_is_needed_for_what_lies_there_and_for_a_base_that_an_adapter_names(
    references, needed
):
    assert needs_hub(references) is needed


@pytest.mark.parametrize(("base", "ref"), [(None, None), ("file:y", ModelRef.parse("file:y"))])
def test_a_base_that_was_not_given_is_none_and_then_the_hub_is_a_source(base, ref):
    request = make_request(options(base), None)
    assert request.base == ref
    schemes = {Scheme.FILE} if ref is not None else {Scheme.FILE, Scheme.HUB}
    assert sources_for((request.base, request.candidate)).keys() == schemes


@pytest.mark.parametrize("command", [("scan",), ("check", "--policy", "policies/default.yml")])
def test_a_whole_model_does_not_name_its_base(command, run_here, models, tmp_path):
    candidate = ("--candidate", f"file:{models}/near", "--out", tmp_path)
    ended = run_here(*command, *candidate, "--tier", "weights", "--threads", "1")
    assert_one_clear_error(ended, 2, "is no adapter", "sdi-gate: hint: give the base with --base")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("base", [None, "", "/etc", "../base", "gpt2"])
def test_an_adapter_that_names_no_repository_of_the_hub_needs_its_base_given(
    base, run_here, tmp_path
):
    adapter = save_adapter(tmp_path / "adapter", base)
    ended = run_here("scan", "--candidate", f"file:{adapter}", "--out", tmp_path / "out")
    assert_one_clear_error(ended, 2, "base", "--base")


def test_an_address_of_the_hub_that_is_no_url_is_told_where_no_base_is_given(
    run_here, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_ENDPOINT", "foo")
    ended = run_here("scan", "--candidate", "file:x", "--out", tmp_path)
    assert_one_clear_error(ended, 2, "HF_ENDPOINT is not a URL, and the Hub is needed")


def test_an_adapter_in_a_folder_is_measured_on_the_base_that_it_names(models, tmp_path):
    adapter = save_adapter(tmp_path / "adapter", "org/base")
    with HubServer() as hub:
        commit = hub.commit("org/base", models / "base")
        env = environment(tmp_path / "home", HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0")
        words = ("--candidate", f"file:{adapter}", "--tier", "weights", "--threads", "1")
        ended = run_process("scan", *words, "--out", tmp_path / "out", env=env)
    assert ended.code == 0, ended.err
    result = result_of(tmp_path / "out")
    assert (result["base"]["reference"], result["base"]["commit"]) == ("hf:org/base", commit)
    assert result["candidate"]["kind"] == "adapter"
    assert "\nWhat was compared\nAdapter: " in ended.out


def test_an_adapter_is_measured_on_the_base_that_is_given(run_here, models, tmp_path):
    adapter = save_adapter(tmp_path / "adapter", "org/elsewhere")
    words = ("--base", f"file:{models}/base", "--candidate", f"file:{adapter}", "--threads", "1")
    ended = run_here("scan", *words, "--tier", "weights", "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    result = result_of(tmp_path / "out")
    assert result["base"]["reference"] == f"file:{models}/base"
    assert result["candidate"]["adapter"].startswith("LoRA")
