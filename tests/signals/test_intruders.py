import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seeded import CPU, decaying, normal, sized, with_spectrum

from sdi_gate.signals import intruders
from sdi_gate.signals.christoffel import Measures, largest_masses
from sdi_gate.signals.intruders import count_intruder_dimensions
from sdi_gate.signals.linalg import MatrixPair, gram, tall
from sdi_gate.signals.spectrum import spectrum_of

SEEDS = st.integers(0, 2**32)
SHAPES = pytest.mark.parametrize("shape", [(48, 90), (90, 48), (48, 48)], ids=str)


def count(base, candidate, k, known):
    pair = MatrixPair(base=base, candidate=candidate, device=CPU)
    F0 = spectrum_of(base, CPU, k)
    F0 = dataclasses.replace(F0, V=F0.V[:, :known])
    return count_intruder_dimensions(pair, F0, spectrum_of(candidate, CPU, k), k)


def by_svd(base, candidate, k):
    U0, U1 = (torch.linalg.svd(A, full_matrices=False).U for A in (base, candidate))
    return int(((U0.mT @ U1[:, :k]).abs().amax(0) < 0.6).sum())


@given(
    m=st.integers(8, 32),
    n=st.integers(8, 32),
    seed=SEEDS,
    size=st.floats(0.05, 2),
    known=st.integers(1, 3),
)
def test_the_count_does_not_depend_on_how_many_vectors_are_known(m, n, seed, size, known):
    W = with_spectrum(torch.linspace(2, 1, min(m, n), dtype=torch.float64), m, n, seed)
    B = W + sized(normal(m, n, seed=seed + 3), size, W)
    k = max(1, min(m, n) // 4)
    assert count(W, B, k, known) == by_svd(W, B, k)


@SHAPES
def test_vectors_that_only_unknown_ones_meet_are_no_intruders(shape):
    s = torch.linspace(2, 1, 48, dtype=torch.float64)
    W = with_spectrum(s, *shape)
    B = with_spectrum(s.roll(12), *shape)  # the same vectors, others of them at the top
    assert by_svd(W, B, 12) == 0
    assert count(W, B, 12, 3) == 0


@SHAPES
def test_a_large_low_rank_update_is_decided_without_all_vectors_of_the_base(monkeypatch, shape):
    monkeypatch.setattr(intruders, "factorise", None)
    W = decaying(*shape)
    D = normal(shape[0], 6, seed=7) @ normal(6, shape[1], seed=8)
    B = W + sized(D, 2.0, W)
    assert count(W, B, 6, 6) == by_svd(W, B, 6) > 0


def test_what_the_bound_leaves_open_is_decided_by_all_vectors(monkeypatch):
    calls = []
    whole = intruders.factorise
    monkeypatch.setattr(intruders, "factorise", lambda G: calls.append(len(G)) or whole(G))
    s = torch.linspace(2, 1, 48, dtype=torch.float64)
    W, B = with_spectrum(s, 48, 90), with_spectrum(s.roll(12), 48, 90)
    assert count(W, B, 12, 3) == 0
    assert calls == [48]


def test_where_all_vectors_that_carry_weight_are_known_nothing_more_is_computed(monkeypatch):
    monkeypatch.setattr(intruders, "gram", None)
    W = normal(40, 3) @ normal(3, 60, seed=1)
    B = W + sized(normal(40, 60, seed=2), 3.0, W)
    assert count(W, B, 8, 8) == int((overlaps(W, B, 8, 3) < 0.6).sum())


def overlaps(base, candidate, k, rank):
    U0, U1 = (torch.linalg.svd(A, full_matrices=False).U for A in (base, candidate))
    return (U0[:, :rank].mT @ U1[:, :k]).abs().amax(0)


def masses(A, x, on_long_side):
    U, s, Vh = torch.linalg.svd(tall(A), full_matrices=False)
    vectors = U if on_long_side else Vh.mT
    return s.square(), (vectors.mT @ x).square()


@given(
    m=st.integers(2, 24),
    n=st.integers(2, 24),
    seed=SEEDS,
    steps=st.integers(1, 40),
    on_long_side=st.booleans(),
)
def test_no_eigenvector_holds_more_than_the_bound(m, n, seed, steps, on_long_side):
    A = normal(m, n, seed=seed)
    x = normal(max(m, n) if on_long_side else min(m, n), 3, seed=seed + 1)
    eigenvalues, true = masses(A, x, on_long_side)
    X = tall(A).mT @ x if on_long_side else x
    start = Measures(X=X, mass=x.square().sum(0), on_long_side=on_long_side)
    bound = largest_masses(gram(A, CPU), eigenvalues, start, steps)
    assert not bool((bound < true.amax(0) * (1 - 1e-6)).any())


@pytest.mark.parametrize("on_long_side", [False, True], ids=["short", "long"])
def test_a_mass_on_one_eigenvector_stays_in_the_bound(on_long_side):
    A = with_spectrum(torch.linspace(2, 1, 60, dtype=torch.float64), 60, 60)
    U, s, Vh = torch.linalg.svd(A)
    vector = U[:, 30:31] if on_long_side else Vh.mT[:, 30:31]
    x = 0.7 * vector + normal(60, 1) * 0.02
    X = A.mT @ x if on_long_side else x
    start = Measures(X=X, mass=x.square().sum(0), on_long_side=on_long_side)
    true = float((vector.mT @ x) ** 2)
    for steps in (1, 10, 30, 60, 100):
        bound = float(largest_masses(gram(A, CPU), s.square(), start, steps))
        assert bound >= true * (1 - 1e-9)
    assert bound < true + 0.05


def test_the_bound_sinks_with_the_number_of_products_where_the_mass_is_spread():
    A, x = normal(400, 200), normal(200, 1, seed=1)
    x /= x.norm()
    start = Measures(X=x, mass=torch.ones(1, dtype=torch.float64), on_long_side=False)
    eigenvalues = torch.linalg.svdvals(A).square()
    bounds = [float(largest_masses(gram(A, CPU), eigenvalues, start, n)) for n in (6, 24, 64)]
    assert bounds[0] > bounds[1] > bounds[2]
    assert bounds[1] < 0.36
