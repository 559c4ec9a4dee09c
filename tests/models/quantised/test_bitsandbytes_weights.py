"""bitsandbytes: what it quantises is what is read, and nothing that does not fit is."""

from __future__ import annotations

import json
import math

import pytest
import torch
from bitsandbytes_files import CONFIG, NF4, changed_state, opened, read
from quantised_files import (
    REF,
    MemorySource,
    bitsandbytes_model,
    eight_bit,
    four_bit,
    random_matrix,
)
from safetensors.torch import load_file

from sdi_gate.models.quantised.method import open_quantised

pytest.importorskip("bitsandbytes")


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bitsandbytes-nf4"),
        (
            {
                "load_in_4bit": True,
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_use_double_quant": True,
            },
            "bitsandbytes-nf4",
        ),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, "bitsandbytes-fp4"),
        (
            {"load_in_4bit": True, "bnb_4bit_quant_storage": "float32"},
            "bitsandbytes-fp4",
        ),
        ({"load_in_8bit": True}, "bitsandbytes-int8"),
    ],
    ids=["nf4", "nf4 nested", "fp4", "fp4 in float32", "int8"],
)
def test_a_checkpoint_that_transformers_quantised_reads_as_it_dequantises_it(
    tmp_path, options, method
):
    # Built by from_pretrained(quantization_config=…) and save_pretrained, on this CPU.
    model, folder = bitsandbytes_model(tmp_path, **options)
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    tensors, quantisation = open_quantised(MemorySource.of(folder), config, REF)
    expected = model.dequantize(dtype=torch.float32).state_dict()
    assert tensors.tensors.keys() == expected.keys()
    assert quantisation.method == method
    assert quantisation.num_tensors == 14
    for name, info in tensors.tensors.items():
        assert info.shape == tuple(expected[name].shape)
        got = tensors.read(info)
        if name in quantisation.names:
            assert torch.equal(got.float(), expected[name].float())
        else:
            assert torch.equal(got, expected[name])


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize("shape", [(8, 128), (5, 64), (64,), (2, 3, 64)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_four_bits_read_as_the_library_reads_them(kind, nested, shape, dtype):
    weight = random_matrix(1, math.prod(shape)).reshape(shape).to(dtype)
    held, expected = four_bit(weight, kind, nested=nested)
    tensors, _ = opened(held)
    info = tensors.tensors["x.weight"]
    assert info.shape == shape
    got = tensors.read(info)
    assert got.dtype is dtype
    assert torch.equal(got, expected.reshape(shape))


@pytest.mark.parametrize("blocksize", [32, 64, 128, 2048, 4096])
@pytest.mark.parametrize("shape", [(16, 96), (7, 33), (1, 2), (1, 1), (3, 128), (70, 100)], ids=str)
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bits_are_a_table_times_the_largest_of_each_block(kind, shape, blocksize):
    # By hand, because the library's kernel for CPUs is wrong where blocks cross rows.
    weight = random_matrix(*shape)
    held, _ = four_bit(weight, kind, blocksize=blocksize)
    codes = held["x.weight"].reshape(-1)
    indices = torch.stack((codes >> 4, codes & 15), dim=-1).reshape(-1).long()
    table = held["x.weight.quant_map"]
    largest = held["x.weight.absmax"].repeat_interleave(blocksize)
    by_hand = (table[indices] * largest[: len(indices)])[: weight.numel()].reshape(shape)
    got = read(held)
    assert torch.allclose(got, by_hand, rtol=1e-6, atol=0)
    widest = float(table.sort().values.diff().max()) / 2
    bound = widest * largest[: weight.numel()].reshape(shape) * (1 + 1e-6)
    assert bool(((got - weight).abs() <= bound).all())


@pytest.mark.parametrize("shape", [(16, 96), (7, 33), (70, 100), (300, 128)], ids=str)
def test_nested_scales_are_a_table_times_their_own_scales_plus_an_offset(shape):
    weight = random_matrix(*shape) + 0.5
    held, _ = four_bit(weight, nested=True)
    state = json.loads(bytes(held[NF4].tolist()))
    outer = held["x.weight.nested_absmax"].repeat_interleave(state["nested_blocksize"])
    codes = held["x.weight.absmax"].long()
    largest = held["x.weight.nested_quant_map"][codes] * outer[: len(codes)]
    plain = {name: tensor for name, tensor in held.items() if "nested" not in name}
    plain["x.weight.absmax"] = largest + state["nested_offset"]
    removed = dict.fromkeys((key for key in state if "nested" in key), ...)
    assert torch.allclose(read(held), read(changed_state(plain, **removed)), rtol=1e-5, atol=0)


def test_int8_is_within_half_a_step_of_what_was_quantised():
    weight = random_matrix(12, 40).half().float()
    held = eight_bit(weight)
    got = read(held)
    assert got.dtype is torch.float32
    step = held["x.SCB"][:, None] / 127
    assert bool(((got - weight).abs() <= step * 0.501).all())
    by_hand = held["x.weight"].double() * held["x.SCB"].double()[:, None] / 127
    assert torch.allclose(got.double(), by_hand, rtol=1e-6)


def test_only_the_states_are_read_before_a_tensor_is_asked_for():
    held, _ = four_bit(random_matrix(8, 64), nested=True)
    source = MemorySource(held | {"norm.weight": torch.ones(8)})
    tensors, _ = open_quantised(source, CONFIG, REF)
    assert source.read_names == [NF4]
    assert list(tensors.tensors) == ["x.weight", "norm.weight"]


def test_a_configuration_of_2023_without_a_method_is_read_by_its_flags():
    held, expected = four_bit(random_matrix(8, 64))
    tensors, _ = open_quantised(MemorySource(held), {"load_in_4bit": True}, REF)
    assert torch.equal(tensors.read(tensors.tensors["x.weight"]), expected)


def test_the_description_says_that_quantisation_was_measured():
    _, quantisation = opened(four_bit(random_matrix(8, 64))[0])
    assert "1 tensors are stored as bitsandbytes-nf4" in quantisation.description
    assert "measured, of weights and not of activations." in quantisation.description


def test_nan_in_a_scale_flows_on_to_those_who_refuse_it():
    held, _ = four_bit(random_matrix(8, 64))
    held["x.weight.absmax"][0] = float("nan")
    assert bool(read(held).isnan().any())


def test_the_fixture_is_what_transformers_writes(tmp_path):
    _, folder = bitsandbytes_model(tmp_path, load_in_4bit=True, bnb_4bit_quant_type="nf4")
    stored = load_file(folder / "model.safetensors")
    prefix = "model.layers.0.mlp.up_proj."
    theirs = {name.removeprefix(prefix) for name in stored if name.startswith(prefix)}
    ours = {name.removeprefix("x.") for name in four_bit(random_matrix(96, 64))[0]}
    assert theirs == ours
