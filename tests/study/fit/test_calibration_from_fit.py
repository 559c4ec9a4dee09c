"""A calibration is what the fit found, and refuses to be made from too little."""

import math

import pytest
import study_rows

from sdi_gate.errors import PublishError, UsageError
from sdi_gate.prediction.calibration import dump, load_file
from sdi_gate.signals.divergence import combine
from sdi_gate.signals.interface import (
    Estimate,
    Measurement,
    Outcome,
    SignalId,
    SignalName,
    SignalResult,
)
from sdi_gate.study.fit.calibrate import calibration_from, write_file
from sdi_gate.study.fit.crossfit import fit_structural
from sdi_gate.study.fit.fit import fit_study
from sdi_gate.study.fit.procedure import prepare
from sdi_gate.study.fit.sample import complete_rows, sample_of


@pytest.fixture(scope="module")
def rows():
    return study_rows.rows(bases=2, variants=8)


@pytest.fixture(scope="module")
def made(rows):
    fit = fit_study(rows)
    return fit, calibration_from(fit, rows, "organisms-1", version=2, command="make study")


def test_a_calibration_says_what_it_rests_on(made, rows):
    fit, found = made
    assert (found.name, found.version, found.is_fitted) == ("organisms-1", 2, True)
    assert (found.num_pairs, found.num_degraded) == (len(rows), fit.num_degraded)
    assert found.families == study_rows.FAMILIES
    assert found.scale.min_parameters == found.scale.max_parameters == 300_000
    assert found.probe.digest == "sha256:abc"
    assert found.signal_ids == fit.signal_ids
    assert found.provenance.results_digest == fit.results_digest
    assert (found.provenance.sdi_gate, found.provenance.command) == ("0.1.0", "make study")
    assert "80 pairs of organisms" in found.note


def test_the_evidence_is_that_of_the_families_left_out(made):
    fit, found = made
    ours, theirs = found.tier("full").evidence, fit.tiers["full"].sdi.evidence
    assert ours.rho.model_dump() == theirs.rho.model_dump(exclude={"num_pairs"})
    assert ours.misses.model_dump() == theirs.misses.model_dump()
    assert ours.left_out == "family"
    assert ours.kl_alone.value > 0.9
    assert found.tier("full").threshold.value == fit.tiers["full"].sdi.threshold
    assert found.tier("full").threshold.bound == 0.15


def test_signals_that_earn_nothing_are_there_with_weight_zero_and_the_reason(made):
    terms = {term.signal: term for term in made[1].tier("full").sdi}
    assert set(terms) == set(SignalName) - {SignalName.BEHAVIOUR}
    assert terms[SignalName.SPECTRAL_DIVERGENCE].weight == 0.0
    assert "rank correlation" in terms[SignalName.SPECTRAL_DIVERGENCE].reason


def test_the_product_computes_the_index_that_was_fitted(made, rows):
    formula = made[1].sdi("full")
    complete = complete_rows(rows)
    sample = sample_of(complete, "full")
    scores = fit_structural(prepare(sample)).score(sample)
    for i in (0, 31, 79):
        found = combine(formula, results_of(complete[i], formula))
        assert found.estimate.value == pytest.approx(scores[i], rel=1e-9)


def results_of(row, formula):
    """What a scan of the row's pair would have found."""
    results = {}
    for term in formula.terms:
        feature = row.features[f"{term.signal.value}/{term.metric}"]
        rows = tuple(
            Measurement(metric=term.metric, stratum=name, estimate=Estimate(value=value))
            for name, value in feature.strata.items()
        )
        results[term.signal] = SignalResult(
            id=SignalId(name=term.signal, version=1),
            outcome=Outcome.MEASURED,
            metric=term.metric,
            estimate=Estimate(value=feature.overall),
            measurements=rows,
        )
    return results


def test_a_calibration_survives_the_disk(made, tmp_path):
    file = tmp_path / "new" / "own.json"
    write_file(file, dump(made[1]))
    assert load_file(file) == made[1]
    assert [path.name for path in file.parent.iterdir()] == ["own.json"]


def test_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path):
    (tmp_path / "own.json").mkdir()
    with pytest.raises(PublishError, match=r"cannot write .*own\.json"):
        write_file(tmp_path / "own.json", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["own.json"]


def test_fewer_than_twenty_pairs_are_refused():
    rows = study_rows.rows(("llama", "phi"), bases=1, variants=9)
    with pytest.raises(UsageError, match="18 complete pairs; expected at least 20"):
        calibration_from(fit_study(rows), rows, "own-1")


def test_fewer_than_eight_high_regressions_are_refused():
    rows = study_rows.rows(("llama", "phi"), bases=2, variants=20)

    def lost(row):
        return math.fsum(b.base - b.candidate for b in row.benchmarks.values())

    ranked = sorted(rows, key=lost)
    few = ranked[:17] + ranked[-7:]
    fit = fit_study(few)
    assert (fit.num_pairs, fit.num_degraded) == (24, 7)
    with pytest.raises(UsageError, match="7 of 24 pairs are high regressions; expected at least 8"):
        calibration_from(fit, few, "own-1")


def test_a_name_that_cannot_be_one_is_refused(made, rows):
    with pytest.raises(UsageError, match="no calibration can be called 'My Models'"):
        calibration_from(made[0], rows, "My Models")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(PublishError, match=r"cannot write .*own\.json"):
        write_file(tmp_path / "file" / "own.json", b"{}")
