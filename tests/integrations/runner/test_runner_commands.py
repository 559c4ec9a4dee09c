import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from node_packages import run_node
from runner_parser import (
    BLANKS,
    REGISTERED,
    Runner,
    parse_colons,
    parse_command,
    split_lines,
)

from sdi_gate.integrations.runner.commands import (
    MAX_MESSAGE,
    Command,
    Level,
    annotation,
    end_group,
    group,
    mask,
    masked_texts,
    neutral,
    resume_commands,
    stop_commands,
)

UNGUESSED = "6f0c1a52-token-of-the-tests"

PIECES = (
    *sorted(REGISTERED), "::", ":", "##[", "#", "[", "]", "%0A", "%0D", "%25", "%3A", "name=x",
    ",", ";", "=", " ", "\t", "\n", "\r", "\r\n", "\x1b[2K", "\x00", "\x85", "\xa0", "\u00ad",
    "\u200d", "\u2028", "\u202e", "\u3000", "\ufe0f", "\u034f", "\ud800", "é", "模型", "a|b",
)  # fmt: skip
HOSTILE = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)
ATTACKS = (
    "::error::x",
    " \t\u3000::add-mask::a",
    "a ##[error]x",
    "###[add-mask]a",
    "x\n::set-output name=decision::pass",
    "x\r::error::y",
    "\u00ad::error::x",
    ":\u200d:error::x",
    "#\u00ad#\ufe0f[error]x",
    ":::error::x",
    "##[##[error]x",
    "#\ufe0f#[error]x",
    ":\ufe0f:error::x",
    "\ufe0f\u034f::error::x",
    "#\ufe0f##\u034f[error]x",
)


def overlooked(line):
    """The line for a reader who overlooks all that is not of ASCII."""
    return "".join(char for char in line if char.isascii())


@pytest.mark.parametrize("line", ATTACKS[:5])
def test_the_oracle_finds_commands_in_lines_that_hold_them(line):
    assert any(parse_command(part) for part in split_lines(line))


@pytest.mark.parametrize("line", ["std::vector", ":: x", "## [error]", "# [x]", "##[unknown]x"])
def test_the_oracle_finds_no_command_in_lines_that_hold_none(line):
    assert parse_command(line) is None


@given(line=HOSTILE)
@example(line=ATTACKS[7])
@example(line=ATTACKS[8])
@example(line=ATTACKS[9])
def test_no_text_is_a_command_once_neutral(line):
    harmless = neutral(line)
    assert split_lines(harmless) in ([harmless], [])
    for seen in (harmless, overlooked(harmless)):
        assert parse_command(seen) is None
        assert not seen.lstrip(BLANKS).startswith("::")
        assert "##[" not in seen


@pytest.mark.parametrize("line", ATTACKS)
def test_known_attacks_are_no_commands_once_neutral(line):
    harmless = neutral(line)
    for seen in (harmless, overlooked(harmless)):
        assert parse_command(seen) is None
        assert not seen.lstrip(BLANKS).startswith("::")
        assert "##[" not in seen


@given(line=HOSTILE)
def test_neutral_text_is_printable_and_stays_as_it_is(line):
    harmless = neutral(line)
    assert harmless.isprintable()
    assert neutral(harmless) == harmless


