import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from seeded import CPU, FLOATS, decaying, normal, orthonormal, rotation, sized, with_spectrum

from sdi_gate.signals import linalg
from sdi_gate.signals.depth import DepthWeighting
from sdi_gate.signals.interface import Outcome
from sdi_gate.signals.intruders import count_intruder_dimensions
from sdi_gate.signals.linalg import MatrixPair, gram, singular_values
from sdi_gate.signals.matrices import (
    compare_matrices,
    effective_rank,
    signal_energy_share,
    spectrum_distance,
    stable_rank,
)
from sdi_gate.signals.spectral import METRIC, TensorComparison, spectral_divergence
from sdi_gate.signals.spectrum import spectrum_of

UNIFORM = DepthWeighting()
SEEDS = st.integers(0, 2**32)
SIDES = st.integers(1, 24)
SHAPES = [(1, 9), (9, 1), (1, 1), (7, 5), (5, 7), (33, 64), (130, 257), (64, 64)]
WIDE_AND_TALL = pytest.mark.parametrize("shape", [(192, 512), (512, 192)], ids=str)


def compare(base, candidate, top_k=16):
    return compare_matrices(MatrixPair(base=base, candidate=candidate, device=CPU), top_k)


def intruders(base, candidate, k):
    pair = MatrixPair(base=base, candidate=candidate, device=CPU)
    return count_intruder_dimensions(
        pair, spectrum_of(base, CPU, k), spectrum_of(candidate, CPU, k), k
    )


def spectrum(W):
    return singular_values(gram(W, CPU))


def item(*matrices, layer="layers.0", tensor="w", numel=1):
    return TensorComparison(tensor=tensor, layer=layer, numel=numel, matrices=matrices)


