import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seeded import CPU, FLOATS, decaying, normal, orthonormal, rotation, sized, with_spectrum

from sdi_gate.signals import linalg
from sdi_gate.signals.linalg import (
    LowRank,
    MatrixPair,
    chunks,
    factorise,
    gram,
    is_finite,
    long_side_vectors,
    singular_values,
    singular_values_of_product,
    squares_of_product,
    subspace_overlap,
    tall,
    tall_chunks,
)
from sdi_gate.signals.matrices import gram_of_update

EPS = torch.finfo(torch.float64).eps
SEEDS = st.integers(0, 2**32)
SIDES = st.integers(1, 24)


def pair(base, candidate):
    return MatrixPair(base=base, candidate=candidate, device=CPU)


@given(m=SIDES, n=SIDES, seed=SEEDS, decades=st.floats(0, 12))
def test_gram_singular_values_keep_the_precision_contract(m, n, seed, decades):
    p = min(m, n)
    W = with_spectrum(torch.logspace(0, -decades, p, dtype=torch.float64), m, n, seed)
    truth = torch.linalg.svdvals(W)
    error = (singular_values(gram(W, CPU)) - truth).abs()
    floor = float(truth[0]) * math.sqrt(EPS * p)
    bound = (4 * float(truth[0]) ** 2 * EPS * p / truth).clamp(max=floor)
    assert bool((error <= bound).all())


def test_the_floor_of_the_contract_holds_for_a_wider_matrix():
    W = with_spectrum(torch.logspace(0, -9, 128, dtype=torch.float64), 128, 640)
    error = (singular_values(gram(W, CPU)) - torch.linalg.svdvals(W)).abs()
    assert float(error.max()) <= math.sqrt(EPS * 128)


def test_small_singular_values_survive_where_a_float32_gram_returns_noise():
    s = torch.logspace(0, -5, 64, dtype=torch.float64)
    W = with_spectrum(s, 64, 200).float()
    truth = torch.linalg.svdvals(W.double())
    single = torch.linalg.eigvalsh(W @ W.mT).flip(0).clamp(min=0).sqrt().double()
    assert abs(float(single[-1] / truth[-1]) - 1) > 0.5
    torch.testing.assert_close(singular_values(gram(W, CPU)), truth, rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (5, 5), (1, 6), (6, 1), (1, 1)], ids=str)
def test_gram_is_the_float64_product_over_the_shorter_side(dtype, shape):
    W = normal(*shape, dtype=dtype)
    A = W.double() if shape[0] >= shape[1] else W.double().T
    G = gram(W, CPU)
    assert G.dtype == torch.float64
    torch.testing.assert_close(G, A.T @ A, rtol=1e-13, atol=1e-13)


def test_tall_turns_only_wide_matrices():
    assert tall(normal(2, 5)).shape == (5, 2)
    assert tall(normal(5, 2)).shape == (5, 2)


@given(m=SIDES, n=SIDES, seed=SEEDS)
def test_strides_do_not_change_a_bit_of_the_gram_matrix(m, n, seed):
    W = normal(m, n, seed=seed)
    turned = W.T.contiguous().T
    shifted = torch.cat([torch.zeros(1, dtype=W.dtype), W.reshape(-1)])[1:].view(m, n)
    assert torch.equal(gram(turned, CPU), gram(W, CPU))
    assert torch.equal(gram(shifted, CPU), gram(W, CPU))


@pytest.mark.parametrize("p", [255, 256, 259, 300])
@pytest.mark.parametrize("wide", [False, True], ids=["tall", "wide"])
def test_a_gram_matrix_in_blocks_is_the_whole_product_and_exactly_symmetric(p, wide):
    W = normal(p, 310) if wide else normal(310, p)
    B = W + 0.1 * normal(*W.shape, seed=1)
    for G, A in ((gram(W, CPU), tall(W)), (gram_of_update(pair(W, B)), tall(B - W))):
        torch.testing.assert_close(G, A.T @ A, rtol=1e-12, atol=1e-12)
        assert torch.equal(G, G.T)


@pytest.mark.parametrize("elements", [5, 1000])
@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (4, 4), (1, 9), (9, 1), (0, 3), (3, 0)], ids=str)
def test_tall_chunks_stack_to_the_tall_matrix(monkeypatch, elements, shape):
    monkeypatch.setattr(linalg, "_CHUNK_ELEMENTS", elements)
    W = normal(*shape, dtype=torch.float16)
    pieces = list(tall_chunks(W, CPU))
    assert torch.equal(torch.cat([torch.zeros(0, min(shape)).double(), *pieces]), tall(W).double())
    strides = [piece.stride() for piece in tall_chunks(W.T.contiguous().T, CPU)]
    assert [piece.stride() for piece in pieces] == strides


