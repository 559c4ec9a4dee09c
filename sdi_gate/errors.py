"""Define every error that sdi-gate raises on purpose.

The tree, with the exit code of each branch::

    SdiGateError
    ├── UsageError               2   the command line or a result file cannot be used
    ├── PolicyError              3   the policy cannot be read or says nothing
    ├── SourceError              4   a model cannot be had
    │   ├── NotFoundError            no such model, revision, folder or file
    │   ├── AccessError              gated, private or refused
    │   ├── UnreachableError         server down, offline and not cached
    │   ├── IntegrityError           the bytes are not those that were promised
    │   ├── FormatError              a checkpoint that cannot be read, or must not be
    │   └── StorageError             no room, or a file that cannot be written
    ├── IncomparableError        5   two models that cannot be compared
    └── PublishError             6   measured and judged, but the report could not be written

Exit codes that no error carries: 0 pass or warn, 1 a bug, 10 fail, 11 inconclusive,
130 interrupted. A `PublishError` never hides a 10 or an 11. Codes 1 to 6 mean "broken"; codes
from 10 mean "judged, and the gate is closed".
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Name the exit codes, which are part of the interface."""

    OK = 0
    BUG = 1
    USAGE = 2
    POLICY = 3
    SOURCE = 4
    INCOMPARABLE = 5
    NOT_PUBLISHED = 6
    FAIL = 10
    INCONCLUSIVE = 11
    INTERRUPTED = 130


class SdiGateError(Exception):
    """Carry one clear message, a hint, and the exit code of its branch.

    Attributes:
        exit_code: Exit code with which the process ends.
        message: What happened: what, expected, got, where.
        hint: What to try next; empty if there is nothing to say.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SdiGateError):
    """Say that the command cannot be carried out as it was given."""

    exit_code = ExitCode.USAGE


class PolicyError(SdiGateError):
    """Say that a policy cannot be used; the message lists every problem found."""

    exit_code = ExitCode.POLICY


class SourceError(SdiGateError):
    """Say that a model could not be fetched or read."""

    exit_code = ExitCode.SOURCE


class NotFoundError(SourceError):
    """Say that a model, revision, folder or file does not exist."""


class AccessError(SourceError):
    """Say that a model exists, or may exist, and may not be read."""


class UnreachableError(SourceError):
    """Say that a server did not answer, or may not be asked."""


class IntegrityError(SourceError):
    """Say that bytes differ from those that were promised."""


class FormatError(SourceError):
    """Say that a checkpoint is damaged, incomplete or of a refused kind."""


class StorageError(SourceError):
    """Say that there is no room for a file, or that it cannot be written."""


class IncomparableError(SdiGateError):
    """Say that two models cannot be compared with each other."""

    exit_code = ExitCode.INCOMPARABLE


class PublishError(SdiGateError):
    """Say that a result is there and could not be written or sent."""

    exit_code = ExitCode.NOT_PUBLISHED
