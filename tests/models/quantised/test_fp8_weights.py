"""FP8 in blocks and as a whole: each value times the scale of its block."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from quantised_files import REF, MemorySource, fp8_blocks, random_matrix
from tiny_models import build_base, edit_json, rewrite
from transformers import AutoModelForCausalLM

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.quantised.method import open_quantised

FP8 = torch.float8_e4m3fn


def opened(held, block=(128, 128), **config):
    plain = {"quant_method": "fp8", "weight_block_size": list(block) if block else None} | config
    return open_quantised(MemorySource(held), plain, REF)


def read(held, block=(128, 128), name="x.weight"):
    tensors, _ = opened(held, block)
    return tensors.read(tensors.tensors[name])


def pair(shape=(192, 200), block=(128, 128)):
    data, scale, means = fp8_blocks(random_matrix(*shape), block)
    return {"x.weight": data, "x.weight_scale_inv": scale}, means


@given(
    rows=st.integers(1, 60),
    columns=st.integers(1, 60),
    height=st.just(1) | st.integers(16, 40),
    width=st.integers(16, 40),
)
def test_every_value_is_multiplied_by_the_scale_of_its_block(rows, columns, height, width):
    held, means = pair((rows, columns), (height, width))
    assert torch.equal(read(held, (height, width)), means)


def test_two_blocks_of_128_over_192_rows_are_not_two_blocks_of_96():
    # What transformers' own operation makes of it, which asks the grid for the size of a block.
    scale = torch.tensor([[2.0], [3.0]])
    got = read({"x.weight": torch.ones(192, 128).to(FP8), "x.weight_scale_inv": scale})
    assert got[:, 0].tolist() == [2.0] * 128 + [3.0] * 64


def test_a_block_larger_than_the_weight_allocates_nothing_by_its_number():
    held, means = pair((8, 16), (2**40, 2**40))
    assert torch.equal(read(held, (2**40, 2**40)), means)


def test_a_checkpoint_reads_as_transformers_loads_it(tmp_path):
    # Written by hand, for transformers quantises to FP8 on graphics cards alone; it loads it here.
    pytest.importorskip("accelerate")
    folder = build_base(tmp_path / "m", hidden_size=32, intermediate_size=64, head_dim=16)
    config = {"quant_method": "fp8", "weight_block_size": [16, 16]}

    def quantise(tensors):
        for name in [name for name in tensors if "proj" in name]:
            data, scale, _ = fp8_blocks(tensors[name], (16, 16))
            tensors |= {name: data, f"{name}_scale_inv": scale}

    rewrite(folder, quantise)
    edit_json(folder / "config.json", quantization_config=config)
    expected = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    tensors, quantisation = open_quantised(MemorySource.of(folder), config, REF)
    assert quantisation.num_tensors == 14
    assert tensors.tensors.keys() == expected.keys()
    for name, info in tensors.tensors.items():
        assert torch.equal(tensors.read(info), expected[name])


def test_one_scale_for_all_of_a_weight():
    data = random_matrix(6, 10).to(FP8)
    for scale in (torch.tensor(0.25), torch.tensor([0.25])):
        held = {"x.weight": data, "x.weight_scale_inv": scale}
        assert torch.equal(read(held, None), data.float() * 0.25)


def test_stacked_experts_have_a_grid_each():
    data, scales, means = zip(
        *(fp8_blocks(random_matrix(40, 24, seed), (16, 16)) for seed in range(3)), strict=True
    )
    data = torch.stack([part.view(torch.uint8) for part in data]).view(FP8)
    held = {"x.up_proj": data, "x.up_proj_scale_inv": torch.stack(scales)}
    assert torch.equal(read(held, (16, 16), "x.up_proj"), torch.stack(means))
    ones = torch.tensor([1.0, 2.0, 4.0]).reshape(3, 1, 1)
    held["x.up_proj_scale_inv"] = ones
    assert torch.equal(read(held, None, "x.up_proj"), data.float() * ones)


@pytest.mark.parametrize("stored", ["bytes", "float8_e8m0fnu"])
def test_powers_of_two_as_scales(stored):
    data = random_matrix(40, 36).to(FP8)
    exponents = torch.tensor([[120, 127], [130, 125]], dtype=torch.uint8)
    scale = exponents if stored == "bytes" else exponents.view(torch.float8_e8m0fnu)
    got = read({"x.weight": data, "x.weight_scale_inv": scale}, (20, 20))
    grid = (exponents.float() - 127).exp2().repeat_interleave(20, 0).repeat_interleave(20, 1)
    assert got.dtype is torch.bfloat16
    assert torch.equal(got.float(), data.float() * grid[:, :36])


def test_scales_of_activations_are_set_aside_by_name():
    held, means = pair()
    tensors, quantisation = opened(
        held | {"x.activation_scale": torch.ones(()), "norm.weight": torch.ones(3)}
    )
    assert list(tensors.tensors) == ["x.weight", "norm.weight"]
    assert quantisation.set_aside == ("x.activation_scale",)
    assert quantisation.method == "fp8-block 128 by 128"
    assert "1 stored scales of activations or caches are unused" in quantisation.description
    assert torch.equal(tensors.read(tensors.tensors["x.weight"]), means)
    assert torch.equal(tensors.read(tensors.tensors["norm.weight"]), torch.ones(3))


def test_no_data_is_read_before_a_tensor_is_asked_for():
    source = MemorySource(pair()[0])
    open_quantised(source, {"quant_method": "fp8"}, REF)
    assert source.read_names == []


@pytest.mark.parametrize(
    "changes",
    [
        {"x_dot_weight_scale_inv": torch.ones(2, 3)},
        {"x_dot_weight_scale_inv": torch.ones(3, 2)},
        {"x_dot_weight_scale_inv": torch.ones(())},
        {"x_dot_weight_scale_inv": torch.ones(2, 2, dtype=torch.int64)},
        {"x_dot_weight_scale_inv": None},
        {"x_dot_weight": None},
        {"x_dot_weight": torch.zeros(8).to(FP8)},
        {"y_dot_weight_scale_inv": torch.ones(2, 2)},
        {"y_dot_weight": torch.zeros(8, 8).to(FP8)},
        {"y_dot_weight": torch.zeros(8, 8, dtype=torch.int8)},
    ],
    ids=lambda changes: "-".join(
        f"{k}:{None if v is None else tuple(v.shape)}" for k, v in changes.items()
    ),
)
def test_parts_that_do_not_fit_are_refused(changes):
    source = MemorySource(pair()[0]).changed(**changes)
    with pytest.raises(FormatError, match=r"is not whole|nothing says how|holds no scale"):
        open_quantised(source, {"quant_method": "fp8"}, REF)


BLOCKS = [[1, 1], [1, 15], [16, 15], [15, 16], [8, 128], [0, 16], [1], [10**50, 16], [1, 1, 1]]
BLOCKS += ["128", [16.5, 32], [-16, 32], {}]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_that_is_none_is_refused(block):
    config = {"quant_method": "fp8", "weight_block_size": block}
    with pytest.raises(FormatError, match="weight_block_size"):
        open_quantised(MemorySource(pair()[0]), config, REF)


def test_weights_packed_in_four_bits_are_refused():
    held, _ = pair()
    with pytest.raises(IncomparableError, match="stored as I8; expected F8_E4M3"):
        opened(held | {"x.weight": torch.zeros(192, 100, dtype=torch.int8)})


def test_a_transformers_that_cannot_dequantise_is_named(monkeypatch):
    from transformers.integrations import finegrained_fp8  # noqa: PLC0415 - patched here alone

    monkeypatch.delattr(finegrained_fp8, "Fp8Dequantize")
    with pytest.raises(IncomparableError, match="installed transformers cannot dequantise"):
        opened(pair()[0])
