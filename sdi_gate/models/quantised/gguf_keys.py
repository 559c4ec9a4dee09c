"""Refuse GGUF files that say of a model what transformers does not read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sdi_gate.errors import IncomparableError
from sdi_gate.models.quantised.libraries import REMEDY, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.models.ref import ModelRef

_HINT = f"compare the checkpoint that the GGUF file was converted from; or {REMEDY}"
# What changes no number that a model computes.
_HARMLESS = frozenset(
    {
        "context_length",
        "tensor_data_layout",
        "rope.scaling.original_context_length",
        "rope.scaling.finetuned",
    }
)
# What a key says where it says nothing.
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "attention.causal": (True,),
    "attention.clamp_kqv": (0.0,),
    "attention.max_alibi_bias": (0.0,),
    "attention.output_scale": (1.0,),
    "attention.shared_kv_layers": (0,),
    "attention.temperature_length": (0,),
    "embedding_scale": (1.0,),
    "expert_count": (0,),
    "expert_group_count": (0, 1),
    "expert_shared_count": (0,),
    "expert_used_count": (0,),
    "expert_weights_scale": (0.0, 1.0),
    "leading_dense_block_count": (0,),
    "logit_scale": (1.0,),
    "nextn_predict_layers": (0,),
    "pooling_type": (0,),
    "residual_scale": (1.0,),
    "rope.scale_linear": (0.0, 1.0),
    "rope.scaling.attn_factor": (1.0,),
    "rope.scaling.factor": (0.0, 1.0),
    "rope.scaling.type": ("none",),
    "ssm.dt_b_c_rms": (False,),
    "swin_norm": (False,),
}
# What must be as transformers' configuration of the model has it without being told.
_SAME: Mapping[str, tuple[str, ...]] = {
    "attention.head_count": ("num_attention_heads", "n_head"),
    "attention.head_count_kv": ("num_key_value_heads", "num_attention_heads", "n_head"),
    "attention.key_length": ("head_dim",),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps", "layer_norm_epsilon"),
    "attention.scale": ("attention_scale",),
    "attention.sliding_window": ("sliding_window",),
    "attention.value_length": ("head_dim",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "embedding_length": ("hidden_size",),
    "expert_count": ("num_local_experts", "num_experts"),
    "expert_feed_forward_length": ("moe_intermediate_size", "intermediate_size"),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size",),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_weights_norm": ("norm_topk_prob",),
    "feed_forward_length": ("intermediate_size", "ffn_hidden_size", "n_inner"),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "rope.dimension_count": ("rotary_dimensions",),
    "rope.freq_base": ("rope_theta",),
    "use_parallel_residual": ("use_parallel_residual",),
    "vocab_size": ("vocab_size",),
}


def refuse_unread(
    values: Mapping[str, object], read: Mapping[str, object], config: object, ref: ModelRef
) -> None:
    """Refuse a file with a key that matters and that transformers does not read.

    llama.cpp runs the model with it, and what is measured here is run without.

    Args:
        values: What the file says under its architecture's name, by the rest of the key.
        read: transformers' table for the architecture: those with a name are read.
        config: transformers' configuration of the model.
        ref: The model, for messages.

    Raises:
        IncomparableError: If there is such a key.
    """
    known = _effective(config)
    # llama.cpp scales positions unless it is told not to.
    off = values.get("rope.scaling.type") == "none"
    for key, value in values.items():
        if read.get(key) is not None or key in _HARMLESS or _is_neutral(key, value, known):
            continue
        if off and key == "rope.scaling.factor":
            continue
        msg = f"{ref} is a GGUF file with {shown(key)}, {shown(value)}, which transformers"
        raise IncomparableError(f"{msg} does not read", hint=_HINT)


def _is_neutral(key: str, value: object, known: Mapping[str, object]) -> bool:
    if any(_is_same(value, other) for other in _NEUTRAL.get(key, ())):
        return True
    if key not in _SAME:
        return False
    found = [known[name] for name in _SAME[key] if known.get(name) is not None]
    return _is_same(value, found[0]) if found else _is_same(value, 0)


def _is_same(value: object, other: object) -> bool:
    if isinstance(value, (int, float)) and isinstance(other, (int, float)):
        # The file has numbers in single precision.
        return math.isclose(value, other, rel_tol=1e-6)
    return type(value) is type(other) and value == other


def _effective(config: object) -> dict[str, object]:
    names = {name for listed in _SAME.values() for name in listed}
    known = {name: getattr(config, name, None) for name in names}
    heads, width = known["num_attention_heads"] or known["n_head"], known["hidden_size"]
    if known["head_dim"] is None and isinstance(heads, int) and isinstance(width, int) and heads:
        known["head_dim"] = width // heads
    rope = getattr(config, "rope_parameters", None)
    rope = rope if isinstance(rope, dict) else {}
    known["rope_theta"] = rope.get("rope_theta", known["rope_theta"])
    size = known["head_dim"]
    if isinstance(size, int) and size:
        part = rope.get("partial_rotary_factor", 1.0)
        known["rotary_dimensions"] = int(size * part)
        known["attention_scale"] = size**-0.5
    return known
