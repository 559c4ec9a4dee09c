"""The calibration that ships, and what its file may not say."""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path

import pytest
from calibrations import fitted_calibration, provisional_calibration
from pydantic import ValidationError

from sdi_gate.errors import UsageError
from sdi_gate.policy.facts import Tier
from sdi_gate.prediction import calibration as module
from sdi_gate.prediction.calibration import (
    DEFAULT,
    Calibration,
    CalibrationStatus,
    dump,
    load_default,
    load_file,
)
from sdi_gate.signals.divergence import Aggregation
from sdi_gate.signals.interface import SignalName
from sdi_gate.study.fit.calibrate import calibration_from
from sdi_gate.study.fit.fit import results_digest
from sdi_gate.study.fit.result import load
from sdi_gate.study.organisms.build import world_probe
from sdi_gate.study.rows import read_rows

HEADLINES = {
    SignalName.SPECTRAL_DIVERGENCE: "spectral-divergence",
    SignalName.REPRESENTATION_DRIFT: "cka-angle",
    SignalName.CURVATURE_SHIFT: "trace-shift",
    SignalName.WEIGHT_GEOMETRY: "relative-distance",
    SignalName.BEHAVIOUR: "kl-divergence",
}
STRUCTURAL = {
    Tier.WEIGHTS: {SignalName.SPECTRAL_DIVERGENCE, SignalName.WEIGHT_GEOMETRY},
}
STRUCTURAL[Tier.PROBE] = STRUCTURAL[Tier.WEIGHTS] | {SignalName.REPRESENTATION_DRIFT}
STRUCTURAL[Tier.FULL] = STRUCTURAL[Tier.PROBE] | {SignalName.CURVATURE_SHIFT}


def plain():
    return provisional_calibration()


def read(value):
    return Calibration.model_validate_json(json.dumps(value))


def test_the_shipped_calibration_says_what_it_rests_on():
    found = load_default()
    assert found.name == DEFAULT == "organisms-1"
    assert found.status is CalibrationStatus.FITTED
    assert found.population == "organisms"
    assert found.num_pairs >= 200
    assert len(found.families) == 5
    assert found.scale.max_parameters < 1_000_000
    assert found.probe.digest == world_probe().digest
    assert load_default() == found


def test_the_shipped_calibration_is_the_fit_of_the_rows_that_are_committed():
    results = Path(__file__).parents[2] / "study" / "results"
    digest = load_default().provenance.results_digest
    fit = load((results / "organisms-small-fit.json").read_bytes(), "the fit")
    assert fit.results_digest == digest
    rows = read_rows(results / "organisms-small.jsonl")
    assert results_digest(rows) == digest
    made = calibration_from(fit, rows, DEFAULT, command=load_default().provenance.command)
    assert made == load_default()


def test_a_calibration_that_was_set_by_hand_says_so():
    found = read(plain())
    assert found.status is CalibrationStatus.PROVISIONAL
    assert not found.is_fitted
    assert (found.num_pairs, found.families) == (0, ())
    assert (found.scale, found.probe, found.degradation, found.provenance) == (None,) * 4
    assert "provisional" in found.note


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


def test_the_provisional_numbers_are_those_of_the_headlines_as_they_are():
    for tier in Tier:
        for term in (*read(plain()).sdi(tier).terms, *read(plain()).tier(tier).sdi):
            assert (term.metric, term.aggregation) == (HEADLINES[term.signal], Aggregation.OVERALL)
            assert (term.power, term.reason) == (1.0, None)


def test_a_fitted_calibration_says_what_it_was_fitted_on():
    found = read(fitted_calibration())
    assert found.is_fitted
    assert found.tier("full").evidence.rho.value == 0.8
    for key in ("families", "num_pairs", "scale", "degradation", "provenance"):
        nothing = {"families": [], "num_pairs": 0}.get(key)
        with pytest.raises(ValidationError, match="a fitted calibration names families, pairs"):
            read(fitted_calibration() | {key: nothing})


def test_a_tier_of_a_fitted_calibration_has_its_evidence():
    plainly = fitted_calibration()
    plainly["tiers"]["full"]["evidence"] = None
    with pytest.raises(ValidationError, match="tier full of a fitted calibration has its evidence"):
        read(plainly)


def test_a_tier_that_has_no_formula_is_not_made_up():
    found = read(plain() | {"tiers": {}})
    assert found.tier("full") is found.sdi("full") is found.sdi_plus("full") is None


@pytest.mark.parametrize(
    "knots",
    [[], [[0.1, 0.2], [0.1, 0.3]], [[0.1, 0.2], [0.2, 0.1]]],
    ids=["none", "upright", "falling"],
)
def test_a_line_that_falls_or_stands_upright_is_refused(knots):
    plainly = fitted_calibration()
    entries = [{"sdi": x, "degradation": y} for x, y in knots]
    plainly["tiers"]["full"]["prediction"]["knots"] = entries
    with pytest.raises(ValidationError, match="knots"):
        read(plainly)


def test_a_calibration_survives_writing_and_reading(tmp_path):
    found = read(fitted_calibration())
    file = tmp_path / "own.json"
    file.write_bytes(dump(found))
    assert load_file(file) == found
    assert dump(load_file(file)) == dump(found)


def test_the_shipped_file_is_as_the_program_would_write_it():
    file = resources.files("sdi_gate.prediction") / "data" / f"{DEFAULT}.json"
    assert dump(load_default()) == file.read_bytes()


def test_a_file_that_is_too_large_is_no_calibration(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MAX_BYTES", 3)
    file = tmp_path / "own.json"
    file.write_text("null")
    with pytest.raises(UsageError, match="not a calibration: more than 3 bytes"):
        load_file(file)


def test_a_folder_is_no_calibration(tmp_path):
    with pytest.raises(UsageError, match="cannot read the calibration"):
        load_file(tmp_path)


TERM = {
    "signal": "weight-geometry",
    "metric": "relative-distance",
    "aggregation": "overall",
    "weight": 1.0,
    "scale": 0.5,
    "power": 1.0,
    "reason": None,
}
NOTHING = dict.fromkeys(("prediction", "threshold", "evidence", "evidence_plus"))


def with_term(**changes):
    entry = {"sdi": [TERM | changes], "sdi_plus": None} | NOTHING
    return plain() | {"tiers": {"weights": entry}}


def test_one_term_of_weight_one_is_a_formula():
    (term,) = read(with_term()).sdi("weights").terms
    assert (term.signal, term.weight, term.scale) == (SignalName.WEIGHT_GEOMETRY, 1.0, 0.5)
    (term,) = read(with_term(aggregation="worst-stratum", power=2.0)).sdi("weights").terms
    assert (term.aggregation, term.power) == (Aggregation.WORST_STRATUM, 2.0)


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
        with_term(metric=""),
        with_term(aggregation="median"),
        with_term(power=0.0),
        with_term(power=math.inf),
        plain() | {"name": "No Name"},
        plain() | {"schema": 1},
        plain() | {"tiers": {"deep": plain()["tiers"]["full"]}},
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
    with pytest.raises(ValidationError, match="sum to 1"):
        read(plain() | {"tiers": {"weights": {"sdi": terms, "sdi_plus": None} | NOTHING}})


def test_a_calibration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        load_default().version = 2
