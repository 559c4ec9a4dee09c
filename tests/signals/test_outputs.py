"""Activation-weighted and loss-metric numbers against closed forms, laws and explicit roots."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seeded import CPU, FLOATS, normal, orthonormal, rotation

from sdi_gate.signals.linalg import MatrixPair
from sdi_gate.signals.outputs import (
    ACTIVATION_WEIGHTED,
    ACTIVATION_WEIGHTED_DISTANCE,
    ACTIVATION_WEIGHTED_SPECTRUM_DISTANCE,
    ACTIVATION_WEIGHTED_SUBSPACE_LOSS,
    LOSS_METRIC,
    LOSS_METRIC_DISTANCE,
    LOSS_METRIC_ENERGY,
    LOSS_METRIC_SPECTRUM_DISTANCE,
    compare_outputs,
)

ALL = (*ACTIVATION_WEIGHTED, *LOSS_METRIC)
RATIOS = tuple(metric for metric in ALL if metric != LOSS_METRIC_ENERGY)
SEEDS = st.integers(0, 2**32)
SIDES = st.integers(1, 12)
# Outputs, inputs, tokens: each of the three is the smallest and the largest once.
SHAPES = [(5, 7, 12), (5, 12, 7), (7, 5, 12), (12, 5, 7), (7, 12, 5), (12, 7, 5), (1, 1, 1)]


def compare(base, candidate, X, g=None, top_k=16):
    return compare_outputs(MatrixPair(base=base, candidate=candidate, device=CPU), X, g, top_k)


def drawn(m, n, t, seed=0, size=0.3):
    """Return base, candidate, inputs and gradients."""
    W = normal(m, n, seed=seed)
    D = size * normal(m, n, seed=seed + 1)
    return W, W + D, normal(t, n, seed=seed + 2), normal(t, m, seed=seed + 3)


def root(A):
    values, vectors = torch.linalg.eigh(A)
    return vectors * values.clamp(min=0).sqrt() @ vectors.mT


def explicit(W0, W1, X, g, top_k):
    """Form both square roots and decompose, as the definitions are written."""
    t = len(X)
    C, G = root(X.mT @ X / t), root(g.mT @ g / t)
    k = min(top_k, max(1, min(*W0.shape, t) // 4))
    (U0, s0, _), (U1, s1, _) = (torch.linalg.svd(W @ C) for W in (W0, W1))
    l0, l1 = (torch.linalg.svdvals(G @ W @ C) for W in (W0, W1))
    D = W1 - W0
    return {
        ACTIVATION_WEIGHTED_DISTANCE: (D @ C).norm() / (W0 @ C).norm(),
        ACTIVATION_WEIGHTED_SPECTRUM_DISTANCE: (s1 - s0).norm() / s0.norm(),
        ACTIVATION_WEIGHTED_SUBSPACE_LOSS: 1 - (U0[:, :k].mT @ U1[:, :k]).square().sum() / k,
        LOSS_METRIC_DISTANCE: (G @ D @ C).norm() / (G @ W0 @ C).norm(),
        LOSS_METRIC_ENERGY: 0.5 * torch.trace(G @ G @ D @ C @ C @ D.mT),
        LOSS_METRIC_SPECTRUM_DISTANCE: (l1 - l0).norm() / l0.norm(),
    }


@pytest.mark.parametrize(("m", "n", "t"), SHAPES, ids=str)
@pytest.mark.parametrize("top_k", [1, 2, 16])
def test_no_root_is_formed_and_the_numbers_are_those_of_the_roots(m, n, t, top_k):
    case = drawn(m, n, t, seed=m * 100 + n * 10 + t)
    found, expected = compare(*case, top_k), explicit(*case, top_k)
    assert found.keys() == expected.keys() == set(ALL)
    for metric, value in expected.items():
        assert found[metric] == pytest.approx(float(value), rel=1e-6, abs=1e-7), metric


def test_without_gradients_there_is_no_loss_metric():
    W0, W1, X, g = drawn(6, 5, 9)
    plain, both = compare(W0, W1, X), compare(W0, W1, X, g)
    assert plain == {metric: both[metric] for metric in ACTIVATION_WEIGHTED}


def test_diagonal_matrices_give_what_can_be_written_down():
    # Inputs and gradients along the axes, each with its own size.
    size_in, size_out = torch.tensor([1.0, 2, 3, 4]), torch.tensor([2.0, 1, 1, 0.5])
    X, g = torch.diag(size_in).double(), torch.diag(size_out).double()
    a, b = torch.tensor([4.0, 3, 2, 1]), torch.tensor([5.0, 3, 2, 1])
    found = compare(torch.diag(a).double(), torch.diag(b).double(), X, g, 1)
    # Base outputs 4, 6, 6, 4 and moved 1; in the loss's metric 8, 6, 6, 2 and moved 2, over t = 4.
    assert found[ACTIVATION_WEIGHTED_DISTANCE] == pytest.approx(1 / math.sqrt(104))
    assert found[LOSS_METRIC_DISTANCE] == pytest.approx(2 / math.sqrt(140))
    assert found[LOSS_METRIC_ENERGY] == pytest.approx(0.5 * (2 / 4) ** 2)
    # Sorted spectra 6, 6, 4, 4 and 6, 6, 5, 4; 8, 6, 6, 2 and 10, 6, 6, 2.
    assert found[ACTIVATION_WEIGHTED_SPECTRUM_DISTANCE] == pytest.approx(1 / math.sqrt(104))
    assert found[LOSS_METRIC_SPECTRUM_DISTANCE] == pytest.approx(2 / math.sqrt(140))


def test_outputs_that_turn_from_one_axis_to_another_lose_the_whole_subspace():
    one, other = torch.diag(torch.tensor([9.0, 1, 1, 1])), torch.diag(torch.tensor([1.0, 9, 1, 1]))
    found = compare(one, other, torch.eye(4))
    assert found[ACTIVATION_WEIGHTED_SUBSPACE_LOSS] == pytest.approx(1.0)
    assert found[ACTIVATION_WEIGHTED_SPECTRUM_DISTANCE] == pytest.approx(0.0, abs=1e-12)


def test_the_energy_of_a_single_token_is_half_the_square_of_the_change_of_its_loss():
    W0, W1, X, g = drawn(6, 5, 1)
    change = float(g @ (W1 - W0) @ X.mT)
    assert compare(W0, W1, X, g)[LOSS_METRIC_ENERGY] == pytest.approx(0.5 * change**2)


def test_a_change_that_no_input_meets_counts_for_nothing():
    Q = orthonormal(8, 8)
    X = normal(20, 5, seed=1) @ Q[:, :5].mT
    W0, unseen = normal(6, 8, seed=2), normal(6, 3, seed=3) @ Q[:, 5:].mT
    found = compare(W0, W0 + unseen, X, normal(20, 6, seed=4))
    for metric, value in found.items():
        assert value == pytest.approx(0.0, abs=1e-7), metric


def test_a_change_that_the_loss_does_not_feel_counts_only_in_the_outputs():
    Q = orthonormal(6, 6)
    W0, X = normal(6, 8, seed=2), normal(20, 8, seed=1)
    g = normal(20, 4, seed=3) @ Q[:, :4].mT
    found = compare(W0, W0 + Q[:, 4:] @ normal(2, 8, seed=4), X, g)
    assert found[ACTIVATION_WEIGHTED_DISTANCE] > 0.1
    for metric in LOSS_METRIC:
        assert found[metric] == pytest.approx(0.0, abs=1e-7), metric


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("m", "n", "t"), SHAPES, ids=str)
def test_equal_matrices_are_exactly_zero_apart(m, n, t, dtype):
    W, _, X, g = (A.to(dtype) for A in drawn(m, n, t))
    assert compare(W, W.clone(), X, g) == dict.fromkeys(ALL, 0.0)
    assert compare(W, W, X) == dict.fromkeys(ACTIVATION_WEIGHTED, 0.0)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_type_is_computed_in_float64(dtype):
    case = [A.to(dtype) for A in drawn(9, 12, 20)]
    assert compare(*case) == compare(*(A.double() for A in case))


def test_arguments_are_not_modified():
    case = drawn(6, 5, 9)
    before = [A.clone() for A in case]
    compare(*case)
    assert all(torch.equal(a, b) for a, b in zip(case, before, strict=True))


@given(m=SIDES, n=SIDES, t=SIDES, seed=SEEDS)
def test_every_number_keeps_its_range(m, n, t, seed):
    found = compare(*drawn(m, n, t, seed=seed, size=1.0))
    assert all(value >= 0.0 for value in found.values())
    assert found[ACTIVATION_WEIGHTED_SUBSPACE_LOSS] <= 1.0
    slack = 1e-6  # of the Gram matrix
    for spectrum, distance in (
        (ACTIVATION_WEIGHTED_SPECTRUM_DISTANCE, ACTIVATION_WEIGHTED_DISTANCE),
        (LOSS_METRIC_SPECTRUM_DISTANCE, LOSS_METRIC_DISTANCE),
    ):
        assert found[spectrum] <= found[distance] * (1 + slack) + slack  # Mirsky


@given(m=SIDES, n=SIDES, t=SIDES, seed=SEEDS)
def test_turning_the_outputs_with_their_gradients_moves_nothing(m, n, t, seed):
    W0, W1, X, g = drawn(m, n, t, seed=seed)
    Q = rotation(m, 1.0, seed=seed)
    assert_alike(compare(W0, W1, X, g), compare(Q @ W0, Q @ W1, X, g @ Q.mT))


@given(m=SIDES, n=SIDES, t=SIDES, seed=SEEDS)
def test_turning_the_inputs_with_the_matrices_moves_nothing(m, n, t, seed):
    W0, W1, X, g = drawn(m, n, t, seed=seed)
    Q = rotation(n, 1.0, seed=seed)
    assert_alike(compare(W0, W1, X, g), compare(W0 @ Q.mT, W1 @ Q.mT, X @ Q.mT, g))


@given(m=SIDES, n=SIDES, t=SIDES, seed=SEEDS)
def test_any_change_of_the_input_space_moves_nothing(m, n, t, seed):
    W0, W1, X, g = drawn(m, n, t, seed=seed)
    A = stretched(n, seed)
    assert_alike(compare(W0, W1, X, g), compare(W0 @ A.inverse(), W1 @ A.inverse(), X @ A.mT, g))


@given(m=SIDES, n=SIDES, t=SIDES, seed=SEEDS)
def test_any_change_of_the_output_space_moves_nothing_in_the_loss_metric(m, n, t, seed):
    W0, W1, X, g = drawn(m, n, t, seed=seed)
    A = stretched(m, seed)
    found, expected = compare(A @ W0, A @ W1, X, g @ A.inverse()), compare(W0, W1, X, g)
    for metric in LOSS_METRIC:
        assert found[metric] == pytest.approx(expected[metric], rel=1e-5, abs=1e-6), metric


def test_a_stretch_of_one_output_moves_the_activation_weighted_numbers():
    W0, W1, X, _ = drawn(8, 9, 12)
    A = torch.diag(torch.tensor([5.0, *[1.0] * 7])).double()
    found, expected = compare(A @ W0, A @ W1, X), compare(W0, W1, X)
    for metric, value in expected.items():
        assert found[metric] != pytest.approx(value, rel=1e-3), metric


@given(
    seed=SEEDS,
    weights=st.floats(0.01, 100),
    inputs=st.floats(0.01, 100),
    gradients=st.floats(0.01, 100),
)
def test_a_common_scale_moves_the_energy_by_its_square_and_nothing_else(
    seed, weights, inputs, gradients
):
    W0, W1, X, g = drawn(6, 9, 12, seed=seed)
    scaled = compare(weights * W0, weights * W1, inputs * X, gradients * g)
    plain = compare(W0, W1, X, g)
    assert scaled[LOSS_METRIC_ENERGY] == pytest.approx(
        plain[LOSS_METRIC_ENERGY] * (weights * inputs * gradients) ** 2, rel=1e-9
    )
    assert_alike(scaled, plain, RATIOS)


@given(seed=SEEDS, size=st.floats(0.001, 10))
def test_distances_grow_with_the_update_and_the_energy_with_its_square(seed, size):
    W0, W1, X, g = drawn(6, 9, 12, seed=seed)
    plain, grown = compare(W0, W1, X, g), compare(W0, W0 + size * (W1 - W0), X, g)
    for metric, power in (
        (ACTIVATION_WEIGHTED_DISTANCE, 1),
        (LOSS_METRIC_DISTANCE, 1),
        (LOSS_METRIC_ENERGY, 2),
    ):
        assert grown[metric] == pytest.approx(plain[metric] * size**power, rel=1e-9)


def test_a_rescaled_matrix_is_as_far_as_its_scale_says_and_keeps_its_subspace():
    W0, _, X, g = drawn(8, 9, 12)
    found = compare(W0, 1.25 * W0, X, g)
    for metric in RATIOS:
        expected = 0.0 if metric == ACTIVATION_WEIGHTED_SUBSPACE_LOSS else 0.25
        assert found[metric] == pytest.approx(expected, abs=1e-9), metric


def test_a_turn_of_the_candidates_outputs_alone_is_seen():
    W0, _, X, g = drawn(8, 9, 12)
    found = compare(W0, rotation(8, 1.0) @ W0, X, g)
    assert found[ACTIVATION_WEIGHTED_SPECTRUM_DISTANCE] == pytest.approx(0.0, abs=1e-9)
    for metric in set(ALL) - {ACTIVATION_WEIGHTED_SPECTRUM_DISTANCE}:
        assert found[metric] > 0.01, metric


def test_the_numbers_are_not_symmetric():
    W0, W1, X, g = drawn(8, 9, 12, size=1.0)
    there, back = compare(W0, W1, X, g), compare(W1, W0, X, g)
    assert there[ACTIVATION_WEIGHTED_DISTANCE] != pytest.approx(back[ACTIVATION_WEIGHTED_DISTANCE])
    assert there[LOSS_METRIC_ENERGY] == pytest.approx(back[LOSS_METRIC_ENERGY])


def test_growing_noise_gives_growing_numbers():
    W0, W1, X, g = drawn(12, 16, 40)
    ladder = [compare(W0, W0 + size * (W1 - W0), X, g) for size in (0.01, 0.1, 1.0)]
    for metric in ALL:
        values = [found[metric] for found in ladder]
        assert values == sorted(values), metric
        assert values[0] > 0.0, metric


@pytest.mark.parametrize("where", ["base", "inputs"])
def test_where_the_base_gives_zero_there_is_no_ratio_and_no_zero(where):
    W0, W1, X, g = drawn(6, 5, 9)
    zeroed = (0 * W0, W1, X, g) if where == "base" else (W0, W1, 0 * X, g)
    found = compare(*zeroed)
    for metric in set(RATIOS) - {ACTIVATION_WEIGHTED_SUBSPACE_LOSS}:
        assert found[metric] is None, metric
    # From no outputs to some the subspace is lost; where there are none at all it says nothing.
    assert found[ACTIVATION_WEIGHTED_SUBSPACE_LOSS] == (1.0 if where == "base" else None)
    assert (found[LOSS_METRIC_ENERGY] > 0.0) == (where == "base")


def test_without_any_gradient_there_is_no_ratio_in_the_loss_metric():
    W0, W1, X, g = drawn(6, 5, 9)
    found = compare(W0, W1, X, 0 * g)
    assert found[ACTIVATION_WEIGHTED_DISTANCE] > 0.0
    assert found[LOSS_METRIC_DISTANCE] is found[LOSS_METRIC_SPECTRUM_DISTANCE] is None
    assert found[LOSS_METRIC_ENERGY] == 0.0


def test_a_candidate_of_zeros_is_as_far_as_the_base_is_large():
    W0, _, X, g = drawn(6, 5, 9)
    found = compare(W0, 0 * W0, X, g)
    for metric in RATIOS:
        assert found[metric] == pytest.approx(1.0), metric


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", range(4), ids=["base", "candidate", "inputs", "gradients"])
def test_a_broken_number_anywhere_breaks_every_number(which, value):
    case = list(drawn(6, 5, 9))
    case[which] = case[which].clone()
    case[which][0, 0] = value
    assert all(math.isnan(number) for number in compare(*case).values())


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("which", ["weights", "inputs"])
def test_a_broken_number_in_both_models_alike_is_no_zero(which, value):
    W, _, X, g = drawn(6, 5, 9)
    (W if which == "weights" else X)[0, 0] = value
    assert all(math.isnan(number) for number in compare(W, W.clone(), X, g).values())


def stretched(n, seed):
    """Return an invertible matrix, far from orthogonal."""
    return rotation(n, 1.0, seed=seed) * torch.linspace(0.5, 2.0, n, dtype=torch.float64)


def assert_alike(found, expected, metrics=ALL):
    """Compare up to rounding; a subspace where values tie may be any, and is left out."""
    for metric in set(metrics) - {ACTIVATION_WEIGHTED_SUBSPACE_LOSS}:
        assert found[metric] == pytest.approx(expected[metric], rel=1e-5, abs=1e-6), metric
    metric = ACTIVATION_WEIGHTED_SUBSPACE_LOSS
    assert found[metric] == pytest.approx(expected[metric], abs=1e-3), metric
