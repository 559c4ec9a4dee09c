"""Tensors that hold nothing any more, by closed form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.models.collapsed import has_collapsed

TINY = torch.finfo(torch.float32).tiny


def matrix(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3,), (1,), (4, 5), (2, 4, 5)])
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
def test_all_zeros_have_collapsed_and_numbers_have_not(shape, dtype):
    base = matrix(*shape).to(dtype)
    assert has_collapsed(base, torch.zeros_like(base))
    assert not has_collapsed(base, base)
    assert not has_collapsed(base, -2 * base)
    assert not has_collapsed(torch.zeros_like(base), torch.zeros_like(base))
    assert not has_collapsed(torch.zeros_like(base), base)


def test_denormals_have_collapsed_and_the_smallest_normal_number_has_not():
    base = torch.ones(3)
    assert has_collapsed(base, torch.full((3,), TINY / 2))
    assert has_collapsed(base, torch.tensor([0.0, TINY / 4, -TINY / 2]))
    assert not has_collapsed(base, torch.tensor([0.0, 0.0, TINY]))
    assert not has_collapsed(torch.full((3,), TINY / 2), torch.zeros(3))


@given(st.integers(1, 6), st.integers(2, 6), st.integers(0, 5), st.floats(-2, 2, width=32))
def test_one_row_of_one_number_is_enough(rows, columns, which, number):
    base = matrix(rows, columns)
    candidate = base.clone()
    candidate[which % rows] = number
    assert has_collapsed(base, candidate)
    assert not has_collapsed(candidate, candidate)
    assert not has_collapsed(candidate, base)


def test_rows_are_those_of_the_last_axis_also_where_experts_are_stacked():
    base = matrix(2, 3, 4)
    candidate = base.clone()
    candidate[1, 2] = 0.5
    assert has_collapsed(base, candidate)
    columns = base.clone()
    columns[:, :, 1] = 0.5
    assert not has_collapsed(base, columns)


def test_rows_beyond_the_first_piece_count():
    base = matrix(5000, 2)
    candidate = base.clone()
    candidate[4999] = 1.0
    assert has_collapsed(base, candidate)


def test_a_norm_of_ones_is_no_row_and_a_single_column_has_no_rows():
    assert not has_collapsed(matrix(8), torch.ones(8))
    assert not has_collapsed(matrix(8, 1), torch.ones(8, 1))


def test_nan_is_no_collapse_and_is_found_elsewhere():
    base = matrix(2, 3)
    assert not has_collapsed(base, torch.full((2, 3), torch.nan))
    part = base.clone()
    part[0] = torch.nan
    assert not has_collapsed(base, part)


def test_what_holds_nothing_to_begin_with_or_no_real_numbers_is_left_alone():
    assert not has_collapsed(torch.empty(0, 3), torch.empty(0, 3))
    assert not has_collapsed(torch.ones(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    assert not has_collapsed(torch.ones(3), torch.zeros(3, dtype=torch.int64))
