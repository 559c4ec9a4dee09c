import itertools
import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from seeded import FLOATS, normal, orthonormal, sized

from sdi_gate.signals.cka import (
    ShapeError,
    cka_angle,
    debiased_hsic,
    debiased_linear_cka,
    standardise,
)
from sdi_gate.signals.interface import Outcome
from sdi_gate.signals.representation import (
    METRIC,
    ActivationPair,
    relative_activation_distance,
    representation_drift,
)

SEEDS = st.integers(0, 2**32)


def cka(X, Y):
    return float(debiased_linear_cka(X, Y))


def naive_biased_cka(X, Y):
    X, Y = X - X.mean(0), Y - Y.mean(0)
    K, L = X @ X.mT, Y @ Y.mT
    return float((K * L).sum() / (K.norm() * L.norm()))


def drift(base, candidate, strata=None, layer="layers.0"):
    rows = [ActivationPair(layer=layer, base=base, candidate=candidate)]
    return representation_drift(rows, strata or ["all"] * len(base), ())


def angle(base, candidate):
    return drift(base, candidate).estimate.value


def test_debiased_hsic_is_songs_mean_over_distinct_quadruples():
    n = 6
    A, B = normal(n, 3), normal(n, 2, seed=1)
    K, L = A @ A.T, B @ B.T
    terms = [
        float(K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q]))
        for i, j, q, r in itertools.permutations(range(n), 4)
    ]
    assert len(terms) == 360
    assert float(debiased_hsic(K, L)) == pytest.approx(math.fsum(terms) / 360, rel=1e-12)


def test_debiased_hsic_is_symmetric_bilinear_and_blind_to_diagonals():
    A, B, C = (normal(7, 4, seed=i) for i in range(3))
    K, L, M = A @ A.T, B @ B.T, C @ C.T
    assert torch.equal(debiased_hsic(K, L), debiased_hsic(L, K))
    torch.testing.assert_close(
        debiased_hsic(K + 2 * M, L), debiased_hsic(K, L) + 2 * debiased_hsic(M, L)
    )
    torch.testing.assert_close(
        debiased_hsic(K + torch.diag(normal(7)), L), debiased_hsic(K, L), rtol=1e-10, atol=1e-10
    )


@given(n=st.integers(4, 20), p=st.integers(1, 30), q=st.integers(1, 30), seed=SEEDS)
def test_debiased_hsic_keeps_the_cauchy_schwarz_inequality(n, p, q, seed):
    X, Y = normal(n, p, seed=seed), normal(n, q, seed=seed + 1)
    K, L = X @ X.T, Y @ Y.T
    own = float(debiased_hsic(K, K)), float(debiased_hsic(L, L))
    assert min(own) >= 0
    assert abs(float(debiased_hsic(K, L))) <= math.sqrt(own[0] * own[1]) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("k", "m"), [((3, 3), (3, 3)), ((5, 4), (5, 4)), ((5, 5), (6, 6)), ((0, 0), (0, 0))], ids=str
)
def test_debiased_hsic_refuses_what_is_not_two_gram_matrices(k, m):
    with pytest.raises(ShapeError, match=r"expected two \[n, n\] Gram matrices, n >= 4"):
        debiased_hsic(torch.zeros(k), torch.zeros(m))


@pytest.mark.parametrize(
    ("x", "y"), [((5,), (5,)), ((5, 2), (6, 2)), ((3, 2), (3, 2)), ((0, 2), (0, 2))], ids=str
)
def test_cka_refuses_shapes_that_are_not_paired_samples(x, y):
    with pytest.raises(ShapeError, match=r"expected \[n, p\] and \[n, q\] of equal n >= 4"):
        debiased_linear_cka(torch.zeros(x), torch.zeros(y))


def test_independent_wide_features_score_zero_not_one():
    values = [
        cka(normal(100, 4096, seed=2 * i), normal(100, 4096, seed=2 * i + 1)) for i in range(8)
    ]
    centre = math.fsum(values) / 8
    stderr = math.sqrt(math.fsum((v - centre) ** 2 for v in values) / 7 / 8)
    assert abs(centre) < 4 * stderr
    assert stderr < 0.01
    assert naive_biased_cka(normal(100, 4096), normal(100, 4096, seed=1)) > 0.9


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    "shape", [(4, 1), (5, 3), (7, 64), (130, 9), (130, 257), (257, 130)], ids=str
)
def test_equal_activations_have_a_similarity_of_exactly_one(dtype, shape):
    X = normal(*shape, dtype=dtype)
    assert cka(X, X) == 1.0
    assert cka(X, X.clone()) == 1.0
    assert cka(X, X.T.contiguous().T.double()) == 1.0


