"""A calibration speaks for what it was fitted on, and for nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from calibrations import IDS, PROBE, fitted_calibration, provisional_calibration
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sdi_gate.prediction.calibration import Calibration, load_default
from sdi_gate.prediction.predict import (
    PredictedInterval,
    Prediction,
    Subject,
    predict,
    predict_axes,
    why_uncalibrated,
    without_seed,
)
from sdi_gate.signals.divergence import Divergence
from sdi_gate.signals.interface import Estimate, Outcome

SUBJECT = Subject(family="llama", num_parameters=250_000, tier="full", probe=PROBE, signal_ids=IDS)


def calibration(**changes):
    return Calibration.model_validate_json(json.dumps(fitted_calibration(**changes)))


def index(value):
    return Divergence(outcome=Outcome.MEASURED, estimate=Estimate(value=value))


def test_a_calibration_speaks_for_a_model_of_its_family_size_and_measurement():
    assert why_uncalibrated(calibration(), SUBJECT) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"family": "gemma"}, "calibrated on the families llama, phi; this model is of family"),
        (
            {"num_parameters": 7_200_000_000},
            "calibrated on organisms of 0.1 M to 0.6 M parameters; this model has 7.2 B parameters",
        ),
        ({"num_parameters": 99_999}, "this model has 99,999 parameters"),
        ({"num_parameters": 600_001}, "this model has 0.6 M parameters"),
        ({"probe": "sha256:other"}, "calibrated on another probe set than the one of this scan"),
        ({"tier": "probe"}, "the calibration has no index for tier probe"),
        (
            {"signal_ids": ("weight-geometry/3?depth-weights=uniform", IDS[1])},
            "uniform; this scan measured weight-geometry/3?depth-weights=uniform",
        ),
        (
            {"signal_ids": ("weight-geometry/2?depth-weights=linear", IDS[1])},
            "this scan measured weight-geometry/2?depth-weights=linear",
        ),
    ],
    ids=["family", "larger", "smaller", "a bit larger", "probe", "tier", "version", "parameter"],
)
def test_beyond_what_it_was_fitted_on_it_says_why_and_predicts_nothing(change, reason):
    subject = replace(SUBJECT, **change)
    found = why_uncalibrated(calibration(), subject)
    assert reason in found
    assert predict(calibration(), subject, index(0.2)) == Prediction(reason=found)


def test_a_signal_that_no_index_of_the_tier_uses_does_not_matter():
    subject = replace(SUBJECT, signal_ids=(*IDS, "behaviour/9?probe=other"))
    assert why_uncalibrated(calibration(), subject) is None


def test_a_seed_draws_and_does_not_define():
    assert without_seed("a/1?seed=3") == "a/1"
    assert without_seed("a/1?b=2&seed=3&t=4") == "a/1?b=2&t=4"
    subject = replace(SUBJECT, signal_ids=(IDS[0], "curvature-shift/1?probe=abc&seed=7"))
    assert why_uncalibrated(calibration(), subject) is None


def test_a_scan_of_a_lower_tier_has_fewer_parameters_and_no_probe():
    more = "weight-geometry/2?depth-weights=uniform&probe=abc"
    found = calibration(signal_ids=[more, IDS[1]], population="public")
    lower = replace(SUBJECT, tier="weights", probe=None, signal_ids=(IDS[0],))
    assert why_uncalibrated(found, lower) is None


def test_the_provisional_calibration_speaks_for_nobody():
    found = Calibration.model_validate_json(json.dumps(provisional_calibration()))
    assert "set by hand" in why_uncalibrated(found, SUBJECT)
    assert predict(found, SUBJECT, index(0.2)).value is None


@pytest.mark.parametrize(
    ("sdi", "expected"), [(0.0, 0.0), (0.1, 0.05), (0.2, 0.1), (0.4, 0.3), (0.6, 0.5), (0.9, 0.5)]
)
def test_the_prediction_is_read_from_the_line_between_its_knots(sdi, expected):
    found = predict(calibration(), SUBJECT, index(sdi))
    assert found.value == pytest.approx(expected)
    assert found.lower == pytest.approx(max(0.0, expected - 0.02 - 0.5 * expected))
    assert found.upper == pytest.approx(expected + 0.02 + 0.5 * expected)
    assert (found.level, found.reason) == (0.9, None)


@given(a=st.floats(0, 1), b=st.floats(0, 1))
def test_a_larger_index_never_predicts_less(a, b):
    low, high = (predict(calibration(), SUBJECT, index(x)) for x in sorted((a, b)))
    assert low.value <= high.value
    assert 0.0 <= high.lower <= high.value <= high.upper <= 1.0


def test_without_an_index_or_a_line_nothing_is_predicted():
    none = Divergence(outcome=Outcome.NOT_MEASURED, reason="x is not-measured")
    assert predict(calibration(), SUBJECT, none).reason == "there is no sdi: x is not-measured"
    plain = fitted_calibration()
    plain["tiers"]["full"]["prediction"] = None
    bare = Calibration.model_validate_json(json.dumps(plain))
    assert (
        predict(bare, SUBJECT, index(0.2)).reason == "the calibration predicts nothing at tier full"
    )


def test_a_calibration_of_organisms_is_silent_where_no_text_was_read():
    found = calibration(population="organisms")
    lower = replace(SUBJECT, tier="weights", probe=None)
    assert "tier weights reads no text" in why_uncalibrated(found, lower)
    assert predict(found, lower, index(0.2)).value is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 10**400),
        (("scale", "max_parameters"), 10**400),
        (("scale", "min_parameters"), 10**12),
        (("tiers", "full", "sdi", 0, "scale"), 1e300),
        (("tiers", "full", "sdi", 0, "scale"), 5e-324),
        (("tiers", "full", "sdi", 0, "power"), 1e300),
    ],
)
def test_numbers_that_no_fit_gives_are_refused(path, value):
    plain = json.loads(json.dumps(fitted_calibration()))
    place = plain
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        Calibration.model_validate_json(json.dumps(plain))


RATE = {"hits": 36, "trials": 40, "value": 0.9, "lower": 0.7, "upper": 1.0}


def line(*knots, slope=0.5, **changes):
    """The line of an axis, as JSON holds it."""
    facts = {
        "level": 0.9,
        "knots": [{"sdi": x, "degradation": y} for x, y in knots],
        "offset": 0.01,
        "slope": slope,
        "coverage": RATE,
        "mean_width": 0.2,
        "exceeded": RATE,
        "other_levels": [level(0.8, slope / 2), level(0.95, slope * 2)],
    }
    return facts | changes


def level(aimed_at, slope):
    width = {"offset": 0.01, "slope": slope, "mean_width": 0.1}
    return {"level": aimed_at, "coverage": RATE, "exceeded": RATE} | width


def with_axes(names=("knowledge", "safety"), **tier):
    plain = fitted_calibration(degradation={"axes": list(names), "definition": "The mean loss."})
    plain["tiers"]["full"] |= tier
    return Calibration.model_validate_json(json.dumps(plain))


IDENTITY = line((0.0, 0.0), (1.0, 1.0))


@pytest.mark.parametrize("sdi", [0.0, 0.2, 0.4, 1.0], ids=str)
def test_an_axis_whose_line_is_the_index_is_predicted_as_the_index(sdi):
    found = with_axes(axes={"knowledge": IDENTITY, "safety": line((0.0, 0.3))})
    knowledge, safety = predict_axes(found, SUBJECT, index(sdi))
    assert (knowledge.axis, safety.axis) == ("knowledge", "safety")
    assert knowledge.prediction.value == pytest.approx(sdi)
    assert knowledge.prediction.upper == pytest.approx(min(1.0, sdi + 0.01 + 0.5 * sdi))
    assert (knowledge.prediction.level, knowledge.prediction.reason) == (0.9, None)
    assert safety.prediction.value == 0.3
    # The mean is read from a line of its own.
    assert predict(found, SUBJECT, index(sdi)) == predict(calibration(), SUBJECT, index(sdi))


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [(0.5, 0.8), (0.8, 0.8), (0.81, 0.9), (0.9, 0.9), (0.91, 0.95), (0.95, 0.95), (0.99, 0.95)],
    ids=str,
)
def test_a_confidence_gets_the_narrowest_interval_that_reaches_it_else_the_widest(
    confidence, expected
):
    found = with_axes(axes={"knowledge": IDENTITY})
    told = predict_axes(found, SUBJECT, index(0.2))[0].prediction
    half = {0.8: 0.06, 0.9: 0.11, 0.95: 0.21}[expected]
    at = told.at(confidence)
    assert at.level == expected
    assert (at.value, at.intervals) == (told.value, told.intervals)
    assert at.lower == pytest.approx(max(0.0, 0.2 - half))
    assert at.upper == pytest.approx(0.2 + half)
    assert PredictedInterval(level=at.level, lower=at.lower, upper=at.upper) in told.intervals


@given(sdi=st.floats(0, 1), a=st.floats(0, 0.95), b=st.floats(0, 0.95))
def test_more_confidence_is_never_a_narrower_interval(sdi, a, b):
    found = with_axes(axes={"knowledge": IDENTITY})
    told = predict_axes(found, SUBJECT, index(sdi))[0].prediction
    less, more = (told.at(confidence) for confidence in sorted((a, b)))
    assert less.upper <= more.upper
    assert less.lower >= more.lower
    assert less.level <= more.level
    assert min(a, b) <= less.level


def test_what_is_not_predicted_is_not_predicted_at_any_confidence():
    nothing = Prediction(reason="x")
    assert nothing.at(0.1) is nothing


def test_a_calibration_of_before_axes_were_fitted_predicts_the_mean_alone():
    (knowledge,) = predict_axes(calibration(), SUBJECT, index(0.2))
    assert knowledge.axis == "knowledge"
    assert knowledge.prediction == Prediction(
        reason="the calibration predicts nothing for the axis knowledge at tier full: it was "
        "fitted to the mean alone"
    )
    mean = predict(calibration(), SUBJECT, index(0.2))
    assert [item.level for item in mean.intervals] == [0.9]
    assert mean.at(0.95).level == 0.9


def test_an_axis_that_could_not_be_fitted_says_why():
    found = with_axes(axes={"knowledge": IDENTITY}, silent_axes={"safety": "hardly any lost it"})
    known, silent = predict_axes(found, SUBJECT, index(0.2))
    assert known.prediction.reason is None
    assert silent.prediction.reason.endswith("the axis safety at tier full: hardly any lost it")


@pytest.mark.parametrize(
    ("subject", "sdi", "reason"),
    [
        (replace(SUBJECT, family="gemma"), 0.2, "this model is of family gemma"),
        (replace(SUBJECT, tier="probe"), 0.2, "the calibration has no index for tier probe"),
        (SUBJECT, None, "there is no sdi: x is not-measured"),
    ],
    ids=["family", "tier", "index"],
)
def test_where_the_mean_is_not_predicted_no_axis_is(subject, sdi, reason):
    found = with_axes(axes={"knowledge": IDENTITY})
    none = Divergence(outcome=Outcome.NOT_MEASURED, reason="x is not-measured")
    told = predict_axes(found, subject, none if sdi is None else index(sdi))
    assert [item.axis for item in told] == ["knowledge", "safety"]
    assert all(reason in item.prediction.reason for item in told)
    assert all(item.prediction.value is None for item in told)


def test_a_calibration_that_was_set_by_hand_knows_no_axis():
    found = Calibration.model_validate_json(json.dumps(provisional_calibration()))
    assert predict_axes(found, SUBJECT, index(0.2)) == ()


def test_an_axis_of_an_older_file_that_is_called_as_the_mean_is_passed_over():
    found = with_axes(["mean", "safety"])
    assert [item.axis for item in predict_axes(found, SUBJECT, index(0.2))] == ["safety"]


@pytest.mark.parametrize(
    ("tier", "message"),
    [
        ({"axes": {"speed": IDENTITY}}, "tier full has lines for axes that degradation does not"),
        ({"silent_axes": {"speed": "x"}}, "tier full has lines for axes that degradation does not"),
        ({"axes": {"mean": IDENTITY}}, "no axis may be called 'mean'"),
        (
            {"axes": {"safety": IDENTITY | {"other_levels": [level(0.9, 0.5)]}}},
            "levels must differ, and a higher one be as wide; got 0.9 and 0.9",
        ),
        (
            {"axes": {"safety": IDENTITY | {"other_levels": [level(0.95, 0.4)]}}},
            "levels must differ, and a higher one be as wide; got 0.9 and 0.95",
        ),
        ({"axes": {"safety": line((0.5, 0.2), (0.6, 0.1))}}, "not fall in degradation"),
    ],
    ids=["unknown", "unknown and silent", "mean", "twice", "narrower", "falling"],
)
def test_lines_of_axes_that_break_a_law_are_refused(tier, message):
    with pytest.raises(ValidationError, match=message):
        with_axes(**tier)


@pytest.mark.parametrize("tier", ["probe", "full"])
def test_the_shipped_calibration_predicts_what_it_could_fit_and_says_what_not(tier):
    found = load_default()
    entry = found.tier(tier)
    assert {*entry.axes, *entry.silent_axes} == set(found.degradation.axes)
    # Narrow poison of safety leaves the index where it is; what is not seen is not predicted.
    assert "safety" in entry.silent_axes
    for prediction in (entry.prediction, *entry.axes.values()):
        assert [width[0] for width in prediction.widths] == [0.8, 0.9, 0.95]
        for held in (prediction, *prediction.other_levels):
            assert held.level <= held.coverage.upper
            assert held.exceeded.hits <= held.exceeded.trials / 2
