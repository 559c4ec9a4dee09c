"""compressed-tensors: what its compressors write is what is read."""

from __future__ import annotations

import pytest
import torch
from quantised_files import (
    REF,
    MemorySource,
    compressed_config,
    compressed_module,
    random_matrix,
)

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.quantised import compressed_scheme
from sdi_gate.models.quantised.method import open_quantised

pytest.importorskip("compressed_tensors")
ACTIVATIONS = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}


def opened(held, config):
    return open_quantised(MemorySource(held), config, REF)


def read(held, config):
    tensors, _ = opened(held, config)
    return tensors.read(tensors.tensors["x.weight"])


def packed(shape=(6, 64), bits=4, group=16, *, symmetric=True):
    """Pack a random matrix in groups."""
    config = compressed_config(
        "pack-quantized", num_bits=bits, strategy="group", group_size=group, symmetric=symmetric
    )
    weight = random_matrix(*shape)
    blocks = weight.reshape(shape[0], -1, group)
    largest = 2 ** (bits - 1) - 1 if bits > 1 else 1
    zero = None if symmetric else torch.ones(blocks.shape[:2], dtype=torch.int8)
    scale = blocks.abs().amax(-1) / largest
    return *compressed_module(weight, config, scale, zero), config, weight, scale


SCHEMES = {
    "float by tensor": ("float-quantized", {"type": "float", "strategy": "tensor"}, (1,), 448),
    "float by channel": ("float-quantized", {"type": "float"}, (20, 1), 448),
    "int by channel": ("int-quantized", {}, (20, 1), 127),
    "naive int by tensor": ("naive-quantized", {"strategy": "tensor"}, (1,), 127),
    "naive float in blocks": (
        "naive-quantized",
        {"type": "float", "strategy": "block", "block_structure": [8, 16]},
        (3, 2),
        448,
    ),
    "naive int in groups": (
        "naive-quantized",
        {"strategy": "group", "group_size": 8},
        (20, 4),
        127,
    ),
}


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_whole_numbers_and_fp8_are_values_times_scales(scheme):
    form, arguments, grid, largest = scheme
    config = compressed_config(form, **arguments)
    weight = random_matrix(20, 32)
    scale = torch.full(grid, float(weight.abs().max()) / largest)
    held, expected = compressed_module(weight, config, scale)
    got = read(held, config)
    assert torch.equal(got, expected)
    assert torch.equal(got, held["x.weight"].float() * scale.flatten()[0])
    step = 0.501 if "float" not in scheme[1].get("type", "int") else 16.1
    assert bool(((got - weight).abs() <= step * scale.max()).all())


@pytest.mark.parametrize("bits", range(2, 9))
def test_packed_integers_of_any_width_in_groups(bits):
    held, expected, config, weight, scale = packed(bits=bits)
    got = read(held, config)
    assert torch.equal(got, expected)
    assert bool(((got - weight).abs() <= scale.repeat_interleave(16, 1) * 0.501).all())


def test_zero_points_are_taken_off():
    # The library stumbles over its own zero points where eight rows or fewer make one number.
    held, expected, config, weight, scale = packed((12, 64), symmetric=False)
    got = read(held, config)
    assert torch.equal(got, expected)
    # A zero point of 1 leaves one step less above, so that the largest are cut by one.
    assert bool(((got - weight).abs() <= scale.repeat_interleave(16, 1) * 1.01).all())


def test_packed_by_channel_takes_its_columns_from_the_stored_shape():
    config = compressed_config("pack-quantized", num_bits=4)
    weight = random_matrix(6, 61)
    scale = weight.abs().amax(1, keepdim=True) / 7
    held, expected = compressed_module(weight, config, scale)
    tensors, _ = opened(held, config)
    assert tensors.tensors["x.weight"].shape == (6, 61)
    assert torch.equal(tensors.read(tensors.tensors["x.weight"]), expected)


def test_in_groups_nothing_is_read_before_a_tensor_is_asked_for():
    held, _, config, *_ = packed()
    source = MemorySource(held)
    open_quantised(source, config, REF)
    assert source.read_names == []


