import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seeded import CPU, decaying, normal, sized, with_spectrum

from sdi_gate.signals import matrices, spectrum
from sdi_gate.signals.linalg import LowRank, MatrixPair
from sdi_gate.signals.matrices import compare_matrices
from sdi_gate.signals.spectrum import check_spectrum, dimensions, spectrum_of

SIDES = st.integers(1, 24)
SEEDS = st.integers(0, 2**32)
SHAPES = [(1, 9), (9, 1), (7, 5), (5, 7), (96, 200), (200, 96)]
LARGE = [(780, 800), (800, 780)]


def pair(base, candidate, **named):
    return MatrixPair(base=base, candidate=candidate, device=CPU, **named)


def large(shape, kind):
    if kind == "flat":
        return normal(*shape)
    return normal(*shape) * torch.arange(1, shape[1] + 1, dtype=torch.float64) ** -0.6


@pytest.mark.parametrize("kind", ["flat", "decaying"])
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_the_spectrum_of_a_large_matrix_is_that_of_its_svd(monkeypatch, shape, kind):
    monkeypatch.setattr(spectrum, "factorise", None)  # the space alone must be enough
    W = large(shape, kind)
    found = spectrum_of(W, CPU)
    U, s, Vh = torch.linalg.svd(W, full_matrices=False)
    V = Vh.mT if shape[0] >= shape[1] else U
    assert float((found.s - s).abs().max()) < 1e-9 * float(s[0])
    assert found.rank == 780
    assert 16 <= found.V.shape[1] <= 24
    b = found.V.shape[1]
    torch.testing.assert_close(
        (found.V * V[:, :b]).sum(0).abs(), torch.ones(b, dtype=torch.float64), rtol=0, atol=1e-9
    )


def test_where_the_space_gives_up_the_full_decomposition_says_the_same(monkeypatch):
    W = large(LARGE[0], "decaying")
    B = W + sized(normal(*LARGE[0], seed=5), 0.1, W)
    fast = dataclasses.astuple(compare_matrices(pair(W, B)))
    monkeypatch.setattr(spectrum, "top_eigenvectors", lambda *_: None)
    assert dataclasses.astuple(compare_matrices(pair(W, B))) == pytest.approx(fast, abs=1e-12)
    assert spectrum_of(W, CPU).V.shape == (780, 24)


def test_many_dimensions_of_a_large_matrix_take_the_full_decomposition(monkeypatch):
    monkeypatch.setattr(spectrum, "top_eigenvectors", None)
    assert spectrum_of(large(LARGE[0], "flat"), CPU, top_k=40).V.shape == (780, 48)


@pytest.mark.parametrize("shape", [*SHAPES, LARGE[0]], ids=str)
def test_strides_and_types_do_not_change_a_bit_of_a_spectrum(shape):
    W = normal(*shape, dtype=torch.bfloat16)
    first = spectrum_of(W, CPU)
    for other in (W.double(), W.T.contiguous().T, W.float().T.contiguous().T):
        found = spectrum_of(other, CPU)
        assert torch.equal(found.s, first.s)
        assert torch.equal(found.V, first.V)
        assert found.rank == first.rank


@pytest.mark.parametrize("shape", [*SHAPES, LARGE[1]], ids=str)
def test_a_known_base_changes_no_bit_of_a_comparison(shape):
    W = normal(*shape, dtype=torch.bfloat16)
    B = (W + 0.05 * normal(*shape, seed=1)).to(torch.bfloat16)
    known = spectrum_of(W, CPU)
    assert compare_matrices(pair(W, B), base=known) == compare_matrices(pair(W, B))


def test_threads_beside_each_other_give_the_same_bits():
    W = normal(300, 200)
    B = W + 0.05 * normal(300, 200, seed=1)

    def compare(_index):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        found = compare_matrices(pair(W, B))
        torch.set_num_threads(threads)
        return found

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(compare, range(8)))) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
def test_a_matrix_that_is_not_finite_has_no_spectrum(bad):
    W = normal(6, 4)
    W[3, 1] = bad
    assert spectrum_of(W, CPU) is None
    assert math.isnan(compare_matrices(pair(W, W.clone())).divergence)


def test_equal_matrices_are_compared_without_a_gram_matrix(monkeypatch):
    for module in (spectrum, matrices):
        monkeypatch.setattr(module, "gram" if module is spectrum else "gram_of_update", None)
    W = normal(9, 14, dtype=torch.float16)
    assert dataclasses.astuple(compare_matrices(pair(W, W.clone()))) == (0.0,) * 7
    empty = torch.zeros(9, 14)
    zero = compare_matrices(pair(empty, empty.clone()))
    assert dataclasses.astuple(zero) == (0.0, 0.0, 0, None, None, 0.0, 0.0)


