"""Speak to the person at the terminal: the result on one stream, all else on the other."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from sdi_gate.errors import PublishError
from sdi_gate.progress import LineProgress, RichProgress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from sdi_gate.errors import SdiGateError
    from sdi_gate.progress import Progress


def put(text: str) -> None:
    """Write to standard output, which carries results and nothing else.

    Args:
        text: The text, with its line breaks.

    Raises:
        PublishError: If the stream takes no more: a full disk, a reader that has gone.
    """
    try:
        click.echo(text, nl=False, color=True)
    except OSError as exc:
        _give_up(sys.stdout)
        msg = f"cannot write to standard output: {exc.strerror}"
        raise PublishError(msg, hint="the files in the output folder do not depend on it") from exc


def _give_up(stream: TextIO) -> None:
    # What is left in the buffer would be tried again when the interpreter ends, whose own exit
    # code, 120, would hide ours. A stream that is no file has no such buffer.
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def have_stderr() -> None:
    """Make sure that there is a standard error to write to, if only to lose what is written.

    A process can be started without one. Libraries of others do not expect that, and a file that
    is opened later would take its number, and with it their messages.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - to the end


def settle() -> None:
    """Drop what standard error did not take, before the interpreter tries again and fails."""
    try:
        sys.stderr.flush()
    except OSError:
        _give_up(sys.stderr)


def say(text: str) -> None:
    """Write a message to standard error; if that is broken too, nobody is there to be told.

    Args:
        text: The message. Control characters, which a model's name may hold, are made visible,
            and every line says whose it is, so that no name can pass for a line of another tool.
    """
    try:
        for line in printable(text).split("\n"):
            click.echo(f"sdi-gate: {line}", err=True)
    except OSError:
        _give_up(sys.stderr)


def fail(error: SdiGateError) -> None:
    """Write an error and its hint to standard error.

    Args:
        error: The error.
    """
    say(f"error: {error.message}")
    if error.hint:
        say(f"hint: {error.hint}")


def printable(text: str) -> str:
    """Make control characters visible, so that no text can move the cursor or colour a terminal.

    Args:
        text: Any text.

    Returns:
        The text with every character that is not printable escaped, line breaks excepted.
    """
    return "".join(
        char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text
    )


class VisibleFormatter(logging.Formatter):
    """Format log records with control characters made visible."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text.

        Args:
            record: The record.

        Returns:
            Its text, and that of its exception.
        """
        return printable(super().format(record))


class VisibleProgress:
    """Hand progress on, with control characters in names of tensors and strata made visible.

    Args:
        progress: Who shows it.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def advance(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """See `Progress.advance`."""
        self._progress.advance(stage, done, total, printable(detail).replace("\n", "\\n"))


class DispensableProgress:
    """Hand progress on, and drop what cannot be written: no verdict depends on it.

    Args:
        progress: Who shows it.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def advance(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """See `Progress.advance`."""
        try:
            self._progress.advance(stage, done, total, detail)
        except OSError:
            _give_up(sys.stderr)


@contextmanager
def progress_on_stderr(every_s: float | None = None) -> Iterator[Progress]:
    """Choose how to show progress: a bar on a terminal, a line per stage elsewhere.

    Args:
        every_s: Elsewhere, write a line between at most this often; None writes none.

    Yields:
        The progress to hand to whoever works.
    """
    if not sys.stderr.isatty():
        lines = VisibleProgress(LineProgress(sys.stderr, every_s=every_s))
        yield DispensableProgress(lines)
        return
    from rich.console import Console  # noqa: PLC0415 - not needed by commands without progress

    with RichProgress(Console(stderr=True)) as progress:
        yield DispensableProgress(VisibleProgress(progress))
