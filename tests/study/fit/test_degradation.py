import math

import pytest
import study_rows

from sdi_gate.errors import UsageError
from sdi_gate.study.fit.degradation import Degradation, Drop, degradation_of


def lost(*drops, stderr=0.0):
    return Degradation(drops=tuple(Drop(axis="a", value=d, stderr=stderr) for d in drops))


def test_degradation_is_the_mean_of_the_positive_parts():
    assert lost(0.3, -0.5, 0.0, 0.1).value == pytest.approx(0.1)


def test_a_candidate_that_gained_everywhere_lost_nothing():
    assert lost(-0.1, -0.2).value == 0.0
    assert not lost(-0.1, -0.2).is_high


def test_the_standard_error_counts_every_axis():
    assert lost(0.3, -0.5, stderr=0.03).stderr == pytest.approx(0.03 * math.sqrt(2) / 2)


@pytest.mark.parametrize(
    ("drops", "stderr", "is_high"),
    [
        ((0.11, 0.0, 0.0, 0.0), 0.0, True),
        ((0.10, 0.0, 0.0, 0.0), 0.0, False),
        ((0.11, 0.0, 0.0, 0.0), 0.06, False),
        ((0.06, 0.06, 0.06, 0.06), 0.0, True),
        ((0.05, 0.05, 0.05, 0.05), 0.0, False),
        ((0.06, 0.06, 0.06, 0.06), 0.05, True),
        ((0.06, 0.06, 0.06, 0.06), 0.07, False),
    ],
    ids=["axis", "axis at bound", "axis in noise", "mean", "mean at bound", "sure", "noise"],
)
def test_a_high_regression_is_beyond_a_bound_and_beyond_two_standard_errors(drops, stderr, is_high):
    assert lost(*drops, stderr=stderr).is_high is is_high


def test_a_row_is_read_with_the_errors_of_both_models():
    features = study_rows.rows(("llama",), bases=1, variants=1)[0].features
    row = study_rows.row("p", "f", "b", features=features, drops=[0.2, 0, 0, 0, 0])
    found = degradation_of(row)
    assert found.value == pytest.approx(0.04)
    assert {drop.stderr for drop in found.drops} == {math.hypot(0.01, 0.01)}
    assert [drop.axis for drop in found.drops] == sorted(study_rows.AXES)


def test_a_row_without_benchmarks_is_no_complete_row():
    row = study_rows.rows(("llama",), bases=1, variants=1)[0].model_copy(update={"benchmarks": {}})
    with pytest.raises(UsageError, match="a complete row has benchmarks of both models"):
        degradation_of(row)
