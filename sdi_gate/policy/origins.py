"""Say where in which file a demand of a policy stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Origin:
    """Point to a line of a policy.

    Attributes:
        file: Where the policy was read from, as it was named; for a remote file its reference.
        line: Line, from 1; 0 for a default that no file states.
        column: Column, from 1; 0 for a default.
        block: Which match block states it, such as ``family llama``; empty for what holds for all.
    """

    file: str
    line: int = 0
    column: int = 0
    block: str = ""

    def __str__(self) -> str:
        """Return ``file:line``, or ``default`` where no file states it."""
        if not self.line:
            return "default"
        return f"{self.file}:{self.line}"
