import numpy as np
import pytest
from scipy import stats

from sdi_gate.study.fit.evidence import curve, rate, reliability
from sdi_gate.study.fit.numerics import clopper_pearson


@pytest.mark.parametrize("n", [1, 7, 40])
def test_the_exact_interval_of_none_and_of_all_has_a_closed_form(n):
    assert clopper_pearson(0, n, 0.95) == pytest.approx((0.0, 1 - 0.025 ** (1 / n)))
    assert clopper_pearson(n, n, 0.95) == pytest.approx((0.025 ** (1 / n), 1.0))


@pytest.mark.parametrize(("hits", "n"), [(1, 5), (6, 58), (12, 100)])
def test_the_exact_interval_has_the_quantiles_of_beta_distributions(hits, n):
    low = stats.beta.ppf(0.025, hits, n - hits + 1)
    high = stats.beta.ppf(0.975, hits + 1, n - hits)
    assert clopper_pearson(hits, n, 0.95) == pytest.approx((low, high))


def test_a_rate_counts_hits_among_trials_alone():
    found = rate(np.array([True, True, False, True]), np.array([True, False, True, True]))
    assert (found.hits, found.trials, found.value) == (2, 3, 2 / 3)


def test_a_rate_without_trials_has_no_number():
    found = rate(np.array([True]), np.array([False]))
    assert (found.hits, found.trials, found.value, found.lower, found.upper) == (0, 0, *[None] * 3)


def test_a_higher_threshold_misses_more_and_flags_less():
    generator = np.random.default_rng(0)
    scores, high = generator.uniform(size=50), generator.uniform(size=50) < 0.4
    rows = curve(scores, high)
    assert [rows[0].misses, rows[0].false_alarms] == [0.0, 1.0]
    assert [rows[-1].misses, rows[-1].false_alarms] == [1.0, 0.0]
    misses, alarms = [row.misses for row in rows], [row.false_alarms for row in rows]
    assert misses == sorted(misses)
    assert alarms == sorted(alarms, reverse=True)
    at = rows[30]
    assert at.misses == ((scores < 0.3) & high).sum() / high.sum()


def test_the_reliability_of_a_perfect_prediction_lies_on_the_diagonal():
    truth = np.linspace(0, 1, 40)
    bins = reliability(truth, truth)
    assert [row.num_pairs for row in bins] == [5] * 8
    for row in bins:
        assert row.measured == row.predicted
        assert row.lower < row.measured < row.upper
