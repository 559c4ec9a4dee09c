import io
import logging
import os
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runner_parser import Runner, parse_command, split_lines
from tqdm import tqdm

from sdi_gate.integrations.runner.commands import Level, annotation, neutral
from sdi_gate.integrations.runner.log import CommandLog, NeutralStream

UNGUESSED = "6f0c1a52-token-of-the-tests"
SECRET = "hf_" + "abcDEF0123"
TEXTS = st.lists(
    st.sampled_from(
        [
            "::",
            "##[",
            "error",
            "]",
            "\n",
            "\r",
            "\r\n",
            "::add-mask::",
            SECRET,
            SECRET[:5],
            " ",
            "é",
        ]
    )
    | st.text(max_size=4),
    max_size=15,
)


def written(*texts, secrets=()):
    out = io.StringIO()
    stream = NeutralStream(out, secrets=secrets)
    for text in texts:
        assert stream.write(text) == len(text)
    stream.close()
    return out.getvalue()


@given(texts=TEXTS)
def test_no_command_passes_however_its_text_is_cut_into_writes(texts):
    log = written(*texts)
    assert all(parse_command(line) is None for line in split_lines(log))
    assert Runner().read(log).done == []


@given(texts=TEXTS)
def test_what_is_written_does_not_depend_on_how_it_is_cut(texts):
    whole = "".join(texts)
    assert written(*texts) == written(whole) == written(*whole)
    assert written(whole) == "".join(f"{neutral(line)}\n" for line in split_lines(whole))


@given(texts=TEXTS)
def test_secrets_do_not_pass_however_they_are_cut_into_writes(texts):
    assert SECRET not in written(*texts, secrets=[SECRET])
    assert written(*texts, secrets=[SECRET]) == written("".join(texts), secrets=[SECRET])


@pytest.mark.parametrize(
    "secret", ["::abc::def", "##[token]", "tab\tin the secret", "a\x1bb", "line one\nline two"]
)
def test_secrets_that_had_to_be_made_harmless_are_masked_before(secret):
    log = written(f"{secret}\n", secrets=[secret])
    assert log == "***\n" * (secret.count("\n") + 1)


def test_of_two_secrets_the_longer_is_masked_whole():
    assert written("x abcdef y abc", secrets=["abc", "abcdef", ""]) == "x *** y ***\n"


def test_a_line_waits_until_it_has_ended():
    out = io.StringIO()
    stream = NeutralStream(out)
    stream.write(":")
    stream.flush()
    stream.write(":error::x")
    assert not out.getvalue()
    stream.write("\ny")
    assert out.getvalue() == ": :error::x\n"
    stream.close()
    assert out.getvalue() == ": :error::x\ny\n"


def test_a_return_ends_a_line_once():
    assert written(" 1%\r", " 2%\r", "\n", "\n", "done\r\n") == " 1%\n 2%\n\ndone\n"


@pytest.mark.parametrize("size", [1, 1000, 8192, 100_000])
def test_lines_without_end_are_broken_and_hold_nothing_back(size):
    whole = ("x" * 997 + "::error::") * 200
    out = io.StringIO()
    stream = NeutralStream(out, secrets=[SECRET])
    for start in range(0, len(whole), size):
        stream.write(whole[start : start + size])
        assert len(stream._partial) < 8192 + len(SECRET)
    stream.close()
    lines = out.getvalue().splitlines()
    assert len(lines) > 20
    assert max(map(len, lines)) <= 8193
    assert "".join(lines).replace(" ", "") == whole
    assert all(parse_command(line) is None for line in lines)


@pytest.mark.parametrize("before", range(8192 - 15, 8192 + 3))
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_no_secret_is_broken_in_two_where_a_long_line_is(before, size):
    whole = "x" * before + SECRET + "y" * 9000
    out = io.StringIO()
    stream = NeutralStream(out, secrets=[SECRET])
    for start in range(0, len(whole), size):
        stream.write(whole[start : start + size])
    stream.close()
    assert out.getvalue().replace("\n", "") == "x" * before + "***" + "y" * 9000


@pytest.mark.parametrize("lines", [1, 2, 3])
@pytest.mark.parametrize("begun", range(1, len(SECRET)))
def test_no_secret_is_broken_in_two_where_a_write_ends(lines, begun):
    before = "x" * (8192 * lines - begun)
    log = written(before + SECRET[:begun], SECRET[begun:] + "\n", secrets=[SECRET])
    assert log.replace("\n", "") == before + "***"


