"""Loading real models for measuring, and finding their decoder layers."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import (
    CPU,
    FAMILIES,
    WEIGHTS,
    batch_of,
    build_base,
    edit_json,
    load,
    loaded_of,
    model_of,
    rewrite,
    snapshot,
)
from torch import nn
from transformers import AutoModelForCausalLM

from sdi_gate.errors import FormatError, SourceError
from sdi_gate.models.causal_lm import decoder_layers, load_model, max_positions
from sdi_gate.models.config import read_config
from sdi_gate.models.hessian import parameters_of, token_loss
from sdi_gate.models.opening import open_model

EVERY = [*FAMILIES, "mixtral"]


@pytest.mark.parametrize("family", EVERY)
def test_a_saved_model_is_loaded_to_the_bit_and_ready_to_be_measured(tmp_path, family):
    loaded = load(build_base(tmp_path / family, family=family))
    built = dict(model_of(family).named_parameters())
    found = dict(loaded.model.named_parameters())
    assert found.keys() == built.keys()
    assert all(torch.equal(found[name], built[name]) for name in built)
    assert not loaded.model.training
    assert loaded.model.config._attn_implementation == "eager"
    assert {p.dtype for p in found.values()} == {torch.float32}


def test_parameters_are_loaded_in_the_type_that_was_asked_for(tmp_path):
    loaded = load(build_base(tmp_path / "m"), torch.float64)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float64}
    assert {p.device for p in loaded.model.parameters()} == {CPU}


# Decoder layers.


@pytest.mark.parametrize("family", EVERY)
def test_the_decoder_layers_of_every_family_are_found_in_order(family):
    model = model_of(family, **({"n_layer": 3} if family == "gpt2" else {"num_hidden_layers": 3}))
    stack = model.transformer.h if family == "gpt2" else model.model.layers
    assert len(decoder_layers(model)) == 3
    assert all(a is b for a, b in zip(decoder_layers(model), stack, strict=True))


class _Layer(nn.Module):
    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(2, 2) for _ in range(num_experts))


def test_experts_are_not_decoder_layers_however_many_there_are():
    layers = nn.ModuleList(_Layer(8) for _ in range(2))
    assert decoder_layers(layers) == tuple(layers)


def test_the_longest_list_of_one_class_is_the_decoder():
    short = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
    long = nn.ModuleList(nn.ReLU() for _ in range(5))
    mixed = nn.ModuleList([nn.ReLU(), nn.Linear(2, 2), *(nn.ReLU() for _ in range(7))])
    model = nn.Sequential(short, long, mixed)
    assert decoder_layers(model) == tuple(long)


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.ModuleList()], ids=["none", "empty"])
def test_a_model_without_lists_has_no_decoder_layers(model):
    assert decoder_layers(model) == ()


# What is refused.


def test_a_missing_weight_is_refused_and_never_made_up(tmp_path):
    folder = build_base(tmp_path / "m")
    rewrite(folder, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(FormatError, match=r"lacks 1 weights, 'model\.layers\.1\.mlp\.up_proj"):
        load(folder)


def test_a_missing_layer_is_refused(tmp_path):
    folder = build_base(tmp_path / "m")
    edit_json(folder / "config.json", num_hidden_layers=3)
    with pytest.raises(FormatError, match=r"lacks 9 weights, .* do not fit its config\.json"):
        load(folder)


def test_weights_that_would_not_run_are_refused(tmp_path):
    folder = build_base(tmp_path / "m")
    edit_json(folder / "config.json", num_hidden_layers=1)
    with pytest.raises(FormatError, match=r"holds and does not use 9 weights, 'model\.layers\.1\."):
        load(folder)


def test_the_buffers_of_old_checkpoints_are_no_weights(tmp_path):
    folder = build_base(tmp_path / "m")
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    rewrite(folder, lambda tensors: tensors.update({name: torch.ones(4)}))
    assert len(load(folder).layers) == 2


def test_a_tied_head_is_not_missing(tmp_path):
    folder = build_base(tmp_path / "m", tie_word_embeddings=True)
    loaded = load(folder)
    assert loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight
    assert "lm_head.weight" not in parameters_of(loaded)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "no-such-model"},
        {"hidden_size": 18},
        {"num_attention_heads": 0},
        {"hidden_act": "no-such-function"},
        {"architectures": ["LlamaForCausalLM"], "model_type": "vit"},
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit_is_refused(tmp_path, changes):
    folder = build_base(tmp_path / "m")
    edit_json(folder / "config.json", **changes)
    with pytest.raises(FormatError, match="transformers cannot load file:") as caught:
        load(folder)
    assert "--tier weights" in caught.value.hint
    assert len(caught.value.message) <= 600


def test_a_damaged_file_of_weights_is_refused(tmp_path):
    folder = build_base(tmp_path / "m")
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-8])
    with pytest.raises(FormatError, match=r"model\.safetensors"):
        load(folder)


def test_pickled_weights_are_never_read(tmp_path):
    folder = build_base(tmp_path / "m")
    pinned = snapshot(folder)
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04cposix\nsystem\n")
    with pytest.raises(SourceError, match=r"model\.safetensors"):
        open_model(pinned)


def test_code_in_a_models_folder_never_runs(tmp_path):
    # FolderSource refuses auto_map; this is what stands behind it.
    folder = build_base(tmp_path / "m")
    pinned = snapshot(folder)
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w')\nclass EvilConfig:\n    pass\nclass Evil:\n    pass\n"
    (folder / "evil.py").write_text(code, encoding="utf-8")
    auto_map = {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.Evil"}
    for model_type in ("llama", "evil"):
        edit_json(folder / "config.json", model_type=model_type, auto_map=auto_map)
        for read in (
            lambda: load_model(open_model(pinned), CPU, torch.float32),
            lambda: max_positions(read_config(pinned)),
        ):
            try:
                read()
            except FormatError as error:
                assert "cannot load" in error.message  # noqa: PT017 - loading may succeed
        assert not canary.exists()


def test_a_weight_that_the_architecture_does_not_know_is_refused(tmp_path):
    folder = build_base(tmp_path / "m")
    rewrite(folder, lambda tensors: tensors.update(extra=torch.ones(2)))
    with pytest.raises(FormatError, match="holds and does not use 1 weights, 'extra' first"):
        load(folder)


# Positions.


@pytest.mark.parametrize("family", FAMILIES)
def test_the_longest_sequence_is_known_without_loading(tmp_path, family):
    folder = build_base(tmp_path / family, family=family)
    pinned = snapshot(folder)
    (folder / WEIGHTS).write_bytes(b"")
    assert max_positions(read_config(pinned)) == 64


def test_a_default_that_the_file_does_not_say_is_known_too(tmp_path):
    folder = build_base(tmp_path / "m", family="gpt2")
    edit_json(folder / "config.json", n_positions=None)
    assert "positions" not in (folder / "config.json").read_text(encoding="utf-8")
    assert max_positions(read_config(snapshot(folder))) == 1024


def test_a_model_without_a_limit_has_none(tmp_path):
    folder = build_base(tmp_path / "m")
    save_file({"w": torch.ones(1)}, folder / WEIGHTS)
    (folder / "config.json").write_text(json.dumps({"model_type": "bloom"}), encoding="utf-8")
    assert max_positions(read_config(snapshot(folder))) is None


def test_a_configuration_that_transformers_does_not_know_is_refused(tmp_path):
    folder = build_base(tmp_path / "m")
    edit_json(folder / "config.json", model_type="no-such-model")
    with pytest.raises(FormatError, match="transformers cannot load file:"):
        max_positions(read_config(snapshot(folder)))


# Attention.


def second_derivative(model):
    loaded = loaded_of(model)
    tensors = [*parameters_of(loaded).values()]
    loss, _ = token_loss(loaded, batch_of(6, 6))
    gradient = torch.autograd.grad(loss, tensors, create_graph=True)
    return torch.autograd.grad(sum(g.square().sum() for g in gradient), tensors)


def test_eager_attention_has_a_second_derivative(tmp_path):
    assert all(
        g.isfinite().all() for g in second_derivative(load(build_base(tmp_path / "m")).model)
    )


def test_fused_attention_has_none_which_is_why_eager_is_in_force(tmp_path):
    folder = build_base(tmp_path / "m")
    fused = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa").eval()
    with pytest.raises(RuntimeError, match=r"derivative for .* is not implemented"):
        second_derivative(fused)
    assert fused.config._attn_implementation == "sdpa"