def numbers(comparison):
    return (
        comparison.divergence,
        comparison.spectrum_distance,
        comparison.subspace_loss,
        comparison.intruder_dimensions,
        comparison.stable_rank_shift,
        comparison.effective_rank_shift,
        comparison.update_signal_share,
        comparison.update_stable_rank,
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_identical_matrices_are_exactly_zero_apart(shape, dtype):
    W = normal(*shape, dtype=dtype)
    assert numbers(compare(W, W)) == (0.0,) * 8
    assert numbers(compare(W, W.clone())) == (0.0,) * 8


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_strides_and_alignment_do_not_move_identical_matrices_apart(shape):
    W = normal(*shape)
    turned = W.T.contiguous().T
    shifted = torch.cat([torch.zeros(1, dtype=W.dtype), W.reshape(-1)])[1:].view(*shape)
    assert numbers(compare(W, turned)) == (0.0,) * 8
    assert numbers(compare(shifted, W)) == (0.0,) * 8


@pytest.mark.parametrize("dtype", FLOATS[:3], ids=str)
def test_the_same_numbers_in_a_wider_type_are_exactly_zero_apart(dtype):
    W = normal(12, 20, dtype=dtype)
    assert numbers(compare(W, W.double())) == (0.0,) * 8


@pytest.mark.parametrize("rank", [0, 1, 3])
@pytest.mark.parametrize("shape", [(20, 12), (12, 20)], ids=str)
def test_identical_deficient_matrices_are_exactly_zero_apart(rank, shape):
    W = normal(shape[0], rank) @ normal(rank, shape[1], seed=1)
    result = numbers(compare(W, W.clone()))
    assert result[:4] == (0.0,) * 4
    assert result[4:6] == ((None, None) if rank == 0 else (0.0, 0.0))
    assert result[6:] == (0.0, 0.0)


@given(m=SIDES, n=SIDES, seed=SEEDS, size=st.floats(1e-6, 10))
def test_the_spectrum_moves_at_most_as_far_as_the_weights(m, n, seed, size):
    W, D = normal(m, n, seed=seed), size * normal(m, n, seed=seed + 1)
    s0, s1 = spectrum(W), spectrum(W + D)
    slack = 1e-7 * float(s0[0] + s1[0])
    weyl = float((s1 - s0).abs().max())
    mirsky = float((s1 - s0).norm())
    assert weyl <= float(torch.linalg.matrix_norm(D, 2)) + slack
    assert mirsky <= float(D.norm()) + slack
    assert spectrum_distance(s0, s1) <= float(D.norm() / W.norm()) + 1e-6


@given(m=SIDES, n=SIDES, seed=SEEDS, dtype=st.sampled_from(FLOATS))
def test_every_number_keeps_its_range(m, n, seed, dtype):
    W, B = normal(m, n, seed=seed, dtype=dtype), normal(m, n, seed=seed + 1, dtype=dtype)
    p, c = min(m, n), compare(W, B)
    assert c.spectrum_distance >= 0
    assert 0 <= c.subspace_loss <= 1
    assert 0 <= c.intruder_dimensions <= max(1, p // 4)
    assert 0 <= c.update_signal_share <= 1
    assert 1 <= c.update_stable_rank <= p + 1e-9
    assert c.divergence == (c.spectrum_distance + c.subspace_loss) / 2


@given(m=SIDES, n=SIDES, seed=SEEDS)
def test_the_spectrum_agrees_with_an_svd_of_mixed_types(m, n, seed):
    W = normal(m, n, seed=seed, dtype=torch.bfloat16)
    B = normal(m, n, seed=seed + 1, dtype=torch.float32)
    s0, s1 = torch.linalg.svdvals(W.double()), torch.linalg.svdvals(B.double())
    expected = float((s1 - s0).abs().mean() / s0.square().mean().sqrt())
    assert compare(W, B).spectrum_distance == pytest.approx(expected, abs=1e-6)


@given(m=st.integers(4, 24), n=st.integers(4, 24), seed=SEEDS)
def test_the_subspace_loss_agrees_with_an_svd(m, n, seed):
    W = decaying(m, n, power=1, seed=seed)
    B = W + sized(normal(m, n, seed=seed + 2), 0.05, W)
    k = max(1, min(m, n) // 4)
    (U0, _, V0), (U1, _, V1) = (torch.linalg.svd(A, full_matrices=False) for A in (W, B))
    left = float((U0[:, :k].T @ U1[:, :k]).square().sum()) / k
    right = float((V0[:k] @ V1[:k].T).square().sum()) / k
    assert compare(W, B).subspace_loss == pytest.approx(1 - (left + right) / 2, abs=1e-8)


@pytest.mark.parametrize("elements", [7, 100])
def test_tiny_chunks_give_the_comparison_of_one_chunk(monkeypatch, elements):
    W = decaying(20, 31, power=1)
    B = W + sized(normal(20, 31, seed=5), 0.1, W)
    whole = numbers(compare(W, B))
    monkeypatch.setattr(linalg, "_CHUNK_ELEMENTS", elements)
    assert numbers(compare(W, B)) == pytest.approx(whole, rel=1e-9, abs=1e-12)


@WIDE_AND_TALL
def test_a_pure_rotation_leaves_the_spectrum_and_moves_the_subspaces(shape):
    W = decaying(*shape)
    m, n = shape
    c = compare(W, rotation(m, 0.15) @ W @ rotation(n, 0.15, seed=1))
    assert c.spectrum_distance < 1e-7
    assert c.subspace_loss > 0.02
    assert c.stable_rank_shift == pytest.approx(0, abs=1e-7)
    assert c.effective_rank_shift == pytest.approx(0, abs=1e-7)
    assert c.intruder_dimensions == 0


@WIDE_AND_TALL
def test_a_rescaling_leaves_the_subspaces_and_moves_the_spectrum(shape):
    W = decaying(*shape)
    c = compare(W, 1.05 * W)
    s = spectrum(W)
    assert c.spectrum_distance == pytest.approx(0.05 * float(s.mean() / s.square().mean().sqrt()))
    assert c.subspace_loss == pytest.approx(0, abs=1e-12)
    assert c.stable_rank_shift == pytest.approx(0, abs=1e-12)
    assert c.effective_rank_shift == pytest.approx(0, abs=1e-12)


@given(m=st.integers(4, 20), n=st.integers(4, 20), seed=SEEDS)
def test_rotating_both_alike_changes_nothing(m, n, seed):
    W = decaying(m, n, power=1, seed=seed)
    B = W + sized(normal(m, n, seed=seed + 2), 0.1, W)
    Q, R = orthonormal(m, m, seed + 3), orthonormal(n, n, seed + 4)
    first, second = compare(W, B), compare(Q @ W @ R, Q @ B @ R)
    assert second.spectrum_distance == pytest.approx(first.spectrum_distance, abs=1e-7)
    assert second.subspace_loss == pytest.approx(first.subspace_loss, abs=1e-7)


def test_permuting_both_alike_changes_nothing_but_permuting_one_does():
    W = decaying(24, 40, power=1)
    B = W + sized(normal(24, 40, seed=2), 0.1, W)
    both = compare(W.flip(0).flip(1), B.flip(0).flip(1))
    assert numbers(both) == pytest.approx(numbers(compare(W, B)), abs=1e-8)
    assert compare(W, W.flip(0)).subspace_loss > 0.3


def test_transposing_both_leaves_the_spectrum_and_the_subspaces():
    W = decaying(24, 40, power=1)
    B = W + sized(normal(24, 40, seed=2), 0.1, W)
    first, second = compare(W, B), compare(W.T, B.T)
    assert second.divergence == pytest.approx(first.divergence, rel=1e-12)


def test_the_subspace_loss_is_symmetric_and_the_spectrum_distance_is_not():
    W = decaying(24, 40, power=1)
    B = 2 * W + sized(normal(24, 40, seed=2), 0.1, W)
    there, back = compare(W, B), compare(B, W)
    assert there.subspace_loss == pytest.approx(back.subspace_loss, abs=1e-12)
    assert there.spectrum_distance > 1.5 * back.spectrum_distance


@pytest.mark.parametrize("rank", [4, 96], ids=["low-rank", "isotropic"])
def test_the_divergence_grows_with_the_noise_along_one_direction(rank):
    W = decaying(96, 160)
    D = normal(96, rank, seed=1) @ normal(rank, 160, seed=2)
    values = [compare(W, W + sized(D, eps, W)).divergence for eps in (0.001, 0.01, 0.1, 1.0)]
    assert values == sorted(values)
    assert values[0] > 0


@WIDE_AND_TALL
def test_isotropic_noise_of_a_tenth_makes_no_intruders_and_little_loss(shape):
    W = decaying(*shape)
    B = W + sized(normal(*shape, seed=7), 0.1, W)
    c = compare(W, B)
    assert intruders(W, B, 32) == 0
    assert c.intruder_dimensions == 0
    assert c.spectrum_distance < 0.02
    assert c.subspace_loss < 0.01
    assert c.update_signal_share < 0.02


@WIDE_AND_TALL
def test_a_large_random_low_rank_update_makes_intruders(shape):
    W = decaying(*shape)
    D = normal(shape[0], 8, seed=7) @ normal(8, shape[1], seed=8)
    assert intruders(W, W + sized(D, 0.1, W), 32) <= 1
    assert intruders(W, W + sized(D, 0.3, W), 32) >= 5
    c = compare(W, W + sized(D, 0.3, W))
    assert c.intruder_dimensions >= 3
    assert c.update_signal_share == pytest.approx(1)


def test_a_flat_spectrum_makes_intruders_of_isotropic_noise_as_documented():
    W = normal(192, 512)
    assert intruders(W, W + 0.3 * normal(192, 512, seed=1), 32) > 0


@pytest.mark.parametrize("shape", [(20, 30), (30, 20)], ids=str)
def test_intruders_are_counted_by_the_largest_cosine_with_any_base_vector(shape):
    W = with_spectrum(torch.linspace(2, 1, 20, dtype=torch.float64), *shape)
    B = W + 1.5 * normal(*shape, seed=9) / 20**0.5
    U0, U1 = (torch.linalg.svd(A, full_matrices=False).U for A in (W, B))
    expected = int(((U0.T @ U1[:, :10]).abs().amax(0) < 0.6).sum())
    assert 0 < intruders(W, B, 10) == expected


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)], ids=str)
def test_against_a_zero_base_every_direction_is_an_intruder(shape):
    c = compare(torch.zeros(shape), normal(*shape))
    assert c.intruder_dimensions == 1  # the subspaces have 6 // 4 dimensions
    assert (c.spectrum_distance, c.subspace_loss, c.divergence) == (1.0, 1.0, 1.0)
    assert (c.stable_rank_shift, c.effective_rank_shift) == (None, None)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)], ids=str)
