"""One axis is predicted from the index of the mean, and it is said how badly."""

import numpy as np
import pytest
import study_rows

from sdi_gate.errors import UsageError
from sdi_gate.prediction.calibration import dump, load_file
from sdi_gate.study.fit.axes import axis_entries, explained, levels_of, lines_to_mean
from sdi_gate.study.fit.calibrate import calibration_from, write_file
from sdi_gate.study.fit.conformal import LEVELS
from sdi_gate.study.fit.crossfit import CrossFit, Split
from sdi_gate.study.fit.fit import fit_study
from sdi_gate.study.fit.isotonic import fit_predictor
from sdi_gate.study.fit.procedure import FittedIndex, Ground
from sdi_gate.study.fit.result import dump as dump_fit
from sdi_gate.study.fit.result import load
from sdi_gate.study.fit.sample import Sample, complete_rows, sample_of
from sdi_gate.study.fit.summary import established, not_established

NUM_GROUPS = 4


def sample_with(losses, groups):
    """Make pairs whose losses on one axis are known; the mean is that axis."""
    lost = np.asarray(losses, dtype=float)
    n = len(lost)
    return Sample(
        pairs=tuple(f"p-{i}" for i in range(n)),
        families=tuple(groups),
        bases=tuple(groups),
        degradation=lost,
        high=lost > 0.1,
        axes=("safety",),
        losses=lost.reshape(n, 1),
        high_losses=(lost > 0.1).reshape(n, 1),
        candidates=(),
        values=np.zeros((n, 0)),
    )


def fits_with(scores, sample):
    """Make the fits of an index whose score of a pair is the same in every fold."""
    labels = np.array(sample.families)

    def index(mask):
        return FittedIndex(
            terms=(),
            rho=0.0,
            scores=scores[mask],
            threshold=None,
            predictor=fit_predictor(scores[mask], sample.degradation[mask], labels[mask].tolist()),
        )

    def ground(mask):
        groups = tuple(labels[mask].tolist())
        return Ground(
            sample=sample.where(mask), groups=groups, search=None, target=None, hills=None
        )

    folds = tuple(
        (
            Split(group=group, test=labels == group, fitted=ground(labels != group)),
            index(labels != group),
        )
        for group in sorted(set(labels.tolist()))
    )
    unused = np.zeros(len(scores))
    return CrossFit(
        index=index(np.ones(len(scores), dtype=bool)),
        folds=folds,
        scores=scores,
        flags=unused > 0.0,
        predicted=unused,
        lower=unused,
        upper=unused,
    )


def entry_of(scores, losses, groups=None):
    groups = [str(i % NUM_GROUPS) for i in range(len(losses))] if groups is None else groups
    sample = sample_with(losses, groups)
    return axis_entries(sample, fits_with(np.asarray(scores, dtype=float), sample))["safety"]


def test_an_axis_that_equals_the_index_is_predicted_without_an_error():
    scores = np.repeat(np.arange(16) / 16, NUM_GROUPS)
    found = entry_of(scores, scores)
    assert found.reason is None
    assert (found.mean_error, found.explained) == (0.0, 1.0)
    assert found.rho.value == pytest.approx(1.0)
    assert {(knot.sdi, knot.degradation) for knot in found.knots} == {(x, x) for x in scores}
    for level in found.levels:
        assert (level.offset, level.slope, level.mean_width) == (0.0, 0.0, 0.0)
        assert (level.coverage.value, level.exceeded.hits) == (1.0, 0)


def test_an_axis_of_noise_has_a_wide_interval_and_explains_nothing():
    generator = np.random.default_rng(0)
    found = entry_of(generator.uniform(size=200), generator.uniform(size=200))
    assert found.reason is None
    assert found.explained < 0.0
    assert found.rho.lower < 0.0 < found.rho.upper
    for level in found.levels:
        assert level.mean_width > level.level - 0.1
        assert level.coverage.lower <= level.level <= level.coverage.upper


