import math

import pytest
import study_fits

from sdi_gate.study.document.answer import answer
from sdi_gate.study.document.ranks import placed, worst
from sdi_gate.study.document.targets import FALSE_ALARMS, MISSES, RHO, at_threshold, judge
from sdi_gate.study.fit.result import DifferenceEntry, IntervalEntry, RateEntry
from sdi_gate.study.fit.tier import KL_MEAN, KL_WORST

OWN = "each family at the threshold set without it"
SHIPPED = "at the shipped threshold"
OVERALL = "rank correlation of sdi, tier full"
LOWER = "lower end of its interval"
WITHIN = "rank correlation within each family"
BESIDE_KL = "sdi_plus less KL divergence alone"


@pytest.fixture(scope="module")
def fit():
    return study_fits.fitted(study_fits.rows())


def interval(value, lower, upper):
    return IntervalEntry.model_construct(value=value, lower=lower, upper=upper, num_pairs=48)


def rate(hits, trials):
    value = hits / trials if trials else None
    return RateEntry(hits=hits, trials=trials, value=value, lower=value, upper=value)


def difference(name, value):
    entry = interval(value, None, None)
    return DifferenceEntry.model_construct(name=name, difference=entry)


def target(fit, name):
    return {item.name: item for item in judge(fit)}[name]


@pytest.mark.parametrize(
    ("value", "lower", "met"),
    [
        (RHO, 0.75, True),
        (0.7999999, 0.75, False),
        (None, None, False),
        (math.nan, math.nan, False),
    ],
    ids=["at the bound", "a hair below", "not defined", "not a number"],
)
def test_the_correlation_has_to_reach_its_bound(fit, value, lower, met):
    doctored = study_fits.with_evidence(fit, rho=interval(value, lower, 0.9))
    assert target(doctored, OVERALL).met is met


@pytest.mark.parametrize(
    ("lower", "met"), [(0.7, False), (0.7001, True), (None, False), (math.nan, False)]
)
def test_the_lower_end_has_to_be_above_its_bound(fit, lower, met):
    doctored = study_fits.with_evidence(fit, rho=interval(0.85, lower, 0.9))
    assert target(doctored, LOWER).met is met


def test_a_number_that_misses_by_a_hair_is_not_shown_as_the_bound(fit):
    doctored = study_fits.with_evidence(fit, rho=interval(0.79999, 0.71, 0.9))
    found = target(doctored, OVERALL).found
    assert found == "0.79999"


def test_a_missed_correlation_names_the_pairs_with_the_largest_rank_errors(fit):
    doctored = study_fits.with_evidence(fit, rho=interval(0.5, 0.4, 0.6))
    named = target(doctored, OVERALL).breaks
    by_error = sorted(
        placed(fit, fit.tiers["full"].sdi), key=lambda item: (-abs(item.error), item.pair.pair)
    )
    assert named == tuple(item.pair.pair for item in by_error[:10])


def test_one_family_below_the_bound_misses_the_target_and_its_own_pairs_are_named(fit):
    good = dict.fromkeys(fit.families, interval(0.9, 0.8, 0.95))
    doctored = study_fits.with_evidence(fit, within=good | {"phi": interval(0.69, 0.5, 0.8)})
    found = target(doctored, WITHIN)
    assert not found.met
    assert found.breaks
    assert all(name.startswith("phi-") for name in found.breaks)


@pytest.mark.parametrize("value", [None, math.nan], ids=["none", "nan"])
def test_a_family_without_a_number_misses_the_target(fit, value):
    good = dict.fromkeys(fit.families, interval(0.9, 0.8, 0.95))
    doctored = study_fits.with_evidence(fit, within=good | {"phi": interval(value, None, None)})
    assert not target(doctored, WITHIN).met


def test_a_family_that_is_not_there_misses_the_target(fit):
    good = dict.fromkeys(fit.families[:-1], interval(0.9, 0.8, 0.95))
    assert not target(study_fits.with_evidence(fit, within=good), WITHIN).met


