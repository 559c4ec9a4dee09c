"""A calibration speaks for what it was fitted on, and for nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from calibrations import IDS, PROBE, fitted_calibration, provisional_calibration
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sdi_gate.prediction.calibration import Calibration
from sdi_gate.prediction.predict import Prediction, Subject, predict, why_uncalibrated, without_seed
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
