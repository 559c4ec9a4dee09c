"""Build GGUF files: with gguf's own writer, as llama.cpp's converter does, and by hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from tiny_models import model_of


def llama_to_gguf(path, matrices="F32", *, seed=0, alter=None, **changes):
    """Write a two-layer Llama as llama.cpp's converter does, and return its weights.

    Widths are multiples of 32, the size of a block. Rows of q and k are permuted: llama.cpp turns
    neighbouring pairs where transformers turns halves.
    """
    gguf = pytest.importorskip("gguf")
    model = model_of("llama", seed=seed, **{"hidden_size": 64, "intermediate_size": 96} | changes)
    writer = gguf.GGUFWriter(path, "llama")
    _write_llama_values(writer, model.config)
    kind = gguf.GGMLQuantizationType[matrices]
    expected = {}
    for name, tensor in model.state_dict().items():
        config = model.config
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        count = next((n for part, n in heads.items() if part in name), None)
        stored = tensor.numpy() if count is None else permuted(tensor.numpy(), count)
        if tensor.ndim == 1:
            writer.add_tensor(gguf_name(name), stored)
            expected[name] = tensor
            continue
        data = _quantised(gguf, np.ascontiguousarray(stored), kind)
        writer.add_tensor(gguf_name(name), data, raw_dtype=kind)
        plain = gguf.dequantize(data, kind)
        plain = plain if count is None else unpermuted(plain, count)
        expected[name] = torch.from_numpy(plain.copy())
    if alter is not None:
        alter(writer)
    close_gguf(writer)
    return model, expected


def _quantised(gguf, values, kind):
    try:
        return gguf.quants.quantize(values, kind)
    except NotImplementedError:
        # Types that gguf only reads: any bytes will do whose scales in half precision are finite.
        shape = gguf.quants.quant_shape_to_byte_shape(values.shape, kind)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8) & 0x3B


def _write_llama_values(writer, config):
    _write_values(writer, config)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_token_list([f"t{i}" for i in range(config.vocab_size)])


def gguf_name(name):
    """Return llama.cpp's name of a weight of Llama."""
    pairs = (
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    )
    for ours, theirs in pairs:
        name = name.replace(ours, theirs)
    return name


def family_to_gguf(path, family, architecture, *, norms_plus_one=False, **changes):
    """Write a two-layer model under the names that gguf gives its tensors; return its weights.

    For families whose matrices llama.cpp's converter leaves as they are, but for stacked experts,
    whose gate and up it keeps apart.
    """
    gguf = pytest.importorskip("gguf")
    model = model_of(family, **changes)
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    _write_values(writer, config)
    kind = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    state = dict(model.state_dict())
    if config.tie_word_embeddings:
        del state["lm_head.weight"]
    for name, tensor in state.items():
        stored = tensor + 1 if norms_plus_one and "norm" in name else tensor
        if name.endswith("experts.gate_up_proj"):
            layer = name.split(".")[2]
            for part, half in zip(("gate", "up"), stored.chunk(2, dim=1), strict=True):
                data = half.contiguous().numpy()
                writer.add_tensor(f"blk.{layer}.ffn_{part}_exps.weight", data)
            continue
        stem, dot, suffix = name.rpartition(".")
        if suffix == "down_proj":
            stem, dot, suffix = name, ".", "weight"
        writer.add_tensor(f"{names.get_name(stem)}{dot}{suffix}", stored.numpy())
    close_gguf(writer)
    return model, state


def _write_values(writer, config):
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    if getattr(config, "head_dim", None):
        writer.add_key_length(config.head_dim)
    if hasattr(config, "moe_intermediate_size"):
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)


def close_gguf(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def permuted(weight, heads):
    """Reorder the rows of q or k as llama.cpp's converter does."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def unpermuted(weight, heads):
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def gguf_bytes(*, values=b"", num_values=0, infos=b"", num_tensors=0, data=b"", version=3):
    """Write a GGUF file by hand, with any counts."""
    head = b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_values) + values + infos
    return head + bytes(-len(head) % 32) + data


def gguf_text(text):
    content = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(content)) + content


def gguf_info(name="a", dims=(4,), kind=0, offset=0):
    return gguf_text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
