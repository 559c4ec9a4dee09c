import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.signals.divergence import phi
from sdi_gate.study.fit.hill import POWERS, QUANTILES, choose_hills, hill, rank_target


@given(value=st.floats(0, 1e9), scale=st.floats(1e-9, 1e9), power=st.sampled_from((*POWERS, 1.0)))
def test_the_fit_maps_as_the_index_does(value, scale, power):
    found = hill(np.array([[value]]), np.array([scale]), np.array([power]))[0, 0]
    assert found == pytest.approx(phi(value, scale, power), rel=1e-9, abs=1e-300)


def test_the_target_is_the_rank_from_zero_to_one_with_equal_ones_averaged():
    target = rank_target(np.array([0.3, 0.0, 0.0, 0.9, 0.0]))
    assert target.tolist() == [0.75, 0.25, 0.25, 1.0, 0.25]
    assert rank_target(np.array([0.2])).tolist() == [0.0]


def test_scale_and_power_are_those_of_the_grid_that_correlate_best():
    generator = np.random.default_rng(3)
    values = np.exp(generator.normal(size=(60, 3)))
    target = rank_target(generator.normal(size=60) + np.log(values[:, 0]))
    found = choose_hills(values, target)
    for column in range(3):
        best, settings = -2.0, None
        for power in POWERS:
            for quantile in QUANTILES:
                scale = float(f"{np.quantile(values[:, column], quantile):.4g}")
                mapped = [phi(value, scale, power) for value in values[:, column]]
                rho = np.corrcoef(mapped, target)[0, 1]
                if rho > best + 1e-9:
                    best, settings = rho, (scale, power)
        assert (found.scales[column], found.powers[column]) == settings


def test_a_candidate_that_is_zero_throughout_has_some_setting():
    found = choose_hills(np.zeros((5, 1)), np.linspace(0, 1, 5))
    assert (found.scales.tolist(), found.powers.tolist()) == ([1.0], [1.0])
    assert found.map(np.zeros((5, 1))).tolist() == [[0.0]] * 5


def test_a_candidate_that_is_constant_has_a_setting_too():
    found = choose_hills(np.full((5, 1), 3.0), np.linspace(0, 1, 5))
    assert found.scales.tolist() == [3.0]