def test_a_bfloat16_scale_gives_bfloat16():
    config = compressed_config("int-quantized")
    weight = random_matrix(4, 8).bfloat16()
    held, expected = compressed_module(weight, config, weight.abs().amax(1, keepdim=True) / 127)
    tensors, quantisation = opened(held, config)
    assert tensors.tensors["x.weight"].dtype == "BF16"
    assert torch.equal(tensors.read(tensors.tensors["x.weight"]), expected)
    assert quantisation.method == "compressed-tensors (int-quantized)"


def test_what_quantises_activations_is_set_aside_by_name():
    config = compressed_config("int-quantized")
    config["config_groups"]["group_0"]["input_activations"] = ACTIVATIONS
    config["config_groups"]["only activations"] = {"targets": ["re:.*"], "weights": None}
    held, _ = compressed_module(random_matrix(4, 8), config, torch.full((4, 1), 0.02))
    names = ("x.input_scale", "x.input_zero_point", "attn.k_scale", "attn.v_scale")
    tensors, quantisation = opened(held | {name: torch.ones(1) for name in names}, config)
    assert list(tensors.tensors) == ["x.weight"]
    assert quantisation.set_aside == names


@pytest.mark.parametrize(
    "changes",
    [
        {"x_dot_weight_packed": None},
        {"x_dot_weight_scale": None},
        {"x_dot_weight_packed": torch.zeros(6, 7, dtype=torch.int32)},
        {"x_dot_weight_packed": torch.zeros(6, 8, dtype=torch.int64)},
        {"x_dot_weight_packed": torch.zeros(0, 8, dtype=torch.int32)},
        {"x_dot_weight_scale": torch.ones(6, 5)},
        {"x_dot_weight_scale": torch.ones(5, 4)},
        {"x_dot_weight_scale": torch.ones(0, 4)},
        {"x_dot_weight_scale": torch.ones(6, 4, dtype=torch.float64)},
        {"x_dot_weight_zero_point": torch.ones(6, 3, dtype=torch.int8)},
        {"x_dot_weight_g_idx": torch.zeros(64, dtype=torch.int32)},
        {"y_dot_weight_scale": torch.ones(6, 4)},
        {"y_dot_weight_shape": torch.tensor([6, 64])},
        {"y_dot_weight_packed": torch.zeros(6, 8, dtype=torch.int32)},
    ],
    ids=lambda changes: "-".join(
        f"{k}:{None if v is None else tuple(v.shape)}" for k, v in changes.items()
    ),
)
def test_parts_that_do_not_fit_are_refused(changes):
    held, _, config, *_ = packed()
    source = MemorySource(held).changed(**changes)
    with pytest.raises(FormatError, match=r"is not whole|without the quantised|holds no scale"):
        open_quantised(source, config, REF)


@pytest.mark.parametrize(
    "claim",
    [[6, 65], [2**31, 2**31], [-6, 64], [64, 6], [6, 10**9], [0, 0]],
    ids=str,
)
def test_a_stored_shape_that_the_packed_numbers_do_not_have_is_refused(claim):
    config = compressed_config("pack-quantized", num_bits=4)
    held, _ = compressed_module(random_matrix(6, 61), config, torch.full((6, 1), 0.1))
    held["x.weight_shape"] = torch.tensor(claim)
    with pytest.raises(FormatError, match="is not whole"):
        opened(held, config)
    grouped, _, config, *_ = packed()
    tensors, _ = opened(grouped | {"x.weight_shape": torch.tensor(claim)}, config)
    with pytest.raises(FormatError, match="is not whole"):
        tensors.read(tensors.tensors["x.weight"])


@pytest.mark.parametrize(
    "shape", [None, torch.ones(2), torch.tensor([6, 61, 1]), torch.tensor(6)], ids=str
)
def test_packed_by_channel_without_a_shape_is_refused(shape):
    config = compressed_config("pack-quantized", num_bits=4)
    held, _ = compressed_module(random_matrix(6, 61), config, torch.full((6, 1), 0.1))
    with pytest.raises(FormatError, match="weight_shape"):
        open_quantised(MemorySource(held).changed(x_dot_weight_shape=shape), config, REF)


