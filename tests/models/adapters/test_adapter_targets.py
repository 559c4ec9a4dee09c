"""Hold what we take for targets to what PEFT does: it drops some tensors and makes up others."""

import copy

import pytest
import torch
from adapter_files import (
    base_of,
    candidate_of,
    load_with_peft,
    logits_of,
    rewrite_config,
    rewrite_weights,
    run_ours,
    save_adapter,
    some_tokens,
)
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_models import FAMILIES, MORE_FAMILIES, UNLISTED_FAMILIES, model_of

from sdi_gate.errors import ExitCode, FormatError, IncomparableError
from sdi_gate.models.adapters.build import BaseModel
from sdi_gate.models.adapters.config import parse_adapter_config
from sdi_gate.models.adapters.rules import rule_of
from sdi_gate.models.tensors import TensorInfo

peft = pytest.importorskip("peft")
tuners_utils = pytest.importorskip("peft.tuners.tuners_utils")

PREFIX = "base_model.model.model.layers"
Q = f"{PREFIX}.0.self_attn.q_proj"
O = f"{PREFIX}.0.self_attn.o_proj"  # noqa: E741 - as the field calls it
NORM = "base_model.model.model.norm"
TOKENS = some_tokens()
NO_BASE = BaseModel(tensors={})
MODULES = [
    "lm_head", "model.norm", "model.layers.0.q_proj", "model.layers.1.q_proj",
    "model.layers.1.mlp.q_proj", "model.layers.1.experts.0.up", "layers.0.up", "a.0.b.1.q_proj",
    "model.layers.10.mlp.up", "x.h.1.attn.q_proj", "0.1.2.q_proj", "model.layers.1", "h.0.h.1.up",
]  # fmt: skip
ENDS = st.sampled_from(
    ["q_proj", "up", "mlp.up", "layers.0.up", "model.layers.1.q_proj", "1.q_proj", "proj", "mlp"]
)
PATTERNS = st.sampled_from([".*q_proj", r".*\.1\..*", "(.*up|lm_head)", "q_proj", "", "model.*"])


def lora(**changes):
    plain = {"r": 2, "lora_alpha": 5, "target_modules": ["q_proj", "v_proj"]}
    return peft.LoraConfig(**(plain | changes), task_type="CAUSAL_LM")


def save(folder, *, family="llama", **changes):
    return save_adapter(folder, model_of(family), lora(**changes))


def theirs_of(folder, family="llama", **changes):
    with torch.random.fork_rng(devices=[]):
        return logits_of(load_with_peft(folder, model_of(family, **changes)), TOKENS)


def rename(old, new):
    return lambda tensors: [
        tensors.update({name.replace(old, new): tensors.pop(name)}) for name in list(tensors)
    ]


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


@given(
    targets=st.lists(ENDS, max_size=3) | PATTERNS,
    excluded=st.none() | st.lists(ENDS, max_size=2) | PATTERNS,
    saved=st.none() | st.lists(ENDS, max_size=2),
    layers=st.none() | st.integers(0, 2) | st.lists(st.integers(0, 10), max_size=2),
    pattern=st.none() | st.sampled_from(["layers", "h", "model.layers", "", ["h", "layers"], []]),
)
@example(targets=["layers.0.up"], excluded=None, saved=None, layers=[1], pattern=None)
@example(targets=["up"], excluded=None, saved=None, layers=0, pattern=["h", "layers"])
def test_the_targets_are_those_that_peft_finds(targets, excluded, saved, layers, pattern):
    plain = {
        "target_modules": targets,
        "exclude_modules": excluded,
        "modules_to_save": saved,
        "layers_to_transform": layers,
        "layers_pattern": pattern,
    }
    ours = parse_adapter_config(plain | {"peft_type": "LORA"}, "a file")
    try:
        config = peft.LoraConfig(**plain)
    except ValueError:
        if pattern not in ("", []):  # these are refused beside an expression, and say nothing
            with pytest.raises(FormatError, match="which PEFT does not load"):
                rule_of(ours, NO_BASE)
        return
    rule = rule_of(ours, NO_BASE)
    for module in MODULES:
        assert rule(module) == bool(tuners_utils.check_target_module_exists(config, module)), module


