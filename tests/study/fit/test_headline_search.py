"""What drives degradation is found, noise earns nothing, and each is told."""

import numpy as np
import pytest
import study_rows
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.signals.interface import SignalName
from sdi_gate.study.fit.crossfit import STRUCTURAL, fit_structural, fit_with_behaviour
from sdi_gate.study.fit.numerics import spearman
from sdi_gate.study.fit.procedure import groups_of, options_of, prepare
from sdi_gate.study.fit.sample import complete_rows, sample_of
from sdi_gate.study.fit.search import MARGIN, Search, weights_of

DRIFT, CURVATURE = SignalName.REPRESENTATION_DRIFT, SignalName.CURVATURE_SHIFT


@pytest.fixture(scope="module")
def sample():
    return sample_of(complete_rows(study_rows.rows(bases=2, variants=10)), "full")


@pytest.fixture(scope="module")
def ground(sample):
    return prepare(sample)


def test_the_signals_that_drive_degradation_share_the_weight(ground):
    index = fit_structural(ground)
    weights = {term.candidate.signal: term.weight for term in index.terms}
    assert weights[DRIFT] > 0.15
    assert weights[CURVATURE] > 0.15
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-9)


def test_noise_has_weight_zero_and_a_reason_with_its_figure(ground):
    noise = {
        term.candidate.signal: term for term in fit_structural(ground).terms if not term.weight
    }
    assert noise.keys() == {SignalName.SPECTRAL_DIVERGENCE, SignalName.WEIGHT_GEOMETRY}
    for term in noise.values():
        assert "changes the rank correlation on groups left out by" in term.reason
        assert f"a weight takes more than {MARGIN:+}" in term.reason
    assert all(term.reason is None for term in fit_structural(ground).terms if term.weight)


def test_a_copy_of_a_signal_earns_nothing_beside_it(sample):
    values = sample.values.copy()
    drift, geometry = (
        [i for i, c in enumerate(sample.candidates) if c.signal is name]
        for name in (DRIFT, SignalName.WEIGHT_GEOMETRY)
    )
    values[:, geometry] = values[:, drift[: len(geometry)]]
    copied = type(sample)(
        **{name: getattr(sample, name) for name in sample.__dataclass_fields__ if name != "values"},
        values=values,
    )
    weights = {t.candidate.signal: t.weight for t in fit_structural(prepare(copied)).terms}
    assert min(weights[DRIFT], weights[SignalName.WEIGHT_GEOMETRY]) < 0.1


def test_the_index_of_a_sample_is_the_sum_of_its_weighted_phis(ground, sample):
    index = fit_structural(ground)
    found = index.score(sample)
    for row in (0, 17, 80):
        total = sum(
            term.weight / (1 + (term.scale / sample.values[row, term.column]) ** term.power)
            for term in index.terms
            if sample.values[row, term.column] > 0
        )
        assert found[row] == pytest.approx(total, rel=1e-12)


def test_the_search_scores_each_group_by_a_fit_on_the_others(sample):
    search = Search(sample, sample.families)
    columns = options_of(sample, (DRIFT,))[DRIFT][:1]
    scores = search.out_of_group(columns)
    assert search.rho(columns) == pytest.approx(spearman(scores, sample.degradation))
    for family in study_rows.FAMILIES:
        test = np.array(sample.families) == family
        without = prepare(sample.where(~test))
        phi = without.hills.map(sample.values)[:, columns[0]]
        assert scores[test] == pytest.approx(phi[test], rel=1e-12)


def test_the_search_finds_what_trying_everything_finds(sample):
    signals = (DRIFT, CURVATURE)
    search, options = Search(sample, sample.families), options_of(sample, signals)
    best = max(search.rho((a, b)) for a in options[DRIFT] for b in options[CURVATURE])
    chosen = search.choose(options)
    assert search.rho(tuple(chosen.values())) >= best - MARGIN


def test_behaviour_is_added_to_the_headlines_of_structure_and_these_are_kept(ground):
    sdi = fit_structural(ground)
    plus = fit_with_behaviour(ground, sdi)
    kept = {term.candidate.signal: term.column for term in sdi.terms}
    names = [term.candidate.signal for term in plus.terms]
    assert sorted(names) == sorted((*STRUCTURAL, SignalName.BEHAVIOUR))
    for term in plus.terms:
        if term.candidate.signal in kept:
            assert term.column == kept[term.candidate.signal]
    assert plus.rho >= sdi.rho


@given(
    phi=st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=4, max_size=12),
    data=st.data(),
)
def test_weights_are_at_least_zero_and_sum_to_one_or_are_all_zero(phi, data):
    target = np.array([data.draw(st.floats(0, 1)) for _ in phi])
    weights = weights_of(np.array(phi), target)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-9) or not weights.any()


def test_a_predictor_that_falls_with_the_target_gets_no_weight():
    up = np.linspace(0, 1, 9)
    assert weights_of(np.stack([up, 1 - up], axis=1), up).tolist() == [1.0, 0.0]
    assert weights_of((1 - up)[:, None], up).tolist() == [0.0]


@pytest.mark.parametrize(
    ("families", "bases", "kind", "groups"),
    [(("a", "b"), 1, "family", 2), (("a",), 3, "base", 3), (("a",), 1, "pair", 5)],
)
def test_what_is_left_out_is_the_largest_unit_that_there_are_two_of(families, bases, kind, groups):
    rows = study_rows.rows(families, bases=bases, variants=12)
    found, labels = groups_of(sample_of(complete_rows(rows), "full"))
    assert (found, len(set(labels))) == (kind, groups)
