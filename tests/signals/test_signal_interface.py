import math

import pytest

from sdi_gate.signals.interface import (
    Estimate,
    Measurement,
    Outcome,
    SignalId,
    SignalName,
    SignalResult,
    inconclusive,
    not_measured,
)

ID = SignalId(name=SignalName.WEIGHT_GEOMETRY, version=3)


def row(metric="m", value=1.0, **where):
    return Measurement(metric=metric, estimate=Estimate(value=value), **where)


def result(*rows):
    return SignalResult(
        id=ID,
        outcome=Outcome.MEASURED,
        metric="m",
        estimate=Estimate(value=7.0),
        measurements=rows,
    )


def test_a_signal_id_sorts_its_parameters_and_prints_them():
    name = SignalName.CURVATURE_SHIFT
    one = SignalId(name=name, version=2, parameters=(("seed", "1"), ("dtype", "float32")))
    two = SignalId(name=name, version=2, parameters=(("dtype", "float32"), ("seed", "1")))
    assert one == two
    assert str(one) == "curvature-shift/2?dtype=float32&seed=1"
    assert str(ID) == "weight-geometry/3"


def test_ids_that_differ_in_a_parameter_are_different():
    assert SignalId(name=ID.name, version=3, parameters=(("a", "1"),)) != ID
    assert SignalId(name=ID.name, version=4) != ID


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_an_estimate_is_finite(value):
    with pytest.raises(ValueError, match="an Estimate is finite; got"):
        Estimate(value=value)


@pytest.mark.parametrize("stderr", [math.nan, math.inf, -1e-9, -math.inf], ids=str)
def test_a_standard_error_is_finite_and_not_negative(stderr):
    with pytest.raises(ValueError, match="a standard error is finite and not negative; got"):
        Estimate(value=1.0, stderr=stderr)


def test_an_estimate_may_be_negative_and_certain():
    assert Estimate(value=-1.0, stderr=0.0, n=2).stderr == 0.0
    assert Estimate(value=-1.0).stderr is None


@pytest.mark.parametrize(
    ("outcome", "estimate", "reason"),
    [
        (Outcome.MEASURED, None, None),
        (Outcome.MEASURED, None, "why"),
        (Outcome.MEASURED, Estimate(value=1.0), "why"),
        (Outcome.INCONCLUSIVE, Estimate(value=1.0), "why"),
        (Outcome.INCONCLUSIVE, Estimate(value=1.0), None),
        (Outcome.INCONCLUSIVE, None, None),
        (Outcome.NOT_MEASURED, None, None),
    ],
    ids=str,
)
def test_a_result_has_either_an_estimate_or_a_reason(outcome, estimate, reason):
    with pytest.raises(ValueError, match="weight-geometry: measured means an estimate"):
        SignalResult(id=ID, outcome=outcome, metric="m", estimate=estimate, reason=reason)


def test_what_was_not_measured_says_why():
    absent = not_measured(ID, "m", "no probe set")
    assert (absent.outcome, absent.estimate, absent.reason) == (
        Outcome.NOT_MEASURED,
        None,
        "no probe set",
    )
    assert absent.name is SignalName.WEIGHT_GEOMETRY


def test_what_is_inconclusive_says_why_and_keeps_what_was_measured():
    broken = inconclusive(ID, "m", "NaN", (row("other"),))
    assert (broken.outcome, broken.estimate, broken.reason) == (Outcome.INCONCLUSIVE, None, "NaN")
    assert broken.overall("other") == Estimate(value=1.0)
    assert broken.overall("m") is None


def test_a_whole_model_estimate_is_found_by_its_metric():
    rows = (
        row("other", 1.0, layer="l"),
        row("other", 2.0, stratum="s"),
        row("other", 3.0, layer="l", tensor="t"),
        row("other", 4.0),
    )
    found = result(*rows)
    assert found.overall("m") == Estimate(value=7.0)
    assert found.overall("other") == Estimate(value=4.0)
    assert found.overall("absent") is None


def test_rows_are_split_by_layer_and_by_stratum():
    by_layer = (row(layer="b"), row(layer="a"))
    by_stratum = (row(stratum="y"), row(stratum="x"))
    others = (
        row(),
        row("other", layer="a"),
        row("other", stratum="x"),
        row(layer="a", tensor="t"),
        row(layer="a", stratum="x"),
        row(stratum="x", tensor="t"),
    )
    found = result(*others, *by_layer, *by_stratum)
    assert found.by_layer("m") == by_layer
    assert found.by_stratum("m") == by_stratum
    assert found.by_layer("absent") == found.by_stratum("absent") == ()