def test_a_candidate_of_zeros_lost_everything_and_has_no_intruders(shape):
    c = compare(normal(*shape), torch.zeros(shape))
    assert c.intruder_dimensions == 0
    assert c.subspace_loss == 1.0
    assert 0 < c.spectrum_distance <= 1
    assert c.stable_rank_shift is None


@pytest.mark.parametrize("shape", [(1, 9), (9, 1)], ids=str)
def test_vectors_are_compared_by_length_and_direction(shape):
    v = torch.zeros(9, dtype=torch.float64)
    v[0] = 1.0
    w = torch.zeros(9, dtype=torch.float64)
    w[:2] = 1.0
    c = compare(v.reshape(shape), w.reshape(shape))
    assert c.spectrum_distance == pytest.approx(math.sqrt(2) - 1)
    assert c.subspace_loss == pytest.approx(0.25)  # one side of two turned by 45 degrees


def test_constant_rows_have_rank_one_and_still_compare():
    W = normal(8).expand(20, 8)
    c = compare(W, 2 * W)
    assert c.spectrum_distance == pytest.approx(1 / math.sqrt(8))
    assert c.subspace_loss == pytest.approx(0.0, abs=1e-12)


def test_losing_rank_within_the_top_subspace_is_a_loss():
    W = with_spectrum(torch.tensor([4.0, 3.0] + [0.0] * 10, dtype=torch.float64), 12, 12)
    B = with_spectrum(torch.tensor([4.0] + [0.0] * 11, dtype=torch.float64), 12, 12)
    assert compare(W, B).subspace_loss == pytest.approx(1 - math.sqrt(1 / 2))


