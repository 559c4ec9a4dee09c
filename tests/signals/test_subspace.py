import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded import normal, orthonormal

from sdi_gate.signals.subspace import ChebyshevFilter, top_eigenvectors

EPS = torch.finfo(torch.float64).eps
SPECTRA = {
    "decaying": 1 / torch.arange(1, 513, dtype=torch.float64),
    "spiked": torch.cat([torch.linspace(90, 40, 4), torch.linspace(1.5, 0.2, 508)]).double(),
    "twelve-decades": torch.logspace(0, -12, 512, dtype=torch.float64),
    "rank-four": torch.cat([torch.linspace(2, 1, 4), torch.zeros(508)]).double(),
    "rank-two": torch.cat([torch.linspace(2, 1, 2), torch.zeros(510)]).double(),
    "all-alike": torch.ones(512, dtype=torch.float64),
    "one-value-forty-times": torch.cat([torch.ones(40), torch.zeros(472)]).double(),
}


def symmetric(eigenvalues, seed=0):
    Q = orthonormal(len(eigenvalues), len(eigenvalues), seed)
    G = Q * eigenvalues @ Q.mT
    return (G + G.mT) / 2


def known(G):
    return torch.linalg.eigvalsh(G).flip(0).clamp(min=0)


def assert_eigenvectors(G, V, eigenvalues):
    b, top = V.shape[1], float(eigenvalues[0])
    bound = 16 * EPS * math.sqrt(len(G))
    assert float((G @ V - V * eigenvalues[:b]).norm(dim=0).max()) <= 2 * bound * top
    assert float((V.mT @ V - torch.eye(b, dtype=torch.float64)).abs().max()) <= bound


@pytest.mark.parametrize("eigenvalues", SPECTRA.values(), ids=SPECTRA.keys())
def test_the_vectors_found_are_the_eigenvectors_of_the_largest_values(eigenvalues):
    G = symmetric(eigenvalues)
    V = top_eigenvectors(G, known(G), 4)
    assert V.shape == (512, 4)
    assert_eigenvectors(G, V, eigenvalues)


@pytest.mark.parametrize("kind", ["decaying", "spiked", "twelve-decades"])
def test_where_a_gap_follows_the_subspace_is_that_of_the_full_decomposition(kind):
    G = symmetric(SPECTRA[kind])
    V, full = top_eigenvectors(G, known(G), 4), torch.linalg.eigh(G).eigenvectors[:, -4:]
    assert float((V - full @ (full.mT @ V)).norm()) < 1e-12


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), power=st.floats(0, 3), spikes=st.integers(0, 12))
def test_whatever_the_spectrum_the_answer_is_right_or_none(seed, power, spikes):
    eigenvalues = torch.arange(1, 129, dtype=torch.float64) ** -power
    eigenvalues[:spikes] *= 1e3
    G = symmetric(eigenvalues, seed)
    V = top_eigenvectors(G, known(G), 6, 3)
    if V is not None:
        assert 6 <= V.shape[1] <= 9
        assert_eigenvectors(G, V, eigenvalues)


def test_a_flat_spectrum_of_a_small_matrix_is_given_up():
    G = symmetric(torch.linspace(1.0, 0.9, 64, dtype=torch.float64))
    assert top_eigenvectors(G, known(G), 4) is None


def test_a_matrix_of_zeros_has_no_top():
    G = torch.zeros(64, 64, dtype=torch.float64)
    assert top_eigenvectors(G, G[0], 4) is None


def test_vectors_that_do_not_belong_to_the_known_values_are_not_returned():
    eigenvalues = SPECTRA["decaying"]
    G = symmetric(eigenvalues)
    claimed = torch.cat([eigenvalues[:2], eigenvalues[1:-1]])  # as if the second came twice
    assert top_eigenvectors(G, claimed, 4) is None
    assert top_eigenvectors(G, eigenvalues * (1 + 1e-10), 4) is None


def test_spare_vectors_come_only_if_they_are_there_already():
    G = symmetric(SPECTRA["spiked"])
    assert top_eigenvectors(G, known(G), 4, 8).shape[1] < 12
    G = symmetric(SPECTRA["twelve-decades"])
    assert top_eigenvectors(G, known(G), 4, 2).shape[1] == 6


def test_equal_matrices_give_equal_bits_in_every_thread_and_draw_from_no_shared_generator():
    G = symmetric(SPECTRA["decaying"])
    eigenvalues, state = known(G), torch.random.get_rng_state()
    V = top_eigenvectors(G, eigenvalues, 4)

    def again(_index):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        found = top_eigenvectors(G.clone(), eigenvalues, 4)
        torch.set_num_threads(threads)
        return found

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(again, range(8)))
    assert all(torch.equal(found[0], each) for each in found)
    torch.testing.assert_close(found[0].abs(), V.abs(), rtol=0, atol=1e-11)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_matrix_is_not_modified():
    G = symmetric(SPECTRA["spiked"])
    kept = G.clone()
    top_eigenvectors(G, known(G), 4)
    assert torch.equal(G, kept)


@given(degree=st.integers(1, 12), centre=st.floats(0.1, 2), radius=st.floats(0.1, 2))
def test_the_filter_is_the_chebyshev_polynomial_of_the_interval(degree, centre, radius):
    x = torch.cat([torch.linspace(-1, 1, 21), torch.tensor([1.1, 1.5, 2.0])]).double()
    G = torch.diag(centre + radius * x)
    f = ChebyshevFilter(degree=degree, centre=centre, radius=radius)
    values = f(G, torch.eye(len(x), dtype=torch.float64)).diagonal()
    inside = torch.cos(degree * torch.acos(x[:21].clamp(-1, 1)))
    above = torch.cosh(degree * torch.acosh(x[21:]))
    expected = torch.cat([inside, above])
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-9)


def test_the_degree_is_one_where_the_top_stands_out_and_high_where_it_does_not():
    assert ChebyshevFilter.above(SPECTRA["spiked"], 4).degree == 1
    flat = torch.linspace(1, 0.1, 4096, dtype=torch.float64)
    assert 1 < ChebyshevFilter.above(flat, 16).degree <= 40


def test_the_wanted_directions_are_never_parted_by_more_than_thirty():
    eigenvalues = torch.cat([torch.tensor([500.0]), torch.linspace(1.01, 0.1, 999)]).double()
    f = ChebyshevFilter.above(eigenvalues, 8)
    x = (eigenvalues[[0, 7]] - f.centre) / f.radius
    assert f.degree == 1
    assert float(x[0] / x[1]) > 30  # a degree of one cannot do better


def test_where_all_the_others_are_alike_the_filter_is_a_shift():
    f = ChebyshevFilter.above(SPECTRA["rank-four"], 4)
    assert (f.degree, f.centre, f.radius) == (1, 0.0, 2.0)
    G = symmetric(SPECTRA["rank-four"])
    X = normal(512, 3)
    torch.testing.assert_close(f(G, X), G @ X / 2.0)
