"""GGUF: the weights that llama.cpp's converter was given come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf_files import close_gguf, family_to_gguf, llama_to_gguf, permuted, unpermuted
from quantised_files import REF
from tiny_models import model_of
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.quantised.gguf import GgufTensors, gguf_config
from sdi_gate.models.tensors import TensorInfo

gguf = pytest.importorskip("gguf")


def model_from(path):
    """Build the model of a GGUF file with its tensors in it."""
    tensors = GgufTensors(path, REF)
    config = dict(tensors.config)
    config = CONFIG_MAPPING[config.pop("model_type")](**config)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    state = {name: tensors.read(info).float() for name, info in tensors.tensors.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    return model


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("F32", "F32"), ("F16", "F16"), ("BF16", "BF16"), ("Q8_0", "F32"), ("Q4_0", "F32")],
)
def test_every_weight_comes_back_as_gguf_dequantises_it(tmp_path, kind, dtype):
    path = tmp_path / "m.gguf"
    model, expected = llama_to_gguf(path, kind)
    tensors = GgufTensors(path, REF)
    assert tensors.tensors.keys() == model.state_dict().keys()
    for name, info in tensors.tensors.items():
        got = tensors.read(info)
        assert info.shape == tuple(got.shape)
        assert info.dtype == (dtype if got.ndim > 1 else "F32")
        assert torch.equal(got.float(), expected[name])
        if kind == "F32":
            assert torch.equal(got, model.state_dict()[name])


@pytest.mark.parametrize(
    "kind", ["Q4_1", "Q5_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "IQ2_S"]
)
def test_other_types_of_blocks_too(tmp_path, kind):
    path = tmp_path / "m.gguf"
    _, expected = llama_to_gguf(path, kind, hidden_size=256, intermediate_size=256)
    tensors = GgufTensors(path, REF)
    for name, info in tensors.tensors.items():
        assert torch.equal(tensors.read(info), expected[name])


def test_a_q8_0_weight_is_a_byte_times_the_half_precision_scale_of_its_block(tmp_path):
    path = tmp_path / "m.gguf"
    model, _ = llama_to_gguf(path, "Q8_0")
    tensors = GgufTensors(path, REF)
    name = "model.layers.1.mlp.down_proj.weight"
    weight = model.state_dict()[name].reshape(-1, 32)
    step = weight.abs().amax(1, keepdim=True) / 127
    got = tensors.read(tensors.tensors[name]).reshape(-1, 32)
    # Half a step of rounding, and 127 steps of a scale that has eleven bits.
    assert bool(((got - weight).abs() <= step * (0.5 + 127 * 2**-11)).all())


def test_the_permutation_of_the_test_is_undone_by_the_test():
    weight = np.arange(48.0).reshape(16, 3)
    assert (unpermuted(permuted(weight, 2), 2) == weight).all()
    assert not (permuted(weight, 2) == weight).all()


def test_the_model_of_the_file_computes_what_the_model_computed(tmp_path):
    path = tmp_path / "m.gguf"
    model, _ = llama_to_gguf(path, num_attention_heads=4, num_key_value_heads=2)
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        assert torch.allclose(model_from(path)(ids).logits, model(ids).logits, atol=1e-5)


def test_the_configuration_is_that_of_the_model(tmp_path):
    path = tmp_path / "m.gguf"
    model, _ = llama_to_gguf(path)
    config = gguf_config(path, REF)
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["model_type"] == "llama"
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
        assert config[key] == getattr(model.config, key)
    for key in ("num_key_value_heads", "vocab_size", "tie_word_embeddings", "head_dim"):
        assert config[key] == getattr(model.config, key)
    assert config["rope_theta"] == model.config.rope_parameters["rope_theta"]


def test_a_head_that_is_not_stored_is_tied(tmp_path):
    path = tmp_path / "m.gguf"

    def drop_head(writer):
        for tensors in writer.tensors:
            tensors.pop("output.weight")

    llama_to_gguf(path, alter=drop_head)
    tensors = GgufTensors(path, REF)
    assert tensors.config["tie_word_embeddings"] is True
    assert "lm_head.weight" not in tensors.tensors


def test_quantised_tensors_are_counted_and_plain_ones_are_not(tmp_path):
    llama_to_gguf(tmp_path / "q.gguf", "Q4_0")
    quantisation = GgufTensors(tmp_path / "q.gguf", REF).quantisation
    assert quantisation.method == "gguf Q4_0"
    assert quantisation.num_tensors == 16
    llama_to_gguf(tmp_path / "f.gguf", "F16")
    assert GgufTensors(tmp_path / "f.gguf", REF).quantisation.num_tensors == 0


def _gpt2(path):
    """Write a GPT-2 as llama.cpp's converter does: Conv1D weights transposed, nothing else."""
    model = model_of("gpt2", n_embd=32)
    writer = gguf.GGUFWriter(path, "gpt2")
    config = model.config
    writer.add_block_count(config.n_layer)
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    pairs = {"transformer.wte": "token_embd", "transformer.wpe": "position_embd"}
    pairs |= {"transformer.h": "blk", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output"}
    pairs |= {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down", "transformer.ln_f": "output_norm"}
    pairs |= {"ln_1": "attn_norm", "ln_2": "ffn_norm"}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        theirs = name
        for our_part, their_part in pairs.items():
            theirs = theirs.replace(our_part, their_part)
        turned = ".c_" in name and tensor.ndim == 2
        writer.add_tensor(theirs, np.ascontiguousarray(tensor.numpy().T if turned else tensor))
    return model, writer


def test_conv1d_weights_of_gpt2_are_turned_back(tmp_path):
    path = tmp_path / "m.gguf"
    model, writer = _gpt2(path)
    close_gguf(writer)
    tensors = GgufTensors(path, REF)
    assert tensors.config["n_positions"] == model.config.n_positions
    for name, info in tensors.tensors.items():
        assert torch.equal(tensors.read(info), model.state_dict()[name])
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        assert torch.allclose(model_from(path)(ids).logits, model(ids).logits, atol=1e-5)


EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "head_dim": 8}
FAMILIES = {
    "qwen2": ("qwen2", "qwen2", {}),
    "qwen3": ("qwen3", "qwen3", {}),
    "qwen3 with experts": ("qwen3_moe", "qwen3moe", EXPERTS),
    "phi3": ("phi3", "phi3", {}),
    "gemma2": ("gemma2", "gemma2", {"norms_plus_one": True}),
    "gemma3": (
        "gemma3_text",
        "gemma3",
        {"norms_plus_one": True, "head_dim": 8, "tie_word_embeddings": True},
    ),
}


@pytest.mark.parametrize("case", FAMILIES.values(), ids=FAMILIES)
def test_the_weights_of_other_families_come_back_under_their_names(tmp_path, case):
    family, architecture, changes = case
    _, state = family_to_gguf(tmp_path / "m.gguf", family, architecture, **changes)
    tensors = GgufTensors(tmp_path / "m.gguf", REF)
    assert tensors.config["model_type"] == family
    assert tensors.tensors.keys() == state.keys()
    for name, info in tensors.tensors.items():
        assert torch.allclose(tensors.read(info), state[name], rtol=0, atol=2e-7)


def _add(key, value):
    return lambda writer: writer.add_uint32(key, value)


@pytest.mark.parametrize(
    ("alter", "match"),
    [
        (lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.YARN), "scaled positions"),
        (lambda w: w.add_tensor("rope_freqs.weight", np.ones(4, np.float32)), "rope_freqs"),
        (_add("split.count", 3), "one part of a GGUF model"),
        (lambda w: w.add_string("general.type", "adapter"), "expected a 'model'"),
        (lambda w: w.add_tensor("x", np.ones(4, np.int32)), "I32"),
    ],
    ids=["yarn", "rope factors", "one of three", "adapter", "integers"],
)
def test_what_transformers_would_leave_out_is_refused(tmp_path, alter, match):
    path = tmp_path / "m.gguf"
    llama_to_gguf(path, alter=alter)
    with pytest.raises(IncomparableError, match=match):
        GgufTensors(path, REF)


