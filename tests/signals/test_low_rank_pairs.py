import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seeded import CPU, FLOATS, decaying, normal, sized

from sdi_gate.signals import matrices
from sdi_gate.signals.linalg import LowRank, MatrixPair
from sdi_gate.signals.matrices import compare_matrices

SEEDS = st.integers(0, 2**32)
SHAPES = [(1, 9), (9, 1), (1, 1), (7, 5), (5, 7), (33, 64), (64, 64)]


def numbers(comparison):
    return dataclasses.astuple(comparison)


def adapted(W, r, relative, seed=0):
    m, n = W.shape
    left = normal(m, r, seed=seed)
    right = sized(normal(r, n, seed=seed + 1), 1.0, torch.ones(1))
    left *= relative * W.norm() / (left @ right).norm()
    update = LowRank(left=left, right=right)
    candidate = W + left @ right
    return MatrixPair(base=W, candidate=candidate, device=CPU, update=update)


@given(m=st.integers(2, 24), n=st.integers(2, 24), r=st.integers(1, 6), seed=SEEDS)
def test_a_pair_that_names_its_update_compares_as_one_that_does_not(m, n, r, seed):
    pair = adapted(decaying(m, n, seed=seed), r, 0.1, seed)
    named = compare_matrices(pair)
    plain = compare_matrices(dataclasses.replace(pair, update=None))
    assert numbers(named)[:5] == numbers(plain)[:5]
    assert named.update_signal_share == pytest.approx(plain.update_signal_share, abs=1e-6)
    assert named.update_stable_rank == pytest.approx(plain.update_stable_rank, rel=1e-9)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rank", [0, 2, 70])
def test_an_update_of_zeros_is_exactly_zero_in_every_number(shape, dtype, rank):
    W = normal(*shape, dtype=dtype)
    left = torch.zeros(shape[0], rank, dtype=torch.float64)
    update = LowRank(left=left, right=normal(rank, shape[1]))
    pair = MatrixPair(base=W, candidate=W.clone(), device=CPU, update=update)
    assert numbers(compare_matrices(pair)) == (0.0,) * 7


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=str)
def test_an_update_that_is_not_finite_has_no_numbers(bad):
    pair = adapted(normal(6, 5), 2, 0.1)
    pair.update.left[0, 0] = bad
    comparison = compare_matrices(pair)
    assert math.isnan(comparison.update_stable_rank)
    assert math.isnan(comparison.divergence)


def test_the_spectrum_of_a_named_update_is_not_taken_from_its_gram_matrix(monkeypatch):
    pair = adapted(normal(8, 6), 2, 0.1)
    expected = numbers(compare_matrices(pair))

    def refuse(_pair):
        raise AssertionError

    monkeypatch.setattr(matrices, "gram_of_update", refuse)
    assert numbers(compare_matrices(pair)) == expected
