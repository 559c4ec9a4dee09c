"""The whole fit: equal to the byte, whole with little, and true to its rows."""

import random

import pytest
import study_rows

from sdi_gate.errors import UsageError
from sdi_gate.study.fit.fit import MICRO_BENCHMARK, fit_study
from sdi_gate.study.fit.result import dump, load
from sdi_gate.study.fit.rounding import rounded
from sdi_gate.study.fit.summary import established, not_established
from sdi_gate.study.fit.tier import KL_WORST, RELATIVE_L2
from sdi_gate.study.fit.tier import MICRO_BENCHMARK as MICRO
from sdi_gate.study.row import Cost, Feature


@pytest.fixture(scope="module")
def rows():
    return study_rows.rows(bases=2, variants=8)


@pytest.fixture(scope="module")
def fit(rows):
    return fit_study(rows)


def test_fitting_again_changes_no_byte_whatever_the_order_and_the_cost(rows, fit):
    shuffled = [row.model_copy(update={"cost": Cost(measure_s=i)}) for i, row in enumerate(rows)]
    random.Random(0).shuffle(shuffled)
    assert dump(fit_study(shuffled)) == dump(fit)


def test_a_fit_survives_writing_and_reading(fit):
    assert load(dump(fit), "fit.json") == fit


def test_another_file_is_no_fit():
    with pytest.raises(UsageError, match=r"x\.json: not a fit: document: Invalid JSON"):
        load(b"{", "x.json")


def test_numbers_are_rounded_to_ten_digits():
    assert rounded({"a": [1 / 3, -0.0, 7, True, None, "x"]}) == {
        "a": [0.3333333333, 0.0, 7, True, None, "x"]
    }


def test_the_index_orders_families_that_it_has_not_seen(fit):
    full = fit.tiers["full"]
    assert full.left_out == "family"
    assert full.sdi.evidence.rho.value > 0.7
    assert full.sdi.evidence.rho.lower < full.sdi.evidence.rho.value
    assert full.sdi.evidence.within.keys() == set(study_rows.FAMILIES)
    assert full.sdi.evidence.misses.value <= 0.3
    assert full.sdi_plus.evidence.rho.value > full.sdi.evidence.rho.value


def test_rivals_stand_beside_the_index_with_the_difference(fit):
    names = [item.name for item in fit.tiers["full"].baselines]
    assert {KL_WORST, RELATIVE_L2, "curvature-shift alone", "behaviour alone"} <= set(names)
    found = {item.name: item.difference for item in fit.tiers["full"].differences}
    against = found[f"sdi_plus - {KL_WORST}"]
    assert against.lower <= against.value <= against.upper
    assert found[f"sdi - {RELATIVE_L2}"].lower > 0


def test_every_candidate_is_ranked_best_first(fit):
    ranked = fit.tiers["full"].candidates
    values = [item.rho.value for item in ranked]
    assert values == sorted(values, reverse=True)
    assert ranked[0].signal == "behaviour"


def test_a_threshold_moves_along_the_curve_with_its_rates(fit):
    rows = fit.tiers["full"].sdi.curve
    assert [row.misses for row in rows] == sorted(row.misses for row in rows)


def test_pairs_that_break_the_index_are_named_all_that_were_missed_first(fit):
    sdi = fit.tiers["full"].sdi
    high = {pair.pair for pair in fit.pairs if pair.high}
    missed = {item.pair for item in sdi.pairs if item.pair in high and not item.flagged}
    named = [item.pair for item in sdi.breaking if item.why == "missed"]
    assert set(named) == missed
    assert len(missed) == sdi.evidence.misses.hits
    assert [item.pair for item in sdi.breaking[: len(named)]] == named
    assert sum(item.why == "rank" for item in sdi.breaking) >= 10 - len(named)


