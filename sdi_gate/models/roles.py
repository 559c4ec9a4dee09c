"""Say what a tensor does in a model: query, gate, expert, head and so on."""

from __future__ import annotations

import re
from enum import StrEnum


class Role(StrEnum):
    """Name what a tensor does; a fused tensor has several roles."""

    EMBEDDING = "embedding"
    HEAD = "head"
    NORM = "norm"
    Q = "q"
    K = "k"
    V = "v"
    O = "o"  # noqa: E741 - the field's own name
    GATE = "gate"
    UP = "up"
    DOWN = "down"
    EXPERT = "expert"
    ROUTER = "router"
    OTHER = "other"


Roles = tuple[Role, ...]

_QKV: Roles = (Role.Q, Role.K, Role.V)
_ATTENTION = re.compile(r"attn|attention")
# Field names as the families write them, whatever is before them in the tensor's name.
_BY_FIELD: dict[str, Roles] = {
    **dict.fromkeys(("q_proj", "q_a_proj", "q_b_proj", "wq", "query"), (Role.Q,)),
    **dict.fromkeys(("k_proj", "wk", "key"), (Role.K,)),
    **dict.fromkeys(("v_proj", "wv", "value"), (Role.V,)),
    **dict.fromkeys(("kv_a_proj_with_mqa", "kv_b_proj", "kv_proj"), (Role.K, Role.V)),
    **dict.fromkeys(("qkv_proj", "c_attn", "query_key_value", "Wqkv", "qkv"), _QKV),
    **dict.fromkeys(("o_proj", "out_proj", "wo"), (Role.O,)),
    **dict.fromkeys(("gate_proj", "w1"), (Role.GATE,)),
    **dict.fromkeys(("up_proj", "fc1", "fc_in", "c_fc", "dense_h_to_4h", "w3"), (Role.UP,)),
    "gate_up_proj": (Role.GATE, Role.UP),
    **dict.fromkeys(("down_proj", "fc2", "fc_out", "dense_4h_to_h", "w2"), (Role.DOWN,)),
    **dict.fromkeys(("router", "shared_expert_gate"), (Role.ROUTER,)),
    **dict.fromkeys(
        ("embed_tokens", "embed_positions", "embed_in", "wte", "wpe", "tok_embeddings"),
        (Role.EMBEDDING,),
    ),
    **dict.fromkeys(("lm_head", "embed_out", "output_projection"), (Role.HEAD,)),
}
_NORM = re.compile(r"(?:^|[._])(?:\w*norm\w*|ln_\w+|ln\d?)(?:\.|$)", re.IGNORECASE)


def roles_of(name: str) -> Roles:
    """Say what a tensor does, by the names of its fields.

    Args:
        name: Tensor name, such as ``model.layers.3.mlp.up_proj.weight``.

    Returns:
        Its roles, an expert's first ``expert``; ``other`` alone if no field is known.
    """
    fields = [part for part in name.split(".") if part not in {"weight", "bias"}]
    expert: Roles = (Role.EXPERT,) if "experts" in fields else ()
    last = fields[-1] if fields else ""
    known = _BY_FIELD.get(last)
    if known is not None:
        return (*expert, *known)
    if last == "gate" and not expert:
        return (Role.ROUTER,)
    if _NORM.search(".".join(fields[-1:])):
        return (Role.NORM,)
    if last in {"dense", "c_proj"}:
        return (Role.O,) if _ATTENTION.search(".".join(fields[:-1])) else (*expert, Role.DOWN)
    return expert or (Role.OTHER,)


def role_label(roles: Roles) -> str:
    """Write roles in one word.

    Args:
        roles: From `roles_of`.

    Returns:
        Such as ``expert gate+up``.
    """
    rest = "+".join(role for role in roles if role is not Role.EXPERT)
    return " ".join(part for part in ("expert" if Role.EXPERT in roles else "", rest) if part)