def test_an_update_that_was_lost_in_few_bits_is_still_seen():
    W = torch.full((6, 4), 256.0, dtype=torch.bfloat16)
    left = torch.full((6, 1), 2.0**-10, dtype=torch.float64)
    update = LowRank(left=left, right=torch.ones(1, 4, dtype=torch.float64))
    found = compare_matrices(pair(W, W.clone(), update=update))
    assert found.divergence == 0.0
    assert found.update_stable_rank == pytest.approx(1.0)


@given(m=SIDES, n=SIDES, seed=SEEDS, top_k=st.integers(1, 20))
def test_a_spectrum_agrees_with_its_own_matrix(m, n, seed, top_k):
    W = normal(m, n, seed=seed, dtype=torch.bfloat16)
    assert check_spectrum(W, spectrum_of(W, CPU, top_k), top_k)
    assert dimensions(min(m, n), top_k) <= spectrum_of(W, CPU, top_k).V.shape[1]


@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_a_spectrum_of_a_large_matrix_agrees_with_it(shape):
    W = large(shape, "decaying")
    assert check_spectrum(W, spectrum_of(W, CPU))
    assert check_spectrum(W, spectrum_of(W, CPU).to(CPU))


def test_spectra_of_zero_and_of_deficient_matrices_agree_with_them():
    for W in (torch.zeros(8, 5), normal(40, 2) @ normal(2, 30, seed=1)):
        assert check_spectrum(W, spectrum_of(W, CPU))


WRONG = {
    "another-scale": lambda s, V, r: (s * 1.0001, V, r),
    "two-values-exchanged-in-size": lambda s, V, r: (torch.cat([s[:1] * 1.1, s[1:]]), V, r),
    "ascending": lambda s, V, r: (s.flip(0), V, r),
    "negative": lambda s, V, r: (torch.cat([s[:-1], -s[-1:]]), V, r),
    "nan-value": lambda s, V, r: (torch.cat([s[:-1], s[-1:] * math.nan]), V, r),
    "nan-vector": lambda s, V, r: (s, V * math.nan, r),
    "values-of-another-length": lambda s, V, r: (s[:-1], V, r),
    "values-in-a-column": lambda s, V, r: (s[:, None], V, r),
    "single-precision": lambda s, V, r: (s.float(), V, r),
    "vectors-in-single-precision": lambda s, V, r: (s, V.float(), r),
    "columns-exchanged": lambda s, V, r: (s, V.flip(1), r),
    "a-column-twice": lambda s, V, r: (s, torch.cat([V[:, :1], V[:, :-1]], 1), r),
    "turned-vectors": lambda s, V, r: (s, V.roll(1, 0), r),
    "longer-vectors": lambda s, V, r: (s, V * 1.001, r),
    "too-few-vectors": lambda s, V, r: (s, V[:, :4], r),
    "too-many-vectors": lambda s, V, r: (s, torch.cat([V, V], 1), r),
    "one-vector": lambda s, V, r: (s, V[:, 0], r),
    "short-vectors": lambda s, V, r: (s, V[:-1], r),
    "another-rank": lambda s, V, r: (s, V, r - 1),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("shape", [(40, 24), (24, 40)], ids=str)
def test_a_spectrum_that_was_changed_does_not_agree(shape, change):
    W = decaying(*shape, power=1)
    found = spectrum_of(W, CPU)
    s, V, rank = change(found.s, found.V, found.rank)
    assert check_spectrum(W, found)
    assert not check_spectrum(W, dataclasses.replace(found, s=s, V=V, rank=rank))


@given(m=st.integers(8, 24), n=st.integers(8, 24), seed=SEEDS)
def test_the_spectrum_of_another_matrix_does_not_agree(m, n, seed):
    s = torch.linspace(2, 1, min(m, n), dtype=torch.float64)
    W, other = with_spectrum(s, m, n, seed), with_spectrum(s, m, n, seed + 5)
    assert not check_spectrum(W, spectrum_of(other, CPU))


def test_a_spectrum_made_for_fewer_dimensions_does_not_agree():
    W = normal(200, 180)
    assert not check_spectrum(W, spectrum_of(W, CPU, top_k=2), top_k=16)
    assert not check_spectrum(W, spectrum_of(W, CPU, top_k=16), top_k=2)