def test_a_missing_zero_point_is_refused():
    held, _, config, *_ = packed((12, 64), symmetric=False)
    del held["x.weight_zero_point"]
    with pytest.raises(FormatError, match="weight_zero_point"):
        opened(held, config)


def test_experts_stacked_in_three_dimensions_are_refused():
    held, _, config, *_ = packed()
    held["x.weight_packed"] = torch.zeros(2, 6, 8, dtype=torch.int32)
    with pytest.raises(IncomparableError, match="has 3 dimensions"):
        opened(held, config)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": "nvfp4-pack-quantized"}, "nvfp4-pack-quantized"),
        ({"format": "marlin-24"}, "marlin-24"),
        ({"format": "x" * 200}, r"'x{70,80}…"),
        ({"format": None}, "None"),
        ({"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparsely"),
        ({"transform_config": {"config_groups": {"r": {}}}}, "rotation"),
        ({"config_groups": {"a": {"targets": ["x"]}}}, "without its weights"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_the_library_cannot_undo_here_is_refused_by_name(changes, match):
    held, _, config, *_ = packed()
    with pytest.raises(IncomparableError, match=match) as caught:
        opened(held, config | changes)
    assert "compare the model before it was quantised" in caught.value.hint


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ({"num_bits": 4, "type": "float", "strategy": "channel"}, "4 bits"),
        ({"num_bits": 9, "type": "int", "strategy": "channel"}, "9 bits"),
        ({"num_bits": 8, "type": "float", "strategy": "channel"}, "packed 'float'"),
        ({"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}, "each 'token'"),
    ],
    ids=str,
)
def test_weights_of_another_kind_are_refused(weights, match):
    held, _, config, *_ = packed()
    config["config_groups"]["group_0"]["weights"] = weights
    with pytest.raises(IncomparableError, match=match):
        opened(held, config)


@pytest.mark.parametrize(
    "weights",
    [
        {"num_bits": 4, "strategy": "group", "group_size": 0},
        {"num_bits": 4, "strategy": "group"},
        {"num_bits": 4, "strategy": "group", "group_size": 10**50},
        {"num_bits": 8, "strategy": "block", "block_structure": [2**40, 2**40]},
        {"num_bits": 8, "strategy": "block", "block_structure": [0, 1]},
        {"num_bits": 8, "strategy": "block", "block_structure": [1, 1, 1]},
        {"num_bits": "many"},
        {"unknown": 1},
        "int4",
    ],
    ids=str,
)
def test_a_scheme_that_is_none_is_refused(weights):
    held, _, config, *_ = packed()
    config["config_groups"]["group_0"]["weights"] = weights
    with pytest.raises((FormatError, IncomparableError), match="of file:/models/quantised"):
        opened(held, config)


@pytest.mark.parametrize("groups", [None, [], {"a": 1}, "x"], ids=str)
def test_groups_that_are_none_are_refused(groups):
    held, _, config, *_ = packed()
    with pytest.raises(FormatError, match="config_groups"):
        opened(held, config | {"config_groups": groups})


def test_two_schemes_are_refused():
    held, _, config, *_ = packed()
    other = {"targets": ["re:.*down"], "weights": {"num_bits": 8, "strategy": "channel"}}
    config["config_groups"]["group_1"] = other
    with pytest.raises(IncomparableError, match="more than one scheme"):
        opened(held, config)


def test_a_size_of_groups_that_the_library_would_let_through_is_refused():
    with pytest.raises(FormatError, match="a positive 'group_size'"):
        compressed_scheme._group_size_of(0, "group", REF)


def test_groups_that_do_not_fill_the_columns_are_refused():
    config = compressed_config("naive-quantized", strategy="group", group_size=8)
    held = {"x.weight": torch.zeros(4, 20, dtype=torch.int8), "x.weight_scale": torch.ones(4, 2)}
    with pytest.raises(FormatError, match="is not whole"):
        opened(held, config)
