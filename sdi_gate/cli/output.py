"""Speak to the person at the terminal: errors and progress on standard error."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sdi_gate.progress import LineProgress, RichProgress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.errors import SdiGateError
    from sdi_gate.progress import Progress


def say(text: str) -> None:
    """Write one message to standard error.

    Args:
        text: The message; control characters, which a model's name may hold, are made visible.
    """
    print(f"sdi-gate: {printable(text)}", file=sys.stderr)  # noqa: T201 - this is the way out


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


@contextmanager
def progress_on_stderr() -> Iterator[Progress]:
    """Choose how to show progress: a bar on a terminal, a line per stage elsewhere.

    Yields:
        The progress to hand to whoever works.
    """
    if not sys.stderr.isatty():
        yield LineProgress(sys.stderr)
        return
    from rich.console import Console  # noqa: PLC0415 - not needed by commands without progress

    with RichProgress(Console(stderr=True)) as progress:
        yield progress