def test_the_interval_covers_about_as_often_as_it_says(fit):
    coverage = fit.tiers["full"].sdi.prediction.coverage
    assert coverage.lower <= 0.9 <= coverage.upper + 0.05


def test_the_tier_without_a_driver_says_that_it_orders_nothing(fit):
    weights = fit.tiers["weights"].sdi
    assert weights is None or weights.evidence.rho.lower < 0
    assert weights is None or any(
        "tier weights: that sdi orders" in s for s in not_established(fit)
    )


def test_failed_rows_are_counted_and_named(rows):
    failed = rows[3].model_copy(update={"status": "failed", "reason": "measure: no room"})
    found = fit_study([*rows[:3], failed, *rows[4:]])
    assert found.num_pairs == len(rows) - 1
    assert [(item.pair, item.reason) for item in found.failures] == [
        (failed.pair, "measure: no room")
    ]
    assert any("1 pairs that failed" in sentence for sentence in not_established(found))


def test_a_micro_benchmark_is_a_rival_where_every_pair_has_it(rows):
    def with_micro(row):
        lost = sum(b.base - b.candidate for b in row.benchmarks.values()) / 5
        feature = Feature(overall=lost, stderr=None, strata={})
        return row.model_copy(update={"features": row.features | {MICRO_BENCHMARK: feature}})

    whole = fit_study([with_micro(row) for row in rows]).tiers["full"]
    (micro,) = [item for item in whole.baselines if item.name == MICRO]
    assert micro.evidence.rho.value > 0.95
    part = fit_study([with_micro(rows[0]), *rows[1:]]).tiers["full"]
    assert MICRO not in {item.name for item in part.baselines}


def test_a_single_family_leaves_bases_out_and_says_so():
    fit = fit_study(study_rows.rows(("llama",), bases=4, variants=8))
    assert fit.tiers["full"].left_out == "base"
    assert any("how the index does on another family" in s for s in not_established(fit))
    assert any("on each base left out" in s for s in established(fit))


def test_a_single_base_leaves_pairs_out_and_has_no_interval():
    fit = fit_study(study_rows.rows(("llama",), bases=1, variants=30))
    full = fit.tiers["full"]
    assert full.left_out == "pair"
    assert full.sdi.evidence.rho.lower is None
    assert any("how the index does on another base" in s for s in not_established(fit))


def test_a_family_of_few_pairs_is_told():
    rows = study_rows.rows(bases=2, variants=8)
    few = [row for row in rows if row.family != "phi" or row.pair.endswith(("v-1", "v-2"))]
    assert any("fewer than 8 pairs: phi (4)" in s for s in not_established(fit_study(few)))


@pytest.mark.parametrize(
    ("keep", "reason"),
    [
        (
            lambda row: row.pair.startswith("llama-0") and row.pair.endswith(("1", "2")),
            "4 complete",
        ),
        (lambda row: min(b.candidate for b in row.benchmarks.values()) > 0.91, "0 of"),
    ],
    ids=["few", "none lost"],
)
def test_too_little_gives_no_index_and_a_reason(keep, reason):
    rows = [row for row in study_rows.rows(variants=20) if keep(row)]
    for tier in fit_study(rows).tiers.values():
        assert tier.sdi is None
        assert reason in tier.reason


def test_nothing_complete_is_no_fit(rows):
    failed = [row.model_copy(update={"status": "failed", "reason": "x"}) for row in rows[:2]]
    with pytest.raises(UsageError, match="expected complete rows to fit on; got 2 rows, none"):
        fit_study(failed)


def test_rows_of_a_lower_tier_give_the_lower_index_alone(rows):
    lower = [
        row.model_copy(
            update={
                "tier": "probe",
                "features": {k: v for k, v in row.features.items() if "curvature" not in k},
            }
        )
        for row in rows
    ]
    fit = fit_study(lower)
    assert fit.tiers["probe"].sdi is not None
    assert fit.tiers["full"].reason == "0 complete pairs; expected at least 6"