@pytest.mark.parametrize(
    ("mean", "worst_stratum", "met"),
    [(0.0, 0.01, True), (0.02, -0.0001, False), (math.nan, 0.1, False), (None, 0.1, False)],
    ids=["equal to one", "below one of them", "not a number", "not defined"],
)
def test_sdi_plus_has_to_reach_both_forms_of_kl(fit, mean, worst_stratum, met):
    differences = (
        difference(f"sdi_plus - {KL_MEAN}", mean),
        difference(f"sdi_plus - {KL_WORST}", worst_stratum),
    )
    assert target(study_fits.with_tier(fit, differences=differences), BESIDE_KL).met is met


def test_a_difference_just_below_0_is_not_shown_as_0(fit):
    differences = tuple(
        difference(f"sdi_plus - {name}", -0.0001234) for name in (KL_MEAN, KL_WORST)
    )
    found = target(study_fits.with_tier(fit, differences=differences), BESIDE_KL)
    assert "-0.000123 " in found.found


def test_without_kl_nothing_can_be_as_good(fit):
    assert not target(study_fits.with_tier(fit, differences=()), BESIDE_KL).met


@pytest.mark.parametrize(
    ("name", "key", "bound"),
    [("misses", "misses", MISSES), ("false alarms", "false_alarms", FALSE_ALARMS)],
)
def test_a_rate_at_its_bound_is_met_and_one_above_is_not(fit, name, key, bound):
    for hits, met in ((int(bound * 100), True), (int(bound * 100) + 1, False)):
        doctored = study_fits.with_evidence(fit, **{key: rate(hits, 100)})
        assert target(doctored, f"{name}, {OWN}").met is met


@pytest.mark.parametrize("key", ["misses", "false_alarms"])
@pytest.mark.parametrize("value", [None, math.nan], ids=["none", "nan"])
def test_a_rate_of_nothing_is_missed(fit, key, value):
    entry = RateEntry.model_construct(hits=0, trials=0, value=value, lower=value, upper=value)
    doctored = study_fits.with_evidence(fit, **{key: entry})
    found = target(doctored, f"{key.replace('_', ' ')}, {OWN}")
    assert not found.met
    assert found.found == "none to count"


def test_every_missed_high_regression_is_named(fit):
    sdi = fit.tiers["full"].sdi
    pairs = tuple(item.model_copy(update={"flagged": False}) for item in sdi.pairs)
    high = {pair.pair for pair in fit.pairs if pair.high}
    evidence = sdi.evidence.model_copy(update={"misses": rate(len(high), len(high))})
    doctored = study_fits.with_index(fit, pairs=pairs, evidence=evidence)
    found = target(doctored, f"misses, {OWN}")
    assert not found.met
    assert set(found.breaks) == high


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.1])
def test_rates_at_the_shipped_threshold_are_those_counted_by_hand(fit, threshold):
    doctored = study_fits.with_index(fit, threshold=threshold)
    sdi = doctored.tiers["full"].sdi
    high = {pair.pair: pair.high for pair in fit.pairs}
    missed = [item for item in sdi.pairs if high[item.pair] and item.score < threshold]
    alarms = [item for item in sdi.pairs if not high[item.pair] and item.score >= threshold]
    misses, false_alarms = at_threshold(doctored, sdi)
    assert (misses.hits, misses.trials) == (len(missed), sum(high.values()))
    assert (false_alarms.hits, false_alarms.trials) == (
        len(alarms),
        len(high) - sum(high.values()),
    )


def test_without_a_threshold_every_pair_is_flagged(fit):
    doctored = study_fits.with_index(fit, threshold=None)
    misses, alarms = at_threshold(doctored, doctored.tiers["full"].sdi)
    assert (misses.hits, alarms.hits) == (0, alarms.trials)
    assert not target(doctored, f"false alarms, {SHIPPED}").met


@pytest.mark.parametrize("left_out", ["base", "pair"])
def test_numbers_without_a_family_left_out_meet_no_target(fit, left_out):
    found = judge(study_fits.with_tier(fit, left_out=left_out))
    assert not any(item.met or item.is_measured for item in found)
    assert [item.name for item in found] == [item.name for item in judge(fit)]
    assert [item.wanted for item in found] == [item.wanted for item in judge(fit)]