def test_the_number_of_directions_is_bounded_by_a_quarter_of_the_shorter_side():
    W = with_spectrum(torch.arange(12, 0, -1, dtype=torch.float64), 12, 12)
    B = W + sized(normal(12, 12, seed=4), 0.2, W)
    assert compare(W, B, 3) == compare(W, B, 16)
    assert compare(W, B, 1).subspace_loss != compare(W, B, 16).subspace_loss


@given(p=st.integers(1, 60), seed=SEEDS)
def test_ranks_lie_between_one_and_the_number_of_values(p, seed):
    s = normal(p, seed=seed).abs().sort(descending=True).values
    assert 1 <= stable_rank(s) <= p + 1e-9
    assert 1 - 1e-12 <= effective_rank(s) <= p + 1e-9


def test_ranks_of_flat_single_and_zero_spectra_are_known():
    flat = torch.full((7,), 3.0, dtype=torch.float64)
    single = torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64)
    zero = torch.zeros(3, dtype=torch.float64)
    assert [stable_rank(s) for s in (flat, single, zero)] == pytest.approx([7, 1, 0])
    assert [effective_rank(s) for s in (flat, single, zero)] == pytest.approx([7, 1, 0])


def test_the_wasserstein_distance_of_spectra_is_in_units_of_the_base():
    s0 = torch.tensor([3.0, 4.0], dtype=torch.float64).flip(0)
    s1 = torch.tensor([5.0, 3.0], dtype=torch.float64)
    assert spectrum_distance(s0, s1) == pytest.approx(0.5 / math.sqrt(12.5))
    assert spectrum_distance(10 * s0, 10 * s1) == pytest.approx(spectrum_distance(s0, s1))
    assert spectrum_distance(0 * s0, s1) == 1.0
    assert spectrum_distance(0 * s0, 0 * s0) == 0.0


@given(m=st.integers(60, 90), ratio=st.sampled_from([1, 2, 4]), seed=SEEDS)
def test_noise_has_no_energy_above_the_threshold_and_a_spike_has_its_own(m, ratio, seed):
    n = m * ratio
    noise = normal(m, n, seed=seed) / math.sqrt(n)
    u, v = orthonormal(m, 1, seed + 1), orthonormal(n, 1, seed + 2)
    pure = torch.linalg.svdvals(noise)
    assert signal_energy_share(pure, 1 / ratio) < 0.08
    spiked = torch.linalg.svdvals(noise + 20 * u @ v.T)
    share = signal_energy_share(spiked, 1 / ratio)
    assert share == pytest.approx(400 / (400 + m), abs=0.06)