def test_coverage_over_all_pairs_is_not_enough_where_those_who_lost_lie_above_it():
    # One in sixteen loses much, and the index knows nothing of it.
    lost = [0.8 if i % 16 < 1 else 0.0 for i in range(16 * 4 * NUM_GROUPS)]
    groups = [str(i // 16 % NUM_GROUPS) for i in range(len(lost))]
    scores = [0.5 + (i // 16 // NUM_GROUPS % 2) / 10 for i in range(len(lost))]
    found = entry_of(scores, lost, groups)
    main = found.levels[1]
    assert (main.level, main.coverage.value) == (0.9, 15 / 16)
    assert (main.exceeded.hits, main.exceeded.trials, main.slope) == (16, 16, None)
    assert found.reason == (
        "16 of the 16 pairs that it makes high regressions lost more than the upper end of its "
        "interval of 90 %, on groups left out"
    )


def test_a_level_above_which_most_who_lost_lie_is_not_given_and_the_next_may_be():
    # One in eight loses much: an interval of 80 % may leave them out, one of 90 % may not.
    lost = [0.5 if i % 8 < 1 else 0.0 for i in range(8 * 10 * NUM_GROUPS)]
    groups = [str(i // 8 % NUM_GROUPS) for i in range(len(lost))]
    scores = [0.5 + (i // 8 // NUM_GROUPS % 2) / 10 for i in range(len(lost))]
    found = entry_of(scores, lost, groups)
    assert found.reason is None
    assert [level.slope is None for level in found.levels] == [True, False, False]
    assert [level.exceeded.hits for level in found.levels] == [40, 0, 0]


@pytest.mark.parametrize(
    ("num_high", "reason"),
    [
        (7, "it makes 7 pairs high regressions; expected at least 8"),
        (8, None),
    ],
    ids=str,
)
def test_an_axis_that_hardly_any_pair_lost_is_not_predicted(num_high, reason):
    scores = np.arange(64) / 64
    lost = np.where(np.arange(64) >= 64 - num_high, 0.5, 0.0)
    assert entry_of(scores, lost).reason == reason


def test_an_interval_that_a_fold_could_not_make_is_not_given():
    # Twelve pairs are enough for 90 %, the eight outside of a group are not.
    scores = np.arange(12) / 12
    found = entry_of(scores, 0.2 + scores / 2, [str(i % 3) for i in range(12)])
    assert found.reason == "12 pairs are too few for an interval of 90 %"
    assert [level.slope is None for level in found.levels] == [False, True, True]


def test_rates_and_widths_are_those_of_the_lines_without_each_group():
    generator = np.random.default_rng(1)
    scores = generator.uniform(size=60)
    lost = np.clip(scores / 2 + 0.2 * generator.normal(size=60), 0.0, 1.0)
    groups = np.array([str(i % 3) for i in range(60)])
    found = entry_of(scores, lost, groups.tolist())
    lower, upper, predicted, constant = np.zeros((4, 60))
    for group in "012":
        test = groups == group
        own = fit_predictor(scores[~test], lost[~test], groups[~test].tolist())
        lower[test], upper[test] = own.interval(scores[test], 0.8)
        predicted[test], constant[test] = own.line.at(scores[test]), lost[~test].mean()
    level = found.levels[0]
    assert level.coverage.hits == sum((lower <= lost) & (lost <= upper))
    assert level.exceeded.hits == sum((lost > upper) & (lost > 0.1))
    assert level.exceeded.trials == found.num_degraded == sum(lost > 0.1)
    assert level.mean_width == pytest.approx((upper - lower).mean())
    assert found.mean_error == pytest.approx(abs(predicted - lost).mean())
    saved = 1 - ((predicted - lost) ** 2).sum() / ((constant - lost) ** 2).sum()
    assert found.explained == pytest.approx(saved)


def test_where_nobody_lost_anything_nothing_is_explained():
    sample = sample_with(np.zeros(12), [str(i % 3) for i in range(12)])
    fitted = fits_with(np.arange(12) / 12, sample)
    assert explained(lines_to_mean(sample, fitted), fitted) is None


@pytest.fixture(scope="module")
def rows():
    return study_rows.rows(bases=2, variants=8)


@pytest.fixture(scope="module")
def fit(rows):
    return fit_study(rows)


def test_losses_of_the_sample_are_the_positive_parts_of_each_axis(rows):
    sample = sample_of(complete_rows(rows), "full")
    assert sample.axes == tuple(sorted(study_rows.AXES))
    assert sample.losses.min() == 0.0
    assert sample.losses.mean(axis=1).tolist() == pytest.approx(sample.degradation.tolist())
    part = sample.where(sample.high)
    assert part.losses.tolist() == sample.losses[sample.high].tolist()
    assert part.high_losses.tolist() == sample.high_losses[sample.high].tolist()


def test_the_mean_has_the_intervals_that_it_always_had_and_two_more(fit):
    for tier in fit.tiers.values():
        if tier.sdi is None:
            continue
        main = tier.sdi.prediction.levels[1]
        assert (main.level, main.coverage) == (0.9, tier.sdi.prediction.coverage)
        assert (main.offset, main.slope) == (tier.sdi.interval_offset, tier.sdi.interval_slope)
        assert main.mean_width == tier.sdi.prediction.mean_width


def test_a_higher_level_holds_no_fewer_pairs_and_is_exceeded_no_more_often(fit):
    for entry in fit.tiers["full"].sdi.axes.values():
        assert tuple(level.level for level in entry.levels) == LEVELS
        hits = [level.coverage.hits for level in entry.levels]
        assert hits == sorted(hits)
        above = [level.exceeded.hits for level in entry.levels]
        assert above == sorted(above, reverse=True)


def test_sdi_plus_predicts_no_axis_for_no_limit_is_held_against_it(fit):
    assert fit.tiers["full"].sdi_plus.axes == {}
    assert set(fit.tiers["full"].sdi.axes) == set(study_rows.AXES)


def test_a_calibration_has_the_axes_of_the_fit_at_every_level(fit, rows, tmp_path):
    found = calibration_from(fit, rows, "own-1")
    tier, entries = found.tier("full"), fit.tiers["full"].sdi.axes
    assert set(tier.axes) == set(study_rows.AXES)
    for axis, entry in tier.axes.items():
        low, main, high = entries[axis].levels
        assert (entry.level, entry.offset, entry.slope) == (0.9, main.offset, main.slope)
        assert entry.coverage.model_dump() == main.coverage.model_dump()
        assert entry.exceeded.model_dump() == main.exceeded.model_dump()
        assert [item.slope for item in entry.other_levels] == [low.slope, high.slope]
        assert len(entry.knots) == len(entries[axis].knots)
    assert [item.level for item in tier.prediction.other_levels] == [0.8, 0.95]
    write_file(tmp_path / "own.json", dump(found))
    assert load_file(tmp_path / "own.json") == found


def drops_of(row, axis, value):
    own = row.benchmarks[axis].model_copy(update={"candidate": 0.95 - value})
    return row.model_copy(update={"benchmarks": row.benchmarks | {axis: own}})


@pytest.fixture(scope="module")
def rare():
    """Rows of which one in sixteen loses all on safety, whatever was measured."""
    made = study_rows.rows(bases=2, variants=16)
    return [drops_of(row, "safety", 0.9 * (i % 16 == 5)) for i, row in enumerate(made)]


def test_an_axis_that_cannot_be_predicted_is_told_with_the_reason(rare):
    fit = fit_study(rare)
    found = calibration_from(fit, rare, "own-1").tier("full")
    assert set(found.axes) == set(study_rows.AXES) - {"safety"}
    (reason,) = found.silent_axes.values()
    assert "10 of the 10 pairs that it makes high regressions lost more than" in reason
    assert f"tier full: a prediction for the axis safety: {reason}" in not_established(fit)
    told = [sentence for sentence in established(fit) if "tier full, axis" in sentence]
    assert len(told) == 4
    assert all("lost more than its upper end" in sentence for sentence in told)


def test_an_axis_that_the_index_does_not_order_is_told(rows):
    generator = np.random.default_rng(3)
    noisy = [drops_of(row, "truth", generator.uniform(0, 0.9)) for row in rows]
    fit = fit_study(noisy)
    assert fit.tiers["full"].sdi.axes["truth"].reason is None
    assert any("that sdi orders what truth lost: its rank" in s for s in not_established(fit))
    assert not any("full, axis truth" in sentence for sentence in established(fit))


def test_an_axis_may_not_be_called_as_the_mean_is(rows):
    named = [
        row.model_copy(
            update={
                "benchmarks": {
                    "mean" if axis == "truth" else axis: scores
                    for axis, scores in row.benchmarks.items()
                }
            }
        )
        for row in rows
    ]
    with pytest.raises(UsageError, match="no axis may be called 'mean'"):
        calibration_from(fit_study(named), named, "own-1")


def test_a_fit_of_before_axes_were_fitted_still_loads(fit):
    tiers = {}
    for name, tier in fit.tiers.items():
        plain = tier.model_dump()
        for index in ("sdi", "sdi_plus"):
            if plain[index] is not None:
                del plain[index]["axes"]
                del plain[index]["prediction"]["levels"], plain[index]["prediction"]["explained"]
        tiers[name] = type(tier).model_validate(plain)
    found = load(dump_fit(fit.model_copy(update={"tiers": tiers})), "fit.json")
    assert found.tiers["full"].sdi.axes == {}
    assert found.tiers["full"].sdi.prediction.levels == ()


def test_the_levels_of_an_index_are_those_of_its_own_lines(rows):
    sample = sample_of(complete_rows(rows), "full")
    fitted = fits_with(sample.degradation, sample)
    lines = lines_to_mean(sample, fitted)
    assert lines.whole is fitted.index.predictor
    assert [level.slope for level in levels_of(lines, fitted)] == list(lines.whole.widths.values())
