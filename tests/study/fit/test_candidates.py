import math

import pytest
import study_rows

from sdi_gate.signals.divergence import Aggregation
from sdi_gate.signals.interface import SignalName
from sdi_gate.study.fit.candidates import METRICS, Candidate, candidates_of, value_of
from sdi_gate.study.row import Feature


def made(overall, strata=None):
    return Feature(overall=overall, stderr=None, strata=strata or {})


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        (Aggregation.OVERALL, 0.5),
        (Aggregation.MEAN_OF_STRATA, 0.2),
        (Aggregation.WORST_STRATUM, 0.4),
    ],
)
def test_a_stratum_below_zero_counts_as_zero(aggregation, expected):
    found = value_of(made(0.5, {"a": 0.4, "b": -0.3, "c": 0.2}), aggregation)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("aggregation", list(Aggregation))
@pytest.mark.parametrize("feature", [None, made(None)], ids=["absent", "empty"])
def test_what_was_not_measured_has_no_value(feature, aggregation):
    assert value_of(feature, aggregation) is None


def test_what_is_not_finite_has_no_value():
    broken = made(0.5, {"a": 0.4}).model_copy(update={"strata": {"a": math.nan, "b": 1.0}})
    assert value_of(broken, Aggregation.WORST_STRATUM) is None


def test_a_tier_has_the_metrics_of_the_tiers_below_it_and_its_own():
    rows = study_rows.rows(("llama",), bases=1, variants=3)
    keys = {tier: {c.key for c in candidates_of(tier, rows)} for tier in ("weights", "probe")}
    assert keys["weights"] == {
        "spectral-divergence/spectrum-distance",
        "weight-geometry/relative-distance",
        "weight-geometry/pooled-relative-distance",
    }
    assert keys["probe"] - keys["weights"] == {
        "representation-drift/cka-angle",
        "behaviour/kl-divergence",
        "behaviour/nll-change",
    }
    full = {c.key for c in candidates_of("full", rows)}
    assert full - keys["probe"] == {"curvature-shift/fisher-trace-shift"}


def test_a_metric_that_one_row_lacks_is_no_candidate():
    first, second = study_rows.rows(("llama",), bases=1, variants=2)
    key = "representation-drift/cka-angle"
    features = {name: value for name, value in second.features.items() if name != key}
    rows = (first, second.model_copy(update={"features": features}))
    assert key not in {c.key for c in candidates_of("full", rows)}


def test_a_metric_without_strata_has_no_aggregate_of_them():
    rows = study_rows.rows(("llama",), bases=1, variants=2)
    distance = [c for c in candidates_of("weights", rows) if c.metric == "relative-distance"]
    assert [c.aggregation for c in distance] == [Aggregation.OVERALL]
    angle = [c.aggregation for c in candidates_of("probe", rows) if c.metric == "cka-angle"]
    assert angle == list(Aggregation)


def test_what_does_not_compare_between_models_is_never_a_candidate():
    named = {metric for metrics in METRICS.values() for metric, _ in metrics}
    unfit = {"base-nll", "candidate-nll", "cka-similarity", "hessian-trace-base"}
    assert not named & unfit
    assert METRICS.keys() == set(SignalName)


def test_a_candidate_is_named_by_signal_metric_and_aggregation():
    candidate = Candidate(
        signal=SignalName.BEHAVIOUR, metric="kl-divergence", aggregation=Aggregation.OVERALL
    )
    assert str(candidate) == "behaviour/kl-divergence, overall"
