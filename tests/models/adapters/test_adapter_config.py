import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from sdi_gate.errors import ExitCode, FormatError, IncomparableError, SdiGateError, UsageError
from sdi_gate.models.adapters.config import (
    base_reference,
    parse_adapter_config,
    read_adapter_config,
)
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.ref import ModelRef
from sdi_gate.progress import NullProgress

WHERE = "adapter_config.json of file:adapter"


def parse(**changes):
    plain = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    return parse_adapter_config(plain | changes, WHERE)


def test_what_peft_writes_is_read():
    config = parse(
        base_model_name_or_path="org/name",
        revision=None,
        bias="none",
        modules_to_save=["lm_head"],
        rank_pattern={"v_proj": 2},
        alpha_pattern={},
        layers_to_transform=None,
        peft_version="0.21.2",
        inference_mode=True,
        lora_dropout=0.05,
        megatron_core="megatron.core",
        init_lora_weights=True,
    )
    assert (config.r, config.alpha, config.bias) == (4, 8.0, "none")
    assert config.target_modules == ("q_proj",)
    assert config.modules_to_save == {"lm_head"}
    assert config.layers_to_transform is None


def test_what_a_file_does_not_say_is_as_in_peft():
    config = parse_adapter_config({"peft_type": "LORA"}, WHERE)
    assert (config.r, config.alpha, config.use_rslora) == (8, 8.0, False)


@pytest.mark.parametrize(
    ("changes", "module", "rank", "scale"),
    [
        ({}, "m.q_proj", 4, 2.0),
        ({"use_rslora": True}, "m.q_proj", 4, 4.0),
        ({"rank_pattern": {"q_proj": 2}}, "m.q_proj", 2, 4.0),
        ({"rank_pattern": {"q_proj": 2}}, "m.xq_proj", 4, 2.0),
        ({"rank_pattern": {"m.q_proj": 2, "q_proj": 16}}, "m.q_proj", 2, 4.0),
        ({"alpha_pattern": {"q_proj": 1}}, "m.q_proj", 4, 0.25),
        ({"alpha_pattern": {r"m\..*": -3.0}}, "m.q_proj", 4, -0.75),
        ({"use_rslora": True, "rank_pattern": {"q_proj": 9}}, "m.q_proj", 9, 8 / 3),
        ({"rank_pattern": None, "alpha_pattern": None}, "m.q_proj", 4, 2.0),
    ],
)
def test_rank_and_scale_follow_the_patterns(changes, module, rank, scale):
    config = parse(**changes)
    assert config.rank_of(module) == rank
    assert config.scale_of(module, rank) == pytest.approx(scale, rel=1e-15)


def test_other_methods_name_their_alpha_otherwise():
    plain = {"peft_type": "LOHA", "r": 4, "alpha": 2}
    assert parse_adapter_config(plain, WHERE).scale_of("q", 4) == 0.5


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("r", 0), ("r", -1), ("r", True), ("r", 2.0), ("r", "8"), ("r", None), ("r", 10**7),
        ("lora_alpha", True), ("lora_alpha", "16"), ("lora_alpha", None), ("lora_alpha", [1]),
        ("lora_alpha", math.inf), ("lora_alpha", math.nan), ("lora_alpha", 10**400),
        ("rank_pattern", {"q": 0}), ("rank_pattern", {"q": True}), ("rank_pattern", ["q"]),
        ("alpha_pattern", {"q": "1"}), ("alpha_pattern", "q"), ("use_rslora", 1),
        ("use_dora", "yes"), ("fan_in_fan_out", []), ("bias", "some"), ("bias", 1),
        ("target_modules", 3), ("target_modules", ["q", 3]), ("modules_to_save", "lm_head"),
        ("modules_to_save", [None]), ("base_model_name_or_path", 7), ("revision", ["main"]),
        ("task_type", 1), ("ensure_weight_tying", "no"), ("peft_type", 3), ("peft_type", None),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_by_its_key(key, value):
    with pytest.raises(FormatError, match=f"^{key} in adapter_config.json of file:adapter is not"):
        parse(**{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("target_parameters", ["mlp.experts.gate_up_proj"]),
        ("layer_replication", [[0, 4], [2, 5]]),
        ("trainable_token_indices", [1, 2]),
        ("alora_invocation_tokens", [5]),
        ("lora_bias", True),
        ("megatron_config", {"tensor_model_parallel_size": 1}),
        ("use_qalora", True),
        ("use_bdlora", {"nblocks": 2}),
        ("arrow_config", {"top_k": 3}),
        ("kasa_config", {"beta": 1.0}),
        ("monteclora_config", {"num_samples": 8}),
        ("velora_config", {"scale": 1.0}),
        ("a_key_of_next_year", "on"),
        ("a_number_of_next_year", 0),
    ],
)
def test_a_setting_that_is_not_read_is_refused_by_name(key, value):
    with pytest.raises(IncomparableError, match=f"sets '{key}' to .* which is not read") as caught:
        parse(**{key: value})
    assert caught.value.exit_code == ExitCode.INCOMPARABLE
    assert "merge_and_unload" in caught.value.hint


