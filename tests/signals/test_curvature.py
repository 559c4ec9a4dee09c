import itertools
import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from seeded import normal

from sdi_gate.signals.curvature import (
    METRIC,
    CurvatureDraw,
    CurvatureKind,
    curvature_shift,
    hutchinson_trace,
    paired_shift,
    symmetric_relative_difference,
)
from sdi_gate.signals.interface import Outcome
from sdi_gate.signals.signs import rademacher

SEEDS = st.integers(0, 2**32)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
HESSIAN = CurvatureKind.HESSIAN_TRACE


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def symmetric(n, seed=0):
    A = normal(n, n, seed=seed)
    return A + A.T


def trace(A, num_matvecs, seed=0):
    return hutchinson_trace(lambda v: A @ v, len(A), num_matvecs, generator(seed))


def network(theta, x, y):
    """Return the loss of 3 inputs, 5 tanh units and 2 outputs, all weights in one vector."""
    first, second = theta[:15].view(5, 3), theta[15:].view(2, 5)
    return ((x @ first.T).tanh() @ second.T - y).square().mean()


def relu_network(theta, x, y):
    first, second = theta[:12].view(4, 3), theta[12:].view(1, 4)
    return ((x @ first.T).relu() @ second.T - y).square().mean()


def hessian_product(loss, theta):
    """Return a matvec by double backward, which is how a real model does it."""

    def matvec(v):
        point = theta.clone().requires_grad_(requires_grad=True)
        (gradient,) = torch.autograd.grad(loss(point), point, create_graph=True)
        (product,) = torch.autograd.grad(gradient @ v, point)
        return product

    return matvec


def draw(base, candidate, stratum="code", quadratic=0.0, layers=("layers.0",)):
    """Make one draw whose three kinds all have the given value in every layer."""
    keys = [(kind, layer) for kind in CurvatureKind for layer in layers]
    return CurvatureDraw(
        stratum=stratum,
        base=dict.fromkeys(keys, base),
        candidate=dict.fromkeys(keys, candidate),
        update_quadratic_form_nats=quadratic,
    )


@given(seed=SEEDS, n=st.integers(1, 20), num_matvecs=st.integers(2, 5))
def test_the_trace_of_a_diagonal_matrix_is_exact(seed, n, num_matvecs):
    d = torch.randint(-9, 9, (n,), generator=generator(seed)).double()
    estimate = hutchinson_trace(lambda v: d * v, n, num_matvecs, generator(seed))
    assert (estimate.value, estimate.stderr, estimate.n) == (float(d.sum()), 0.0, num_matvecs)


def test_the_spread_of_a_draw_is_twice_the_squares_off_the_diagonal():
    A = symmetric(8)
    off = A - torch.diag(A.diagonal())
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=8)), dtype=torch.float64)
    every = (signs @ A * signs).sum(1)  # all draws that there are
    variance = float(every.var(correction=0))
    assert variance == pytest.approx(2 * float(off.square().sum()), rel=1e-12)
    assert float(every.mean()) == pytest.approx(float(A.trace()), rel=1e-12)
    m = 3000
    kurtosis = float((every - every.mean()).pow(4).mean()) / variance**2
    estimate = trace(A, m)
    measured = estimate.stderr**2 * m
    assert abs(measured - variance) < 4 * variance * math.sqrt((kurtosis - 1) / m)