@pytest.mark.parametrize("family", [*FAMILIES, *MORE_FAMILIES, *UNLISTED_FAMILIES])
def test_all_linear_is_what_peft_takes_for_it_or_is_refused(family):
    model = model_of(family)
    found = base_of(model)
    base = BaseModel(
        tensors=found.source.tensors,
        tied=found.tied,
        transposed=found.transposed,
        vocabulary=found.vocabulary,
    )
    plain = {"peft_type": "LORA", "target_modules": "all-linear"}
    if family not in {*FAMILIES, "gemma3_text", "gpt_neox", "opt", "bloom", "falcon", "olmo2"}:
        with pytest.raises(IncomparableError, match=r"experts|may be none of them"):
            rule_of(parse_adapter_config(plain, "a file"), base)
        return
    rule = rule_of(parse_adapter_config(plain, "a file"), base)
    config = lora(target_modules="ALL-linear")
    theirs = tuners_utils._maybe_include_all_linear_layers(config, model).target_modules
    assert {name for name, _ in model.named_modules() if rule(name)} == theirs


ACCEPTED = {
    "excluded by name": ("llama", {"exclude_modules": ["layers.0.self_attn.q_proj"]}),
    "excluded by expression": ("llama", {"exclude_modules": r".*\.1\..*"}),
    "all linear but some": (
        "llama",
        {"target_modules": "all-linear", "exclude_modules": r".*(o|down)_proj"},
    ),
    "all linear, transposed": ("gpt2", {"target_modules": "all-linear"}),
    "layers by their pattern": ("llama", {"layers_to_transform": 1, "layers_pattern": "layers"}),
    "layers by one of two patterns": (
        "gpt2",
        {
            "target_modules": ["attn.c_proj"],
            "layers_to_transform": [0],
            "layers_pattern": ["layers", "h"],
        },
    ),
    "beneath what is trained as a whole": (
        "llama",
        {"modules_to_save": ["model.layers.0.self_attn.q_proj"]},
    ),
    "biases of adapted modules": ("qwen2", {"bias": "lora_only"}),
    "all biases": ("qwen2", {"bias": "all"}),
    "made up, and all there": ("llama", {"init_lora_weights": False}),
    "to be kept tied, by a name that PEFT does not know": (
        "gpt2",
        {"target_modules": ["wte"], "ensure_weight_tying": True},
    ),
}


@pytest.mark.parametrize("variant", ACCEPTED)
def test_what_is_accepted_computes_what_peft_computes(tmp_path, variant):
    family, changes = ACCEPTED[variant]
    folder = save(tmp_path, family=family, **changes)
    theirs = theirs_of(folder, family)
    ours = run_ours(candidate_of(folder, model_of(family)), family, TOKENS)
    assert float((theirs - logits_of(model_of(family), TOKENS)).abs().max()) > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5 * float(theirs.abs().max()))


def beside(**tensors):
    names = {"o": O, "q": Q, "n": NORM}
    return lambda held: held.update(
        {f"{names[key[0]]}.{key[2:].replace('__', '.')}": tensor for key, tensor in tensors.items()}
    )


# Each: the family, how the adapter was saved, what was done to its tensors and configuration.
IGNORED = {
    "whole weights of a module that was not to be saved": (
        {}, beside(n_modules_to_save__weight=noise(16)), {}, "alone: PEFT reads",
    ),
    "the same under a name": (
        {}, beside(n_modules_to_save__default__weight=noise(16)), {}, "alone: PEFT reads",
    ),
    "excluded by name": ({}, None, {"exclude_modules": ["q_proj"]}, "which is no target"),
    "excluded by expression": ({}, None, {"exclude_modules": ".*q_proj"}, "which is no target"),
    "left out by layers": ({}, None, {"layers_to_transform": [1]}, "which is no target"),
    "left out by the layers' pattern": (
        {}, None, {"layers_to_transform": [1], "layers_pattern": "layers"}, "which is no target",
    ),
    "excluded from all linear": (
        {"target_modules": "all-linear"}, None, {"exclude_modules": ".*o_proj"}, "is no target",
    ),
    "the head among all linear": (
        {"target_modules": ["q_proj", "lm_head"]}, None, {"target_modules": "all-linear"},
        "'lm_head', which is no target",
    ),
    "under another name": (
        {}, rename(".weight", ".foo.weight"), {}, "holds the adapter 'foo'; PEFT loads 'default'",
    ),
    "some under another name": (
        {}, rename("v_proj.lora_A", "v_proj.lora_A.foo"), {}, r"adapters \['None', 'foo'\]; expect",
    ),
    "norms under a name without an end": (
        {"use_dora": True}, rename("vector", "vector.default"), {},
        "no tensor of an adapter known",
    ),
    "matrices on an embedding": (
        {"target_modules": ["embed_tokens", "q_proj"]},
        lambda held: (
            rename("lora_embedding_A", "lora_A.weight")(held),
            rename("lora_embedding_B", "lora_B.weight")(held),
        ),
        {}, "puts LoRA on 'model.embed_tokens.weight'",
    ),
    "a bias beneath an adapter by its plain name": (
        {"bias": "lora_only"}, rename("base_layer.bias", "bias"), {}, "has an adapter over it",
    ),
    "a bias beneath no adapter by a wrapped name": (
        {}, beside(o_base_layer__bias=noise(16)), {}, "has no adapter over it",
    ),
}  # fmt: skip


