import json
import re

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_manifests import VERSIONS, failed_row, feature, manifest_of, pair_of, row_of

from sdi_gate.errors import PublishError, UsageError
from sdi_gate.study.keys import row_key
from sdi_gate.study.row import dump_row, json_schema_text, parse_row
from sdi_gate.study.rows import append_rows, latest, merge_tables, read_rows

A, B, C = ("a" * 16, "b" * 16, "c" * 16)


def test_the_published_schema_of_a_row_is_that_of_the_code(assert_golden):
    assert_golden("docs/schema/row-v1.json", json_schema_text())


@pytest.mark.parametrize("row", [row_of(), failed_row()], ids=["complete", "failed"])
def test_a_row_is_one_line_that_can_be_read_again_and_is_valid_under_the_schema(row):
    line = dump_row(row)
    assert line.count("\n") == 1
    assert parse_row(line, "here") == row
    schema = json.loads(json_schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(line))
    assert list(json.loads(line)) == sorted(json.loads(line))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"features": {"a/b": feature(float("nan"))}}, "finite"),
        ({"features": {"a/b": feature(float("inf"))}}, "finite"),
        ({"features": {}}, "features"),
        ({"benchmarks": {}}, "benchmarks"),
        ({"reason": "because"}, "complete, or it has a reason"),
        ({"status": "failed"}, "complete, or it has a reason"),
        ({"mood": "good"}, "mood"),
        ({"key": "A"}, "key"),
        ({"schema": 2}, "schema"),
        ({"dose": "2"}, "dose"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_row_is_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        row_of(**changes)


def test_a_line_that_is_no_row_is_named_by_file_and_line(tmp_path):
    table = tmp_path / "trial.jsonl"
    table.write_text(dump_row(row_of(A)) + '{"schema": 1}\n')
    with pytest.raises(UsageError, match=re.escape("trial.jsonl:2: not a row of a study: key")):
        read_rows(table)


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=4), max_size=4))
def test_appending_never_changes_a_byte_that_is_there(tmp_path_factory, batches):
    table = tmp_path_factory.mktemp("rows") / "trial.jsonl"
    before = b""
    for batch in batches:
        append_rows(table, [row_of(letter * 16) for letter in batch])
        after = table.read_bytes() if table.exists() else b""
        assert after.startswith(before)
        before = after
    keys = [row.key[0] for row in read_rows(table)] if before else []
    assert keys == list(dict.fromkeys(letter for batch in batches for letter in batch))


def test_lines_that_another_tool_wrote_in_its_own_style_stay_as_they_are(tmp_path):
    table = tmp_path / "trial.jsonl"
    styled = json.dumps(json.loads(dump_row(row_of(A))), separators=(",", ":")) + "\n"
    table.write_text(styled)
    assert append_rows(table, [row_of(A), row_of(B)]) == 1
    assert table.read_text() == styled + dump_row(row_of(B))


def test_a_torn_last_line_is_ignored_with_a_notice_and_makes_room_for_whole_ones(tmp_path):
    table = tmp_path / "trial.jsonl"
    whole = dump_row(row_of(A))
    table.write_text(whole + dump_row(row_of(B))[:100])
    notices = []
    assert [row.key for row in read_rows(table, notices.append)] == [A]
    assert notices == [f"{table}: the last line is unfinished and was ignored"]
    append_rows(table, [row_of(C)])
    assert table.read_text() == whole + dump_row(row_of(C))


def test_a_torn_last_line_that_ends_within_a_character_is_ignored_too(tmp_path):
    table = tmp_path / "trial.jsonl"
    table.write_bytes(dump_row(row_of(A)).encode() + '{"pair": "é'.encode()[:-1])
    assert [row.key for row in read_rows(table, lambda _notice: None)] == [A]


def test_the_same_row_again_changes_nothing_whatever_it_cost(tmp_path):
    table = tmp_path / "trial.jsonl"
    append_rows(table, [row_of(A)])
    before = table.stat()
    costly = row_of(A, cost={"build_s": 9.0, "measure_s": 9.0, "evaluate_s": None})
    assert append_rows(table, [row_of(A), costly]) == 0
    assert (table.stat().st_mtime_ns, table.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_two_results_of_one_key_are_refused_and_both_are_named(tmp_path):
    table = tmp_path / "trial.jsonl"
    append_rows(table, [row_of(A, pair="first")])
    before = table.read_bytes()
    other = row_of(A, pair="second", features={"a/b": feature(0.6)})
    with pytest.raises(UsageError, match=r"'first' and 'second' differ in pair, features"):
        append_rows(table, [row_of(B), other])
    assert table.read_bytes() == before


def test_a_complete_row_follows_a_failed_one_and_stands(tmp_path):
    table = tmp_path / "trial.jsonl"
    append_rows(table, [failed_row(A)])
    assert append_rows(table, [failed_row(A)]) == 0
    before = table.read_bytes()
    assert append_rows(table, [row_of(A)]) == 1
    assert table.read_bytes() == before + dump_row(row_of(A)).encode()
    assert read_rows(table) == (row_of(A),)
    assert append_rows(table, [failed_row(A)]) == 0


def test_of_two_failures_the_later_stands(tmp_path):
    table = tmp_path / "trial.jsonl"
    append_rows(table, [failed_row(A, "one")])
    append_rows(table, [failed_row(A, "two")])
    assert [row.reason for row in read_rows(table)] == ["two"]


def test_two_runs_merge_to_the_union_whatever_their_order():
    first, second = (row_of(A), failed_row(B)), (row_of(B), row_of(C))
    merged = merge_tables(first, second)
    assert merged == (row_of(A), row_of(B), row_of(C))
    assert set(map(dump_row, merge_tables(second, first))) == set(map(dump_row, merged))
    assert merge_tables(merged, merged) == merged


def test_all_tables_of_a_folder_are_read(tmp_path):
    append_rows(tmp_path / "one.jsonl", [row_of(A)])
    append_rows(tmp_path / "two.jsonl", [row_of(A), row_of(B)])
    (tmp_path / "notes.txt").write_text("not a table")
    assert [row.key for row in read_rows(tmp_path)] == [A, B]


def test_a_changed_recipe_is_a_new_row_beside_the_old_one(tmp_path):
    table = tmp_path / "trial.jsonl"
    old = manifest_of(pair_of(recipe={"method": "noise", "relative": 2.0}))
    new = manifest_of(pair_of(recipe={"method": "noise", "relative": 2.5}))
    keys = [row_key(manifest, manifest.pairs[0], VERSIONS) for manifest in (old, new)]
    append_rows(table, [row_of(keys[0])])
    before = table.read_bytes()
    append_rows(table, [row_of(keys[1])])
    assert table.read_bytes().startswith(before)
    rows = read_rows(table)
    assert len(rows) == 2
    assert latest(rows, new, VERSIONS) == (row_of(keys[1]),)
    assert latest(rows, old, VERSIONS) == (row_of(keys[0]),)
    assert latest(rows, new, VERSIONS | {"behaviour": 2}) == ()


def test_a_table_that_cannot_be_read_or_written_is_one_clear_error(tmp_path):
    with pytest.raises(UsageError, match="cannot read the results table"):
        read_rows(tmp_path / "nothing.jsonl")
    (tmp_path / "file").write_text("")
    with pytest.raises(PublishError, match="cannot write the results table"):
        append_rows(tmp_path / "file" / "trial.jsonl", [row_of()])
    (tmp_path / "latin.jsonl").write_bytes(b"\xe9\n")
    with pytest.raises(UsageError, match="not UTF-8 at byte 0"):
        read_rows(tmp_path / "latin.jsonl")
