import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.errors import UsageError
from sdi_gate.signals.depth import (
    DepthWeighting,
    layer_rows,
    layer_weights,
    mean_by_layer,
    mean_over_depth,
)
from sdi_gate.signals.interface import Estimate
from sdi_gate.signals.strata import (
    grid_rows,
    mean,
    mean_of_layers,
    stratum_rows,
    worst,
)

FINITE = st.floats(-1e6, 1e6)


def by_layer(values):
    return {f"layers.{i}": value for i, value in enumerate(values)}


@given(num_layers=st.integers(1, 200), scheme=st.sampled_from(["uniform", "linear"]))
def test_depth_weights_sum_to_one(num_layers, scheme):
    weights = DepthWeighting(scheme=scheme).weights(num_layers)
    assert len(weights) == num_layers
    assert math.fsum(weights) == pytest.approx(1.0, abs=1e-12)


def test_linear_depth_weights_grow_from_input_to_output():
    assert DepthWeighting(scheme="linear").weights(3) == pytest.approx((1 / 6, 2 / 6, 3 / 6))


def test_listed_depth_weights_are_normalised():
    assert DepthWeighting(scheme="list", values=(1.0, 0.0, 3.0)).weights(3) == (0.25, 0.0, 0.75)


def test_an_unknown_scheme_is_refused():
    with pytest.raises(UsageError, match="unknown scheme 'cubic'"):
        DepthWeighting(scheme="cubic").weights(2)


@pytest.mark.parametrize(
    "values",
    [
        (),
        (1.0,),
        (1.0, 1.0, 1.0),
        (0.0, 0.0),
        (2.0, -1.0),
        (math.nan, 1.0),
        (1.0, math.nan),
        (math.inf, 1.0),
        (math.inf, -math.inf),
        (1e308, 1e308),
    ],
    ids=str,
)
def test_a_list_that_gives_no_mean_over_two_layers_is_refused(values):
    with pytest.raises(UsageError, match="expected 2 weights >= 0 with a sum > 0"):
        DepthWeighting(scheme="list", values=values).weights(2)


def test_a_weighting_names_itself_with_every_value():
    assert str(DepthWeighting()) == "uniform"
    assert str(DepthWeighting(scheme="list", values=(0.1, 2.0))) == "list:0.1:2.0"


@given(st.lists(FINITE, min_size=1, max_size=40), st.sampled_from(["uniform", "linear"]))
def test_a_mean_over_depth_lies_between_its_extremes(values, scheme):
    value = mean_over_depth(by_layer(values), DepthWeighting(scheme=scheme))
    slack = 1e-12 * max(abs(v) for v in values) + 1e-300
    assert min(values) - slack <= value <= max(values) + slack


@given(st.integers(1, 40), st.sampled_from(["uniform", "linear"]))
def test_a_mean_of_zeros_is_exactly_zero(num_layers, scheme):
    assert mean_over_depth(by_layer([0.0] * num_layers), DepthWeighting(scheme=scheme)) == 0.0


def test_linear_weights_count_the_output_more():
    late, early = by_layer([0.0, 0.0, 1.0]), by_layer([1.0, 0.0, 0.0])
    linear = DepthWeighting(scheme="linear")
    assert mean_over_depth(late, linear) == 3 * mean_over_depth(early, linear)


def test_a_mean_over_depth_refuses_a_list_for_another_model():
    with pytest.raises(UsageError, match="expected 2 weights"):
        mean_over_depth(by_layer([1.0, 2.0]), DepthWeighting(scheme="list", values=(1.0,)))


def test_layers_are_means_weighted_by_parameters_in_model_order():
    rows = [("b", 1.0, 1), ("a", 5.0, 10), ("b", 4.0, 2)]
    assert list(mean_by_layer(rows).items()) == [("b", 3.0), ("a", 5.0)]


def test_rows_by_layer_keep_order_and_value():
    rows = layer_rows("m", {"y": 2.0, "x": 1.0})
    assert [(row.metric, row.layer, row.estimate.value) for row in rows] == [
        ("m", "y", 2.0),
        ("m", "x", 1.0),
    ]


def test_a_mean_is_summed_exactly():
    assert mean([1e16, 1.0, -1e16, 1.0]) == 0.5


def test_the_mean_of_layers_is_taken_stratum_by_stratum():
    grid = {("l0", "code"): 1.0, ("l0", "chat"): 5.0, ("l1", "code"): 3.0, ("l1", "chat"): 7.0}
    assert mean_of_layers(grid) == {"code": 2.0, "chat": 6.0}


def test_the_worst_stratum_is_the_largest_and_the_first_of_equals():
    assert worst({"a": 1.0, "b": 3.0, "c": 3.0}) == "b"


def test_rows_of_a_grid_name_layer_and_stratum():
    (row,) = grid_rows("m", {("l0", "code"): 1.5})
    assert (row.layer, row.stratum, row.tensor) == ("l0", "code", None)
    assert row.estimate == Estimate(value=1.5)


def test_rows_by_stratum_keep_the_standard_error():
    estimate = Estimate(value=1.0, stderr=0.5, n=3)
    (row,) = stratum_rows("m", {"code": estimate})
    assert (row.stratum, row.layer, row.estimate) == ("code", None, estimate)


def test_listed_weights_go_by_the_layers_names_once_the_model_is_known():
    weighting = DepthWeighting(scheme="list", values=(1.0, 2.0, 5.0)).for_layers("abc")
    assert weighting.of(["a", "b", "c"]) == pytest.approx((1 / 8, 2 / 8, 5 / 8))
    assert weighting.of(["a", "c"]) == pytest.approx((1 / 6, 5 / 6))
    assert str(weighting) == "list:1.0:2.0:5.0"


def test_linear_weights_keep_a_layers_depth_when_another_layer_is_missing():
    weighting = DepthWeighting(scheme="linear").for_layers("abc")
    assert weighting.of(["b", "c"]) == pytest.approx((2 / 5, 3 / 5))


def test_a_weighting_that_does_not_fit_the_model_is_refused_before_anything_is_measured():
    with pytest.raises(UsageError, match="expected 3 weights"):
        DepthWeighting(scheme="list", values=(1.0,)).for_layers("abc")


def test_a_weighting_that_leaves_nothing_to_the_measured_layers_is_refused():
    weighting = DepthWeighting(scheme="list", values=(0.0, 1.0)).for_layers("ab")
    with pytest.raises(UsageError, match="weigh 0"):
        weighting.of(["a"])


def test_the_layer_weights_name_each_layer():
    weights = layer_weights(["a", "b"], DepthWeighting(scheme="linear"))
    assert weights == (("a", pytest.approx(1 / 3)), ("b", pytest.approx(2 / 3)))
