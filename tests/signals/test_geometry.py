import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seeded import CPU, FLOATS, normal

from sdi_gate.signals import linalg
from sdi_gate.signals.depth import DepthWeighting
from sdi_gate.signals.geometry import (
    METRIC,
    TensorMoments,
    relative_distance,
    sums_of_squares,
    sums_of_squares_low_rank,
    weight_geometry,
)
from sdi_gate.signals.interface import Outcome
from sdi_gate.signals.linalg import LowRank

UNIFORM = DepthWeighting()
SEEDS = st.integers(0, 2**32)
SHAPES = [(1, 7), (7, 1), (3, 5), (2, 3, 4), (11,), (), (0,), (0, 4)]


def moments(base, candidate, layer="layers.0", tensor="w"):
    squares = sums_of_squares(base, candidate, CPU)
    return TensorMoments(
        tensor=tensor,
        layer=layer,
        numel=base.numel(),
        base_squares=squares[0],
        update_squares=squares[1],
    )


def distance(base, candidate):
    return weight_geometry([moments(base, candidate)], UNIFORM).estimate.value


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_identical_weights_are_exactly_zero_apart(dtype, shape):
    W = normal(*shape, dtype=dtype)
    result = weight_geometry([moments(W, W.clone())], UNIFORM)
    assert result.estimate.value == 0.0
    zero_metrics = {row.metric for row in result.measurements if row.estimate.value == 0.0}
    assert zero_metrics == {row.metric for row in result.measurements}


@given(seed=SEEDS, m=st.integers(1, 9), n=st.integers(1, 9), dtype=st.sampled_from(FLOATS[1:]))
def test_a_copy_with_other_strides_or_a_wider_type_is_exactly_zero_apart(seed, m, n, dtype):
    W = normal(m, n, seed=seed, dtype=dtype)
    assert distance(W, W.T.contiguous().T.double()) == 0.0


def test_an_adapter_that_was_never_trained_moves_nothing():
    W = normal(8, 6, dtype=torch.float32)
    adapted = W + 2.0 * torch.zeros(8, 2) @ normal(2, 6, dtype=torch.float32)
    assert distance(W, adapted) == 0.0


@given(seed=SEEDS, position=st.integers(0, 14))
def test_a_single_changed_weight_is_seen(seed, position):
    W = normal(3, 5, seed=seed, dtype=torch.float32)
    B = W.clone()
    B.view(-1)[position] += 1e-3
    assert distance(W, B) > 0.0


@given(seed=SEEDS, m=st.integers(1, 12), n=st.integers(1, 12))
def test_the_distance_is_the_relative_frobenius_norm(seed, m, n):
    W, B = normal(m, n, seed=seed), normal(m, n, seed=seed + 1)
    assert distance(W, B) == pytest.approx(float((B - W).norm() / W.norm()), rel=1e-12)


@given(seed=SEEDS, exponent=st.integers(-30, 30))
def test_a_common_rescaling_by_a_power_of_two_changes_no_bit(seed, exponent):
    W, B = normal(4, 6, seed=seed), normal(4, 6, seed=seed + 1)
    assert distance(W * 2.0**exponent, B * 2.0**exponent) == distance(W, B)


@given(seed=SEEDS)
def test_a_permutation_of_both_leaves_the_distance(seed):
    W, B = normal(6, 7, seed=seed), normal(6, 7, seed=seed + 1)
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.randperm(6, generator=generator), torch.randperm(7, generator=generator)
    both = distance(W[rows][:, columns], B[rows][:, columns])
    assert both == pytest.approx(distance(W, B), rel=1e-12)


def test_a_permutation_or_a_rescaling_of_the_candidate_alone_is_seen():
    W = normal(6, 7)
    assert distance(W, W.flip(0)) > 0.5
    assert distance(W, W * 1.05) == pytest.approx(0.05, rel=1e-12)


def test_the_distance_is_relative_to_the_base_and_so_not_symmetric():
    W = normal(5, 5)
    assert distance(W, 2 * W) == pytest.approx(1.0)
    assert distance(2 * W, W) == pytest.approx(0.5)


