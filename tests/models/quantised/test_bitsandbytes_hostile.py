"""bitsandbytes: parts that do not fit each other are refused before a kernel sees them."""

from __future__ import annotations

import pytest
import torch
from bitsandbytes_files import CONFIG, NF4, changed_state, opened, read
from quantised_files import (
    REF,
    MemorySource,
    eight_bit,
    four_bit,
    random_matrix,
)

from sdi_gate.errors import FormatError
from sdi_gate.models.quantised.method import open_quantised

pytest.importorskip("bitsandbytes")


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [2**31, 2**31]},
        {"shape": [8, 65]},
        {"shape": [10**50] * 3},
        {"shape": [8, -64]},
        {"shape": [0, 64]},
        {"shape": [True, 64]},
        {"shape": [1] * 5 + [512]},
        {"shape": []},
        {"shape": "8x64"},
        {"shape": None},
        {"blocksize": 0},
        {"blocksize": 32},
        {"blocksize": 4096},
        {"blocksize": 63},
        {"blocksize": True},
        {"dtype": "load"},
        {"dtype": "int8"},
        {"dtype": ["float32"]},
        {"quant_type": "fp4"},
        {"quant_type": "nf8"},
        {"nested_blocksize": 256},
        {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.0},
    ],
    ids=str,
)
def test_a_state_that_does_not_fit_the_packed_bytes_is_refused(changes):
    held, _ = four_bit(random_matrix(8, 64))
    with pytest.raises(FormatError, match="is not whole"):
        opened(changed_state(held, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"nested_blocksize": 0},
        {"nested_blocksize": 2**40},
        {"nested_dtype": "float64"},
        {"nested_offset": "0"},
        {"nested_offset": None},
    ],
    ids=str,
)
def test_a_nested_state_that_cannot_be_is_refused(changes):
    held, _ = four_bit(random_matrix(8, 64), nested=True)
    with pytest.raises(FormatError, match="is not whole"):
        opened(changed_state(held, **changes))


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": NaN}', b'{"a": 1, "a": 1}'], ids=str)
def test_a_state_that_is_no_json_object_is_refused(content):
    held, _ = four_bit(random_matrix(8, 64))
    held[NF4] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    with pytest.raises(FormatError, match="JSON"):
        opened(held)


def test_a_giant_state_is_refused_unread():
    held, _ = four_bit(random_matrix(8, 64))
    source = MemorySource(held | {NF4: torch.zeros(5000, dtype=torch.uint8)})
    with pytest.raises(FormatError, match="at most 4096 bytes"):
        open_quantised(source, CONFIG, REF)
    assert source.read_names == []


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
def test_every_part_must_be_there_and_of_its_size_and_type(nested):
    held, _ = four_bit(random_matrix(8, 64), nested=nested)
    for name in held.keys() - {NF4}:
        with pytest.raises(FormatError, match="not whole"):
            opened({key: value for key, value in held.items() if key != name})
        for wrong in (held[name].reshape(-1)[:-1], held[name].double()):
            with pytest.raises(FormatError, match="is not whole"):
                opened(held | {name: wrong})


def test_a_weight_without_its_state_is_refused():
    held, _ = four_bit(random_matrix(8, 64))
    other, _ = four_bit(random_matrix(8, 64), name="y.weight")
    with pytest.raises(FormatError, match="without the quantised weight"):
        opened(other | {key: value for key, value in held.items() if key != NF4})
    with pytest.raises(FormatError, match="nothing says how"):
        opened(other | {"x.weight": held["x.weight"]})


@pytest.mark.parametrize(
    "changes",
    [
        {"x.weight": None},
        {"x.weight": torch.zeros(12, 40)},
        {"x.weight": torch.zeros(12, dtype=torch.int8)},
        {"x.SCB": torch.zeros(11)},
        {"x.SCB": torch.zeros(12, dtype=torch.int64)},
        {"x.weight_format": torch.zeros(2, dtype=torch.uint8)},
    ],
    ids=lambda changes: f"{next(iter(changes))} {next(iter(changes.values()))}"[:40],
)
def test_int8_parts_that_do_not_fit_are_refused(changes):
    held = {
        name: tensor
        for name, tensor in (eight_bit(random_matrix(12, 40)) | changes).items()
        if tensor is not None
    }
    with pytest.raises(FormatError, match="is not whole"):
        opened(held)


def test_int8_in_another_order_is_refused():
    held = eight_bit(random_matrix(12, 40)) | {
        "x.weight_format": torch.tensor(2, dtype=torch.uint8)
    }
    with pytest.raises(FormatError, match="not stored row by row"):
        read(held)


def test_a_scale_without_its_weight_is_refused():
    held = eight_bit(random_matrix(12, 40)) | {"y.SCB": torch.ones(3)}
    with pytest.raises(FormatError, match="not whole"):
        opened(held)


def test_a_state_that_changes_while_it_is_read_is_not_read_again():
    held, expected = four_bit(random_matrix(8, 64))
    source = MemorySource(held)
    tensors, _ = open_quantised(source, CONFIG, REF)
    source.held = changed_state(held, shape=[4096, 64], blocksize=0)
    assert torch.equal(tensors.read(tensors.tensors["x.weight"]), expected)


def test_a_scale_that_changes_while_it_is_read_is_refused():
    held, _ = four_bit(random_matrix(8, 64))
    source = MemorySource(held)
    tensors, _ = open_quantised(source, CONFIG, REF)
    source.held = held | {"x.weight.absmax": torch.ones(1)}
    with pytest.raises(FormatError, match="changed while it was read"):
        tensors.read(tensors.tensors["x.weight"])


def test_int8_that_names_no_order_is_stored_row_by_row():
    held = eight_bit(random_matrix(12, 40))
    bare = {name: tensor for name, tensor in held.items() if "format" not in name}
    assert torch.equal(read(bare), read(held))


def test_a_checkpoint_without_quantised_tensors_is_refused():
    with pytest.raises(FormatError, match="holds no quantised tensor"):
        opened({"x.weight": torch.zeros(2, 2)})