@pytest.mark.parametrize("elements", [1, 7, 40])
@pytest.mark.parametrize("shape", [(37, 5), (5, 37), (12, 12)], ids=str)
def test_tiny_chunks_give_the_numbers_of_one_chunk(monkeypatch, elements, shape):
    W, B = normal(*shape, dtype=torch.bfloat16), normal(*shape, seed=1, dtype=torch.float32)
    one = (gram(W, CPU), gram_of_update(pair(W, B)))
    factors = factorise(one[0])
    vectors = long_side_vectors(W, factors, 3)
    monkeypatch.setattr(linalg, "_CHUNK_ELEMENTS", elements)
    assert len(list(chunks(tall(W), CPU))) > 1
    torch.testing.assert_close(gram(W, CPU), one[0], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(gram_of_update(pair(W, B)), one[1], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(long_side_vectors(W, factors, 3), vectors, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("shape", [(5,), (4, 3), (3, 2, 4), (3, 0), (2, 1)], ids=str)
def test_chunks_stack_to_the_tensor(monkeypatch, shape):
    monkeypatch.setattr(linalg, "_CHUNK_ELEMENTS", 5)
    W = normal(*shape, dtype=torch.float16)
    pieces = list(chunks(W, CPU))
    assert torch.equal(torch.cat(pieces), W.double())
    assert all(piece.is_contiguous() and piece.dtype == torch.float64 for piece in pieces)


def test_an_empty_tensor_has_no_chunks():
    assert list(chunks(torch.empty(0, 3), CPU)) == []


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("elements", [3, 1000])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
def test_one_number_that_is_not_finite_is_found_in_any_chunk(monkeypatch, dtype, elements, bad):
    monkeypatch.setattr(linalg, "_CHUNK_ELEMENTS", elements)
    W = normal(4, 3, 2, dtype=dtype)
    assert is_finite(W)
    for position in range(W.numel()):
        broken = W.clone()
        broken.view(-1)[position] = bad
        assert not is_finite(broken)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1, 1)], ids=str)
def test_tensors_of_every_shape_can_be_finite(shape):
    assert is_finite(torch.zeros(shape))


def test_the_inputs_are_not_modified():
    W, B = normal(6, 4), normal(6, 4, seed=1)
    kept = W.clone(), B.clone()
    gram_of_update(pair(W, B))
    long_side_vectors(W, factorise(gram(W, CPU)), 2)
    assert torch.equal(W, kept[0])
    assert torch.equal(B, kept[1])


def test_the_update_is_subtracted_in_float64_and_not_in_the_weights_own_type():
    base = torch.full((4, 4), 256.0, dtype=torch.bfloat16)
    candidate = base.float() + 2.0**-10  # bfloat16 steps by 2 here
    G = gram_of_update(pair(base, candidate))
    assert torch.equal(G, torch.full((4, 4), 4 * 2.0**-20, dtype=torch.float64))
    small, large = torch.full((1, 1), 2.0**-26), torch.ones(1, 1)  # float32 drops the small one
    assert float(gram_of_update(pair(small, large))) == (1 - 2.0**-26) ** 2


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_equal_matrices_have_an_update_of_exactly_zero(dtype):
    W = normal(9, 14, dtype=dtype)
    assert not bool(gram_of_update(pair(W, W.clone())).any())


def test_a_zero_matrix_has_rank_zero_and_no_singular_values():
    F = factorise(gram(torch.zeros(5, 3), CPU))
    assert F.rank == 0
    assert torch.equal(F.s, torch.zeros(3, dtype=torch.float64))
    assert long_side_vectors(torch.zeros(5, 3), F, 0).shape == (5, 0)


@pytest.mark.parametrize(
    ("m", "n", "rank"),
    [(300, 40, 5), (8, 5000, 3), (64, 9000, 1), (128, 128, 8), (500, 30, 29), (6, 6, 6)],
    ids=str,
)
def test_the_rank_of_a_deficient_matrix_is_found(m, n, rank):
    W = normal(m, rank) @ normal(rank, n, seed=1)
    assert factorise(gram(W, CPU)).rank == rank


