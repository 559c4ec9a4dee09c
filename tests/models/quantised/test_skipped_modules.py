"""A weight that is quantised where the configuration says that it is not is refused."""

from __future__ import annotations

import re
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from quantised_files import (
    REF,
    MemorySource,
    compressed_config,
    compressed_module,
    eight_bit,
    fp8_blocks,
    random_matrix,
)
from transformers.quantizers.quantizers_utils import should_convert_module

from sdi_gate.errors import FormatError
from sdi_gate.models.quantised.method import open_quantised
from sdi_gate.models.quantised.skipped import refuse_ignored, refuse_skipped

MODULE = "model.layers.1.self_attn.q_proj"
OTHERS = ("lm_head.weight", "model.layers.1.mlp.gate.weight", "model.norm.weight")


def fp8(module=MODULE):
    data, scale, _ = fp8_blocks(random_matrix(32, 32), (16, 16))
    plain = {name: torch.ones(4) for name in OTHERS}
    return {f"{module}.weight": data, f"{module}.weight_scale_inv": scale} | plain


def open_fp8(skipped, key="modules_to_not_convert", module=MODULE):
    config = {"quant_method": "fp8", "weight_block_size": [16, 16], key: skipped}
    return open_quantised(MemorySource(fp8(module)), config, REF)


HITS = [
    MODULE,
    "q_proj",
    "proj",
    "self_attn.q_proj",
    "model.layers.1",
    "model.layers.1.",
    "model",
    "model.layers.*",
    r"model\.layers\.\d+\.self_attn",
    "model.layers.1.self.attn.q_pro.",
    ".*q_proj",
]
MISSES = [
    "lm_head",
    "mlp.gate",
    "model.norm",
    "layers.1",
    "model.layers.11",
    "model.layer",
    "q_pro",
]
MISSES += ["q_pro", "model.layers.1.self_attn.q", "self_attn", "visual.*"]


@pytest.mark.parametrize("text", HITS)
def test_a_listed_module_that_is_quantised_is_refused(text):
    assert not should_convert_module(MODULE, [text])
    with pytest.raises(FormatError, match=r"q_proj' of .* lists it among those that are not"):
        open_fp8(["lm_head", text])


@pytest.mark.parametrize("text", MISSES)
def test_a_list_of_other_modules_is_what_real_checkpoints_have(text):
    assert should_convert_module(MODULE, [text])
    assert open_fp8([text])[1].num_tensors == 1


@given(st.text("modelqp_.j1", min_size=1, max_size=12))
def test_names_are_matched_as_transformers_matches_them(text):
    config = {"modules_to_not_convert": [text]}
    try:
        refuse_skipped([f"{MODULE}.weight"], [f"{MODULE}.weight"], config, REF)
    except FormatError:
        assert not should_convert_module(MODULE, [text])
    else:
        assert should_convert_module(MODULE, [text])


@pytest.mark.parametrize("key", ["ignored_layers", "llm_int8_skip_modules"])
def test_the_list_counts_under_each_of_its_names(key):
    with pytest.raises(FormatError, match="lists it"):
        open_fp8(["q_proj"], key)


def test_names_without_their_first_part_are_matched_with_it():
    with pytest.raises(FormatError, match="lists it"):
        open_fp8(["transformer.h.0"], module="h.0.attn.c_attn")


def test_without_a_list_the_head_is_plain():
    data, scale, _ = fp8_blocks(random_matrix(32, 32), (16, 16))
    held = {"lm_head.weight": data, "lm_head.weight_scale_inv": scale}
    with pytest.raises(FormatError, match="'lm_head' of"):
        open_quantised(
            MemorySource(held),
            {"quant_method": "fp8", "weight_block_size": [16, 16]},
            REF,
        )


def test_bitsandbytes_has_such_a_list_too():
    pytest.importorskip("bitsandbytes")
    held = eight_bit(random_matrix(12, 40), MODULE)
    config = {"quant_method": "bitsandbytes", "llm_int8_skip_modules": ["lm_head"]}
    assert open_quantised(MemorySource(held), config, REF)[1].num_tensors == 1
    with pytest.raises(FormatError, match="lists it"):
        open_quantised(MemorySource(held), config | {"llm_int8_skip_modules": ["q_proj"]}, REF)


@pytest.mark.parametrize("texts", ["q_proj", [1], {"q_proj": 1}, ["x" * 501]], ids=str)
def test_a_list_that_is_none_is_refused(texts):
    with pytest.raises(FormatError, match="is no list of names"):
        open_fp8(texts)


@pytest.mark.parametrize("text", ["(x+)+", "(?!a)", "((", "a{9}"])
def test_a_pattern_that_could_take_forever_is_refused(text):
    with pytest.raises(FormatError, match="no pattern that sdi-gate reads"):
        open_fp8([text])


