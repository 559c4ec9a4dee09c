import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_manifests import (
    VERSIONS,
    end,
    fail,
    feature,
    manifest_of,
    pair_of,
    planned,
    public_pair,
)

from sdi_gate.errors import UsageError
from sdi_gate.study.collect import MICRO_BENCHMARK, collect
from sdi_gate.study.keys import (
    base_key,
    build_key,
    candidate_key,
    measure_key,
    recipe_digest,
    row_key,
)
from sdi_gate.study.plan import builds, choose, evaluations
from sdi_gate.study.units import UnitStore

NAMES = [
    f"{family}-s-{seed}/v{i}" for family in ("llama", "phi") for seed in (0, 1) for i in (1, 2)
]


def many():
    return manifest_of(*(pair_of(name) for name in NAMES))


def keys_of(manifest, versions=None):
    """Return the keys of the first pair: building, measuring, evaluating the two, the row."""
    pair = manifest.pairs[0]
    versions = versions or VERSIONS
    return (
        build_key(manifest, pair),
        measure_key(manifest, pair, versions),
        base_key(manifest, pair),
        candidate_key(manifest, pair),
        row_key(manifest, pair, versions),
    )


def changed(manifest, versions=None):
    """Return which of the keys differ from those of the plain manifest."""
    pairs = zip(keys_of(manifest_of()), keys_of(manifest, versions), strict=True)
    return [before != after for before, after in pairs]


BASE = {"ref": "organism:llama-s-0", "licence": "apache-2.0", "recipe": {"steps": 200}}
CANDIDATE = {"ref": "organism:llama-s-0/noise-2", "licence": "mit"}


@pytest.mark.parametrize(
    ("pair", "manifest", "expected"),
    [
        ({}, {}, [False] * 5),
        ({"notes": "x", "tokenizer": "other", "candidate": CANDIDATE}, {}, [False] * 5),
        ({"kind": "domain"}, {}, [False, False, False, False, True]),
        ({"recipe": {"method": "noise", "relative": 3.0}}, {}, [True, True, False, True, True]),
        ({"dose": 3.0}, {}, [True, True, False, True, True]),
        ({"base": BASE}, {}, [True, True, True, True, True]),
        ({}, {"settings": {"seed": 1}}, [False, True, False, False, True]),
        ({}, {"settings": {"evaluation_limit": 5}}, [False, False, True, True, True]),
        ({}, {"settings": {"extra": {"world": "x"}}}, [True] * 5),
        ({}, {"settings": {"extra": {"tasks": "x"}}}, [False, False, True, True, True]),
        ({}, {"settings": {"extra": {"probe": "x"}}}, [False, True, False, False, True]),
        ({}, {"probe": "world"}, [False, True, False, False, True]),
        ({}, {"scale": "large"}, [True] * 5),
        ({}, {"status": "measured"}, [False] * 5),
    ],
    ids=lambda value: ",".join(map(str, value))[:40],
)
def test_a_key_follows_what_its_result_depends_on_and_nothing_else(pair, manifest, expected):
    assert changed(manifest_of(pair_of(**pair), **manifest)) == expected


def test_a_public_model_is_evaluated_once_whether_it_is_a_base_or_a_candidate():
    pairs = (
        public_pair("a", "o/base", "o/tune"),
        public_pair("b", "o/tune", "o/other", family="qwen", size="7b"),
        public_pair("c", "o/base", "o/tune", recipe={"known": "more"}),
    )
    entries = planned(manifest_of(*pairs, population="public", scale="hub"))
    assert entries[0].candidate.key == entries[1].base.key == entries[2].candidate.key
    assert entries[0].key != entries[2].key


def test_another_version_of_a_signal_measures_anew_and_builds_and_evaluates_nothing():
    assert changed(manifest_of(), VERSIONS | {"behaviour": 2}) == [False, True, False, False, True]


