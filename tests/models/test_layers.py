"""Naming the layer group of a tensor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import FAMILIES, MORE_FAMILIES, UNLISTED_FAMILIES, model_of

from sdi_gate.models.layers import (
    EMBEDDING,
    HEAD,
    OTHER,
    depth_of,
    is_decoder_layer,
    layer_of,
)

# Layer groups.


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.embed_tokens.weight", EMBEDDING),
        ("transformer.wte.weight", EMBEDDING),
        ("transformer.wpe.weight", EMBEDDING),
        ("wte.weight", EMBEDDING),
        ("transformer.word_embeddings.weight", EMBEDDING),
        ("gpt_neox.embed_in.weight", EMBEDDING),
        ("model.decoder.embed_positions.weight", EMBEDDING),
        ("tok_embeddings.weight", EMBEDDING),
        ("lm_head.weight", HEAD),
        ("lm_head.bias", HEAD),
        ("embed_out.weight", HEAD),
        ("model.norm.weight", OTHER),
        ("transformer.ln_f.bias", OTHER),
        ("model.final_layernorm.weight", OTHER),
        ("model.layers.3.mlp.up_proj.weight", "layers.3"),
        ("model.layers.10.self_attn.q_proj.bias", "layers.10"),
        ("transformer.h.7.attn.c_attn.weight", "layers.7"),
        ("h.7.ln_1.weight", "layers.7"),
        ("gpt_neox.layers.11.attention.dense.weight", "layers.11"),
        ("model.layers.2.block_sparse_moe.experts.6.w1.weight", "layers.2"),
        ("model.layers.2.mlp.experts.gate_up_proj", "layers.2"),
        ("model.layers.007.w.weight", "layers.7"),
        ("model.embeddings_of_2_things.weight", OTHER),
        ("", OTHER),
    ],
)
def test_a_tensor_belongs_to_the_layer_that_its_name_says(name, layer):
    assert layer_of(name) == layer


@pytest.mark.parametrize("family", [*FAMILIES, *MORE_FAMILIES, *UNLISTED_FAMILIES])
def test_every_parameter_of_every_family_has_its_place(family):
    model = model_of(family, tie_word_embeddings=False)
    places = {name: layer_of(name) for name, _ in model.named_parameters()}
    embeddings = {name for name, place in places.items() if place == EMBEDDING}
    inputs = {id(model.get_input_embeddings().weight)}
    if family == "gpt2":
        inputs.add(id(model.transformer.wpe.weight))
    if family == "opt":
        inputs.add(id(model.model.decoder.embed_positions.weight))
    assert embeddings == {n for n, p in model.named_parameters() if id(p) in inputs}
    assert {n for n, place in places.items() if place == HEAD} == {
        n for n, _ in model.named_parameters() if n.startswith("lm_head.")
    }
    decoder = {place for place in places.values() if is_decoder_layer(place)}
    assert decoder == {"layers.0", "layers.1"}
    final = {name for name, place in places.items() if place == OTHER}
    # Bloom has one before its layers too.
    assert 1 <= len(final) <= (4 if family == "bloom" else 2)
    assert all("norm" in name or "ln_f" in name for name in final)


def test_layer_groups_run_from_input_to_output_and_ten_comes_after_nine():
    ordered = [EMBEDDING, "layers.0", "layers.9", "layers.10", OTHER, HEAD]
    assert sorted(sorted(ordered), key=depth_of) == ordered


@given(st.text())
def test_every_name_has_a_layer_group_with_a_depth(name):
    assert depth_of(layer_of(name)) >= (0, 0)


@given(st.integers(0, 10**6))
def test_only_numbered_groups_are_decoder_layers(number):
    assert is_decoder_layer(layer_of(f"model.layers.{number}.w"))
    assert not any(map(is_decoder_layer, (EMBEDDING, HEAD, OTHER)))