@pytest.mark.parametrize("shape", [(60, 240), (240, 60)], ids=str)
def test_a_comparison_takes_the_threshold_of_its_own_shape(shape):
    W, D = normal(*shape), normal(*shape, seed=1)
    D += 25 * orthonormal(shape[0], 1, 2) @ orthonormal(shape[1], 1, 3).T
    c = compare(W, W + D)
    assert 0 < c.update_signal_share < 1
    assert c.update_signal_share == pytest.approx(
        signal_energy_share(torch.linalg.svdvals(D), 60 / 240)
    )


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=40), st.floats(0.01, 1))
@example([1.0], 1.0)
@example([0.0, 0.0], 0.5)
def test_an_energy_share_lies_between_zero_and_one(values, aspect_ratio):
    s = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    assert 0 <= signal_energy_share(s, aspect_ratio) <= 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("who", ["base", "candidate", "both"])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (1, 3)], ids=str)
def test_a_weight_that_is_not_finite_is_inconclusive(bad, who, shape):
    W = normal(*shape)
    broken = W.clone()
    broken[0, 2] = bad
    c = compare(broken if who != "candidate" else W, broken if who != "base" else W)
    result = spectral_divergence([item(compare(W, W)), item(c, tensor="bad")], UNIFORM)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.estimate is None
    assert result.measurements == ()
    assert result.reason == "1 tensors hold NaN or infinity, first bad"


@pytest.mark.parametrize("comparisons", [[], [item()]], ids=["no-tensor", "no-matrix"])
def test_a_model_without_matrices_is_inconclusive(comparisons):
    result = spectral_divergence(comparisons, UNIFORM)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason == "no weight matrix could be compared"


def test_the_headline_of_identical_models_is_exactly_zero():
    W = normal(9, 7, dtype=torch.bfloat16)
    same = compare(W, W.clone())
    rows = [item(same, same), item(same, layer="layers.1", tensor="v", numel=3)]
    assert spectral_divergence(rows, UNIFORM).estimate.value == 0.0


def test_the_headline_is_a_mean_over_experts_then_parameters_then_depth():
    W = decaying(12, 20, power=1)
    a, b, c = (compare(W, W * scale) for scale in (1.1, 1.3, 2.0))
    rows = [
        item(a, b, tensor="experts", numel=30),
        item(c, tensor="q", numel=10),
        item(a, layer="layers.1", tensor="q1", numel=5),
    ]
    result = spectral_divergence(rows, DepthWeighting(scheme="linear"))
    first = ((a.divergence + b.divergence) / 2 * 30 + c.divergence * 10) / 40
    assert [row.estimate.value for row in result.by_layer(METRIC)] == pytest.approx(
        [first, a.divergence]
    )
    assert result.estimate.value == pytest.approx(first / 3 + a.divergence * 2 / 3)
    both = result.overall("spectrum-distance").value + result.overall("subspace-loss").value
    assert both / 2 == pytest.approx(result.estimate.value)
    assert result.overall("intruder-dimensions").value == 0.0


def test_the_name_of_the_number_has_every_parameter():
    W = normal(4, 4)
    result = spectral_divergence([item(compare(W, W, 3))], UNIFORM, 3)
    assert (
        str(result.id) == "spectral-divergence/1?depth-weights=uniform&intruder-cosine=0.6&top-k=3"
    )


def test_a_rank_shift_that_does_not_exist_has_no_row():
    W = normal(4, 4)
    result = spectral_divergence([item(compare(torch.zeros(4, 4), W))], UNIFORM)
    metrics = {row.metric for row in result.measurements}
    assert "update-stable-rank" in metrics
    assert metrics.isdisjoint({"stable-rank-shift", "effective-rank-shift"})


def test_the_inputs_are_not_modified():
    W, B = normal(6, 4), normal(6, 4, seed=1)
    kept = W.clone(), B.clone()
    compare(W, B)
    assert torch.equal(W, kept[0])
    assert torch.equal(B, kept[1])
