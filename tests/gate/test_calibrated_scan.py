"""A scan by a fitted calibration: what the index is made of, and when degradation is predicted."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from calibrations import fitted_calibration, term, tier
from tiny_models import add_noise, build_base, perturb, request_of, scan, tiny_probe

from sdi_gate.gate.procedure import Effects, run_scan
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.ref import Scheme
from sdi_gate.prediction.calibration import Calibration
from sdi_gate.prediction.predict import without_seed
from sdi_gate.progress import NullProgress
from sdi_gate.report.build import build_document
from sdi_gate.report.markdown import render_markdown
from sdi_gate.report.view import build_view
from sdi_gate.signals.interface import Outcome, SignalName

PARAMETERS = 13_520


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated")
    base = build_base(folder / "base")
    return base, perturb(base, folder / "candidate", add_noise(0.2))


@pytest.fixture(scope="module")
def ids(folders):
    return [without_seed(str(signal.id)) for signal in scan(*folders, "full").signals]


def calibration(ids, *terms, plus=None, **changes):
    tiers = {name: tier(*terms, sdi_plus=plus) for name in changes.pop("tiers", ("probe", "full"))}
    facts = fitted_calibration(
        families=["llama"],
        scale={"min_parameters": PARAMETERS, "max_parameters": PARAMETERS},
        probe={"name": "tiny", "digest": tiny_probe().digest},
        signal_ids=ids,
        tiers=tiers,
    )
    return Calibration.model_validate_json(json.dumps(facts | changes))


DRIFT = term("representation-drift", "cka-angle", aggregation="mean-of-strata", power=2.0)


def measured(folders, found, which="probe"):
    request = replace(request_of(*folders, which), calibration=found)
    sources = {Scheme.FILE: FolderSource()}
    return run_scan(request, Effects(sources=sources, progress=NullProgress()))


def text_of(result):
    return render_markdown(build_view(build_document(result, None)))


def test_in_scope_the_index_is_calibrated_and_degradation_predicted(folders, ids):
    result = measured(folders, calibration(ids, DRIFT))
    assert result.uncalibrated is None
    value = result.sdi.estimate.value
    assert 0.0 <= result.prediction.lower <= result.prediction.value <= result.prediction.upper
    document = build_document(result, None)
    assert document.calibration.calibrated
    assert document.calibration.own
    assert document.calibration.threshold.value == 0.3
    assert document.prediction.value == result.prediction.value
    text = text_of(result)
    assert "Predicted degradation is" in text
    assert "cka-angle, mean of strata" in text
    drift = next(s for s in result.signals if s.name is SignalName.REPRESENTATION_DRIFT)
    rows = [row.estimate.value for row in drift.by_stratum("cka-angle")]
    s = sum(rows) / len(rows)
    assert value == pytest.approx(s**2 / (s**2 + 0.25))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"families": ["phi"]}, "this model is of family llama"),
        ({"scale": {"min_parameters": 1, "max_parameters": PARAMETERS - 1}}, "this model has"),
        ({"probe": {"name": "x", "digest": "sha256:other"}}, "another probe set"),
        ({"signal_ids": []}, "calibrated on another signal"),
    ],
    ids=["family", "size", "probe", "signals"],
)
def test_out_of_scope_the_report_shows_no_prediction_and_says_why(folders, ids, change, reason):
    result = measured(folders, calibration(ids, DRIFT, **change))
    assert reason in result.uncalibrated
    assert result.prediction.value is None
    assert reason in result.prediction.reason
    assert result.sdi.outcome is Outcome.MEASURED
    document = build_document(result, None)
    assert not document.calibration.calibrated
    assert document.calibration.threshold is None
    text = text_of(result)
    assert "Predicted degradation" not in text
    assert "No degradation is predicted" in text
    assert "sdi (uncalibrated" in text


def test_a_tier_that_the_calibration_lacks_has_no_index(folders, ids):
    result = measured(folders, calibration(ids, DRIFT, tiers=("full",)))
    for index in (result.sdi, result.sdi_plus):
        assert index.outcome is Outcome.NOT_MEASURED
        assert index.reason == "calibration organisms-1 has no formula for tier probe"
    assert result.prediction.reason == "the calibration has no index for tier probe"
    assert "has no formula for tier probe" in text_of(result)


def test_a_metric_that_the_scan_lacks_leaves_no_index_and_no_prediction(folders, ids):
    absent = term("representation-drift", "no-such-angle")
    result = measured(folders, calibration(ids, absent))
    assert result.sdi.outcome is Outcome.NOT_MEASURED
    assert result.sdi.reason == (
        "representation-drift is not-measured: the scan has no no-such-angle"
    )
    assert result.prediction.reason == f"there is no sdi: {result.sdi.reason}"


def test_the_shipped_calibration_is_no_ones_own(folders):
    document = build_document(scan(*folders, "weights"), None)
    assert not document.calibration.own
    assert document.calibration.status == "fitted"
    assert not document.calibration.calibrated
    assert document.prediction.value is None


def test_identical_models_score_zero_and_are_predicted_to_lose_nothing(folders, ids):
    result = measured((folders[0], folders[0]), calibration(ids, DRIFT))
    assert result.sdi.estimate.value == 0.0
    assert (result.prediction.value, result.prediction.lower) == (0.0, 0.0)