@given(n=st.integers(4, 20), p=st.integers(1, 30), q=st.integers(1, 30), seed=SEEDS)
def test_cka_is_symmetric_and_at_most_one(n, p, q, seed):
    X, Y = normal(n, p, seed=seed), normal(n, q, seed=seed + 1)
    assert cka(X, Y) == pytest.approx(cka(Y, X), rel=1e-12)
    assert -1 - 1e-12 <= cka(X, Y) <= 1


@given(n=st.integers(5, 20), p=st.integers(2, 12), seed=SEEDS, scale=st.floats(1e-3, 1e3))
def test_cka_does_not_see_rotation_scale_and_translation(n, p, seed, scale):
    X = normal(n, p, seed=seed)
    Y = X + 0.5 * normal(n, p, seed=seed + 1)
    moved = scale * Y @ orthonormal(p, p, seed + 2) + normal(p, seed=seed + 3)
    assert cka(X, moved) == pytest.approx(cka(X, Y), abs=1e-7)


@pytest.mark.parametrize("size", [1e-45, 1e-38, 1e38, 1e80], ids=str)
def test_cka_does_not_see_scales_whose_eighth_powers_do_not_exist(size):
    X, Y = normal(9, 5), normal(9, 5, seed=1)
    assert cka(size * X, size * Y) == pytest.approx(cka(X, Y), rel=1e-9)


def test_cka_sees_an_invertible_linear_map():
    X = normal(50, 6)
    stretch = torch.diag(torch.tensor([30.0, 1, 1, 1, 1, 1], dtype=torch.float64))
    assert cka(X, X @ stretch) < 0.8


def test_cka_sees_a_permutation_of_the_samples():
    X = normal(40, 200)
    assert cka(X, X.flip(0)) < 0.3


@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, 1e5 + 0.1, -1e-9], ids=str)
@pytest.mark.parametrize("n", [4, 7, 37, 49, 100])
def test_constant_activations_have_no_similarity(constant, n):
    X = torch.full((n, 3), constant, dtype=torch.float64)
    assert math.isnan(cka(X, normal(n, 5)))
    assert math.isnan(cka(normal(n, 5), X))
    assert math.isnan(cka(X, X.clone()))


@given(seed=SEEDS, n=st.integers(4, 60), p=st.integers(1, 8), exponent=st.integers(-12, 12))
@example(seed=0, n=37, p=3, exponent=0)
def test_rounding_does_not_turn_constant_rows_into_a_signal(seed, n, p, exponent):
    X = (normal(p, seed=seed) * 10.0**exponent).expand(n, p)
    assert math.isnan(cka(X, normal(n, 5, seed=seed + 1)))


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=str)
def test_cka_of_activations_that_are_not_finite_is_nan(bad):
    X = normal(6, 3)
    X[2, 1] = bad
    assert math.isnan(cka(X, normal(6, 3)))
    assert math.isnan(cka(normal(6, 3), X))


def test_one_massive_shared_feature_is_all_that_unstandardised_cka_sees():
    shared = 50 * normal(1000, 1, seed=9)
    X = torch.cat([shared, normal(1000, 512)], dim=1)
    Y = torch.cat([shared, normal(1000, 512, seed=1)], dim=1)
    assert cka(X, Y) > 0.99
    assert abs(cka(*standardise(X, Y))) < 0.02


def test_small_drifts_keep_their_digits_where_float32_loses_them():
    X = normal(60, 200) * torch.arange(1, 201, dtype=torch.float64) ** -0.75
    D = normal(60, 200, seed=1) * X.std(0)
    steps = (1e-5, 1e-4, 1e-3, 1e-2)
    angles = [angle(X, X + step * D) for step in steps]
    slopes = [value / step for value, step in zip(angles, steps, strict=True)]
    assert slopes == pytest.approx([slopes[-1]] * 4, rel=0.01)
    truth = 1 - math.cos(angles[1])
    single = 1 - naive_biased_cka(*(A.float() for A in standardise(X, X + 1e-4 * D)))
    assert not 0.5 < single / truth < 2


def test_the_angle_spans_zero_to_a_right_angle():
    assert cka_angle(1.0) == 0.0
    assert cka_angle(0.5) == pytest.approx(math.pi / 3)
    assert cka_angle(-0.2) == cka_angle(0.0) == math.pi / 2
    assert cka_angle(1.0 + 1e-12) == 0.0
    assert math.isnan(cka_angle(math.nan))


def test_both_models_are_standardised_with_the_statistics_of_the_base():
    X, Y = 3 * normal(50, 4) + 7, normal(50, 4, seed=1)
    x, y = standardise(X.float(), Y.half())
    assert x.dtype == y.dtype == torch.float64
    torch.testing.assert_close(x.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-7, rtol=0)
    torch.testing.assert_close(x.std(0), torch.ones(4, dtype=torch.float64))
    expected = (Y.half().double() - X.float().double().mean(0)) / X.float().double().std(0)
    torch.testing.assert_close(y, expected)