def biased(**changes):
    return model_of("llama", attention_bias=True, **changes)


@pytest.mark.parametrize("carrier", IGNORED)
def test_a_tensor_that_peft_ignores_is_refused(tmp_path, carrier):
    how, spoil, config, why = IGNORED[carrier]
    folder = save_adapter(tmp_path / "a", biased(), lora(**how))
    before = {name: tensor.clone() for name, tensor in read(folder).items()}
    rewrite_config(folder, **config)
    if spoil is not None:
        rewrite_weights(folder, spoil)
    spoiled = read(folder)
    reached = theirs_of(folder, attention_bias=True)
    with pytest.raises((FormatError, IncomparableError), match=why) as caught:
        candidate_of(folder, biased())
    assert caught.value.exit_code in {ExitCode.SOURCE, ExitCode.INCOMPARABLE}
    assert caught.value.hint
    # Double the tensors that nobody would miss: what PEFT computes stays to the bit.
    dead = dead_tensors(before, spoiled, config)
    assert dead

    def double(tensors):
        for name in dead:
            tensors[name] *= 2

    rewrite_weights(folder, double)
    assert torch.equal(theirs_of(folder, attention_bias=True), reached)


def read(folder):
    from safetensors.torch import load_file  # noqa: PLC0415 - beside its one use

    return load_file(folder / "adapter_model.safetensors")


def dead_tensors(before, spoiled, config):
    if spoiled.keys() != before.keys():
        return spoiled.keys() - before.keys()
    if config.get("target_modules") == "all-linear":
        return {name for name in spoiled if ".lm_head." in name}
    left_out = "o_proj" if "o_proj" in str(config) else "q_proj"
    return {name for name in spoiled if f".0.self_attn.{left_out}" in name}


MADE_UP = {
    "a listed module": ({}, {"target_modules": ["q_proj", "v_proj", "o_proj"]}),
    "one that an expression names": ({}, {"target_modules": ".*(q|v|o)_proj"}),
    "one of all linear": ({}, {"target_modules": "all-linear"}),
    "beside modules that are left out": (
        {"exclude_modules": ["zzz"]}, {"target_modules": ["q_proj", "v_proj", "down_proj"]},
    ),
    "one that was left out": ({"exclude_modules": ["o_proj"]}, {"exclude_modules": None}
        | {"target_modules": ["q_proj", "v_proj", "o_proj"]}),
    "a layer that was left out": ({"layers_to_transform": [0]}, {"layers_to_transform": [0, 1]}),
    "an embedding": ({}, {"target_modules": ["q_proj", "v_proj", "embed_tokens"]}),
}  # fmt: skip


