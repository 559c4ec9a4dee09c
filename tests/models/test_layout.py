"""Stored tensors under the names by which they run: renamed, stacked, tied, ignored or refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import FAMILIES, MORE_FAMILIES, UNLISTED_FAMILIES, model_of
from transformers.core_model_loading import Chunk, WeightConverter

from sdi_gate.errors import FormatError
from sdi_gate.models import layout
from sdi_gate.models.fit import refuse_unfit
from sdi_gate.models.layout import CanonicalTensors
from sdi_gate.models.skeleton import describe
from sdi_gate.models.tensors import TensorInfo

ALL = (*FAMILIES, *MORE_FAMILIES, *UNLISTED_FAMILIES)
DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.uint8: "U8", torch.bool: "BOOL"}
MASK = torch.ones(1, 1, 4, 4, dtype=torch.uint8)


class Stored:
    """Show tensors in memory as a checkpoint."""

    def __init__(self, tensors):
        self.values = tensors
        self.tensors = {
            name: TensorInfo(
                name=name, dtype=DTYPES[value.dtype], shape=tuple(value.shape), shard="memory"
            )
            for name, value in tensors.items()
        }

    def read(self, info):
        return self.values[info.name]


def show(model, tensors) -> CanonicalTensors:
    return CanonicalTensors(Stored(tensors), describe(model), "model x")


def state_of(model):
    tied = model.all_tied_weights_keys
    return {name: value for name, value in model.state_dict().items() if name not in tied}


def values_of(shown):
    return {name: shown.read(info) for name, info in shown.tensors.items()}


def assert_same(shown, state):
    found = values_of(shown)
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(found[name], value), name
        assert shown.tensors[name].shape == value.shape
        assert shown.tensors[name].name == name


def apart(model, first="w1", second="w3", third="w2", where="block_sparse_moe"):
    """Take the experts of a model apart, as transformers 4 stored them."""
    stored = {}
    for name, value in state_of(model).items():
        head, found, last = name.partition(".mlp.experts.")
        if not found:
            stored[name.replace(".mlp.", f".{where}.")] = value
            continue
        for i, expert in enumerate(value):
            path = f"{head}.{where}.experts.{i}"
            if last == "down_proj":
                stored[f"{path}.{third}.weight"] = expert
            else:
                stored[f"{path}.{first}.weight"], stored[f"{path}.{second}.weight"] = expert.chunk(
                    2
                )
    return stored


# Names.


@pytest.mark.parametrize("family", ALL)
def test_todays_names_stay_as_they_are(family):
    model = model_of(family)
    shown = show(model, state_of(model))
    assert_same(shown, state_of(model))
    assert shown.ignored == shown.tied_copies == []
    assert shown.untied == frozenset()
    refuse_unfit(describe(model), shown.tensors, "model x")


@pytest.mark.parametrize("family", ALL)
def test_the_models_first_name_may_be_missing(family):
    model = model_of(family)
    prefix = f"{model.base_model_prefix}."
    bare = {name.removeprefix(prefix): value for name, value in state_of(model).items()}
    assert_same(show(model, bare), state_of(model))


@pytest.mark.parametrize("num_experts", [2, 12])
def test_mixtrals_experts_are_stacked_by_their_numbers_and_not_by_their_digits(num_experts):
    model = model_of("mixtral", num_local_experts=num_experts)
    stored = dict(sorted(apart(model).items()))
    assert_same(show(model, stored), state_of(model))
    assert_same(show(model, dict(reversed(stored.items()))), state_of(model))


@pytest.mark.parametrize("family", ["qwen2_moe", "qwen3_moe"])
def test_qwens_experts_are_stacked_and_the_shared_ones_are_not(family):
    model = model_of(family)
    stored = apart(model, "gate_proj", "up_proj", "down_proj", "mlp")
    assert len(stored) > len(state_of(model))
    assert_same(show(model, stored), state_of(model))


def test_the_head_of_gpt_neox_had_another_name():
    model = model_of("gpt_neox")
    stored = state_of(model)
    stored["embed_out.weight"] = stored.pop("lm_head.weight")
    assert_same(show(model, stored), state_of(model))


EXTRA = {
    "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
    "model.layers.1.self_attn.bias": MASK,
    "model.layers.1.mlp.bias": MASK,
    "strange": torch.ones(2),
}


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 3)), st.sets(st.sampled_from([*EXTRA])))
def test_every_stored_tensor_is_used_exactly_once_or_listed(left_out, experts, extra):
    tensors = apart(model_of("mixtral"))
    gone = {name for i, name in enumerate(tensors) if i in left_out and ".experts." not in name}
    gone |= {name for name in tensors for i in experts if f".experts.{i}." in name}
    stored = {name: value for name, value in tensors.items() if name not in gone}
    stored |= {name: EXTRA[name] for name in extra}
    shown = show(model_of("mixtral"), stored)
    used = [name for group in shown._groups.values() for name in group.names]
    used += [info.name for info in (*shown.ignored, *shown.tied_copies)]
    assert sorted(used) == sorted(stored)
    assert sum(info.numel for info in shown.tensors.values()) == sum(
        value.numel()
        for name, value in stored.items()
        if name not in {i.name for i in shown.ignored}
    )


def test_a_tensor_under_two_names_is_refused():
    model = model_of("gpt2")
    stored = state_of(model)
    stored["h.0.ln_1.weight"] = stored["transformer.h.0.ln_1.weight"]
    with pytest.raises(FormatError, match=r"'transformer.h.0.ln_1.weight' twice, as 'h.0.ln_1"):
        show(model, stored)


def test_experts_that_are_stored_both_ways_are_refused():
    model = model_of("mixtral")
    stored = apart(model)
    stored["model.layers.0.mlp.experts.gate_up_proj"] = torch.zeros(4, 48, 16)
    with pytest.raises(FormatError, match=r"experts.gate_up_proj' twice, as .*expected it once"):
        show(model, stored)


def test_experts_of_several_types_are_refused():
    model = model_of("mixtral")
    stored = apart(model)
    name = "model.layers.0.block_sparse_moe.experts.2.w2.weight"
    stored[name] = stored[name].bfloat16()
    with pytest.raises(FormatError, match=r"down_proj' as BF16 and F32; expected one type"):
        show(model, stored)


def test_half_an_expert_is_refused():
    model = model_of("mixtral")
    stored = apart(model)
    del stored["model.layers.0.block_sparse_moe.experts.2.w3.weight"]
    with pytest.raises(FormatError, match=r"7 tensors, .*cannot be put together"):
        show(model, stored)


def test_experts_of_unequal_shapes_are_refused():
    model = model_of("mixtral")
    stored = apart(model)
    stored["model.layers.0.block_sparse_moe.experts.2.w2.weight"] = torch.zeros(16, 23)
    with pytest.raises(FormatError, match=r"4 tensors, .*cannot be put together"):
        show(model, stored)


def test_a_missing_expert_shows_in_the_shape_and_such_a_model_is_not_run():
    model = model_of("mixtral")
    stored = {name: value for name, value in apart(model).items() if ".experts.3." not in name}
    shown = show(model, stored)
    assert shown.tensors["model.layers.0.mlp.experts.down_proj"].shape == (3, 16, 24)
    with pytest.raises(FormatError, match=r"has shape \[3, .*asks for \[4, "):
        refuse_unfit(describe(model), shown.tensors, "model x")


def test_what_the_model_does_not_know_keeps_its_name_and_is_not_run():
    model = model_of("llama")
    shown = show(model, {**state_of(model), "model.layers.7.mlp.up_proj.weight": torch.ones(2)})
    assert "model.layers.7.mlp.up_proj.weight" in shown.tensors
    with pytest.raises(FormatError, match="holds and does not use 1 weights"):
        refuse_unfit(describe(model), shown.tensors, "model x")


def split_gates(_model):
    """Say that a fused matrix is two of today's, as some families' conversions do."""
    fused, parts = "mlp.gate_up_proj.weight", ["mlp.gate_proj.weight", "mlp.up_proj.weight"]
    return [
        WeightConverter(source_patterns=fused, target_patterns=parts, operations=[Chunk(dim=0)])
    ]


def fuse_gates(tensors):
    path = "model.layers.0.mlp"
    gate, up = tensors.pop(f"{path}.gate_proj.weight"), tensors.pop(f"{path}.up_proj.weight")
    return {**tensors, f"{path}.gate_up_proj.weight": torch.cat([gate, up])}


def test_one_stored_tensor_may_be_two_of_todays(monkeypatch):
    monkeypatch.setattr(layout, "get_model_conversion_mapping", split_gates)
    model = model_of("llama")
    assert_same(show(model, fuse_gates(state_of(model))), state_of(model))


def test_a_part_that_is_stored_beside_the_whole_is_refused(monkeypatch):
    monkeypatch.setattr(layout, "get_model_conversion_mapping", split_gates)
    model = model_of("llama")
    name = "model.layers.0.mlp.up_proj.weight"
    stored = {**fuse_gates(state_of(model)), name: state_of(model)[name]}
    with pytest.raises(FormatError, match=f"'{name}' twice, as .*gate_up_proj"):
        show(model, dict(reversed(stored.items())))
    with pytest.raises(FormatError, match=f"'{name}' twice, as .*gate_up_proj"):
        show(model, stored)


# Ties.


@pytest.mark.parametrize("family", ["gemma", "gpt2", "opt"])
def test_a_tied_head_counts_once_however_it_is_stored(family):
    model = model_of(family)
    state = state_of(model)
    ((head, embedding),) = describe(model).tied.items()
    twice = show(model, {head: state[embedding].clone(), **state})
    assert_same(twice, state)
    assert [info.name for info in twice.tied_copies] == [head]
    alone = {name: value for name, value in state.items() if name != embedding}
    only_head = show(model, {**alone, head: state[embedding]})
    assert_same(only_head, state)
    assert only_head.tied_copies == []
    assert twice.untied == only_head.untied == frozenset()


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value + 1e-7,
        lambda value: value.bfloat16(),
        lambda value: value[:-1],
        lambda value: value.clone().fill_(torch.nan),
    ],
    ids=["number", "type", "shape", "nan"],
)
def test_a_head_that_is_not_the_embedding_to_the_bit_is_its_own(change):
    model = model_of("gemma")
    state = state_of(model)
    own = change(state["model.embed_tokens.weight"])
    shown = show(model, {**state, "lm_head.weight": own})
    assert shown.untied == {"lm_head.weight"}
    assert shown.tied_copies == []
    assert shown.tensors["lm_head.weight"].shape == own.shape
    found = shown.read(shown.tensors["lm_head.weight"])
    assert torch.equal(found.nan_to_num(), own.nan_to_num())


# Buffers.


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("gpt2", "transformer.h.0.attn.bias", MASK),
        ("gpt2", "transformer.h.0.attn.masked_bias", torch.tensor(-1e4)),
        ("gpt2", "h.0.attn.bias", MASK.bool()),
        ("gpt2", "h.1.attn.masked_bias", torch.tensor(-1e4)),
        ("gpt_neox", "gpt_neox.layers.0.attention.bias", MASK.bool()),
        ("gpt_neox", "gpt_neox.layers.0.attention.masked_bias", torch.tensor(-1e9)),
        ("gpt_neox", "gpt_neox.layers.1.attention.rotary_emb.inv_freq", torch.ones(4)),
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(4)),
        ("llama", "layers.0.self_attn.rotary_emb.inv_freq", torch.ones(4)),
        ("llama", "model.layers.0.self_attn.rotary_emb.cos_cached", torch.ones(1, 1, 64, 8)),
        ("llama", "model.rotary_emb.inv_freq", torch.ones(4)),
        ("gemma3_text", "model.embed_tokens.embed_scale", torch.tensor(4.0)),
        ("opt", "model.decoder.position_ids", torch.ones(1, 64, dtype=torch.uint8)),
    ],
)
def test_what_earlier_versions_saved_and_todays_compute_is_ignored_and_listed(family, name, value):
    model = model_of(family)
    shown = show(model, {**state_of(model), name: value})
    assert [info.name for info in shown.ignored] == [name]
    assert_same(shown, state_of(model))


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        # A bias has one axis, whatever its name.
        ("gpt2", "transformer.h.0.attn.bias", torch.ones(16)),
        ("gpt2", "transformer.h.0.attn.masked_bias", torch.ones(16, 16)),
        ("llama", "model.layers.0.self_attn.bias", torch.ones(16)),
        ("llama", "model.rotary_emb.sin_cached", torch.ones(4)),
        # The architecture has no such module.
        ("llama", "model.layers.0.attn.bias", MASK),
        ("llama", "model.layers.2.self_attn.bias", MASK),
        ("llama", "other.self_attn.rotary_emb.inv_freq", torch.ones(4)),
        ("gpt2", "transformer.h.0.attn.c_attn.attn.bias", MASK),
        ("gpt2", "attn.bias", MASK),
        # The name goes on, or only ends like one.
        ("gpt2", "transformer.h.0.attn.bias.weight", MASK),
        ("gpt2", "transformer.h.0.attn.my_masked_bias", torch.tensor(1.0)),
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq\n", torch.ones(4)),
    ],
)
def test_a_name_like_a_buffers_hides_nothing(family, name, value):
    model = model_of(family)
    shown = show(model, {**state_of(model), name: value})
    assert shown.ignored == []
    assert name in shown.tensors
    with pytest.raises(FormatError, match="holds and does not use 1 weights"):
        refuse_unfit(describe(model), shown.tensors, "model x")


@pytest.mark.parametrize("family", ALL)
def test_no_parameter_of_any_family_is_ignored_by_its_name(family):
    model = model_of(family)
    shown = show(model, state_of(model))
    parameters = {name for name, _ in model.named_parameters()}
    assert parameters <= shown.tensors.keys()


def test_a_bias_that_the_architecture_has_is_a_parameter():
    model = model_of("qwen2")
    assert "model.layers.0.self_attn.q_proj.bias" in show(model, state_of(model)).tensors