def test_the_distance_has_no_upper_bound():
    W = normal(5, 5)
    assert distance(W, -99 * W) == pytest.approx(100.0)


@given(seed=SEEDS, steps=st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=6, unique=True))
def test_the_distance_grows_with_the_noise_along_one_direction(seed, steps):
    W, N = normal(5, 4, seed=seed), normal(5, 4, seed=seed + 1)
    values = [distance(W, W + step * N) for step in sorted(steps)]
    assert values == sorted(values)


@given(seed=SEEDS)
def test_the_distance_keeps_the_triangle_inequality(seed):
    W, A, B = (normal(5, 4, seed=seed + i) for i in range(3))
    slack = 1e-12
    detour = distance(W, A) + float((B - A).norm() / W.norm())
    assert distance(W, B) <= detour + slack


def test_weights_saved_again_in_bfloat16_show_the_floor_of_that_type():
    W = normal(1000, 1000, dtype=torch.float32)
    floor = distance(W, W.bfloat16())
    assert floor == pytest.approx(1.66e-3, rel=0.02)
    assert distance(W * 1e-3, (W * 1e-3).bfloat16()) == pytest.approx(1.66e-3, rel=0.02)
    assert distance(W, W.half()) == pytest.approx(2.1e-4, rel=0.03)


def test_the_sum_of_twenty_million_squares_is_exact_where_float32_is_not():
    generator = torch.Generator().manual_seed(0)
    base = torch.empty(20_000_000, dtype=torch.bfloat16).normal_(generator=generator)
    squares, update = sums_of_squares(base, torch.zeros(1, dtype=base.dtype).expand(len(base)), CPU)
    truth = math.fsum(float(piece.double().square().sum()) for piece in base.split(1 << 16))
    assert squares == pytest.approx(truth, rel=1e-13)
    assert update == squares
    single = float(torch.linalg.vector_norm(base.float())) ** 2
    assert abs(single / truth - 1) > 1e-3


@pytest.mark.parametrize("elements", [1, 3, 10])
def test_tiny_chunks_give_the_sums_of_one_chunk(monkeypatch, elements):
    W, B = normal(13, 4, dtype=torch.bfloat16), normal(13, 4, seed=1, dtype=torch.float32)
    whole = sums_of_squares(W, B, CPU)
    monkeypatch.setattr(linalg, "_CHUNK_ELEMENTS", elements)
    assert sums_of_squares(W, B, CPU) == pytest.approx(whole, rel=1e-14)


def test_the_update_of_mixed_types_is_taken_in_float64():
    base = torch.full((4,), 256.0, dtype=torch.bfloat16)
    assert sums_of_squares(base, base.float() + 2.0**-10, CPU)[1] == 4 * 2.0**-20
    small, large = torch.tensor([2.0**-26]), torch.ones(1)  # float32 drops the small one
    assert sums_of_squares(small, large, CPU)[1] == (1 - 2.0**-26) ** 2


def test_the_inputs_are_not_modified():
    W, B = normal(4, 4), normal(4, 4, seed=1)
    kept = W.clone(), B.clone()
    sums_of_squares(W, B, CPU)
    assert torch.equal(W, kept[0])
    assert torch.equal(B, kept[1])


def test_the_tensors_of_a_layer_are_measured_as_one_vector():
    W, B, b, c = normal(4, 3), normal(4, 3, seed=1), normal(9, seed=2), normal(9, seed=3)
    result = weight_geometry([moments(W, B), moments(b, c, tensor="b")], UNIFORM)
    stacked = distance(torch.cat([W.reshape(-1), b]), torch.cat([B.reshape(-1), c]))
    assert result.estimate.value == pytest.approx(stacked, rel=1e-12)


def test_depth_weights_enter_the_headline_and_its_name():
    W = normal(4, 3)
    rows = [moments(W, W, "layers.0"), moments(W, W * 1.5, "layers.1", "v")]
    uniform = weight_geometry(rows, UNIFORM)
    linear = weight_geometry(rows, DepthWeighting(scheme="linear"))
    assert uniform.estimate.value == pytest.approx(0.25)
    assert linear.estimate.value == pytest.approx(1 / 3)
    assert str(linear.id) == "weight-geometry/1?depth-weights=linear"
    assert [row.layer for row in linear.by_layer(METRIC)] == ["layers.0", "layers.1"]