@pytest.mark.parametrize("value", [None, False, [], {}, ""], ids=repr)
def test_a_setting_that_is_switched_off_says_nothing(value):
    assert parse(target_parameters=value, a_key_of_next_year=value).r == 4


@pytest.mark.parametrize("kind", ["IA3", "VERA", "ADALORA", "PREFIX_TUNING", "OFT", "BOFT", "LoRA"])
def test_a_kind_of_adapter_that_is_not_read_is_refused_by_name(kind):
    with pytest.raises(IncomparableError, match=f"is of kind '{kind}'; LORA, LOHA, LOKR"):
        parse(peft_type=kind)


@pytest.mark.parametrize(
    "start", ["pissa", "pissa_niter_16", "PiSSA", "olora", "corda", "loftq", "lora_ga"]
)
def test_an_adapter_that_belongs_to_a_changed_base_is_refused(start):
    with pytest.raises(IncomparableError, match=f"began with '{start.lower()}', which") as caught:
        parse(init_lora_weights=start)
    assert "path_initial_model_for_weight_conversion" in caught.value.hint


@pytest.mark.parametrize("start", [True, False, None, "gaussian", "orthogonal", "eva", "mica"])
def test_ways_to_begin_that_leave_the_base_alone_are_read(start):
    assert parse(init_lora_weights=start).r == 4


@pytest.mark.parametrize("start", ["next_year", "", 7], ids=repr)
def test_an_unknown_way_to_begin_is_refused(start):
    with pytest.raises(SdiGateError, match="init_lora_weights"):
        parse(init_lora_weights=start)


def test_a_model_class_of_somebody_else_is_refused():
    library = {"parent_library": "transformers_modules.evil"}
    with pytest.raises(IncomparableError, match="asks for a model class of 'transformers_modules"):
        parse(auto_mapping=library)
    own = {"base_model_class": "LlamaModel", "parent_library": "transformers.models.llama.x"}
    assert parse(auto_mapping=own).r == 4


@pytest.mark.parametrize("key", ["rank_pattern", "alpha_pattern"])
def test_a_hostile_expression_is_refused(key):
    with pytest.raises(IncomparableError, match=rf"{key} in .* has the expression '\(a\+\)\+b'"):
        parse(**{key: {"(a+)+b": 2}})


@pytest.mark.parametrize(
    ("end", "num", "limit"),
    [("", 2_000, "50,000 characters of names"), (".*", 500, "5,000 characters of expressions")],
)
def test_more_expressions_than_any_model_has_modules_are_refused(end, num, limit):
    patterns = {f"layers.{i}.self_attn.q_proj{end}": 2 for i in range(num)}
    with pytest.raises(IncomparableError, match=f"rank_pattern in .* has more than {limit}"):
        parse(rank_pattern=patterns)


def test_a_base_on_the_hub_is_named_by_the_adapter():
    assert str(base_reference(parse(base_model_name_or_path="org/name"))) == "hf:org/name"
    config = parse(base_model_name_or_path="org/name", revision="v1.0")
    assert str(base_reference(config)) == "hf:org/name@v1.0"


@pytest.mark.parametrize("name", [None, ""])
def test_an_adapter_that_names_no_base_asks_for_one(name):
    with pytest.raises(UsageError, match="names no base model") as caught:
        base_reference(parse(base_model_name_or_path=name))
    assert "--base" in caught.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "/data/models/base", "./base", "../base", "base", "C:\\models\\base", "file:base", "~/base",
        "org/name@main", "org/na me", "a/b/c", "org/..", "hf:org/name", "https://example.org/x/y",
    ],
)  # fmt: skip
def test_a_folder_that_an_adapter_names_is_never_followed(name):
    with pytest.raises(UsageError, match=r"names the base .*(which is no repo|expected org/name)"):
        base_reference(parse(base_model_name_or_path=name))


@pytest.mark.parametrize("revision", ["../x", "a b", "-x"])
def test_a_revision_that_is_none_is_refused(revision):
    with pytest.raises(UsageError, match="names the base"):
        base_reference(parse(base_model_name_or_path="org/name", revision=revision))


def test_a_configuration_is_read_from_its_file(tmp_path):
    plain = {"peft_type": "LORA", "r": 2}
    (tmp_path / "adapter_config.json").write_text(json.dumps(plain), encoding="utf-8")
    save_file({"weight": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    snapshot = FolderSource().fetch(ModelRef.parse(f"file:{tmp_path}"), NullProgress())
    assert read_adapter_config(snapshot).r == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "modules_to_save",
     "init_lora_weights", "auto_mapping", "bias", "use_dora", "loftq_config", "revision"]
)  # fmt: skip


@given(changes=st.dictionaries(KEYS | st.text(max_size=8), JSON, max_size=4))
def test_whatever_a_configuration_says_it_is_read_or_refused(changes):
    try:
        config = parse(**changes)
    except (FormatError, IncomparableError):
        return
    rank = config.rank_of("model.layers.0.q_proj")
    assert rank >= 1
    assert math.isfinite(config.scale_of("model.layers.0.q_proj", rank))
    try:
        base_reference(config)
    except UsageError:
        return