def test_a_recipe_has_one_digest_whatever_the_order_of_its_keys():
    recipes = [{"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}, {"a": 1, "b": [2, 1]}]
    first, same, other = (
        recipe_digest(manifest_of(pair_of(recipe=recipe)).pairs[0]) for recipe in recipes
    )
    assert first == same != other


def test_a_base_of_several_pairs_is_evaluated_once_and_built_before_its_other_pairs():
    entries = planned(many())
    first, rest = builds(entries)
    assert [unit.name for unit in first] == NAMES[::2]
    assert [unit.name for unit in rest] == NAMES[1::2]
    names = [unit.name for unit in evaluations(entries, entries)]
    assert len(names) == len(set(names)) == 4 + len(NAMES)


@given(st.integers(min_value=1, max_value=12))
def test_shards_are_a_partition_of_all_units_and_a_base_belongs_where_it_is_built(count):
    entries = planned(many())
    shards = [choose(entries, shard=(index, count)) for index in range(1, count + 1)]
    assert sorted(e.pair.pair for shard in shards for e in shard) == sorted(NAMES)
    evaluated = [evaluations(entries, shard) for shard in shards]
    keys = [unit.key for units in evaluated for unit in units]
    assert sorted(keys) == sorted({u.key for e in entries for u in (e.base, e.candidate)})
    for shard, units in zip(shards, evaluated, strict=True):
        there = {unit.key for entry in shard for unit in (entry.base, entry.candidate)}
        assert {unit.key for unit in units} <= there


def test_only_chooses_by_name_before_shards_are_cut():
    entries = planned(many())
    chosen = choose(entries, only="phi-*", shard=(2, 2))
    assert [entry.pair.pair for entry in chosen] == ["phi-s-0/v2", "phi-s-1/v2"]
    with pytest.raises(UsageError, match="no pair of the manifest is named 'gpt"):
        choose(entries, only="gpt*")


def test_public_models_are_not_built():
    entries = planned(
        manifest_of(public_pair("a", "o/base", "o/tune"), population="public", scale="hub")
    )
    assert entries[0].build is None
    assert builds(entries) == ([], [])


@pytest.fixture
def store(tmp_path):
    return UnitStore(folder=tmp_path)


def test_a_row_is_there_when_its_last_unit_has_ended_and_not_before(store):
    manifest = manifest_of()
    entries = planned(manifest)
    for unit in entries[0].units:
        assert collect(manifest, entries, store) == ()
        end(store, unit)
    (row,) = collect(manifest, entries, store)
    assert row.is_complete
    assert row.key == row_key(manifest, manifest.pairs[0], VERSIONS)
    assert (row.pair, row.base, row.num_parameters) == ("llama-s-0/noise-2", "llama-s-0", 1000)
    assert row.benchmarks["truth"].base == row.benchmarks["truth"].candidate == 0.9
    assert row.cost.model_dump() == {"build_s": 1.5, "measure_s": 1.5, "evaluate_s": 3.0}


@pytest.mark.parametrize(
    ("which", "payload"),
    [
        ("measure", {}),
        ("measure", {"features": {}, "signal_ids": 5}),
        ("measure", {"features": {}, "commits": 3}),
        ("base", {}),
        ("base", {"scores": [1]}),
    ],
)
def test_a_unit_that_makes_no_row_is_named(store, which, payload):
    manifest = manifest_of()
    entries = planned(manifest)
    for unit in entries[0].units:
        end(store, unit)
    unit = getattr(entries[0], which)
    plain = json.loads(store.path(unit).read_bytes())
    store.path(unit).write_text(json.dumps(plain | {"payload": payload}), encoding="utf-8")
    with pytest.raises(UsageError, match="the units of 'llama-s-0/noise-2' make no row"):
        collect(manifest, entries, store)


def test_a_pair_that_was_not_built_has_a_row_at_once(store):
    manifest = manifest_of()
    entries = planned(manifest)
    fail(store, entries[0].build, "UsageError: a base must score 0.9")
    (row,) = collect(manifest, entries, store)
    assert (row.status, row.reason) == ("failed", "build: UsageError: a base must score 0.9")
    assert (row.features, row.benchmarks, row.tier) == ({}, {}, None)


def test_a_failed_row_has_all_reasons_and_whatever_there_is(store):
    manifest = manifest_of()
    entries = planned(manifest)
    end(store, entries[0].build)
    fail(store, entries[0].measure, "IncomparableError: shapes")
    end(store, entries[0].base)
    assert collect(manifest, entries, store) == ()
    end(store, entries[0].candidate)
    (row,) = collect(manifest, entries, store)
    assert row.reason == "measure: IncomparableError: shapes"
    assert (row.features, [*row.benchmarks]) == ({}, ["truth"])
    fail(store, entries[0].base, "UnreachableError: down")
    (row,) = collect(manifest, entries, store)
    assert row.reason == (
        "measure: IncomparableError: shapes; evaluate base: UnreachableError: down"
    )


def test_a_branch_that_was_pushed_to_between_the_steps_makes_no_complete_row(store):
    pairs = (public_pair("a", "o/base", "o/tune"),)
    manifest = manifest_of(*pairs, population="public", scale="hub")
    (entry,) = entries = planned(manifest)
    measured = {"tier": "weights", "features": {"a/b": feature(1.0)}}
    scores = {"truth": {"value": 0.9, "stderr": 0.1, "n": 20}}
    commits = {"base": "1" * 40, "candidate": "2" * 40}
    end(store, entry.measure, payload=measured | {"commits": commits})
    end(store, entry.base, payload={"scores": scores, "commit": "1" * 40})
    end(store, entry.candidate, payload={"scores": scores, "commit": "2" * 40})
    assert collect(manifest, entries, store)[0].is_complete
    end(store, entry.candidate, payload={"scores": scores, "commit": "3" * 40})
    (row,) = collect(manifest, entries, store)
    assert row.reason == f"evaluate candidate: commit {'3' * 40}, but {'2' * 40} was measured"


def test_the_micro_benchmark_is_a_feature_and_no_outcome(store):
    manifest = manifest_of()
    entries = planned(manifest)
    for unit in entries[0].units:
        end(store, unit)
    for unit, truth in ((entries[0].base, 0.9), (entries[0].candidate, 0.5)):
        score = {"value": truth, "stderr": 0.03, "n": 50}
        better = {"value": 1.0 - truth, "stderr": 0.04, "n": 50}
        scores = {"truth": score, "micro-truth": score, "micro-safety": better}
        end(store, unit, payload={"scores": scores})
    (row,) = collect(manifest, entries, store)
    assert [*row.benchmarks] == ["truth"]
    found = row.features[MICRO_BENCHMARK]
    assert found.overall == pytest.approx((0.4 + 0.0) / 2)
    assert found.strata == pytest.approx({"truth": 0.4, "safety": -0.4})
    assert found.stderr == pytest.approx(((2 * 0.03**2) + (2 * 0.04**2)) ** 0.5 / 2)


def test_units_that_make_no_row_are_one_clear_error(store):
    manifest = manifest_of()
    entries = planned(manifest)
    for unit in entries[0].units:
        end(store, unit)
    end(store, entries[0].measure, payload={"features": {"a": 1}})
    with pytest.raises(UsageError, match=r"'llama-s-0/noise-2' make no row: features\.a"):
        collect(manifest, entries, store)