@pytest.mark.parametrize(
    ("alter", "match"),
    [
        (lambda w: w.add_tensor("mystery.weight", np.ones(4, np.float32)), "'mystery.weight'"),
        (lambda w: w.add_tensor("blk.7.attn_q.weight", np.ones(4, np.float32)), "layers"),
        (_add("llama.expert_count", 2**20), "expected at most 4,096"),
        (lambda w: w.add_uint64("llama.wide", 2**60), "expected at most"),
    ],
    ids=["unknown tensor", "too many layers", "experts", "wide"],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path, alter, match):
    path = tmp_path / "m.gguf"
    llama_to_gguf(path, alter=alter)
    with pytest.raises(FormatError, match=match):
        GgufTensors(path, REF)


def test_a_model_without_an_embedding_or_of_no_language_is_refused(tmp_path):
    def drop(writer):
        for tensors in writer.tensors:
            tensors.pop("token_embd.weight")

    llama_to_gguf(tmp_path / "m.gguf", alter=drop)
    with pytest.raises(FormatError, match=r"holds no 'token_embd\.weight'"):
        gguf_config(tmp_path / "m.gguf", REF)

    writer = gguf.GGUFWriter(tmp_path / "t.gguf", "t5")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.ones((4, 4), np.float32))
    writer.add_tensor("blk.0.x", np.ones((4, 4), np.float32))
    close_gguf(writer)
    with pytest.raises(IncomparableError, match="of the model type 't5'"):
        gguf_config(tmp_path / "t.gguf", REF)


def test_a_file_that_is_gone_or_cut_when_it_is_read_is_refused(tmp_path):
    path = tmp_path / "m.gguf"
    llama_to_gguf(path)
    tensors = GgufTensors(path, REF)
    info = tensors.tensors["model.layers.1.mlp.down_proj.weight"]
    path.write_bytes(path.read_bytes()[:30_000])
    with pytest.raises(FormatError, match="cannot be dequantised"):
        tensors.read(info)
    path.unlink()
    with pytest.raises(FormatError, match="cannot be read: FileNotFoundError"):
        tensors.read(info)


def test_infinite_scales_flow_on_to_those_who_refuse_them(tmp_path):
    path = tmp_path / "m.gguf"
    llama_to_gguf(path, "Q8_0")
    tensors = GgufTensors(path, REF)
    content = bytearray(path.read_bytes())
    name = "model.layers.1.mlp.down_proj.weight"
    place = tensors._parts[name][0].offset
    content[place : place + 2] = np.float16("inf").tobytes()
    path.write_bytes(content)
    assert not bool(tensors.read(tensors.tensors[name]).isfinite().all())


def test_parts_that_do_not_make_the_shape_of_their_tensor_are_refused(tmp_path):
    path = tmp_path / "m.gguf"
    llama_to_gguf(path)
    tensors = GgufTensors(path, REF)
    info = tensors.tensors["model.layers.1.mlp.down_proj.weight"]
    turned = TensorInfo(name=info.name, dtype="F32", shape=info.shape[::-1], shard=info.shard)
    with pytest.raises(FormatError, match="expected the shape"):
        tensors.read(turned)
