"""Gradients and Hessian products parameter by parameter, against autograd's dense Hessian."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.models import gradients
from sdi_gate.models.gradients import GradientGraph, inner_product, take_gradients


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def leaf(*shape, seed=0):
    return normal(*shape, seed=seed).requires_grad_(requires_grad=True)


def of(vector):
    return lambda name, _: vector.get(name)


def dense_form(loss, parameters, vector):
    """Return each parameter's share of v' H v from the dense Hessian."""
    sizes = [p.numel() for p in parameters.values()]
    point = torch.cat([p.detach().reshape(-1) for p in parameters.values()])

    def flat_loss(flat):
        parts = flat.split(sizes)
        shaped = [x.view(p.shape) for x, p in zip(parts, parameters.values(), strict=True)]
        return loss(*shaped)

    H = torch.autograd.functional.hessian(flat_loss, point)
    v = torch.cat(
        [vector.get(name, torch.zeros_like(p)).reshape(-1) for name, p in parameters.items()]
    )
    shares = (v * (H @ v)).split(sizes)
    return {name: float(share.sum()) for name, share in zip(parameters, shares, strict=True)}


def check(loss, parameters, vector):
    graph = GradientGraph(parameters, loss(*parameters.values()))
    expected = dense_form(loss, parameters, vector)
    for last in (False, True):
        found = graph.form(of(vector), last=last)
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)


# Where a vector enters the graph.


def test_a_form_is_that_of_the_dense_hessian():
    parameters = {"W": leaf(3, 4), "b": leaf(3, seed=1)}
    vector = {"W": normal(3, 4, seed=2), "b": normal(3, seed=3)}
    x = normal(4, seed=4)
    check(lambda W, b: ((W @ x + b).tanh() ** 2).sum(), parameters, vector)


def test_two_parameters_with_one_gradient_between_them_have_their_own_vectors():
    # The gradient by a + b is handed to both: their vectors enter the graph at one place.
    parameters = {"a": leaf(5), "b": leaf(5, seed=1)}
    vector = {"a": normal(5, seed=2), "b": normal(5, seed=3)}
    check(lambda a, b: ((a + b) ** 4).sum(), parameters, vector)


def test_a_gradient_that_other_gradients_are_made_of_keeps_what_comes_from_them():
    parameters = {"a": leaf(5), "W": leaf(5, 5, seed=1)}
    vector = {"a": normal(5, seed=2), "W": normal(5, 5, seed=3)}
    x = normal(5, seed=4)
    check(lambda a, W: ((W @ x).sin() + a).pow(3).sum(), parameters, vector)


def test_a_parameter_that_is_used_twice_has_both_its_gradients():
    parameters = {"W": leaf(4, 4)}
    x = normal(4, seed=1)
    check(lambda W: (W.T @ (W @ x).tanh()).pow(2).sum(), parameters, {"W": normal(4, 4, seed=2)})


def test_gains_and_shifts_of_one_norm_come_from_one_place_and_are_kept_apart():
    x = normal(6, 5, seed=1)
    parameters = {"gain": leaf(5), "shift": leaf(5, seed=2)}
    vector = {"gain": normal(5, seed=3), "shift": normal(5, seed=4)}

    def loss(gain, shift):
        return torch.nn.functional.layer_norm(x, (5,), gain, shift).pow(4).sum()

    check(loss, parameters, vector)


def test_a_vector_may_be_zero_in_some_parameters_or_in_all():
    parameters = {"a": leaf(5), "b": leaf(5, seed=1)}
    check(lambda a, b: ((a * b) ** 2).sum(), parameters, {"a": normal(5, seed=2)})
    check(lambda a, b: ((a * b) ** 2).sum(), parameters, {})


def test_a_parameter_without_second_derivative_has_zero():
    parameters = {"line": leaf(3), "curve": leaf(3, seed=1), "idle": leaf(3, seed=2)}
    vector = {name: normal(3, seed=3) for name in parameters}
    found = GradientGraph(
        parameters, parameters["line"].sum() + parameters["curve"].pow(2).sum()
    ).form(of(vector), last=True)
    assert found["line"] == found["idle"] == 0.0
    assert found["curve"] == pytest.approx(2 * float(vector["curve"].square().sum()))


def test_a_loss_without_second_derivatives_has_none():
    parameters = {"line": leaf(3)}
    graph = GradientGraph(parameters, parameters["line"].sum())
    assert graph.form(of({"line": normal(3)}), last=True) == {"line": 0.0}


def test_a_vector_that_is_not_finite_shows_where_nothing_is_multiplied_by_it():
    parameters = {"line": leaf(3), "curve": leaf(3, seed=1)}
    loss = parameters["line"].sum() + parameters["curve"].pow(2).sum()
    vector = {"line": torch.full((3,), math.inf, dtype=torch.float64)}
    found = GradientGraph(parameters, loss).form(of(vector), last=True)
    assert math.isnan(found["line"])
    assert found["curve"] == 0.0


# What stays behind.


def test_no_hook_stays_behind_even_if_a_vector_cannot_be_had():
    parameters = {"a": leaf(5)}
    graph = GradientGraph(parameters, parameters["a"].pow(3).sum())

    def broken(_name, _parameter):
        msg = "gone"
        raise OSError(msg)

    with pytest.raises(OSError, match="gone"):
        graph.form(broken)
    assert not parameters["a"]._backward_hooks
    assert parameters["a"].grad is None
    vector = {"a": normal(5, seed=2)}
    expected = float((6 * parameters["a"].detach() * vector["a"].square()).sum())
    assert graph.form(of(vector), last=True)["a"] == pytest.approx(expected)


def test_gradients_are_handed_over_and_not_kept():
    parameters = {"a": leaf(5), "idle": leaf(2)}
    found = {}
    loss = parameters["a"].pow(3).sum()
    take_gradients(parameters, loss, found.__setitem__, retain_graph=True)
    assert found.keys() == {"a"}
    torch.testing.assert_close(found["a"], 3 * parameters["a"].detach().square())
    assert parameters["a"].grad is None
    take_gradients(parameters, loss, lambda *_: None)
    with pytest.raises(RuntimeError, match="second time"):
        take_gradients(parameters, loss, lambda *_: None)


# Sums.


@given(
    shape=st.lists(st.integers(0, 6), max_size=4),
    chunk=st.sampled_from([1, 2, 5, 7, 2**21]),
    turned=st.booleans(),
)
def test_a_product_is_summed_the_same_in_pieces_of_any_size(shape, chunk, turned):
    left, right = normal(*shape), normal(*shape, seed=1)
    if turned:
        left, right = left.mT if left.ndim > 1 else left, right.mT if right.ndim > 1 else right
    expected = float((left * right).sum())
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setattr(gradients, "_CHUNK", chunk)
        found = inner_product(left, right)
    assert (found.ndim, found.dtype) == (0, torch.float64)
    assert float(found) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_product_is_summed_in_float64_whatever_the_type():
    ones = torch.full((2**12,), 1.0 + 2**-7, dtype=torch.bfloat16)
    assert float(inner_product(ones, ones)) == 2**12 * (1 + 2**-7) ** 2
