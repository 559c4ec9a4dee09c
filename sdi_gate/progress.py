"""Tell a person how far long work has come: a protocol, and three ways to show it."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Protocol, Self, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import Console


class Progress(Protocol):
    """Receive how far a stage has come."""

    def advance(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """Take note that ``done`` of ``total`` units of a stage are finished.

        Args:
            stage: Name of the stage, the same in every call of one stage.
            done: Units finished, from 0 to ``total``.
            total: Units in all; a stage ends when ``done`` reaches it.
            detail: What is in hand (a layer, a file), for a terminal.
        """


class NullProgress:
    """Show nothing: the library's default."""

    def advance(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """See `Progress.advance`."""


class LineProgress:
    """Write one plain line when a stage ends: for logs, which keep every line.

    Args:
        stream: Where to write; standard error if None.
        clock: Monotonic seconds.
        every_s: Write a line between, at most this often, for work of hours; None writes none.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        every_s: float | None = None,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._every_s = math.inf if every_s is None else every_s
        self._started: dict[str, float] = {}
        self._wrote: dict[str, float] = {}

    def advance(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """See `Progress.advance`; ``detail`` is shown in the lines between alone."""
        now = self._clock()
        began = self._started.setdefault(stage, now)
        if done >= total:
            del self._started[stage]
            self._write(stage, f"{total} done in {now - began:.1f} s")
        elif now - self._wrote.setdefault(stage, now) >= self._every_s:
            self._write(stage, f"{done} of {total} done; {detail}")

    def _write(self, stage: str, text: str) -> None:
        self._wrote[stage] = self._clock()
        print(f"sdi-gate: {stage}: {text}", file=self._stream or sys.stderr, flush=True)


class RichProgress:
    """Show a bar with stage, detail, rate and time left: for a terminal.

    Use as a context manager, so that the terminal is restored whatever happens.

    Args:
        console: The rich console to draw on.
    """

    def __init__(self, console: Console) -> None:
        # Imported here: a command that shows no bar should not pay for rich's bars.
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            MofNCompleteColumn,
            TaskID,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars  # noqa: PLC0415

        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Start to draw.

        Returns:
            This object.
        """
        self._bars.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop to draw and restore the terminal."""
        self._bars.stop()

    def advance(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """See `Progress.advance`."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total, rate="", detail="")
        task = self._tasks[stage]
        speed = self._bars.tasks[self._bars.task_ids.index(task)].speed
        rate = f"{speed:.1f}/s" if speed else ""
        self._bars.update(task, completed=done, total=total, detail=detail, rate=rate)