@pytest.mark.parametrize("carrier", MADE_UP)
def test_an_adapter_for_which_peft_makes_up_tensors_is_refused(tmp_path, carrier):
    how, config = MADE_UP[carrier]
    folder = save(tmp_path, **how)
    candidate_of(folder, model_of("llama"))
    rewrite_config(folder, **(config | {"init_lora_weights": False}))
    results = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(seed)
            results.append(logits_of(load_with_peft(folder, model_of("llama")), TOKENS))
    assert not torch.allclose(*results)
    with pytest.raises(FormatError, match=r"no tensors for .*, which is a target") as caught:
        candidate_of(folder, model_of("llama"))
    assert caught.value.exit_code == ExitCode.SOURCE


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"target_modules": "(?!zz).*(q|v)_proj"}, "target_modules in .* has the expression"),
        ({"exclude_modules": "(?!zz).*x"}, "exclude_modules in .* has the expression"),
        ({"target_modules": None}, "PEFT's own list decides"),
        ({"modules_to_save": ["(a|b)"]}, "in modules_to_save, which is no name"),
        ({"layers_to_transform": [0], "layers_pattern": "h|layers"}, "as layers_pattern"),
        ({"layers_to_transform": [0], "layers_pattern": "(?=h)"}, "layers_pattern in .* has the"),
        ({"target_modules": [f"q.{i}" for i in range(20)], "layers_to_transform": 0}, "beside 20"),
        ({"modules_to_save": [f"a.{i}.{'b' * 50}" for i in range(100)]}, "too many modules by"),
    ],
)
def test_a_rule_that_is_not_decided_as_peft_decides_it_is_refused(tmp_path, config, why):
    folder = rewrite_config(save(tmp_path), **config)
    with pytest.raises(IncomparableError, match=why) as caught:
        candidate_of(folder, model_of("llama"))
    assert caught.value.exit_code == ExitCode.INCOMPARABLE
    assert "merge_and_unload" in caught.value.hint


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ".*(q|v)_proj", "layers_to_transform": [0, 1]},
        {"layers_pattern": "layers"},
    ],
)
def test_keys_that_peft_does_not_load_together_are_refused(tmp_path, config):
    folder = rewrite_config(save(tmp_path), **config)
    with pytest.raises(ValueError, match="layers_"):
        load_with_peft(folder, model_of("llama"))
    with pytest.raises(FormatError, match="which PEFT does not load"):
        candidate_of(folder, model_of("llama"))


@pytest.mark.parametrize("layers", [True, 1.0, "1", [1, "2"], [None], [True]], ids=repr)
def test_layers_that_are_no_whole_numbers_are_refused(layers):
    plain = {"peft_type": "LORA", "target_modules": ["q"], "layers_to_transform": layers}
    with pytest.raises(FormatError, match="layers_to_transform in a file is not a whole number"):
        parse_adapter_config(plain, "a file")


@pytest.mark.parametrize(
    "targets", [["q_proj", "gate"], ["mlp.down_proj"], ".*q_proj", "all-linear"], ids=str
)
def test_targets_that_peft_rewrites_for_fused_experts_are_refused(tmp_path, targets):
    folder = save(tmp_path, family="mixtral", target_modules=["q_proj"])
    candidate_of(folder, model_of("mixtral"))
    rewrite_config(folder, target_modules=targets)
    with pytest.raises(IncomparableError, match="may target fused experts"):
        candidate_of(folder, model_of("mixtral"))


def test_a_module_that_is_saved_within_another_is_refused(tmp_path):
    folder = save(tmp_path, modules_to_save=["mlp"])
    candidate_of(folder, model_of("llama"))
    rewrite_config(folder, modules_to_save=["mlp", "up_proj"])
    with pytest.raises(IncomparableError, match="names two modules around"):
        candidate_of(folder, model_of("llama"))


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"target_modules": ["lm_head", "q_proj"], "exclude_modules": ["lm_head"]}, "lm_head"),
        ({"modules_to_save": ["lm_head"], "target_modules": ["q_proj", "lm_head"]}, "lm_head"),
    ],
)
def test_an_end_that_is_tied_and_also_adapted_or_excluded_is_refused(tmp_path, config, what):
    model = model_of("qwen2", tie_word_embeddings=True)
    targets = config["target_modules"]
    saved = lora(target_modules=targets, ensure_weight_tying=True)
    folder = save_adapter(tmp_path, copy.deepcopy(model), saved)
    rewrite_config(folder, **config)
    with pytest.raises(IncomparableError, match=f"both ties '{what}' and adapts or excludes it"):
        candidate_of(folder, model)


def test_a_matrix_that_may_be_an_embedding_or_a_head_is_not_adapted():
    from sdi_gate.models.adapters.rules import is_embedding  # noqa: PLC0415 - beside its one use

    info = TensorInfo(name="output.weight", dtype="F32", shape=(7, 4), shard="memory")
    base = BaseModel(tensors={info.name: info}, vocabulary=frozenset({info.name}))
    config = parse_adapter_config({"peft_type": "LORA"}, "a file")
    with pytest.raises(IncomparableError, match="which may be an embedding or a head"):
        is_embedding(info.name, config, base)
