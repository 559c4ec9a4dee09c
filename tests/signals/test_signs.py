"""Random signs, and signs in one bit each: the same numbers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from sdi_gate.signals import signs
from sdi_gate.signals.signs import PackedSigns, rademacher

CPU = torch.device("cpu")
SHAPES = st.lists(st.integers(0, 9), max_size=3).map(tuple)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_random_signs_are_signs_fair_and_repeatable():
    v = rademacher([100, 100], generator())
    assert v.dtype == torch.float32
    assert set(v.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(v.mean())) < 4 / 100
    assert torch.equal(v, rademacher([100, 100], generator()))
    assert not torch.equal(v, rademacher([100, 100], generator(1)))


def test_random_signs_of_one_draw_are_independent():
    v = rademacher([2, 10_000], generator())
    assert abs(float(v[0] @ v[1])) < 4 * 100
    assert abs(float(v[0, 1:] @ v[0, :-1])) < 4 * 100


@given(shapes=st.lists(SHAPES, max_size=4), seed=st.integers(0, 2**32))
@example(shapes=[(), (8,), (9,), (0, 3)], seed=0)
def test_packed_signs_are_the_plain_ones_and_leave_the_generator_where_they_do(shapes, seed):
    one, other = generator(seed), generator(seed)
    for shape in shapes:
        packed = PackedSigns.draw(shape, one)
        assert packed.bits.numel() == math.ceil(math.prod(shape) / 8)
        assert torch.equal(packed.unpack(torch.float32, CPU), rademacher(shape, other))
    assert torch.equal(one.get_state(), other.get_state())


@pytest.mark.parametrize("size", [15, 16, 17, 40, 41])
def test_pieces_of_any_size_give_the_same_signs(size, monkeypatch):
    whole = rademacher([size], generator())
    monkeypatch.setattr(signs, "_CHUNK", 2)
    packed = PackedSigns.draw([size], generator())
    assert torch.equal(packed.unpack(torch.float32, CPU), whole)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_signs_are_exact_in_every_type(dtype):
    packed = PackedSigns.draw([5, 7], generator())
    found = packed.unpack(dtype, CPU)
    assert found.dtype is dtype
    assert torch.equal(found.float(), rademacher([5, 7], generator()))
