"""A family that is left out has no part in what is chosen for it."""

import study_rows

from sdi_gate.study.fit.fit import fit_study
from sdi_gate.study.row import Benchmark

KEY = "weight-geometry/relative-distance"


def poisoned(row):
    """Turn a pair's story round: what lost most has lost nothing, and noise tells it all."""
    drops = [row.benchmarks[axis].candidate for axis in row.benchmarks]
    kept = sum(drops) / len(drops)
    benchmarks = {
        axis: Benchmark(
            base=0.95,
            base_stderr=0.01,
            candidate=max(0.0, 0.95 - kept),
            candidate_stderr=0.01,
            n=160,
        )
        for axis in row.benchmarks
    }
    distance = row.features[KEY].model_copy(update={"overall": kept})
    return row.model_copy(
        update={"benchmarks": benchmarks, "features": row.features | {KEY: distance}}
    )


def test_poison_in_a_family_changes_nothing_that_was_fitted_without_it():
    rows = study_rows.rows(bases=2, variants=8)
    bad = [poisoned(row) if row.family == "phi" else row for row in rows]
    clean, dirty = (fit_study(each).tiers for each in (rows, bad))
    for tier in ("weights", "probe", "full"):
        for index in ("sdi", "sdi_plus"):
            before, after = (getattr(found[tier], index) for found in (clean, dirty))
            if before is None or after is None:
                assert tier == "weights"
                continue
            ours, theirs = (
                next(fold for fold in each.folds if fold.left_out == "phi")
                for each in (before, after)
            )
            assert ours == theirs
    # The poison is strong: it shows in what did see the family.
    assert clean["full"].sdi.terms != dirty["full"].sdi.terms
    others = [
        next(fold for fold in found["full"].sdi.folds if fold.left_out == "llama")
        for found in (clean, dirty)
    ]
    assert others[0] != others[1]


def test_the_scores_of_a_family_follow_from_the_fit_without_it():
    fit = fit_study(study_rows.rows(bases=2, variants=8))
    sdi = fit.tiers["full"].sdi
    flags = {pair.pair: pair for pair in sdi.pairs}
    for pair in fit.pairs:
        fold = next(fold for fold in sdi.folds if fold.left_out == pair.family)
        found = flags[pair.pair]
        assert found.flagged == (not found.score < fold.threshold)
        assert found.lower <= found.predicted <= found.upper