def test_negative_eigenvalues_become_zero_and_never_nan():
    G = torch.diag(torch.tensor([4.0, -1e-17, 1.0], dtype=torch.float64))
    expected = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    assert torch.equal(singular_values(G), expected)
    assert torch.equal(factorise(G).s, expected)


@given(m=SIDES, n=SIDES, seed=SEEDS)
def test_factors_rebuild_the_gram_matrix(m, n, seed):
    G = gram(normal(m, n, seed=seed), CPU)
    F = factorise(G)
    scale = float(F.s[0]) ** 2
    torch.testing.assert_close(F.V * F.s**2 @ F.V.T, G, rtol=0, atol=1e-12 * scale)
    torch.testing.assert_close(F.s, singular_values(G), rtol=0, atol=1e-7 * math.sqrt(scale))


@pytest.mark.parametrize("shape", [(30, 11), (11, 30), (1, 9), (9, 1)], ids=str)
def test_long_side_vectors_are_those_of_the_svd_up_to_sign(shape):
    W = decaying(*shape)
    k = min(shape[0], shape[1], 5)
    U = long_side_vectors(W, factorise(gram(W, CPU)), k)
    truth = torch.linalg.svd(tall(W), full_matrices=False).U[:, :k]
    torch.testing.assert_close(U.T @ U, torch.eye(k, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close((U * truth).sum(0).abs(), torch.ones(k, dtype=torch.float64))


@given(n=st.integers(1, 20), data=st.data(), seed=SEEDS)
def test_subspace_overlap_is_the_mean_squared_cosine_of_the_principal_angles(n, data, seed):
    k = data.draw(st.integers(1, n))
    Q, R = orthonormal(n, k, seed), orthonormal(n, k, seed + 1)
    cosines = torch.linalg.svdvals(Q.T @ R)
    overlap = subspace_overlap(Q, R)
    assert overlap == pytest.approx(float(cosines.square().mean()), abs=1e-12)
    assert subspace_overlap(R, Q) == pytest.approx(overlap, rel=1e-12)
    assert 0 <= overlap <= 1


@given(n=st.integers(1, 20), data=st.data(), seed=SEEDS)
def test_equal_columns_overlap_by_exactly_one(n, data, seed):
    Q = orthonormal(n, data.draw(st.integers(1, n)), seed)
    assert subspace_overlap(Q, Q) == 1.0
    assert subspace_overlap(Q, Q.clone()) == 1.0


def test_subspace_overlap_does_not_see_a_rotation_within_a_subspace():
    Q, R = orthonormal(20, 4), orthonormal(20, 4, seed=5)
    turned = Q @ rotation(4, 1.0)
    assert subspace_overlap(turned, R) == pytest.approx(subspace_overlap(Q, R), rel=1e-12)
    assert subspace_overlap(turned, Q) == pytest.approx(1.0, abs=1e-12)


def test_orthogonal_subspaces_do_not_overlap():
    identity = torch.eye(6, dtype=torch.float64)
    assert subspace_overlap(identity[:, :3], identity[:, 3:]) == 0.0


def test_nested_subspaces_of_unequal_dimension_do_not_reach_one():
    identity = torch.eye(6, dtype=torch.float64)
    assert subspace_overlap(identity[:, :1], identity[:, :4]) == pytest.approx(0.5)


def test_empty_subspaces_are_equal_and_differ_from_every_other():
    empty, line = torch.zeros(4, 0, dtype=torch.float64), orthonormal(4, 1)
    assert subspace_overlap(empty, empty) == 1.0
    assert subspace_overlap(empty, line) == 0.0
    assert subspace_overlap(line, empty) == 0.0


def test_a_nan_gives_no_overlap_rather_than_a_perfect_one():
    Q = orthonormal(4, 2)
    assert math.isnan(subspace_overlap(torch.full_like(Q, math.nan), Q))


def test_the_largest_angle_jumps_where_the_overlap_hardly_moves():
    W = decaying(256, 688)
    update = sized(normal(256, 8, seed=3) @ normal(8, 688, seed=4), 0.1, W)
    Q, R = (torch.linalg.svd(A).U[:, :64] for A in (W, W + update))
    largest = math.degrees(math.acos(min(1.0, float(torch.linalg.svdvals(Q.T @ R)[-1]))))
    assert largest > 45
    assert subspace_overlap(Q, R) > 0.93


RANKS = st.integers(0, 30)


def product_of(m, n, r, seed=0):
    return LowRank(left=normal(m, r, seed=seed), right=normal(r, n, seed=seed + 1))


def scale_of(product):
    return float(product.left.norm() * product.right.norm())


def test_the_singular_values_of_orthogonal_factors_are_those_written_between_them():
    s = torch.tensor([5.0, 2.0, 0.25], dtype=torch.float64)
    product = LowRank(left=orthonormal(9, 3) * s, right=orthonormal(6, 3, seed=1).mT)
    found = singular_values_of_product(product, CPU)
    expected = torch.cat([s, torch.zeros(3, dtype=torch.float64)])
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    assert squares_of_product(product, CPU) == pytest.approx(29.0625, rel=1e-14)


@given(m=SIDES, n=SIDES, r=RANKS, seed=SEEDS)
def test_a_product_of_thin_matrices_has_the_spectrum_of_the_dense_one(m, n, r, seed):
    product = product_of(m, n, r, seed)
    dense = product.left @ product.right
    found = singular_values_of_product(product, CPU)
    bound = 64 * EPS * max(1.0, scale_of(product))
    assert found.shape == (min(m, n),)
    assert float((found - torch.linalg.svdvals(dense)).abs().max()) <= bound
    assert bool((found[:-1] >= found[1:]).all())
    squares = squares_of_product(product, CPU)
    assert squares == pytest.approx(float(dense.square().sum()), rel=1e-12, abs=bound**2)
    trace = (product.left.mT @ product.left) * (product.right @ product.right.mT)
    assert squares == pytest.approx(float(trace.sum()), rel=1e-11, abs=bound)


@given(m=SIDES, n=SIDES, r=st.integers(1, 8), seed=SEEDS)
def test_the_split_between_the_factors_does_not_move_the_spectrum(m, n, r, seed):
    product = product_of(m, n, r, seed)
    M = with_spectrum(torch.linspace(0.5, 2, r, dtype=torch.float64), r, r, seed)
    turned = LowRank(left=product.left @ M, right=torch.linalg.inv(M) @ product.right)
    bound = 256 * EPS * scale_of(product)
    first, second = (singular_values_of_product(each, CPU) for each in (product, turned))
    assert float((first - second).abs().max()) <= bound


def test_a_small_product_of_large_factors_keeps_its_digits():
    left = torch.tensor([[1e8, 1e8]], dtype=torch.float64)
    right = torch.tensor([[1.0], [-1.0 + 2.0**-40]], dtype=torch.float64)
    product = LowRank(left=left, right=right)
    truth = (1e8 * 2.0**-40) ** 2
    assert squares_of_product(product, CPU) == pytest.approx(truth, rel=1e-2)
    trace = (left.mT @ left) * (right @ right.mT)
    assert abs(float(trace.sum()) / truth - 1) > 1e-2


@pytest.mark.parametrize("shape", [(7, 5, 2), (1, 6, 3), (6, 1, 3), (4, 4, 9), (3, 3, 0)], ids=str)
@pytest.mark.parametrize("zero", ["left", "right", "both"])
def test_a_factor_of_zeros_gives_exactly_zero(shape, zero):
    m, n, r = shape
    product = product_of(m, n, r)
    left = product.left * 0 if zero != "right" else product.left
    right = product.right * 0 if zero != "left" else product.right
    product = LowRank(left=left, right=right)
    assert squares_of_product(product, CPU) == 0.0
    assert torch.equal(
        singular_values_of_product(product, CPU), torch.zeros(min(m, n), dtype=torch.float64)
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_factor_that_is_not_finite_is_never_a_number(bad, side):
    product = product_of(6, 5, 2)
    getattr(product, side)[1, 1] = bad
    assert not math.isfinite(squares_of_product(product, CPU))
    assert bool(singular_values_of_product(product, CPU).isnan().all())


def test_a_product_that_overflows_is_never_a_number():
    huge = torch.full((3, 3), 1e200, dtype=torch.float64)
    product = LowRank(left=huge, right=huge)
    assert not math.isfinite(squares_of_product(product, CPU))
    assert bool(singular_values_of_product(product, CPU).isnan().all())


def test_the_factors_are_not_modified():
    product = product_of(6, 5, 2)
    kept = product.left.clone(), product.right.clone()
    singular_values_of_product(product, CPU)
    assert torch.equal(product.left, kept[0])
    assert torch.equal(product.right, kept[1])
