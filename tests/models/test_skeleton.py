"""A model without weights: the real one's names and shapes, and nothing of a stranger's sizes."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest
import torch
from tiny_models import (
    FAMILIES,
    MORE_FAMILIES,
    UNLISTED_FAMILIES,
    config_of,
    model_of,
)
from transformers.pytorch_utils import Conv1D

from sdi_gate.errors import FormatError
from sdi_gate.models.config import parse_config
from sdi_gate.models.fit import refuse_unfit
from sdi_gate.models.ref import ModelRef
from sdi_gate.models.skeleton import build_skeleton, describe
from sdi_gate.models.tensors import TensorInfo

ALL = (*FAMILIES, *MORE_FAMILIES, *UNLISTED_FAMILIES)
REF = ModelRef.parse("file:model")


def plain_of(family, **changes):
    return json.loads(config_of(family).to_json_string(use_diff=False)) | changes


def stored_of(model):
    return {
        name: TensorInfo(name=name, dtype="F32", shape=tuple(value.shape), shard="model")
        for name, value in model.state_dict().items()
    }


def skeleton_of(plain, stored):
    return build_skeleton(parse_config(plain, REF), stored)


@pytest.mark.parametrize("family", ALL)
def test_names_shapes_and_ties_are_those_of_the_real_model(family):
    model = model_of(family)
    skeleton = skeleton_of(plain_of(family), stored_of(model))
    state = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert dict(skeleton.tied) == dict(model.all_tied_weights_keys)
    assert skeleton.roles.keys() == state.keys()
    assert dict(skeleton.shapes) == {n: s for n, s in state.items() if n not in skeleton.tied}
    numel = sum(torch.Size(shape).numel() for shape in skeleton.shapes.values())
    assert numel == sum(parameter.numel() for parameter in model.parameters())
    assert all(parameter.is_meta for parameter in skeleton.model.parameters())
    assert all(buffer.is_meta for buffer in skeleton.model.buffers())


@pytest.mark.parametrize("family", ALL)
def test_the_vocabulary_is_what_resizing_changes_and_nothing_else(family):
    model = model_of(family)
    wide = model_of(family, vocab_size=307)
    before, after = describe(model).shapes, describe(wide).shapes
    changed = {name for name, shape in before.items() if after[name] != shape}
    assert changed == describe(model).vocabulary - describe(model).tied.keys()


@pytest.mark.parametrize("family", ALL)
def test_transposed_are_the_matrices_that_conv1d_stores(family):
    model = model_of(family)
    transposed = {
        f"{name}.weight" for name, part in model.named_modules() if isinstance(part, Conv1D)
    }
    assert describe(model).transposed == transposed
    assert bool(transposed) == (family == "gpt2")


def test_a_family_that_transformers_does_not_know_has_no_skeleton():
    assert skeleton_of({"model_type": "novel"}, {}) is None


@pytest.mark.parametrize(
    "broken",
    [
        {"num_attention_heads": 0},
        {"hidden_act": "no-such"},
        {"layer_types": ["no-such"]},
        {"vocab_size": 0, "hidden_size": "wide"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_configuration_that_transformers_cannot_use_has_no_skeleton(broken):
    stored = stored_of(model_of("qwen2"))
    try:
        found = skeleton_of(plain_of("qwen2", **broken), stored)
    except FormatError:
        return
    assert found is None


def test_a_family_without_a_causal_language_model_has_no_skeleton():
    assert skeleton_of({"model_type": "vit", "hidden_size": 8}, {}) is None


# A stranger's sizes.


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("llama", "num_hidden_layers"),
        ("llama", "num_attention_heads"),
        ("gpt2", "n_layer"),
        ("gpt2", "n_head"),
        ("mixtral", "num_local_experts"),
        ("qwen3_moe", "num_experts"),
        ("opt", "num_hidden_layers"),
        ("bloom", "n_layer"),
    ],
)
def test_more_modules_than_the_files_can_hold_are_refused_at_once(family, key):
    stored = stored_of(model_of(family))
    plain = plain_of(family)
    plain.pop("layer_types", None)
    plain[key] = 999_999
    started = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=f"names 999999 as '{key}'; its files hold"):
            skeleton_of(plain, stored)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
    assert time.monotonic() - started < 1.0


def test_sizes_are_refused_in_inner_objects_too():
    plain = {"model_type": "llama", "text_config": {"num_hidden_layers": 50}}
    with pytest.raises(FormatError, match=r"names 50 as 'num_hidden_layers'"):
        skeleton_of(plain, {})


@pytest.mark.parametrize(
    "repeated",
    [
        [[["global", "local"], 2**31 - 1]],
        [[["global"] * 3, 30]],
        [["g" * 1000, 1]],
        [[{"global": 1}, 50], [["local"], 50]],
    ],
    ids=["times", "both", "letters", "sum"],
)
def test_layers_in_short_are_not_written_out_before_they_are_counted(repeated):
    stored = stored_of(model_of("gpt2"))
    plain = {"model_type": "gpt_neo", "num_layers": 2, "attention_types": repeated}
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="as 'attention_types'; its files hold 29 tensors"):
            skeleton_of(plain, stored)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("odd", [1, "x", [1], [[1, 2]], [[["global"], "x"]], [[["a"], 1, 2]], None])
def test_layers_in_short_that_make_no_sense_are_transformers_own_business(odd):
    plain = {"model_type": "gpt_neo", "num_layers": 2, "attention_types": odd}
    assert skeleton_of(plain, stored_of(model_of("gpt2"))) is None


def test_gpt_neo_has_a_skeleton():
    short = {"attention_types": [[["global", "local"], 1]], "hidden_size": 16, "num_heads": 2}
    plain = {"model_type": "gpt_neo", "num_layers": 2, "vocab_size": 9, **short}
    assert len(skeleton_of(plain, stored_of(model_of("gpt2"))).model.transformer.h) == 2


def test_absurd_widths_allocate_nothing():
    stored = stored_of(model_of("llama"))
    wide = {"hidden_size": 1 << 20, "intermediate_size": 1 << 22, "vocab_size": 1 << 22}
    tracemalloc.start()
    try:
        skeleton = skeleton_of(plain_of("llama", **wide, head_dim=8), stored)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert skeleton.shapes["model.embed_tokens.weight"] == (1 << 22, 1 << 20)
    with pytest.raises(FormatError, match=r"config.json asks for \["):
        refuse_unfit(skeleton, stored, "model x")


def test_large_buffers_beside_the_weights_are_refused():
    model = model_of("llama")
    skeleton = describe(model)
    model.register_buffer("mask", torch.empty((1 << 13, 1 << 14), device="meta"), persistent=False)
    with pytest.raises(FormatError, match=r"asks for buffers of 134,21.* numbers beside"):
        refuse_unfit(skeleton, stored_of(model), "model x")


@pytest.mark.parametrize(
    "key", ["quantization_config", "auto_map", "transformers_weights", "_name_or_path"]
)
def test_how_weights_are_stored_does_not_reach_transformers(key):
    stored = stored_of(model_of("llama"))
    config = parse_config(plain_of("llama"), REF)
    config.plain[key] = {"quant_method": "no-such", "AutoModelForCausalLM": "evil.Model"}
    skeleton = build_skeleton(config, stored)
    assert type(skeleton.model).__name__ == "LlamaForCausalLM"
    assert getattr(skeleton.model.config, key, None) in {None, ""}


# What fits.


def test_what_fits_is_accepted_and_what_does_not_is_named():
    model = model_of("llama")
    skeleton, stored = describe(model), stored_of(model)
    refuse_unfit(skeleton, stored, "model x")
    name = "model.norm.weight"
    lacking = {key: info for key, info in stored.items() if key != name}
    with pytest.raises(FormatError, match=f"model x lacks 1 weights, '{name}' first"):
        refuse_unfit(skeleton, lacking, "model x")
    extra = {**stored, "z" * 500: stored[name], "y": stored[name]}
    with pytest.raises(FormatError, match="holds and does not use 2 weights, 'y' first") as caught:
        refuse_unfit(skeleton, extra, "model x")
    assert len(str(caught.value)) < 300
    other = {**stored, name: TensorInfo(name=name, dtype="F32", shape=(17,), shard="model")}
    with pytest.raises(FormatError, match=r"'model.norm.weight' has shape \[17\], .*asks for \[16"):
        refuse_unfit(skeleton, other, "model x")


def test_untying_gives_a_parameter_its_own_place():
    skeleton = describe(model_of("gemma"))
    own = skeleton.untied("lm_head.weight")
    assert "lm_head.weight" not in skeleton.shapes
    assert own.shapes["lm_head.weight"] == own.shapes["model.embed_tokens.weight"]
    assert own.tied == {}
    assert skeleton.tied == {"lm_head.weight": "model.embed_tokens.weight"}
