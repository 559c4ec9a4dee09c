import numpy as np
import pytest
import study_rows

from sdi_gate.errors import UsageError
from sdi_gate.study.fit.sample import complete_rows, sample_of, signal_ids
from sdi_gate.study.row import Benchmark


@pytest.fixture
def rows():
    return study_rows.rows(("llama", "phi"), bases=1, variants=3)


def changed(rows, **update):
    return [*rows[:-1], rows[-1].model_copy(update=update)]


BENCHMARK = Benchmark(base=1, base_stderr=0, candidate=1, candidate_stderr=0, n=10)


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"probe": "sha256:other"}, "the rows mix probe sets: 'sha256:abc' and 'sha256:other'"),
        (
            {"signal_ids": ("curvature-shift/2?probe=abc",)},
            "the rows mix curvature-shift of different versions or parameters",
        ),
        ({"population": "public"}, "the rows mix populations: 'organisms' and 'public'"),
        ({"benchmarks": {"mmlu": BENCHMARK}}, "the rows mix axes"),
    ],
    ids=["probe", "signal", "population", "axes"],
)
def test_rows_that_do_not_belong_together_are_refused(rows, update, message):
    with pytest.raises(UsageError, match=message) as caught:
        complete_rows(changed(rows, **update))
    assert "fit each kind alone" in caught.value.hint


def test_a_pair_that_is_there_twice_is_refused(rows):
    with pytest.raises(UsageError, match="one row for each pair; 'llama-0/v-0' has several"):
        complete_rows([*rows, rows[0]])


def test_seeds_may_differ_since_they_only_draw(rows):
    ids = tuple(f"{identity}&seed=5" for identity in rows[-1].signal_ids)
    found = complete_rows(changed(rows, signal_ids=ids))
    assert signal_ids(found) == tuple(sorted(rows[0].signal_ids))


def test_failed_rows_are_left_out_and_the_others_sorted(rows):
    mixed = changed(rows, status="failed", reason="measure: no room", probe=None)
    found = complete_rows(reversed(mixed))
    assert [row.pair for row in found] == sorted(row.pair for row in rows[:-1])


def test_the_sample_of_a_tier_has_the_rows_of_that_tier_and_above(rows):
    mixed = complete_rows(changed(rows, tier="weights"))
    assert len(sample_of(mixed, "weights")) == 6
    assert len(sample_of(mixed, "full")) == 5
    none = sample_of([row.model_copy(update={"tier": "weights"}) for row in mixed], "full")
    assert (len(none), none.candidates, none.values.shape) == (0, (), (0, 0))


def test_arrays_have_a_row_for_each_pair_and_a_column_for_each_candidate(rows):
    sample = sample_of(complete_rows(rows), "full")
    assert sample.values.shape == (6, len(sample.candidates))
    column = [c.metric for c in sample.candidates].index("relative-distance")
    own = next(row for row in rows if row.pair == sample.pairs[4])
    value = own.features["weight-geometry/relative-distance"].overall
    assert sample.values[4, column] == value


def test_part_of_a_sample_keeps_its_rows_together(rows):
    sample = sample_of(complete_rows(rows), "full")
    own = sample.where(np.array(sample.families) == "phi")
    assert set(own.families) == {"phi"}
    assert own.values.tolist() == sample.values[3:].tolist()
    assert own.degradation.tolist() == sample.degradation[3:].tolist()
