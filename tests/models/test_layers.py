"""Matching tensors by name and shape, and naming their layer group."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_models import FAMILIES, model_of

from sdi_gate.errors import ExitCode, IncomparableError
from sdi_gate.models.layers import (
    EMBEDDING,
    HEAD,
    OTHER,
    align,
    depth_of,
    is_decoder_layer,
    layer_of,
)
from sdi_gate.models.weights import TensorInfo


def info(name, *shape, dtype="F32"):
    return TensorInfo(name=name, dtype=dtype, shape=shape, shard="model.safetensors")


def table(*infos):
    return {item.name: item for item in infos}


TABLES = st.dictionaries(
    st.sampled_from(["lm_head.weight", "norm.weight", *(f"layers.{i}.w" for i in range(5))]),
    st.lists(st.integers(0, 3), max_size=3),
).map(lambda shapes: table(*(info(name, *shape) for name, shape in shapes.items())))


@given(TABLES, TABLES)
@example(table(info("a", 2)), table(info("a", 2)))
def test_every_tensor_of_both_is_in_exactly_one_list(base, candidate):
    try:
        found = align(base, candidate)
    except IncomparableError:
        equal = [n for n in base.keys() & candidate.keys() if base[n].shape == candidate[n].shape]
        assert sum(base[name].numel for name in equal) == 0
        return
    ours = [pair.base for pair in found.paired] + list(found.base_only)
    ours += [mine for mine, _ in found.mismatched]
    theirs = [pair.candidate for pair in found.paired] + list(found.candidate_only)
    theirs += [other for _, other in found.mismatched]
    assert sorted(item.name for item in ours) == sorted(base)
    assert sorted(item.name for item in theirs) == sorted(candidate)
    assert all(p.base.name == p.candidate.name for p in found.paired)
    assert all(p.base.shape == p.candidate.shape for p in found.paired)
    assert all(a.name == b.name and a.shape != b.shape for a, b in found.mismatched)
    assert 0.0 < found.coverage <= 1.0
    unpaired = [*found.base_only, *found.candidate_only, *(a for a, _ in found.mismatched)]
    unpaired += [b for _, b in found.mismatched]
    assert (found.coverage == 1.0) == (sum(item.numel for item in unpaired) == 0)


def test_coverage_counts_a_mismatch_by_the_larger_of_the_two():
    base = table(info("a", 10), info("b", 4), info("c", 2, 3))
    candidate = table(info("a", 10), info("b", 5), info("d", 7))
    found = align(base, candidate)
    assert found.paired_parameters == 10
    assert found.coverage == 10 / (10 + 5 + 6 + 7)
    assert align(candidate, base).coverage == found.coverage


def test_a_resized_embedding_is_mismatched_and_not_compared():
    base = table(info("model.embed_tokens.weight", 300, 16), info("layers.0.w", 4))
    candidate = table(info("model.embed_tokens.weight", 301, 16), info("layers.0.w", 4))
    found = align(base, candidate)
    assert [a.shape for pair in found.mismatched for a in pair] == [(300, 16), (301, 16)]
    assert found.coverage == 4 / (4 + 301 * 16)


def test_another_storage_type_does_not_part_a_pair():
    found = align(table(info("a", 2)), table(info("a", 2, dtype="BF16")))
    assert found.coverage == 1.0


@pytest.mark.parametrize(
    ("shape", "candidate"),
    [
        (2, {}),
        (2, table(info("b", 2))),
        (2, table(info("a", 3))),
        (0, table(info("a", 0))),
    ],
    ids=["empty", "names", "shapes", "no-parameters"],
)
def test_models_without_one_tensor_in_common_cannot_be_compared(shape, candidate):
    base = table(info("a", shape))
    with pytest.raises(IncomparableError, match=r"no tensor of the base \(1\)") as caught:
        align(base, candidate)
    assert caught.value.exit_code is ExitCode.INCOMPARABLE


def test_pairs_keep_the_bases_order():
    base = table(info("z", 1), info("a", 1))
    candidate = table(info("a", 1), info("z", 1))
    assert [pair.base.name for pair in align(base, candidate).paired] == ["z", "a"]


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


@pytest.mark.parametrize("family", [*FAMILIES, "mixtral"])
def test_every_parameter_of_every_family_has_its_place(family):
    model = model_of(family, tie_word_embeddings=False)
    places = {name: layer_of(name) for name, _ in model.named_parameters()}
    embeddings = {name for name, place in places.items() if place == EMBEDDING}
    inputs = {id(model.get_input_embeddings().weight)}
    if family == "gpt2":
        inputs.add(id(model.transformer.wpe.weight))
    assert embeddings == {n for n, p in model.named_parameters() if id(p) in inputs}
    assert {n for n, place in places.items() if place == HEAD} == {
        n for n, _ in model.named_parameters() if n.startswith("lm_head.")
    }
    decoder = {place for place in places.values() if is_decoder_layer(place)}
    assert decoder == {"layers.0", "layers.1"}
    final = {name for name, place in places.items() if place == OTHER}
    assert 1 <= len(final) <= 2
    assert all("norm" in name or "ln_f" in name for name in final)


def test_layer_groups_run_from_input_to_output_and_ten_comes_after_nine():
    ordered = [EMBEDDING, "layers.0", "layers.9", "layers.10", OTHER, HEAD]
    assert sorted(sorted(ordered), key=depth_of) == ordered
    found = align(
        tensors := table(
            info("lm_head.weight", 1), info("model.layers.10.w", 1), info("model.layers.9.w", 1)
        ),
        tensors,
    )
    assert found.layers == ("layers.9", "layers.10", HEAD)


@given(st.text())
def test_every_name_has_a_layer_group_with_a_depth(name):
    assert depth_of(layer_of(name)) >= (0, 0)


@given(st.integers(0, 10**6))
def test_only_numbered_groups_are_decoder_layers(number):
    assert is_decoder_layer(layer_of(f"model.layers.{number}.w"))
    assert not any(map(is_decoder_layer, (EMBEDDING, HEAD, OTHER)))
