"""Numbers in configurations that no model has, and strange ones that some have."""

from __future__ import annotations

import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from tiny_models import FAMILIES, config_of
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sdi_gate.errors import FormatError
from sdi_gate.models.sizes import refuse_absurd_sizes

ABSURD = {
    "many-layers": ({"num_hidden_layers": 10**9}, "'num_hidden_layers' is 1000000000; expected at"),
    "negative": ({"num_attention_heads": -1}, "'num_attention_heads' is -1; expected an integer"),
    "truth": ({"n_layer": True}, "'n_layer' is True; expected an integer from 0"),
    "float": ({"n_head": 2.0}, r"'n_head' is 2\.0; expected an integer from 0"),
    "large-float": (
        {"num_experts": 1e300},
        r"'num_experts' is 1e\+300; expected at most 1,000,000",
    ),
    "text": ({"num_labels": "3"}, "'num_labels' is '3'; expected an integer from 0"),
    "wide": ({"hidden_size": 10**8}, "'hidden_size' is 100000000; expected at most 10,000,000"),
    "vocabulary": ({"vocab_size": -5}, "'vocab_size' is -5; expected an integer from 0"),
    "long": (
        {"max_position_embeddings": 10**9},
        "'max_position_embeddings' is 1000000000; expected at most 100,000,000",
    ),
    "below": ({"text_config": {"num_experts": 10**7}}, "'num_experts' is 10000000; expected"),
    "deep-below": ({"a": [{"b": {"n_layer": -1}}]}, "'n_layer' is -1"),
    "in-a-list": ({"num_key_value_heads": [2, 2, 10**7]}, "'num_key_value_heads' is 10000000"),
    "unknown-key": ({"whatever": 2**31 + 1}, "'whatever' is 2147483649; expected at most 2,147,"),
    "unknown-key-below": ({"whatever": -(2**40)}, "'whatever' is -1099511627776; expected at most"),
    "long-number": ({"x" * 200: 10**300}, "'x{80}' is 10{79}; expected at most"),
}


@pytest.mark.parametrize(("plain", "text"), ABSURD.values(), ids=ABSURD)
def test_what_no_model_has_is_refused(plain, text):
    with pytest.raises(FormatError, match=f"^config of m: {text}") as caught:
        refuse_absurd_sizes(plain, "config of m")
    assert caught.value.hint


SOUND = [
    {"num_attention_heads": None, "hidden_size": None},
    {"num_attention_heads": 0},
    {"num_key_value_heads": [1, 2, 4], "intermediate_size": [8, 8]},
    {"rope_theta": 10**12, "rope_scaling": {"rope_theta": 10**12, "factor": 8.0}},
    {"rotary_emb_base": 2**40},
    {"tokenizer_model_max_length": 10**30, "seed": 2**32 - 1},
    {"quantization_config": {"bits": 4, "group_size": -1, "num_bits": 8}},
    {"max_position_embeddings": 10_485_760, "vocab_size": 262_144},
    {"tie_word_embeddings": True, "rms_norm_eps": 1e-6, "attention_bias": 1e300},
    {"whatever": -(2**31), "other": 2**31},
]


@pytest.mark.parametrize("plain", SOUND, ids=str)
def test_what_some_models_have_is_taken(plain):
    assert refuse_absurd_sizes(plain, "config of m") is None


def written(config):
    return json.loads(config.to_json_string(use_diff=False))


@pytest.mark.parametrize("family", [*FAMILIES, "mixtral"])
def test_the_configurations_of_families_are_taken(family):
    assert refuse_absurd_sizes(written(config_of(family)), family) is None


def test_the_defaults_of_every_causal_family_of_transformers_are_taken():
    taken = 0
    for family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        try:
            config = CONFIG_MAPPING[family]()
        except StrictDataclassError:
            continue  # It has no defaults that make a model.
        refuse_absurd_sizes(written(config), family)
        taken += 1
    assert taken > 100
