"""Every family at every tier, from tiny instances; docs/families.md is what these tests found."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from families_document import document_of
from family_proofs import Row, prove
from tiny_models import FAMILIES, MORE_FAMILIES, UNLISTED_FAMILIES

from sdi_gate.policy.facts import Tier
from sdi_gate.signals.interface import Outcome, SignalName

LISTED = (*FAMILIES, *MORE_FAMILIES)
ALL = (*LISTED, *UNLISTED_FAMILIES)
CODE = Path(__file__).parents[2] / "sdi_gate"

QKV = {f"self_attn.{letter}_proj": letter for letter in "qkv"}
ATTENTION = QKV | {"self_attn.o_proj": "o"}
GATED = {f"mlp.{part}_proj": part for part in ("gate", "up", "down")}
LLAMA = ATTENTION | GATED
EXPERTS = {"mlp.experts.gate_up_proj": "expert gate+up", "mlp.experts.down_proj": "expert down"}
ROUTER = {"mlp.gate": "router"}
NEOX_MLP = {"mlp.dense_h_to_4h": "up", "mlp.dense_4h_to_h": "down"}
FALCON = {"self_attention.query_key_value": "q+k+v", "self_attention.dense": "o"} | NEOX_MLP
GPT2_MLP = {"mlp.c_fc": "up", "mlp.c_proj": "down"}
# The roles of the matrices in a decoder layer, by the end of their names.
MATRICES = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "gemma": LLAMA,
    "gemma2": LLAMA,
    "gemma3_text": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "phi": QKV | {"self_attn.dense": "o", "mlp.fc1": "up", "mlp.fc2": "down"},
    "phi3": {
        "self_attn.qkv_proj": "q+k+v",
        "self_attn.o_proj": "o",
        "mlp.gate_up_proj": "gate+up",
        "mlp.down_proj": "down",
    },
    "mixtral": ATTENTION | EXPERTS | ROUTER,
    "qwen2_moe": ATTENTION
    | EXPERTS
    | ROUTER
    | {f"mlp.shared_expert.{part}_proj": part for part in ("gate", "up", "down")}
    | {"mlp.shared_expert_gate": "router"},
    "qwen3_moe": ATTENTION | EXPERTS | ROUTER,
    "phimoe": ATTENTION | EXPERTS | {"mlp.router": "router"},
    "gpt2": {"attn.c_attn": "q+k+v", "attn.c_proj": "o"} | GPT2_MLP,
    "gpt_neox": {"attention.query_key_value": "q+k+v", "attention.dense": "o"} | NEOX_MLP,
    "bloom": FALCON,
    "falcon": FALCON,
    "opt": QKV | {"self_attn.out_proj": "o", "fc1": "up", "fc2": "down"},
    "olmo2": LLAMA,
    # No attention; what has none of the roles is said to have none.
    "mamba": {
        **dict.fromkeys((f"mixer.{part}_proj" for part in ("in", "x", "dt")), "other"),
        "mixer.A_log": "other",
        "mixer.conv1d": "other",
        "mixer.out_proj": "o",
    },
}
# Not one matrix that sees every token exactly once: these are compared by their weights only.
BY_WEIGHTS_ONLY = {
    "mixtral": {*EXPERTS, *ROUTER},
    "qwen2_moe": {*EXPERTS, *ROUTER},
    "qwen3_moe": {*EXPERTS, *ROUTER},
    "phimoe": {*EXPERTS, "mlp.router"},
    "mamba": {"mixer.A_log", "mixer.conv1d", "mixer.dt_proj"},
}


def field_of(row: Row) -> str:
    return row.pattern.partition(".N.")[2].removesuffix(".weight")


def matrices_of(family: str) -> list[Row]:
    return [row for row in prove(family).rows if len(row.shape) > 1 and ".N." in row.pattern]


@pytest.mark.parametrize("family", ALL)
def test_all_signals_of_every_tier_are_measured_and_finite(family):
    for tier, result in prove(family).noisy.items():
        assert result.tier.ran is tier
        assert result.defects == result.notices == ()
        assert result.alignment.coverage == 1.0
        measured = [s.estimate for s in result.signals if s.outcome is Outcome.MEASURED]
        assert len(measured) == {Tier.WEIGHTS: 2, Tier.PROBE: 4, Tier.FULL: 5}[tier]
        assert all(math.isfinite(each.value) and each.value > 0.0 for each in measured)
    assert {signal.name for signal in prove(family).noisy[Tier.FULL].signals} == {*SignalName}


@pytest.mark.parametrize("family", ALL)
def test_a_model_is_exactly_zero_away_from_itself_under_other_names(family):
    proof = prove(family)
    assert all(signal.outcome is Outcome.MEASURED for signal in proof.identical.signals)
    for result in (proof.identical, proof.without_prefix):
        assert result.defects == result.notices == ()
        assert result.alignment.coverage == 1.0
        assert result.base.num_parameters == result.candidate.num_parameters
        assert {s.estimate.value for s in result.signals if s.estimate is not None} == {0.0}
        assert result.sdi.estimate.value == 0.0


@pytest.mark.parametrize("family", ALL)
def test_both_decoder_layers_are_found_and_named(family):
    proof = prove(family)
    assert proof.num_layers == 2
    layers = proof.identical.alignment.layers
    assert layers[:3] == ("embedding", "layers.0", "layers.1")
    assert not any(layer.startswith("layers.") for layer in layers[3:])


@pytest.mark.parametrize("family", ALL)
def test_every_matrix_of_a_decoder_layer_has_its_role(family):
    assert {field_of(row): row.role for row in matrices_of(family)} == MATRICES[family]


@pytest.mark.parametrize("family", ALL)
def test_what_is_outside_of_the_layers_is_embedding_norm_or_head(family):
    rows = [row for row in prove(family).rows if ".N." not in row.pattern]
    assert {row.role for row in rows} >= {"embedding", "norm"}
    for row in rows:
        expected = "norm" if len(row.shape) == 1 else "embedding"
        assert row.role == ("head" if row.pattern.startswith("lm_head.") else expected)


@pytest.mark.parametrize("family", ALL)
def test_every_linear_map_that_sees_each_token_once_is_measured_on_its_outputs(family):
    found = {field_of(row) for row in matrices_of(family) if row.is_on_outputs}
    assert found == MATRICES[family].keys() - BY_WEIGHTS_ONLY.get(family, set())


def test_the_unlisted_families_are_named_nowhere_in_the_code():
    code = "".join(path.read_text(encoding="utf-8") for path in CODE.rglob("*.py")).lower()
    assert [family for family in UNLISTED_FAMILIES if family in code] == []


def test_the_document_says_what_was_found(assert_golden):
    proofs = {family: prove(family) for family in ALL}
    assert_golden("docs/families.md", document_of(proofs, unlisted=UNLISTED_FAMILIES))