def test_the_totals_stand_beside_the_headline():
    W, B = normal(4, 3), normal(4, 3, seed=1)
    result = weight_geometry([moments(W, B)], UNIFORM)
    norm = float((B - W).norm())
    assert result.overall("distance").value == pytest.approx(norm)
    assert result.overall("distance-per-parameter").value == pytest.approx(norm / math.sqrt(12))
    assert result.overall("pooled-relative-distance").value == pytest.approx(result.estimate.value)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("who", ["base", "candidate", "both"])
def test_a_weight_that_is_not_finite_is_inconclusive(bad, who):
    W = normal(3, 3)
    broken = W.clone()
    broken[1, 1] = bad
    row = moments(broken if who != "candidate" else W, broken if who != "base" else W)
    result = weight_geometry([row], UNIFORM)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.estimate is None
    assert result.reason == "1 tensors hold NaN or infinity, first w"


def test_nothing_compared_is_inconclusive():
    result = weight_geometry([], UNIFORM)
    assert (result.outcome, result.reason) == (Outcome.INCONCLUSIVE, "no tensor could be compared")


def test_a_layer_that_left_zero_is_inconclusive():
    zeros = torch.zeros(3)
    result = weight_geometry([moments(zeros, torch.ones(3))], UNIFORM)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "layers.0 is all zeros in the base" in result.reason


def test_a_layer_that_stayed_zero_has_not_moved():
    assert distance(torch.zeros(3), torch.zeros(3)) == 0.0


def test_a_bias_that_left_zero_counts_in_its_layer_and_has_no_ratio_of_its_own():
    W = normal(4, 3)
    rows = [moments(W, W), moments(torch.zeros(2), torch.ones(2), tensor="bias")]
    result = weight_geometry(rows, UNIFORM)
    assert result.estimate.value == pytest.approx(math.sqrt(2) / float(W.norm()))
    own = {row.metric for row in result.measurements if row.tensor == "bias"}
    assert own == {"distance-per-parameter"}


def test_a_ratio_of_norms_is_zero_or_infinite_where_a_norm_is_zero():
    assert relative_distance(0.0, 0.0) == 0.0
    assert relative_distance(0.0, 2.0) == 0.0
    assert relative_distance(2.0, 0.0) == math.inf
    assert relative_distance(8.0, 2.0) == 2.0


@given(seed=SEEDS, m=st.integers(1, 9), n=st.integers(1, 9), r=st.integers(0, 12))
def test_a_low_rank_update_has_the_squares_of_the_dense_one(seed, m, n, r):
    W = normal(m, n, seed=seed)
    update = LowRank(left=normal(m, r, seed=seed + 1), right=normal(r, n, seed=seed + 2))
    base, moved = sums_of_squares_low_rank(W, update, CPU)
    dense = sums_of_squares(W, W + update.left @ update.right, CPU)
    assert base == dense[0]
    assert moved == pytest.approx(dense[1], rel=1e-11, abs=1e-25)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("rank", [0, 1, 9])
def test_a_low_rank_update_of_zeros_has_moved_exactly_nothing(dtype, rank):
    W = normal(5, 4, dtype=dtype)
    update = LowRank(left=torch.zeros(5, rank, dtype=torch.float64), right=normal(rank, 4, seed=1))
    assert sums_of_squares_low_rank(W, update, CPU) == (sums_of_squares(W, W, CPU)[0], 0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=str)
def test_a_low_rank_update_that_is_not_finite_is_inconclusive(bad):
    W, left, right = normal(3, 3), normal(3, 1), normal(1, 3)
    left[0, 0] = bad
    base, moved = sums_of_squares_low_rank(W, LowRank(left=left, right=right), CPU)
    row = TensorMoments(
        tensor="w", layer="layers.0", numel=9, base_squares=base, update_squares=moved
    )
    assert weight_geometry([row], UNIFORM).outcome is Outcome.INCONCLUSIVE
