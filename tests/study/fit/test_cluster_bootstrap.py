import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sdi_gate.study.fit.bootstrap import (
    Draws,
    centred_ranks,
    draw_counts,
    percentile_interval,
)
from sdi_gate.study.fit.numerics import average_ranks, correlation, spearman

BASES = tuple("aabbbcccc")


def test_a_draw_has_all_pairs_of_a_base_or_none():
    counts = draw_counts(BASES, 50)
    assert counts.shape == (50, 9)
    for name in "abc":
        own = counts[:, np.array(BASES) == name]
        assert (own == own[:, :1]).all()
    first = [list(BASES).index(name) for name in "abc"]
    assert (counts[:, first].sum(axis=1) == 3).all()


def test_equal_arguments_give_equal_draws():
    assert (draw_counts(BASES, 20) == draw_counts(BASES, 20)).all()


@given(
    left=st.lists(st.integers(0, 4), min_size=9, max_size=9),
    right=st.lists(st.integers(0, 4), min_size=9, max_size=9),
)
def test_every_draw_is_ranked_as_if_its_pairs_were_written_out(left, right):
    a, b = np.array(left, dtype=float), np.array(right, dtype=float)
    found = Draws(BASES, b).rho(a)
    counts = draw_counts(BASES)
    for row in (0, 1, 2, 3, 4):
        times = counts[row].astype(int)
        x, y = np.repeat(a, times), np.repeat(b, times)
        if len(set(x)) > 1 and len(set(y)) > 1:
            assert found[row] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
        else:
            assert np.isnan(found[row])


def test_ranks_are_centred_in_every_draw():
    counts = draw_counts(BASES, 30)
    ranks = centred_ranks(np.arange(9.0) % 4, counts)
    assert (counts * ranks).sum(axis=1) == pytest.approx(np.zeros(30), abs=1e-9)


def test_the_interval_is_between_two_percentiles():
    draws = np.random.default_rng(0).permutation(np.linspace(0, 1, 1001))
    assert percentile_interval(draws) == pytest.approx((0.025, 0.975))


def test_draws_that_are_mostly_undefined_give_no_interval():
    assert percentile_interval(np.array([0.5, np.nan, np.nan])) is None
    assert percentile_interval(np.array([0.5, 0.5, np.nan])) == (0.5, 0.5)


def test_the_interval_of_a_strong_relation_covers_it_and_excludes_none():
    generator = np.random.default_rng(5)
    bases = tuple(str(i % 20) for i in range(200))
    truth = generator.normal(size=200)
    low, high = percentile_interval(Draws(bases, truth).rho(truth + generator.normal(size=200)))
    # Two normals with a correlation of 0.707 have a rank correlation of 0.690.
    assert 0.5 < low < 0.69 < high < 0.9


@given(values=st.lists(st.integers(-3, 3), min_size=1, max_size=12))
def test_equal_values_have_the_mean_of_their_ranks(values):
    assert average_ranks(np.array(values, dtype=float)).tolist() == stats.rankdata(values).tolist()


def test_a_constant_has_no_correlation():
    assert np.isnan(correlation(np.ones(4), np.arange(4.0)))
    assert spearman(np.arange(4.0), np.arange(4.0) ** 3) == pytest.approx(1.0)