def test_a_feature_that_hardly_varies_in_the_base_is_measured_by_the_median_of_the_others():
    n = 40
    still = torch.full((n, 1), 3.0, dtype=torch.float64)
    nearly = still + 1e-6 * normal(n, 1, seed=1)
    X = torch.cat([normal(n, 3, seed=2), still, nearly], dim=1)
    Y = torch.cat([X[:, :3], still + 1.0, nearly + 1.0], dim=1)
    median = float(X.std(0)[[0, 1, 2, 4]].median())
    _, y = standardise(X, Y)
    torch.testing.assert_close(y[:, 3:].mean(0), torch.full((2,), 100 / median).double())


def test_noise_on_features_that_hardly_vary_does_not_drown_the_others():
    X = normal(200, 64, seed=3)
    X[:, 0] *= 1e-6
    Y = X + 0.01 * normal(200, 64, seed=4)
    x, y = standardise(X, Y)
    assert cka(x, y) > 0.95


@given(seed=SEEDS, n=st.integers(4, 60), exponent=st.integers(-9, 9))
@example(seed=0, n=49, exponent=3)
def test_rounding_in_the_spread_of_a_constant_feature_is_not_divided_by(seed, n, exponent):
    size = 10.0**exponent
    X = size * normal(1, seed=seed).expand(n, 1).contiguous()
    _, y = standardise(X, X + size)
    torch.testing.assert_close(y, torch.full_like(X, size), rtol=1e-9, atol=0)


def test_the_activation_distance_sees_what_cka_cannot():
    X = normal(30, 6)
    for moved in (X @ orthonormal(6, 6), 2 * X, X + 1):
        assert cka(X, moved) == pytest.approx(1, abs=1e-12)
        assert relative_activation_distance(X, moved) > 0.5


def test_the_activation_distance_is_that_of_the_frobenius_norm():
    X, Y = normal(30, 6), normal(30, 6, seed=1)
    distance = relative_activation_distance(X, Y)
    assert distance == pytest.approx(float((Y - X).norm() / X.norm()))
    both = orthonormal(6, 6, seed=2) * 5
    assert relative_activation_distance(X @ both, Y @ both) == pytest.approx(distance)
    assert relative_activation_distance(Y, X) != pytest.approx(distance)


def test_the_activation_distance_is_zero_or_infinite_at_zero_activations():
    zeros, X = torch.zeros(4, 2, dtype=torch.float64), normal(4, 2)
    assert relative_activation_distance(zeros, zeros) == 0.0
    assert relative_activation_distance(X, X.clone()) == 0.0
    assert relative_activation_distance(zeros, X) == math.inf


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", [(4, 1), (5, 3), (9, 64), (130, 7)], ids=str)
def test_identical_activations_have_drifted_by_exactly_zero(dtype, shape):
    X = normal(*shape, dtype=dtype)
    for candidate in (X, X.clone(), X.T.contiguous().T, X.double()):
        result = drift(X, candidate)
        assert result.estimate.value == 0.0
        rows = [row for row in result.measurements if row.metric != "cka-similarity"]
        assert {row.estimate.value for row in rows} == {0.0}


@given(seed=SEEDS, scale=st.floats(1e-2, 1e2))
def test_the_drift_does_not_see_scale_and_translation_of_the_candidate(seed, scale):
    X = normal(20, 6, seed=seed)
    Y = X + 0.5 * normal(20, 6, seed=seed + 1)
    expected = angle(X, Y)
    assert angle(X, scale * Y + normal(6, seed=seed + 2)) == pytest.approx(expected, abs=1e-6)


@given(seed=SEEDS)
def test_the_drift_does_not_see_features_permuted_or_rescaled_in_both(seed):
    X = normal(20, 6, seed=seed)
    Y = X + 0.5 * normal(20, 6, seed=seed + 1)
    scale = normal(6, seed=seed + 2).exp()
    assert angle(X.flip(1) * scale, Y.flip(1) * scale) == pytest.approx(angle(X, Y), abs=1e-6)