def test_a_stream_below_that_is_closed_loses_lines_and_raises_nothing():
    out = io.StringIO()
    stream = NeutralStream(out)
    out.close()
    assert stream.write("lost\n") == 5
    stream.issue(annotation(Level.ERROR, "lost"))
    stream.flush()
    stream.write("not ended")
    stream.close()


def test_a_pipe_that_nobody_reads_loses_lines_and_raises_nothing():
    unread, end = os.pipe()
    with io.TextIOWrapper(io.FileIO(end, "w"), encoding="utf-8", write_through=True) as out:
        os.close(unread)
        with pytest.raises(BrokenPipeError):
            out.write("lost\n")
        stream = NeutralStream(out)
        assert stream.write("lost\n" * 10) == 50
        stream.issue(annotation(Level.ERROR, "lost"))
        stream.write("not ended")
        stream.close()


def test_characters_that_the_stream_below_cannot_write_are_escaped():
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", newline="\n")
    NeutralStream(out).write("é ok\nnext\n")
    out.flush()
    assert raw.getvalue() == b"\\xe9 ok\nnext\n"


def test_only_text_can_be_written():
    with pytest.raises(TypeError, match=r"write\(\) needs a text; got bytes"):
        NeutralStream(io.StringIO()).write(b"x")


def test_a_closed_stream_refuses_text_and_leaves_the_one_below_open():
    out = io.StringIO()
    stream = NeutralStream(out)
    stream.close()
    stream.close()
    with pytest.raises(ValueError, match="the stream is closed"):
        stream.write("x")
    assert not out.closed


def test_it_can_stand_in_for_standard_output_and_error():
    out = io.StringIO()
    stream = NeutralStream(out)
    handler = logging.StreamHandler(stream)
    record = logging.makeLogRecord({"msg": "a\n##[error]logged"})
    with redirect_stdout(stream), redirect_stderr(stream):
        sys.stdout.writelines(["::error::", "printed\n"])
        click.echo("::error::echoed")
        click.echo(click.style("::error::styled", fg="red"), err=True)
        handler.handle(record)
        for _ in tqdm(range(2), desc="::error::advanced", file=sys.stderr, ascii=True):
            pass
    assert stream.encoding == "utf-8"
    assert stream.writable()
    assert not stream.isatty()
    stream.close()
    log = out.getvalue()
    for word in ("printed", "echoed", "styled", "logged", "advanced"):
        assert f"error::{word}" in log or f"[error]{word}" in log
    assert Runner().read(log).done == []


def test_lines_of_several_threads_do_not_mix_with_commands():
    out = io.StringIO()
    stream = NeutralStream(out)

    def work(name):
        for number in range(200):
            stream.write(f"{name} {number}\n")
            stream.issue(annotation(Level.NOTICE, f"{name} {number}"))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runner = Runner().read(out.getvalue())
    assert sorted(done.data for done in runner.done) == sorted(runner.shown)
    assert len(runner.shown) == 600


def test_the_log_masks_secrets_first_and_then_lets_only_its_own_commands_through():
    out = io.StringIO()
    log = CommandLog(out, token=UNGUESSED, secrets=[SECRET, ""])
    with log:
        log.stream.write(f"::error::forged {SECRET}\n")
        out.write(f"::error::written past it {SECRET}\n")
        log.stream.write("not ended")
        log.issue(annotation(Level.WARNING, "ours"), annotation(Level.ERROR, "too"))
        log.issue()
        out.write("##[error]written past it\n")
    log.issue(annotation(Level.NOTICE, "after"))
    runner = Runner().read(out.getvalue())
    assert [done.data for done in runner.done] == ["ours", "too", "after"]
    assert runner.shown == [
        ": :error::forged ***",
        "::error::written past it ***",
        "not ended",
        "##[error]written past it",
    ]
    assert out.getvalue().startswith(f"::add-mask::{SECRET}\n::stop-commands::{UNGUESSED}\n")
    assert runner.token is None


def test_the_log_lets_commands_be_read_again_after_an_exception():
    out = io.StringIO()
    log = CommandLog(out, token=UNGUESSED)

    def work():
        with log:
            log.stream.write("not ended")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        work()
    log.end()
    lines = out.getvalue().splitlines()
    assert lines == [f"::stop-commands::{UNGUESSED}", "not ended", f"::{UNGUESSED}::"]


def test_a_token_that_could_be_guessed_is_refused_before_anything_is_printed():
    out = io.StringIO()
    log = CommandLog(out, token=UNGUESSED[:15], secrets=[SECRET])
    with pytest.raises(ValueError, match="a token has at least 16 letters"):
        log.begin()
    assert not out.getvalue()
