"""What a tensor does, by the names of its fields and by its module where those say nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import model_of
from torch import nn

from sdi_gate.models.roles import Role, role_label, roles_of
from sdi_gate.models.skeleton import describe

QKV = (Role.Q, Role.K, Role.V)


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("model.layers.0.self_attn.q_proj.weight", (Role.Q,)),
        ("model.layers.0.self_attn.q_proj.bias", (Role.Q,)),
        ("model.layers.0.self_attn.kv_b_proj.weight", (Role.K, Role.V)),
        ("transformer.h.0.attn.c_attn.weight", QKV),
        ("transformer.blocks.0.attn.Wqkv.weight", QKV),
        ("transformer.h.0.attn.c_proj.weight", (Role.O,)),
        ("transformer.h.0.mlp.c_proj.weight", (Role.DOWN,)),
        ("gpt_neox.layers.0.attention.dense.weight", (Role.O,)),
        ("transformer.h.0.mlp.dense.weight", (Role.DOWN,)),
        ("model.layers.0.mlp.gate_up_proj.weight", (Role.GATE, Role.UP)),
        ("model.layers.0.mlp.gate.weight", (Role.ROUTER,)),
        ("model.layers.0.block_sparse_moe.gate.weight", (Role.ROUTER,)),
        ("model.layers.0.mlp.shared_expert_gate.weight", (Role.ROUTER,)),
        ("model.layers.0.mlp.shared_expert.up_proj.weight", (Role.UP,)),
        ("model.layers.0.mlp.experts.gate_up_proj", (Role.EXPERT, Role.GATE, Role.UP)),
        ("model.layers.0.block_sparse_moe.experts.3.w2.weight", (Role.EXPERT, Role.DOWN)),
        ("model.layers.0.mlp.experts.3.gate.weight", (Role.EXPERT,)),
        ("model.layers.0.mlp.experts.down_proj_bias", (Role.EXPERT,)),
        ("model.layers.0.input_layernorm.weight", (Role.NORM,)),
        ("model.layers.0.self_attn.q_norm.weight", (Role.NORM,)),
        ("transformer.h.0.ln_1.bias", (Role.NORM,)),
        ("transformer.ln_f.weight", (Role.NORM,)),
        ("model.norm.weight", (Role.NORM,)),
        ("transformer.wpe.weight", (Role.EMBEDDING,)),
        ("embed_out.weight", (Role.HEAD,)),
        ("model.layers.0.self_attn.sinks", (Role.OTHER,)),
        ("model.normalise_nothing.weight.other", (Role.OTHER,)),
        ("weight", (Role.OTHER,)),
        ("", (Role.OTHER,)),
    ],
)
def test_a_role_is_read_from_the_last_field(name, roles):
    assert roles_of(name) == roles


@given(st.text())
def test_every_name_has_a_role_and_every_role_a_word(name):
    roles = roles_of(name)
    assert roles
    assert role_label(roles)


@given(st.text(alphabet="abq_.proj", max_size=20))
def test_an_expert_is_one_first_of_all(prefix):
    assert roles_of(f"{prefix}.experts.0.up_proj.weight") == (Role.EXPERT, Role.UP)


def test_a_fused_expert_has_one_word():
    assert role_label((Role.EXPERT, Role.GATE, Role.UP)) == "expert gate+up"
    assert role_label((Role.EXPERT,)) == "expert"
    assert role_label((Role.Q,)) == "q"


class _RootMean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(nn.init.ones_(nn.Parameter()))


class _StrangeNorm(_RootMean):
    pass


def test_where_names_say_nothing_the_modules_class_does():
    model = model_of("llama")
    layer = model.model.layers[0]
    layer.zeta = _StrangeNorm()
    layer.theta = nn.Embedding(3, 2)
    layer.kappa = nn.Linear(2, 2)
    model.model.embed_tokens_2 = model.model.embed_tokens
    roles = describe(model).roles
    assert roles["model.layers.0.zeta.scale"] == (Role.NORM,)
    assert roles["model.layers.0.theta.weight"] == (Role.EMBEDDING,)
    assert roles["model.layers.0.kappa.weight"] == (Role.OTHER,)


def test_embedding_and_head_are_those_of_the_model_whatever_their_names():
    model = model_of("llama")
    model.lm_head, model.zeta = None, model.lm_head
    model.set_output_embeddings = None
    model.get_output_embeddings = lambda: model.zeta
    skeleton = describe(model)
    assert skeleton.roles["zeta.weight"] == (Role.HEAD,)
    assert skeleton.vocabulary == {"zeta.weight", "model.embed_tokens.weight"}


def test_a_head_that_is_no_part_of_the_model_and_a_scale_have_no_rows():
    model = model_of("llama")
    model.model.embed_tokens.scale = nn.Parameter(model.lm_head.weight.detach()[0, 0])
    other = nn.Linear(2, 2)
    model.get_output_embeddings = lambda: other
    assert describe(model).vocabulary == {"model.embed_tokens.weight"}
