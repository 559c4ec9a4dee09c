"""How numbers of matrices on strata become rows of the weight signals."""

import math

import pytest

from sdi_gate.errors import UsageError
from sdi_gate.signals.depth import DepthWeighting
from sdi_gate.signals.geometry import TensorMoments, weight_geometry
from sdi_gate.signals.interface import Outcome, SignalId, SignalName, not_measured
from sdi_gate.signals.outputs import ACTIVATION_WEIGHTED, LOSS_METRIC
from sdi_gate.signals.weighted import OutputComparison, OutputComparisons, with_outputs

LAYERS = ("embedding", "layers.0", "layers.1")
DISTANCE = "activation-weighted-distance"
ENERGY = "loss-metric-energy"
PARAMETERS = (("probe", "sha256:x"), ("output-tokens", "128"))


def geometry():
    moments = [
        TensorMoments(tensor=layer, layer=layer, numel=1, base_squares=4.0, update_squares=1.0)
        for layer in LAYERS
    ]
    return weight_geometry(moments, DepthWeighting(layers=LAYERS))


def compared(values, weighting=None, metrics=ACTIVATION_WEIGHTED + LOSS_METRIC):
    """Return comparisons from (layer, matrix, stratum) to the value of every metric."""
    return OutputComparisons(
        rows=tuple(
            OutputComparison(
                tensor=f"{layer}.{matrix}",
                layer=layer,
                stratum=stratum,
                values=dict.fromkeys(metrics, value),
            )
            for (layer, matrix, stratum), value in values.items()
        ),
        weighting=weighting or DepthWeighting(layers=LAYERS),
        parameters=PARAMETERS,
    )


def grid():
    return {
        ("layers.0", "q", "a"): 1.0,
        ("layers.0", "k", "a"): 3.0,
        ("layers.1", "q", "a"): 4.0,
        ("layers.0", "q", "b"): 5.0,
        ("layers.0", "k", "b"): 7.0,
        ("layers.1", "q", "b"): 10.0,
    }


def rows_of(signal, metric):
    return {
        (row.layer, row.stratum): row.estimate.value
        for row in signal.measurements
        if row.metric == metric
    }


def test_ratios_are_means_over_matrices_layers_and_strata():
    found = rows_of(with_outputs(geometry(), compared(grid())), DISTANCE)
    assert found == {
        (None, None): 5.5,
        ("layers.0", None): 4.0,
        ("layers.1", None): 7.0,
        (None, "a"): 3.0,
        (None, "b"): 8.0,
        ("layers.0", "a"): 2.0,
        ("layers.1", "a"): 4.0,
        ("layers.0", "b"): 6.0,
        ("layers.1", "b"): 10.0,
    }


def test_energies_are_sums_over_matrices_and_layers_and_means_over_strata():
    found = rows_of(with_outputs(geometry(), compared(grid())), ENERGY)
    assert found == {
        (None, None): 15.0,
        ("layers.0", None): 8.0,
        ("layers.1", None): 7.0,
        (None, "a"): 8.0,
        (None, "b"): 22.0,
        ("layers.0", "a"): 4.0,
        ("layers.1", "a"): 4.0,
        ("layers.0", "b"): 12.0,
        ("layers.1", "b"): 10.0,
    }


def test_depth_weights_go_by_the_layers_names_and_do_not_touch_energies():
    weighting = DepthWeighting(scheme="list", values=(5.0, 1.0, 3.0), layers=LAYERS)
    signal = with_outputs(geometry(), compared(grid(), weighting))
    assert rows_of(signal, DISTANCE)[None, "a"] == (2.0 + 3 * 4.0) / 4
    assert rows_of(signal, DISTANCE)[None, None] == ((2.0 + 3 * 4.0) / 4 + (6.0 + 3 * 10.0) / 4) / 2
    assert rows_of(signal, DISTANCE)["layers.1", None] == 7.0
    assert rows_of(signal, ENERGY)[None, None] == 15.0


def test_depth_weights_that_leave_no_compared_layer_are_refused():
    weighting = DepthWeighting(scheme="list", values=(1.0, 0.0, 0.0), layers=LAYERS)
    with pytest.raises(UsageError, match="all of 2 layer groups that were measured weigh 0"):
        with_outputs(geometry(), compared(grid(), weighting))


def test_the_headline_its_rows_and_its_weights_stay_as_they_were():
    plain = geometry()
    signal = with_outputs(plain, compared(grid()))
    assert (signal.estimate, signal.metric) == (plain.estimate, plain.metric)
    assert signal.layer_weights == plain.layer_weights
    assert signal.measurements[: len(plain.measurements)] == plain.measurements
    assert (signal.id.name, signal.id.version) == (plain.id.name, plain.id.version)
    assert dict(signal.id.parameters) == dict(plain.id.parameters) | dict(PARAMETERS)


@pytest.mark.parametrize("missing", list(grid()), ids=str)
def test_a_ratio_that_is_not_there_takes_every_mean_with_it_that_it_is_part_of(missing):
    layer, _, stratum = missing
    whole = rows_of(with_outputs(geometry(), compared(grid())), DISTANCE)
    found = rows_of(with_outputs(geometry(), compared(grid() | {missing: None})), DISTANCE)
    gone = {(None, None), (layer, None), (None, stratum), (layer, stratum)}
    assert found == {key: value for key, value in whole.items() if key not in gone}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_makes_the_signal_inconclusive(value):
    broken = {("layers.1", "q", "b"): value}
    signal = with_outputs(geometry(), compared(grid() | broken))
    assert signal.outcome is Outcome.INCONCLUSIVE
    assert signal.reason == (
        "inputs or gradients of 1 matrices hold NaN or infinity, first layers.1.q in stratum b"
    )
    assert signal.measurements == ()


def test_tier_probe_has_no_number_of_the_loss_metric():
    signal = with_outputs(geometry(), compared(grid(), metrics=ACTIVATION_WEIGHTED))
    metrics = {row.metric for row in signal.measurements}
    assert DISTANCE in metrics
    assert not metrics & set(LOSS_METRIC)


def test_nothing_compared_changes_nothing():
    plain = geometry()
    assert with_outputs(plain, None) is plain
    assert with_outputs(plain, compared({})) is plain


def test_a_signal_without_a_headline_gets_no_rows():
    signal = not_measured(SignalId(name=SignalName.WEIGHT_GEOMETRY, version=1), "m", "not asked")
    assert with_outputs(signal, compared(grid())) is signal