def test_without_an_index_nothing_is_met_and_the_answer_says_so(fit):
    doctored = study_fits.with_tier(fit, sdi=None, sdi_plus=None, reason="too few", candidates=())
    said = answer(doctored)
    assert not any(item.met for item in judge(doctored))
    assert any("Tier full has no index: too few" in sentence for sentence in said.sentences)
    assert "No target could be measured" in said.sentences[-1]
    assert not said.broken
    assert "Nothing could be tried" in said.tried


def test_a_missed_target_is_named_with_its_pairs_in_the_answer(fit):
    doctored = study_fits.with_evidence(fit, rho=interval(0.5, 0.4, 0.6))
    said = answer(doctored)
    assert f"{OVERALL}; {LOWER}" in said.sentences[-1]
    (line,) = [item for item in said.broken if item.startswith(OVERALL)]
    assert line.startswith(f"{OVERALL}; {LOWER}: ")
    assert worst(placed(fit, fit.tiers["full"].sdi), 1)[0].pair.pair in line
    results = {row[0]: row[3] for row in said.targets.rows}
    assert (results[OVERALL], results[LOWER]) == ("missed", "missed")
    assert said.tried.startswith("What was tried: ")


def test_all_met_says_so_and_names_nothing(fit):
    good = dict.fromkeys(fit.families, interval(0.9, 0.8, 0.95))
    doctored = study_fits.with_evidence(
        fit,
        rho=interval(0.9, 0.85, 0.95),
        within=good,
        misses=rate(0, 10),
        false_alarms=rate(0, 10),
    )
    differences = tuple(difference(f"sdi_plus - {name}", 0.1) for name in (KL_MEAN, KL_WORST))
    sdi = doctored.tiers["full"].sdi
    high = {pair.pair: pair.high for pair in fit.pairs}
    pairs = tuple(
        item.model_copy(update={"score": 0.9 if high[item.pair] else 0.1}) for item in sdi.pairs
    )
    sdi = sdi.model_copy(update={"pairs": pairs, "threshold": 0.5})
    said = answer(study_fits.with_tier(doctored, differences=differences, sdi=sdi))
    assert said.sentences[-1] == "All 8 targets are met."
    assert (said.broken, said.tried) == ((), "")


@pytest.mark.parametrize(
    ("ends", "meaning"),
    [
        ((0.01, 0.2), "orders better"),
        ((-0.2, -0.01), "orders worse"),
        ((-0.1, 0.1), "may be chance"),
    ],
)
def test_a_difference_is_told_by_its_interval(fit, ends, meaning):
    rho = {item.name: item.evidence.rho.value for item in fit.tiers["full"].baselines}
    rival = max((KL_MEAN, KL_WORST), key=lambda name: rho[name])
    entry = DifferenceEntry(
        name=f"sdi - {rival}",
        difference=IntervalEntry(value=sum(ends) / 2, lower=ends[0], upper=ends[1], num_pairs=48),
    )
    said = answer(study_fits.with_tier(fit, differences=(entry,)))
    assert meaning in said.sentences[1]


def test_rank_errors_are_those_counted_by_hand(fit):
    sdi = fit.tiers["full"].sdi
    lost = {pair.pair: pair.degradation for pair in fit.pairs}

    def rank(value, values):
        below = sum(other < value for other in values)
        return below + (sum(other == value for other in values) + 1) / 2

    scores = [item.score for item in sdi.pairs]
    for item in placed(fit, sdi):
        ours = rank(item.score.score, scores)
        truth = rank(item.pair.degradation, lost.values())
        assert item.error == pytest.approx((ours - truth) / len(lost), abs=1e-12)


def test_rank_errors_within_a_family_sum_to_zero(fit):
    found = placed(fit, fit.tiers["full"].sdi, "phi")
    assert {item.pair.family for item in found} == {"phi"}
    assert math.fsum(item.error for item in found) == pytest.approx(0.0, abs=1e-12)
    assert placed(fit, fit.tiers["full"].sdi, "nobody") == ()