def test_the_standard_error_is_that_of_the_mean_of_the_draws():
    A, source = symmetric(5), generator(4)
    signs = [rademacher([5], source).double() for _ in range(3)]
    draws = torch.stack([v @ A @ v for v in signs])
    estimate = trace(A, 3, 4)
    assert estimate.value == pytest.approx(float(draws.mean()), rel=1e-12)
    assert estimate.stderr == pytest.approx(float(draws.std()) / math.sqrt(3), rel=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_the_trace_is_within_four_standard_errors(seed):
    A = symmetric(20, seed)
    estimate = trace(A, 200, seed)
    assert abs(estimate.value - float(A.trace())) < 4 * estimate.stderr


@pytest.mark.parametrize("num_matvecs", [-1, 0, 1])
def test_fewer_than_two_products_are_refused(num_matvecs):
    with pytest.raises(ValueError, match="at least 2 products; got num_matvecs="):
        trace(symmetric(3), num_matvecs)


def test_more_products_make_a_smaller_error():
    A = symmetric(20)
    assert trace(A, 1000).stderr < trace(A, 20).stderr / 4


def test_the_trace_of_a_network_agrees_with_its_dense_hessian():
    x, y, theta = normal(30, 3), normal(30, 2, seed=1), normal(25, seed=2)

    def loss(point):
        return network(point, x, y)

    H = torch.autograd.functional.hessian(loss, theta)
    matvec = hessian_product(loss, theta)
    v = rademacher([25], generator()).double()
    torch.testing.assert_close(matvec(v), H @ v, rtol=1e-10, atol=1e-12)
    estimate = hutchinson_trace(matvec, 25, 300, generator(3))
    assert abs(estimate.value - float(H.trace())) < 4 * estimate.stderr


def test_the_hessian_of_a_linear_model_is_its_second_moment():
    X, y = normal(40, 6), normal(40, seed=1)
    truth = 2 / 40 * X.T @ X
    matvec = hessian_product(lambda w: (X @ w - y).square().mean(), normal(6, seed=2))
    columns = torch.stack([matvec(e) for e in torch.eye(6, dtype=torch.float64)])
    torch.testing.assert_close(columns, truth, rtol=1e-10, atol=1e-12)
    estimate = hutchinson_trace(matvec, 6, 400, generator())
    assert abs(estimate.value - float(truth.trace())) < 4 * estimate.stderr


def test_products_of_one_draw_give_the_trace_of_every_layer():
    x, y, theta = normal(30, 3), normal(30, 2, seed=1), normal(25, seed=2)
    H = torch.autograd.functional.hessian(lambda point: network(point, x, y), theta)
    signs = [rademacher([25], generator(i)).double() for i in range(400)]
    for part in (slice(0, 15), slice(15, 25)):
        draws = torch.stack([v[part] @ (H @ v)[part] for v in signs])
        stderr = float(draws.std()) / math.sqrt(400)
        assert abs(float(draws.mean()) - float(H.diagonal()[part].sum())) < 4 * stderr


def test_the_weight_scaled_trace_ignores_a_rescaling_between_layers_and_the_plain_one_does_not():
    x, y, theta = normal(30, 3), normal(30, 1, seed=1), normal(16, seed=2)
    rescaled = torch.cat([theta[:12] * 3, theta[12:] / 3])
    torch.testing.assert_close(relu_network(rescaled, x, y), relu_network(theta, x, y))
    plain, weighted = [], []
    for point in (theta, rescaled):
        H = torch.autograd.functional.hessian(lambda p: relu_network(p, x, y), point)
        matvec = hessian_product(lambda p: relu_network(p, x, y), point)
        size = point.abs()
        plain.append(float(H.trace()))
        weighted.append(float((point.square() * H.diagonal()).sum()))
        estimate = hutchinson_trace(lambda v, s=size, f=matvec: s * f(s * v), 16, 300, generator())
        assert abs(estimate.value - weighted[-1]) < 4 * estimate.stderr
    assert weighted[1] == pytest.approx(weighted[0], rel=1e-9)
    assert plain[1] > 2 * plain[0]


@given(a=FINITE, b=FINITE)
@example(a=1e308, b=1.7e308)
@example(a=-1.7e308, b=1.7e308)
@example(a=5e-324, b=0.0)
@example(a=0.0, b=-0.0)
def test_the_relative_difference_is_symmetric_and_between_zero_and_one(a, b):
    value = symmetric_relative_difference(a, b)
    assert 0 <= value <= 1
    assert value == symmetric_relative_difference(b, a)
    assert value == symmetric_relative_difference(-a, -b)
    assert symmetric_relative_difference(a, a) == 0.0


def test_the_relative_difference_has_no_trouble_with_negative_traces():
    assert symmetric_relative_difference(-3.0, -1.0) == pytest.approx(0.5)
    assert symmetric_relative_difference(-1.0, 1.0) == 1.0
    assert symmetric_relative_difference(-1e-9, 5.0) == pytest.approx(1.0)
    assert symmetric_relative_difference(0.0, -2.0) == 1.0
    assert symmetric_relative_difference(0.0, 0.0) == 0.0


@given(a=st.floats(1e-3, 1e3), steps=st.lists(st.floats(0, 1e3), min_size=2, max_size=6))
def test_the_relative_difference_grows_with_the_change(a, steps):
    values = [symmetric_relative_difference(a, a + step) for step in sorted(steps)]
    assert values == sorted(values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_equal_draws_shift_by_exactly_zero(values):
    estimate = paired_shift(values, list(values))
    assert (estimate.value, estimate.stderr, estimate.n) == (0.0, 0.0, len(values))


def test_a_common_scale_of_the_draws_does_not_matter():
    base, candidate = (normal(20) + 5).tolist(), (normal(20, seed=1) + 7).tolist()
    one = paired_shift(base, candidate)
    two = paired_shift([8 * b for b in base], [8 * c for c in candidate])
    assert (two.value, two.stderr) == (pytest.approx(one.value), pytest.approx(one.stderr))


def test_the_jackknife_error_is_the_spread_over_repetitions():
    n, repetitions = 100, 800
    values, errors = [], []
    for seed in range(repetitions):
        shared, own = normal(n, seed=2 * seed), normal(n, seed=2 * seed + 1)
        base = 10 + 3 * shared
        estimate = paired_shift(base.tolist(), (15 + 4 * shared + own).tolist())
        values.append(estimate.value)
        errors.append(estimate.stderr**2)
    spread = float(torch.tensor(values, dtype=torch.float64).std())
    typical = math.sqrt(math.fsum(errors) / repetitions)
    assert abs(typical / spread - 1) < 4 / math.sqrt(2 * repetitions)


def test_common_random_numbers_make_a_smaller_error_than_independent_ones():
    A = symmetric(20) + 20 * torch.eye(20, dtype=torch.float64)
    B = A + 0.05 * symmetric(20, seed=1) + torch.eye(20, dtype=torch.float64)

    def draws(M, first_seed):
        signs = [rademacher([20], generator(first_seed + i)).double() for i in range(50)]
        return [float(v @ M @ v) for v in signs]

    truth = symmetric_relative_difference(float(A.trace()), float(B.trace()))
    paired = paired_shift(draws(A, 0), draws(B, 0))
    independent = paired_shift(draws(A, 0), draws(B, 1000))
    assert abs(paired.value - truth) < 4 * paired.stderr
    assert paired.stderr < independent.stderr / 5


def test_identical_models_have_a_shift_of_exactly_zero():
    draws = [draw(x, x, stratum) for x in (0.1, -0.7, 3.3) for stratum in ("code", "chat")]
    result = curvature_shift(draws, ["layers.0"], ())
    assert (result.estimate.value, result.estimate.stderr) == (0.0, 0.0)
    shifts = [row for row in result.measurements if row.metric.endswith("shift")]
    assert {row.estimate.value for row in shifts} == {0.0}


def test_the_headline_is_the_mean_over_strata_with_its_error():
    draws = [
        draw(1.0, 3.0),
        draw(1.2, 3.1),
        draw(2.0, 2.5, "chat", quadratic=4.0),
        draw(2.2, 2.4, "chat", quadratic=2.0),
    ]
    result = curvature_shift(draws, ["layers.0"], (("draws", "4"),))
    code = paired_shift([1.0, 1.2], [3.0, 3.1])
    chat = paired_shift([2.0, 2.2], [2.5, 2.4])
    assert result.estimate.value == pytest.approx((code.value + chat.value) / 2)
    assert result.estimate.stderr == pytest.approx(math.hypot(code.stderr, chat.stderr) / 2)
    assert result.estimate.n == 4
    assert [row.estimate for row in result.by_stratum(METRIC)] == [code, chat]
    assert result.overall("weight-scaled-trace-shift").value == result.estimate.value
    assert result.overall("fisher-trace-shift").value == result.estimate.value
    assert result.overall("update-quadratic-form").value == pytest.approx(1.5)
    quadratic = {r.stratum: r.estimate for r in result.by_stratum("update-quadratic-form")}
    assert (quadratic["chat"].value, quadratic["chat"].stderr) == (3.0, pytest.approx(1.0))
    base = {row.stratum: row.estimate for row in result.by_stratum("hessian-trace-base")}
    assert (base["code"].value, base["code"].stderr) == (1.1, pytest.approx(0.1))
    assert result.by_stratum("hessian-trace-candidate")[1].estimate.value == 2.45
    assert str(result.id) == "curvature-shift/1?draws=4"


def test_the_three_kinds_are_kept_apart():
    rows = []
    for _ in range(2):
        one = draw(1.0, 1.0)
        one.candidate[CurvatureKind.FISHER_TRACE, "layers.0"] = 3.0
        rows.append(one)
    result = curvature_shift(rows, ["layers.0"], ())
    assert result.estimate.value == 0.0
    assert result.overall("weight-scaled-trace-shift").value == 0.0
    assert result.overall("fisher-trace-shift").value == 0.5


def test_embeddings_stay_outside_the_headline():
    layers = ("embedding", "layers.0", "layers.1")
    rows = []
    for _ in range(2):
        one = draw(1.0, 3.0, layers=layers)
        one.base[HESSIAN, "embedding"] = 1e6
        rows.append(one)
    result = curvature_shift(rows, layers[1:], ())
    assert result.estimate.value == 0.5
    assert [(r.layer, r.estimate.value) for r in result.by_layer(METRIC)] == [
        ("layers.0", 0.5),
        ("layers.1", 0.5),
    ]


def test_layers_are_added_before_the_difference_is_taken():
    rows = []
    for _ in range(2):
        one = draw(1.0, 1.0, layers=("a", "b"))
        one.candidate.update({(HESSIAN, "a"): 3.0, (HESSIAN, "b"): -1.0})
        rows.append(one)
    result = curvature_shift(rows, ["a", "b"], ())
    assert result.estimate.value == 0.0
    assert [row.estimate.value for row in result.by_layer(METRIC)] == [0.5, 1.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("field", ["base", "candidate", "quadratic"])
def test_a_product_that_is_not_finite_is_inconclusive(field, bad):
    values = {"base": 1.0, "candidate": 1.0, field: bad}
    result = curvature_shift([draw(1.0, 1.0), draw(**values)], ["layers.0"], ())
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.estimate is None
    assert result.reason == "a curvature product is NaN or infinite"


@pytest.mark.parametrize("count", [0, 1])
def test_a_stratum_without_two_draws_is_inconclusive(count):
    draws = [draw(1.0, 1.0, "chat")] * count
    more = [draw(1.0, 1.0)] * (2 * count)
    result = curvature_shift(more + draws, ["layers.0"], ())
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason == "a stratum has fewer than 2 paired draws"


def test_a_model_without_layers_is_inconclusive():
    result = curvature_shift([draw(1.0, 1.0)] * 2, [], ())
    assert (result.outcome, result.reason) == (
        Outcome.INCONCLUSIVE,
        "the model has no decoder layers",
    )


def test_every_layer_has_a_shift_for_every_stratum():
    layers = ("layers.0", "layers.1")
    rows = [draw(1.0, 3.0, "code", layers=layers) for _ in range(2)]
    rows += [draw(1.0, 1.0, "chat", layers=layers) for _ in range(2)]
    result = curvature_shift(rows, layers, ())
    grid = {
        (row.layer, row.stratum): row.estimate.value
        for row in result.measurements
        if row.metric == METRIC and row.layer is not None and row.stratum is not None
    }
    assert grid == {
        ("layers.0", "code"): 0.5,
        ("layers.0", "chat"): 0.0,
        ("layers.1", "code"): 0.5,
        ("layers.1", "chat"): 0.0,
    }
    assert [row.estimate.value for row in result.by_layer(METRIC)] == [0.25, 0.25]


def without(one, *kinds):
    """Return a draw without some of its kinds, and without a quadratic form."""
    tables = [
        {key: value for key, value in table.items() if key[0] not in kinds}
        for table in (one.base, one.candidate)
    ]
    return CurvatureDraw(stratum=one.stratum, base=tables[0], candidate=tables[1])


def test_draws_of_first_derivatives_have_the_fisher_trace_as_their_headline():
    kinds = (HESSIAN, CurvatureKind.WEIGHTED_TRACE)
    draws = [without(draw(1.0, 3.0), *kinds), without(draw(1.0, 3.0), *kinds)]
    result = curvature_shift(draws, ["layers.0"], ())
    assert (result.metric, result.estimate.value) == ("fisher-trace-shift", 0.5)
    assert [row.estimate.value for row in result.by_layer(result.metric)] == [0.5]
    assert {row.metric for row in result.measurements} == {
        "fisher-trace-shift",
        "fisher-trace-base",
        "fisher-trace-candidate",
    }
    (row,) = result.by_stratum("fisher-trace-candidate")
    assert row.estimate.value == 3.0


def test_a_quadratic_form_that_was_not_measured_is_not_zero():
    draws = [without(draw(1.0, 3.0)), without(draw(1.0, 3.0))]
    result = curvature_shift(draws, ["layers.0"], ())
    assert (result.metric, result.estimate.value) == (METRIC, 0.5)
    assert result.overall("update-quadratic-form") is None
    half = curvature_shift([draw(1.0, 3.0), draws[0]], ["layers.0"], ())
    assert half.overall("update-quadratic-form") is None


def test_a_kind_that_is_missing_anywhere_is_not_measured():
    whole = draw(1.0, 3.0)
    result = curvature_shift([whole, without(whole, HESSIAN)], ["layers.0"], ())
    assert result.metric == "weight-scaled-trace-shift"
    assert result.overall(METRIC) is None
    nothing = [without(whole, *CurvatureKind)] * 2
    result = curvature_shift(nothing, ["layers.0"], ())
    assert (result.outcome, result.metric) == (Outcome.INCONCLUSIVE, METRIC)
    assert result.reason == "no kind of curvature is in every draw"


def test_a_fisher_trace_that_is_not_finite_is_inconclusive_under_its_own_name():
    kinds = (HESSIAN, CurvatureKind.WEIGHTED_TRACE)
    draws = [without(draw(1.0, math.nan), *kinds), without(draw(1.0, 3.0), *kinds)]
    result = curvature_shift(draws, ["layers.0"], ())
    assert (result.outcome, result.metric) == (Outcome.INCONCLUSIVE, "fisher-trace-shift")
