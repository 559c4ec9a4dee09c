"""Tell how far a row of units has come, and how long the rest takes at this pace."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdi_gate.progress import Progress


class Pace:
    """Tell how far units have come, and about how long the rest takes.

    Args:
        total: How many units there are.
        progress: Who is told.
        clock: Monotonic seconds.
    """

    def __init__(self, total: int, progress: Progress, clock: Callable[[], float]) -> None:
        self._total = total
        self._progress = progress
        self._clock = clock
        self._began = clock()
        self._done = 0

    def at(self, step: str, name: str) -> None:
        """Take note of the unit in hand.

        Args:
            step: Its step.
            name: Its name.
        """
        left = ""
        if self._done:
            seconds = (self._clock() - self._began) / self._done
            left = f", {duration(seconds * (self._total - self._done))} left"
        self._progress.advance(step, self._done, self._total, f"{name}{left}")

    def ended(self, step: str, name: str) -> None:
        """Take note of a unit that ended.

        Args:
            step: Its step.
            name: Its name.
        """
        self._done += 1
        self.at(step, name)


def duration(seconds: float) -> str:
    """Return a duration as a person says it.

    Args:
        seconds: How long.

    Returns:
        Seconds, minutes or hours.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
