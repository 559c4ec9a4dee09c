"""The promises of conformal risk control and of split conformal intervals, and their formulas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.study.fit.conformal import conformal_quantile, risk_threshold


@given(
    scores=st.lists(st.integers(0, 20), min_size=1, max_size=40),
    bound=st.sampled_from([0.05, 0.15, 0.3, 0.5]),
    data=st.data(),
)
def test_the_threshold_is_the_highest_that_keeps_the_corrected_risk(scores, bound, data):
    high = np.array([data.draw(st.booleans()) for _ in scores])
    values = np.array(scores, dtype=float)
    n = int(high.sum())
    allowed = [
        t
        for t in sorted({*values[high]})
        if (values[high] < t).sum() / (n + 1) + 1 / (n + 1) <= bound + 1e-12
    ]
    assert risk_threshold(values, high, bound) == (max(allowed) if allowed else None)


def test_too_few_high_regressions_give_no_threshold():
    scores = np.arange(10.0)
    assert risk_threshold(scores[:5], np.ones(5, dtype=bool)) is None
    assert risk_threshold(scores[:6], np.ones(6, dtype=bool)) == 0.0
    assert risk_threshold(scores, np.zeros(10, dtype=bool)) is None


@pytest.mark.parametrize("n", [8, 20, 75])
def test_on_exchangeable_data_the_bound_on_misses_is_kept_on_average(n):
    generator = np.random.default_rng(n)
    repetitions = 4000
    missed = np.zeros(repetitions)
    for i in range(repetitions):
        scores = generator.normal(size=n + 1) ** 3
        threshold = risk_threshold(scores[:-1], np.ones(n, dtype=bool))
        missed[i] = scores[-1] < threshold
    stderr = missed.std() / math.sqrt(repetitions)
    assert missed.mean() <= 0.15 + 4 * stderr
    # It is not bought with alarms: the expected rate is floor(0.15 (n + 1)) - 1 of n + 1, about.
    assert missed.mean() >= (math.floor(0.15 * (n + 1)) - 1) / (n + 1) - 4 * stderr


@pytest.mark.parametrize(("n", "rank"), [(9, 9), (19, 18), (99, 90), (100, 91)])
def test_the_quantile_is_the_one_of_the_theorem(n, rank):
    errors = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
    assert conformal_quantile(errors, 0.9) == rank


def test_too_few_errors_give_no_interval():
    assert conformal_quantile(np.arange(8.0), 0.9) is None
    assert conformal_quantile(np.array([]), 0.9) is None


def test_an_interval_by_the_quantile_covers_as_often_as_it_says():
    generator = np.random.default_rng(1)
    covered = []
    for _ in range(4000):
        errors = generator.exponential(size=31)
        covered.append(errors[-1] <= conformal_quantile(errors[:-1], 0.9))
    rate, stderr = np.mean(covered), np.std(covered) / math.sqrt(4000)
    assert 0.9 - 4 * stderr <= rate <= 0.9 + 1 / 31 + 4 * stderr
