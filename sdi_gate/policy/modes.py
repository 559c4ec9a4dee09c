"""Define the modes of a policy: what follows from a verdict."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """Say what follows from a verdict that is not good enough, from the mildest to the strictest.

    ``observe`` reports it. ``warn`` reports it as a warning: the report's first line and standard
    error say that the gate would have been closed. ``enforce`` closes the gate. The first two end
    with exit code 0.
    """

    OBSERVE = "observe"
    WARN = "warn"
    ENFORCE = "enforce"

    @property
    def rank(self) -> int:
        """Return 0 for observe, 1 for warn, 2 for enforce."""
        return tuple(Mode).index(self)
