"""Write the log of a step so that nothing but our own commands reaches the runner's parser."""

from __future__ import annotations

import io
import re
from contextlib import suppress
from threading import RLock
from typing import TYPE_CHECKING, Final, TextIO

from sdi_gate.integrations.runner.commands import (
    Command,
    mask,
    masked_texts,
    neutral,
    resume_commands,
    stop_commands,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

_BREAK = re.compile(r"\r\n|\r|\n")
_MAX_LINE: Final = 8192  # a longer line is broken, so that one without end needs no memory


class NeutralStream(io.TextIOBase):
    r"""Stand in for standard output or error, and let no command through but by `issue`.

    What is written comes out line by line: a line that has not ended waits, so that no command can
    be put together from harmless parts. ``\r`` ends a line, as the runner has it. Secrets are
    replaced here already, because a secret that had to be made harmless would no longer be the one
    that the runner masks. A stream below that is closed or broken loses lines and raises nothing:
    the log never changes a verdict.

    What native code writes to the file descriptors goes past it; `CommandLog` stops commands for
    that time.

    Args:
        out: Stream below, which stays open.
        secrets: Texts for which ``***`` is written; lines of theirs too.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, out: TextIO, *, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        texts = {text for secret in secrets for text in masked_texts(secret)}
        longest_first = sorted(texts, key=len, reverse=True)
        self._out = out
        self._secret = re.compile("|".join(map(re.escape, longest_first))) if texts else None
        self._kept = len(longest_first[0]) - 1 if texts else 0
        self._partial = ""
        self._returned = False
        self._lock = RLock()

    def writable(self) -> bool:
        """Say that it can be written to.

        Returns:
            Always true.
        """
        return True

    def write(self, text: str, /) -> int:
        """Write the lines that have ended, and keep the rest.

        Args:
            text: Any text.

        Returns:
            Its length.

        Raises:
            TypeError: If it is no text.
            ValueError: If this stream was closed.
        """
        if not isinstance(text, str):
            msg = f"write() needs a text; got {type(text).__name__}"
            raise TypeError(msg)
        if self.closed:
            msg = "the stream is closed"
            raise ValueError(msg)
        with self._lock:
            self._take(text)
        return len(text)

    def issue(self, *commands: Command) -> None:
        """Write commands, each on a line of its own.

        Args:
            *commands: The commands.
        """
        with self._lock:
            self._end_line()
            for command in commands:
                self._put(command.line)
            self.flush()

    def flush(self) -> None:
        """Hand on the lines that have ended; one that has not ended waits."""
        with suppress(OSError, ValueError):
            self._out.flush()

    def close(self) -> None:
        """Write the line that has not ended, and close this stream, not the one below."""
        if not self.closed:
            with self._lock:
                self._end_line()
            super().close()

    def _take(self, text: str) -> None:
        fresh = text[1:] if self._returned and text.startswith("\n") else text
        self._returned = text.endswith("\r") if text else self._returned
        first, *others = _BREAK.split(fresh)
        *ended, rest = [self._partial + first, *others]
        for line in ended:
            self._emit(line)
        self._partial = self._shortened(rest)
        if ended:
            self.flush()

    def _end_line(self) -> None:
        if self._partial:
            self._emit(self._partial)
            self._partial = ""

    def _emit(self, line: str) -> None:
        masked = self._masked(line)
        for start in range(0, max(len(masked), 1), _MAX_LINE):
            self._put(neutral(masked[start : start + _MAX_LINE]))

    def _shortened(self, rest: str) -> str:
        # A secret of which the end is still to come must not be broken in two: it begins in the
        # part that is kept.
        if len(rest) < _MAX_LINE + self._kept:
            return rest
        masked = self._masked(rest)
        start = 0
        while len(masked) - start >= _MAX_LINE + self._kept:
            self._put(neutral(masked[start : start + _MAX_LINE]))
            start += _MAX_LINE
        return masked[start:]

    def _masked(self, line: str) -> str:
        return self._secret.sub("***", line) if self._secret else line

    def _put(self, line: str) -> None:
        try:
            self._out.write(f"{line}\n")
        except UnicodeEncodeError:
            plain = line.encode("ascii", "backslashreplace").decode("ascii")
            with suppress(OSError, ValueError):
                self._out.write(f"{plain}\n")
        except (OSError, ValueError):  # closed, or nobody reads it
            return


class CommandLog:
    """Hold the log of a step: secrets masked first, then no commands but our own until its end.

    As a context manager it begins and ends the log. Standard output and error of the process are to
    be its `stream` in between.

    Args:
        out: Stream that the runner reads.
        token: Text that nobody can guess, with which commands are stopped.
        secrets: Texts that must not be read in the log.

    Attributes:
        stream: What everything else is written to.
    """

    __slots__ = ("_secrets", "_stopped", "_token", "stream")

    def __init__(self, out: TextIO, *, token: str, secrets: Sequence[str] = ()) -> None:
        self.stream = NeutralStream(out, secrets=secrets)
        self._secrets = tuple(secrets)
        self._token = token
        self._stopped = False

    def begin(self) -> None:
        """Mask the secrets, then stop commands."""
        masks = [command for secret in self._secrets for command in mask(secret)]
        self.stream.issue(*masks, stop_commands(self._token))
        self._stopped = True

    def issue(self, *commands: Command) -> None:
        """Let commands through.

        Args:
            *commands: The commands; for them alone the runner reads commands again.
        """
        if self._stopped and commands:
            resume, stop = resume_commands(self._token), stop_commands(self._token)
            self.stream.issue(resume, *commands, stop)
        else:
            self.stream.issue(*commands)

    def end(self) -> None:
        """Write the line that has not ended, and let the runner read commands again."""
        if self._stopped:
            self.stream.issue(resume_commands(self._token))
            self._stopped = False

    def __enter__(self) -> Self:
        """Begin the log.

        Returns:
            Itself.
        """
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the log.

        Args:
            kind: Type of what was raised.
            error: What was raised.
            trace: Where.
        """
        self.end()