def test_thousands_of_names_and_modules_take_a_moment():
    experts = [f"layers.{i}.mlp.experts.{j}.up_proj" for i in range(40) for j in range(64)]
    texts = [f"model.layers.{i}.mlp.gate" for i in range(400)]
    names = [f"model.{name}.weight" for name in experts]
    started = time.perf_counter()
    refuse_skipped(names, [*names, f"{texts[0]}.weight"], {"ignored_layers": texts}, REF)
    assert time.perf_counter() - started < 10


# compressed-tensors.


def compressed(ignore, targets):
    config = compressed_config("int-quantized") | {"ignore": ignore}
    config["config_groups"]["group_0"]["targets"] = targets
    scale = torch.full((4, 1), 0.02)
    held, _ = compressed_module(random_matrix(4, 8), config, scale, module=MODULE)
    return open_quantised(MemorySource(held), config, REF)


@pytest.mark.parametrize(
    ("ignore", "targets"),
    [
        (["lm_head", "re:.*mlp.gate$"], ["Linear"]),
        (None, ["re:.*q_proj"]),
        ([], [MODULE]),
        (["q_proj", "self_attn.q_proj"], ["LinearBase"]),
    ],
    ids=str,
)
def test_what_is_targeted_and_not_ignored_is_read(ignore, targets):
    pytest.importorskip("compressed_tensors")
    assert compressed(ignore, targets)[1].num_tensors == 1


@pytest.mark.parametrize(
    ("ignore", "targets", "match"),
    [
        ([MODULE], ["Linear"], "ignores it"),
        (["re:.*self_attn"], ["Linear"], "ignores it"),
        (["Linear"], ["Linear"], "ignores it"),
        (["lm_head"], ["re:.*k_proj"], "does not target it"),
        (["lm_head"], ["LlamaRMSNorm", "q_proj", "Embedding"], "does not target it"),
        ("lm_head", ["Linear"], "no list of names"),
    ],
    ids=str,
)
def test_what_is_ignored_or_not_targeted_is_refused(ignore, targets, match):
    pytest.importorskip("compressed_tensors")
    with pytest.raises(FormatError, match=match):
        compressed(ignore, targets)


def test_embeddings_are_targeted_by_their_class():
    groups = {"a": {"targets": ["Embedding"], "weights": {"num_bits": 8}}}
    refuse_ignored(["model.embed_tokens.weight"], {"config_groups": groups}, REF)
    with pytest.raises(FormatError, match="does not target it"):
        refuse_ignored([f"{MODULE}.weight"], {"config_groups": groups}, REF)
    assert re.match("model", MODULE)


# Scales of activations.

BAD = [float("nan"), float("inf"), 0.0, -1.0]


@pytest.mark.parametrize("number", BAD, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_scale_of_activations_that_breaks_a_model_is_refused(number, dtype):
    held = fp8() | {f"{MODULE}.activation_scale": torch.tensor(number, dtype=dtype)}
    config = {"quant_method": "fp8", "weight_block_size": [16, 16]}
    with pytest.raises(FormatError, match=r"q_proj\.activation_scale' of .* holds"):
        open_quantised(MemorySource(held), config, REF)


@pytest.mark.parametrize(
    "tensor", [torch.ones(65_537), torch.ones(1, dtype=torch.int32)], ids=["large", "integers"]
)
def test_a_scale_of_activations_that_is_none_is_refused_unread(tensor):
    source = MemorySource(fp8() | {f"{MODULE}.activation_scale": tensor})
    with pytest.raises(FormatError, match="is not whole: expected at most 65,536 numbers"):
        open_quantised(source, {"quant_method": "fp8", "weight_block_size": [16, 16]}, REF)
    assert source.read_names == []


@pytest.mark.parametrize(("byte", "good"), [(0, True), (254, True), (255, False)])
def test_exponents_are_scales_but_for_the_last(byte, good):
    held = fp8() | {f"{MODULE}.activation_scale": torch.tensor([byte], dtype=torch.uint8)}
    config = {"quant_method": "fp8", "weight_block_size": [16, 16]}
    if good:
        _, quantisation = open_quantised(MemorySource(held), config, REF)
        assert "1 stored scales of activations or caches are unused" in quantisation.description
        return
    with pytest.raises(FormatError, match="holds nan"):
        open_quantised(MemorySource(held), config, REF)


def test_zero_points_may_be_zero_and_scales_of_caches_not():
    pytest.importorskip("compressed_tensors")
    config = compressed_config("int-quantized")
    held, _ = compressed_module(random_matrix(4, 8), config, torch.full((4, 1), 0.02), module="x")
    held |= {"x.input_zero_point": torch.zeros(1, dtype=torch.int8), "attn.k_scale": torch.ones(2)}
    assert open_quantised(MemorySource(held), config, REF)[1].num_tensors == 1
    with pytest.raises(FormatError, match=r"'attn\.k_scale' of .* holds 0\.0"):
        open_quantised(MemorySource(held | {"attn.k_scale": torch.zeros(2)}), config, REF)