@pytest.mark.parametrize(
    "line",
    [
        "",
        "a std::vector [0]",
        "50% of #12 [x]",
        "é — 模型 🤖",
        "  indented: yes",
        "# ## [x]",
        ":a:",
    ],
)
def test_harmless_text_is_left_as_it_is(line):
    assert neutral(line) == line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("::error::x", ": :error::x"),
        ("a ##[error]x", "a ## [error]x"),
        ("a\nb\r", "a\\nb\\r"),
        ("\x1b[31m\u202e", "\\x1b[31m\\u202e"),
        ("a\tb", "a    b"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_was_there_can_still_be_read(line, expected):
    assert neutral(line) == expected


@given(secret=st.text(max_size=40) | HOSTILE)
def test_masks_give_the_runner_the_secret_and_its_lines(secret):
    runner = Runner().read("".join(f"{command.line}\n" for command in mask(secret)))
    assert runner.shown == []
    assert runner.done == []
    if secret.strip():
        assert secret in runner.masks
    for line in split_lines(secret):
        if line.strip():
            assert {line, line.strip()} <= runner.masks


@pytest.mark.parametrize("secret", ["", " ", "\n", "\t\r\n \xa0"])
def test_nothing_is_masked_for_a_blank_secret(secret):
    assert mask(secret) == ()


def test_texts_that_give_a_secret_away_are_listed_once():
    assert masked_texts("one\r\n two\n\none") == ("one\r\n two\n\none", "one", " two", "two")


def as_shown(text, limit):
    """A text of which nothing had to be cut."""
    lines = [neutral(line) for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    whole = "\n".join(lines)
    return whole if len(whole.encode("utf-16-le")) <= 2 * limit else None


@given(message=HOSTILE, title=HOSTILE, file=HOSTILE, level=st.sampled_from(Level))
def test_the_runner_reads_an_annotation_as_it_was_meant(message, title, file, level):
    command = annotation(level, message, title=title, file=file, line=3, column=7)
    parsed = parse_colons(command.line)
    assert split_lines(command.line) == [command.line]
    assert parsed.name == level
    assert parsed.data == as_shown(message, MAX_MESSAGE)
    # The runner itself drops marks of equality with which a property begins.
    texts = {"title": neutral(title).strip(), "file": neutral(file).strip()}
    kept = {name: text.lstrip("=") for name, text in texts.items() if text.lstrip("=")}
    assert parsed.properties == kept | ({"line": "3", "col": "7"} if texts["file"] else {})


def test_an_annotation_without_a_place_has_only_its_message():
    assert annotation(Level.NOTICE, "a: b, 5%").line == "::notice::a: b, 5%25"


@pytest.mark.parametrize(
    ("given_at", "expected"),
    [
        ({"line": 3}, ""),
        ({"file": "p.yml", "column": 3}, " file=p.yml"),
        ({"file": "p.yml", "line": 0, "column": 3}, " file=p.yml"),
        ({"file": "p.yml", "line": 2, "column": 0}, " file=p.yml,line=2"),
        ({"file": "p.yml", "line": 2, "column": 9}, " file=p.yml,line=2,col=9"),
    ],
)
def test_a_place_is_given_as_far_as_the_runner_can_use_it(given_at, expected):
    assert annotation(Level.ERROR, "m", **given_at).line == f"::error{expected}::m"


@pytest.mark.parametrize("char", ["a", "🤖", "\r\n", "\n"], ids=["one", "two", "crlf", "lf"])
@pytest.mark.parametrize("length", [2048, 4095, 4096, 4097, 20_000])
def test_messages_are_cut_where_the_runner_would_cut_and_say_so(char, length):
    data = annotation(Level.ERROR, char * length).data
    units = length * {"🤖": 2}.get(char, 1)
    if units <= MAX_MESSAGE:
        assert data == char.replace("\r", "") * length
    else:
        assert MAX_MESSAGE - 1 <= len(data.encode("utf-16-le")) / 2 <= MAX_MESSAGE
        assert data.endswith("…")


def test_long_titles_are_cut_and_say_so():
    ((_, title), *_) = annotation(Level.ERROR, "m", title="t" * 300).properties
    assert title == "t" * 254 + "…"


def test_groups_fold_under_a_harmless_title():
    runner = Runner().read(f"{group('a' + chr(10) + '::error::b').line}\n{end_group().line}\n")
    assert [(done.name, done.data) for done in runner.done] == [
        ("group", "a\\n::error::b"),
        ("endgroup", ""),
    ]


def test_between_stop_and_resume_the_runner_takes_nothing_for_a_command():
    lines = [
        stop_commands(UNGUESSED).line,
        "::error::x",
        "##[add-mask]y",
        resume_commands(UNGUESSED).line,
    ]
    runner = Runner().read("\n".join([*lines, "::warning::z"]))
    assert runner.shown == ["::error::x", "##[add-mask]y"]
    assert [done.data for done in runner.done] == ["z"]


@pytest.mark.parametrize(
    "token", ["", "short", "error", "a" * 15, "sixteen letters!", "a" * 16 + "\n"]
)
@pytest.mark.parametrize("make", [stop_commands, resume_commands])
def test_a_token_that_could_be_guessed_or_split_is_refused(make, token):
    with pytest.raises(ValueError, match="a token has at least 16 letters"):
        make(token)


CORE = """
import { readFileSync } from 'node:fs';
import * as core from '@actions/core';
for (const { level, message, title, file, line } of JSON.parse(readFileSync(0, 'utf8')))
  core[level](message, { title, file, startLine: line });
"""


def test_annotations_are_written_as_the_toolkit_of_github_writes_them():
    texts = ["plain", "5% of a:b, c", "%0A%25", "é 模型 🤖", "a=b;c]d", "two\nlines", "x" * 300]
    cases = [
        {"level": level, "message": text, "title": title, "file": file, "line": line}
        for text, level in zip(texts, ["error", "warning", "notice"] * 3, strict=False)
        for title, file, line in [("T:1,2%", "po:licy,1.yml", 3), ("t", "a b/ü.yml", 12)]
    ]
    theirs = run_node(CORE, stdin=json.dumps(cases)).splitlines()
    ours = [
        annotation(
            Level(case["level"]),
            case["message"],
            title=case["title"],
            file=case["file"],
            line=case["line"],
        ).line
        for case in cases
    ]
    assert ours == theirs


@given(data=HOSTILE, value=HOSTILE.filter(lambda text: text.strip(BLANKS) == text))
def test_escaping_alone_keeps_any_text_within_its_command(data, value):
    line = Command(name="error", data=data, properties=(("title", value), ("line", "1"))).line
    parsed = parse_colons(line)
    assert split_lines(line) == [line]
    assert parsed.data == data
    assert parsed.properties.get("title", "") == value.lstrip("=")
    assert parsed.properties["line"] == "1"
