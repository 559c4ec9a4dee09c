"""The calibration that ships, and what its file may not say."""

from __future__ import annotations

import json
import math
from importlib import resources

import pytest
from pydantic import ValidationError

from sdi_gate.policy.facts import Tier
from sdi_gate.prediction.calibration import (
    DEFAULT,
    Calibration,
    CalibrationStatus,
    load_default,
)
from sdi_gate.signals.interface import SignalName

STRUCTURAL = {
    Tier.WEIGHTS: {SignalName.SPECTRAL_DIVERGENCE, SignalName.WEIGHT_GEOMETRY},
}
STRUCTURAL[Tier.PROBE] = STRUCTURAL[Tier.WEIGHTS] | {SignalName.REPRESENTATION_DRIFT}
STRUCTURAL[Tier.FULL] = STRUCTURAL[Tier.PROBE] | {SignalName.CURVATURE_SHIFT}


def plain():
    file = resources.files("sdi_gate.prediction") / "data" / f"{DEFAULT}.json"
    return json.loads(file.read_bytes())


def read(value):
    return Calibration.model_validate_json(json.dumps(value))


def test_the_shipped_calibration_says_what_it_rests_on():
    found = load_default()
    assert found.name == DEFAULT
    assert found.status is CalibrationStatus.PROVISIONAL
    assert not found.is_calibrated
    assert found.num_pairs == 0
    assert found.families == ()
    assert "provisional" in found.note
    assert load_default() == found


@pytest.mark.parametrize("tier", list(Tier))
def test_each_tier_has_a_formula_over_exactly_the_signals_that_it_measures(tier):
    found = load_default()
    assert found.tiers.keys() == set(Tier)
    sdi = found.sdi(tier)
    assert {term.signal for term in sdi.terms} == STRUCTURAL[tier]
    assert math.fsum(term.weight for term in sdi.terms) == pytest.approx(1.0, abs=1e-12)
    assert all(term.scale > 0 for term in sdi.terms)
    plus = found.sdi_plus(tier)
    assert (plus is None) == (tier is Tier.WEIGHTS)
    if plus is not None:
        assert {term.signal for term in plus.terms} == STRUCTURAL[tier] | {SignalName.BEHAVIOUR}
        assert math.fsum(term.weight for term in plus.terms) == pytest.approx(1.0, abs=1e-12)


def test_behaviour_is_never_part_of_sdi():
    found = load_default()
    for tier in Tier:
        assert SignalName.BEHAVIOUR not in {term.signal for term in found.sdi(tier).terms}


def test_a_fitted_calibration_is_calibrated():
    assert read(plain() | {"status": "fitted"}).is_calibrated


def test_a_tier_that_has_no_formula_is_not_made_up():
    with pytest.raises(KeyError, match="full"):
        read(plain() | {"tiers": {}}).sdi("full")


TERM = {"signal": "weight-geometry", "weight": 1.0, "scale": 0.5}


def with_term(**changes):
    entry = {"sdi": [TERM | changes], "sdi_plus": None}
    return plain() | {"tiers": {"weights": entry}}


def test_one_term_of_weight_one_is_a_formula():
    (term,) = read(with_term()).sdi("weights").terms
    assert (term.signal, term.weight, term.scale) == (SignalName.WEIGHT_GEOMETRY, 1.0, 0.5)


@pytest.mark.parametrize(
    "value",
    [
        with_term(weight=-0.1),
        with_term(weight=1.1),
        with_term(weight="1"),
        with_term(weight=math.nan),
        with_term(scale=0.0),
        with_term(scale=math.inf),
        with_term(signal="speed"),
        with_term(extra=1),
        plain() | {"num_pairs": -1},
        plain() | {"num_pairs": 1.5},
        plain() | {"status": "wishful"},
        plain() | {"extra": 1},
        {key: value for key, value in plain().items() if key != "note"},
        [],
    ],
)
def test_a_file_that_is_no_calibration_is_refused(value):
    with pytest.raises(ValidationError, match="validation error"):
        read(value)


@pytest.mark.parametrize("weights", [(0.5, 0.4), (0.6, 0.6), (0.0, 0.0)], ids=str)
def test_weights_that_do_not_sum_to_one_are_no_formula(weights):
    names = ("weight-geometry", "spectral-divergence")
    terms = [TERM | {"signal": n, "weight": w} for n, w in zip(names, weights, strict=True)]
    found = read(plain() | {"tiers": {"weights": {"sdi": terms, "sdi_plus": terms}}})
    for formula in (found.sdi, found.sdi_plus):
        with pytest.raises(ValueError, match="sum to 1"):
            formula("weights")


def test_a_calibration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        load_default().version = 2
