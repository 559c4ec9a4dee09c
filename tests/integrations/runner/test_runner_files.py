import json
import os
import resource
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_packages import run_node
from runner_parser import BrokenFileError, parse_outputs

from sdi_gate.errors import PublishError
from sdi_gate.integrations.runner.files import (
    MAX_SUMMARY_BYTES,
    append_summary,
    set_outputs,
)

BETWEEN = "ghadelimiter_6f0c1a52-of-the-tests"
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,20}", fullmatch=True)
VALUES = st.text(max_size=60) | st.sampled_from(
    ["", "a=b", "x<<EOF", "EOF", BETWEEN[:-1], "pass", "sha256:" + "a" * 64, "a" * 1000, "模型"]
)


@pytest.fixture
def made(tmp_path):
    path = tmp_path / "file"
    path.touch()
    return path


@given(outputs=st.dictionaries(NAMES, VALUES.filter(str.isprintable), max_size=6))
def test_the_runner_reads_outputs_as_they_were_set(outputs, tmp_path_factory):
    path = tmp_path_factory.mktemp("outputs") / "file"
    path.write_text("before=1", encoding="utf-8")
    set_outputs(path, outputs, delimiter=BETWEEN)
    assert parse_outputs(path.read_text("utf-8")) == {"before": "1"} | outputs


@given(outputs=st.dictionaries(NAMES | st.text(max_size=5), VALUES, max_size=4))
def test_outputs_are_set_as_they_are_or_not_at_all(outputs, tmp_path_factory):
    path = tmp_path_factory.mktemp("outputs") / "file"
    path.touch()
    try:
        set_outputs(path, outputs, delimiter=BETWEEN)
    except PublishError:
        assert path.read_bytes() == b""
    else:
        assert parse_outputs(path.read_bytes().decode()) == outputs


@pytest.mark.parametrize("text", ["a", "=b", "a<<", "<<x", "a<<X\nb\n", "a<<X\nb\nX "])
def test_the_oracle_fails_on_files_that_the_runner_refuses(text):
    with pytest.raises(BrokenFileError):
        parse_outputs(text)


def test_the_oracle_reads_both_forms():
    text = "a=b<<c\n\nd<<X\n\nX\ne<<X=Y\n1\n\n2\nX=Y\n"
    assert parse_outputs(text) == {"a": "b<<c", "d": "", "e": "1\n\n2"}


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        ({"a b": "x"}, "'a b' cannot be the name of an output"),
        ({"a\n": "x"}, r"'a\\n' cannot be the name of an output"),
        ({"": "x"}, "'' cannot be the name of an output"),
        ({"a=b": "x"}, "'a=b' cannot be the name of an output"),
        ({"a": "x\ny"}, "the output a has a line break"),
        ({"a": "x\r"}, "the output a has a line break"),
        ({"a": "\udcff"}, "another character that cannot be printed"),
        ({"a": "x" * 1001}, "the output a has 1001 characters, more than 1000"),
        ({"a": f"x{BETWEEN}"}, "the output a holds the delimiter"),
        ({"ok": "x", "a": "\n", "b c": ""}, "the output a has .*; 'b c' cannot be"),
    ],
    ids=lambda part: str(part)[:20] if isinstance(part, str) else None,
)
def test_outputs_that_could_be_read_as_others_are_refused(made, outputs, problem):
    with pytest.raises(PublishError, match=problem):
        set_outputs(made, outputs, delimiter=BETWEEN)
    assert made.read_bytes() == b""


@pytest.mark.parametrize(
    "delimiter", ["", "EOF", "a" * 201, "a" * 20 + "\n", "a b c d e f g h i j"]
)
def test_a_delimiter_that_could_be_guessed_or_broken_is_refused(made, delimiter):
    with pytest.raises(ValueError, match="a delimiter has 16 to 200 letters"):
        set_outputs(made, {}, delimiter=delimiter)


def test_outputs_are_written_as_the_toolkit_of_github_writes_them(made, tmp_path):
    outputs = {"decision": "pass", "sdi": "0.0123", "report-path": "/x y/é=1.md", "none": ""}
    theirs = tmp_path / "theirs"
    theirs.touch()
    script = """
    import { readFileSync } from 'node:fs';
    import * as core from '@actions/core';
    const [path, outputs] = JSON.parse(readFileSync(0, 'utf8'));
    process.env.GITHUB_OUTPUT = path;
    for (const [name, value] of Object.entries(outputs)) core.setOutput(name, value);
    """
    run_node(script, stdin=json.dumps([str(theirs), outputs]))
    set_outputs(made, outputs, delimiter=BETWEEN)
    written = theirs.read_text("utf-8")
    for line in written.splitlines():
        if line.startswith("ghadelimiter_"):
            written = written.replace(line, BETWEEN)
    assert made.read_text("utf-8") == written


def test_a_summary_is_added_to_what_is_there(made):
    made.write_bytes(b"before")
    append_summary(made, "# ours")
    append_summary(made, "é\n")
    assert made.read_text("utf-8") == "before\n# ours\né\n"


@pytest.mark.parametrize(("before", "more"), [(b"", 0), (b"x", 1), (b"x\n", 0)])
def test_a_summary_fills_the_last_byte_and_no_more(made, before, more):
    made.write_bytes(before)
    room = MAX_SUMMARY_BYTES - len(before) - more - 1
    with pytest.raises(PublishError, match="it would have 1048577 bytes, more than 1048576"):
        append_summary(made, "x" * (room + 1))
    assert made.read_bytes() == before
    append_summary(made, "x" * room)
    assert made.stat().st_size == MAX_SUMMARY_BYTES


def test_bytes_of_a_summary_are_counted_not_characters(made):
    with pytest.raises(PublishError, match="more than 1048576"):
        append_summary(made, "é" * (MAX_SUMMARY_BYTES // 2))
    assert made.read_bytes() == b""


def test_a_summary_that_is_no_text_is_refused(made):
    with pytest.raises(PublishError, match="no text that can be written: surrogates not allowed"):
        append_summary(made, "x\udcff")


def test_a_file_that_the_runner_did_not_make_is_not_made(tmp_path):
    with pytest.raises(PublishError, match=r"cannot write the file '.*' of GITHUB_OUTPUT: No such"):
        set_outputs(tmp_path / "absent", {"a": "b"}, delimiter=BETWEEN)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_refused_at_once(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(PublishError, match="of GITHUB_STEP_SUMMARY: not a regular file"):
        append_summary(pipe, "x")
    with pytest.raises(PublishError, match="of GITHUB_STEP_SUMMARY: Is a directory"):
        append_summary(tmp_path, "x")


@pytest.fixture
def room():
    """Let this process write no file beyond a size, for a while."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    @contextmanager
    def limited(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.mark.parametrize(("size", "problem"), [(100, "no room for all of it"), (7, "too large")])
def test_a_file_that_has_no_room_is_left_as_it_was(made, room, size, problem):
    made.write_bytes(b"before\n")
    with pytest.raises(PublishError, match=problem), room(size):
        append_summary(made, "x" * 5000)
    assert made.read_bytes() == b"before\n"
