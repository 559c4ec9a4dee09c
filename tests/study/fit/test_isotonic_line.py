from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdi_gate.study.fit.conformal import LEVELS
from sdi_gate.study.fit.isotonic import (
    FLOOR,
    Line,
    Predictor,
    cross_errors,
    fit_line,
    fit_predictor,
    relative_errors,
)
from sdi_gate.study.fit.numerics import isotonic


def by_definition(values, weights):
    """Isotonic regression as max over starts of min over ends of weighted means."""
    n = len(values)

    def mean(a, b):
        return np.average(values[a : b + 1], weights=weights[a : b + 1])

    return [max(min(mean(a, b) for b in range(i, n)) for a in range(i + 1)) for i in range(n)]


@given(
    values=st.lists(st.floats(-5, 5), min_size=1, max_size=9),
    data=st.data(),
)
def test_isotonic_regression_is_that_of_its_definition(values, data):
    weights = np.array([data.draw(st.integers(1, 4)) for _ in values], dtype=float)
    found = isotonic(np.array(values), weights)
    assert found.tolist() == pytest.approx(by_definition(np.array(values), weights), abs=1e-9)


@given(points=st.lists(st.tuples(st.integers(0, 20), st.floats(0, 1)), min_size=1, max_size=30))
@example(points=[(0, 1.0), (1, 0.5)])
def test_the_line_starts_at_an_index_of_zero_never_falls_and_passes_its_steps(points):
    scores = np.array([score / 20 for score, _ in points])
    lost = np.array([value for _, value in points])
    line = fit_line(scores, lost)
    assert line.knots[0][0] == 0.0
    assert line.knots[0][1] == 0.0 or 0.0 in scores
    x, y = zip(*line.knots, strict=True)
    assert all(a < b for a, b in pairwise(x))
    assert all(a <= b for a, b in pairwise(y))
    unique, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=lost) / counts
    steps = by_definition(means, counts.astype(float))
    assert line.at(unique).tolist() == pytest.approx(steps, abs=2e-6)


def test_beyond_its_last_knot_the_line_is_constant():
    line = fit_line(np.array([0.2, 0.4]), np.array([0.1, 0.3]))
    assert line.at(np.array([0.1, 0.3, 0.9])).tolist() == pytest.approx([0.05, 0.2, 0.3])


def test_errors_count_relative_to_the_prediction_and_its_floor():
    line = Line(knots=((0.0, 0.0), (1.0, 1.0)))
    found = relative_errors(line, np.array([0.0, 0.45]), np.array([0.05, 0.2]))
    assert found.tolist() == pytest.approx([0.05 / FLOOR, 0.25 / (0.45 + FLOOR)])


def test_the_error_of_a_pair_is_that_of_a_line_without_its_group():
    generator = np.random.default_rng(0)
    scores, lost = generator.uniform(size=20), generator.uniform(size=20)
    groups = [str(i % 4) for i in range(20)]
    found = cross_errors(scores, lost, groups)
    test = np.array(groups) == "2"
    line = fit_line(scores[~test], lost[~test])
    assert found[test].tolist() == relative_errors(line, scores[test], lost[test]).tolist()
    # What a group lost has no part in the errors of... its own line: only in the distance to it.
    lost[test] += 0.5
    shifted = cross_errors(scores, lost, groups)
    assert shifted[test].tolist() == relative_errors(line, scores[test], lost[test]).tolist()


def test_the_interval_lies_around_the_line_within_zero_and_one():
    widths = {0.8: 0.1, 0.9: 0.5, 0.95: None}
    predictor = Predictor(line=Line(knots=((0.0, 0.0), (1.0, 1.0))), widths=widths)
    lower, upper = predictor.interval(np.array([0.0, 0.4, 1.0]))
    assert lower.tolist() == pytest.approx([0.0, 0.4 - 0.225, 1.0 - 0.525])
    assert upper.tolist() == pytest.approx([0.025, 0.4 + 0.225, 1.0])
    lower, upper = predictor.interval(np.array([0.4]), 0.8)
    assert (lower.tolist(), upper.tolist()) == ([pytest.approx(0.355)], [pytest.approx(0.445)])
    lower, upper = predictor.interval(np.array([0.4]), 0.95)
    assert (lower.tolist(), upper.tolist()) == ([0.0], [1.0])


@given(errors=st.lists(st.floats(0, 1), min_size=6, max_size=40))
def test_the_higher_the_level_the_wider_the_interval(errors):
    lost = np.array(errors)
    groups = [str(i % 3) for i in range(len(lost))]
    widths = fit_predictor(np.linspace(0.0, 1.0, len(lost)), lost, groups).widths
    assert tuple(widths) == LEVELS
    known = [width for width in widths.values() if width is not None]
    assert known == sorted(known)
    # Too few pairs for one level are too few for every higher one.
    assert [width is not None for width in widths.values()] == sorted(
        (width is not None for width in widths.values()), reverse=True
    )


def test_too_few_pairs_for_the_level_give_an_interval_of_everything():
    predictor = fit_predictor(np.array([0.1, 0.2]), np.array([0.0, 0.1]), ("a", "b"))
    assert predictor.width is None
    lower, upper = predictor.interval(np.array([0.1]))
    assert (lower.tolist(), upper.tolist()) == ([0.0], [1.0])