def test_the_drift_is_not_symmetric_because_the_base_sets_the_scale():
    X = normal(40, 6)
    Y = X @ torch.diag(torch.arange(1, 7, dtype=torch.float64)) + normal(40, 6, seed=1)
    assert angle(X, Y) != pytest.approx(angle(Y, X), rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_the_drift_grows_with_the_noise_along_one_direction(seed):
    X = normal(50, 20, seed=seed)
    D = sized(normal(50, 20, seed=seed + 10), 1.0, X)
    values = [angle(X, X + step * D) for step in (0.001, 0.01, 0.1, 1.0, 10.0)]
    assert values == sorted(values)
    assert values[-1] <= math.pi / 2


def test_fewer_samples_than_features_are_enough():
    X = normal(6, 500)
    assert 0 < angle(X, X + 0.1 * normal(6, 500, seed=1)) < 0.3


def test_mixed_types_are_compared_in_float64():
    X, Y = normal(9, 5, dtype=torch.bfloat16), normal(9, 5, seed=1, dtype=torch.float32)
    assert angle(X, Y) == angle(X.double(), Y.double())


def grid_case():
    strata = ["code"] * 8 + ["chat"] * 8
    rows = []
    for i, name in enumerate(["layers.0", "layers.1", "layers.2", "layers.3"]):
        X = normal(16, 6, seed=i)
        noise = normal(16, 6, seed=i + 10) * (i + 1) / 20
        noise[8:] *= 3
        rows.append(ActivationPair(layer=name, base=X, candidate=X + noise))
    return rows, strata


def test_the_headline_is_the_worst_stratum_of_the_mean_over_layers():
    rows, strata = grid_case()
    result = representation_drift(rows, strata, (("probe", "x"),))
    by_stratum = {row.stratum: row.estimate.value for row in result.by_stratum(METRIC)}
    assert result.estimate.value == by_stratum["chat"] > by_stratum["code"] > 0
    by_layer = [row.estimate.value for row in result.by_layer(METRIC)]
    assert math.fsum(by_layer) / 4 == pytest.approx(result.estimate.value)
    assert result.overall("cka-angle-late-third").value == by_layer[-1]
    X, Y = standardise(rows[2].base, rows[2].candidate)
    assert by_layer[2] == pytest.approx(cka_angle(cka(X[8:], Y[8:])))
    assert result.overall("relative-activation-distance").value > 0
    assert str(result.id) == "representation-drift/2?probe=x&std-floor=0.01"
    assert result.estimate.stderr is None


def test_the_order_of_the_samples_does_not_matter():
    rows, strata = grid_case()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    shuffled = [
        ActivationPair(layer=r.layer, base=r.base[order], candidate=r.candidate[order])
        for r in rows
    ]
    value = representation_drift(rows, strata, ()).estimate.value
    again = representation_drift(shuffled, [strata[i] for i in order], ()).estimate.value
    assert again == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("who", ["base", "candidate"])
def test_activations_that_are_not_finite_are_inconclusive(bad, who):
    X, broken = normal(6, 3), normal(6, 3)
    broken[1, 1] = bad
    result = drift(broken, X) if who == "base" else drift(X, broken)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.estimate is None
    assert result.reason == f"activations of the {who} after layers.0 hold NaN or infinity"


@pytest.mark.parametrize("n", [4, 37, 49])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e5 + 0.1], ids=str)
@pytest.mark.parametrize("who", ["base", "candidate", "both"])
def test_activations_that_are_constant_over_a_stratum_are_inconclusive(n, constant, who):
    X = normal(2 * n, 5)
    flat = X.clone()
    flat[n:] = constant
    strata = ["code"] * n + ["chat"] * n
    result = drift(flat if who != "candidate" else X, flat if who != "base" else X, strata)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason == (
        "activations after layers.0 are constant over the samples of stratum chat"
    )


def test_a_distance_that_does_not_exist_is_inconclusive(monkeypatch):
    monkeypatch.setattr(
        "sdi_gate.signals.representation.relative_activation_distance", lambda *_: math.inf
    )
    assert drift(normal(5, 3), normal(5, 3, seed=1)).outcome is Outcome.INCONCLUSIVE


def test_a_stratum_of_three_samples_is_inconclusive():
    X = normal(7, 3)
    result = drift(X, X, ["code"] * 4 + ["chat"] * 3)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason == "stratum chat has fewer than 4 samples"


def test_an_empty_probe_set_is_inconclusive():
    pair = ActivationPair(layer="l", base=torch.zeros(0, 3), candidate=torch.zeros(0, 3))
    result = representation_drift([pair], [], ())
    assert (result.outcome, result.reason) == (
        Outcome.INCONCLUSIVE,
        "the probe set has no samples",
    )


def test_a_model_without_layers_is_inconclusive():
    result = representation_drift([], ["code"] * 4, ())
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "no decoder layers" in result.reason


def test_the_inputs_are_not_modified():
    X, Y = normal(6, 4), normal(6, 4, seed=1)
    kept = X.clone(), Y.clone()
    drift(X, Y)
    assert torch.equal(X, kept[0])
    assert torch.equal(Y, kept[1])
