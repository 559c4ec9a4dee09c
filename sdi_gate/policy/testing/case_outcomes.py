"""Hold what became of the cases of policy tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sdi_gate.errors import SdiGateError
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.testing.expecting import Mismatch
    from sdi_gate.policy.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOutcome:
    """Hold what became of one case.

    Attributes:
        name: Its name.
        line: Where it starts in its file.
        verdict: What the policy says; None if the case could not be judged.
        mismatches: What was expected otherwise.
        error: Why it could not be judged.
    """

    name: str
    line: int
    verdict: Verdict | None = None
    mismatches: tuple[Mismatch, ...] = ()
    error: SdiGateError | None = None

    @property
    def held(self) -> bool:
        """Return whether everything came as expected."""
        return self.error is None and not self.mismatches


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """Hold what became of one test file.

    Attributes:
        path: The file.
        policy: The policy that it tests; None if the file or the policy could not be used.
        cases: What became of its cases.
        error: Why the file or the policy could not be used.
    """

    path: Path
    policy: LoadedPolicy | None = None
    cases: tuple[CaseOutcome, ...] = ()
    error: SdiGateError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TestedPolicy:
    """Say how well a policy is covered by the cases of a run.

    Attributes:
        policy: The policy.
        not_crossed: Rules that came out as a pass in every case: limits that no case sees warn or
            fail, other demands that no case sees broken.
    """

    __test__ = False  # for pytest, which would take it for tests

    policy: LoadedPolicy
    not_crossed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRun:
    """Hold what became of a run over test files.

    Attributes:
        files: What became of each file.
        policies: The policies that were tested, each once.
    """

    __test__ = False  # for pytest, which would take it for tests

    files: tuple[FileOutcome, ...]
    policies: tuple[TestedPolicy, ...]

    @property
    def cases(self) -> tuple[CaseOutcome, ...]:
        """Return the cases of all files."""
        return tuple(case for file in self.files for case in file.cases)

    @property
    def failed(self) -> int:
        """Return how many cases were judged and came otherwise than expected."""
        return sum(bool(case.mismatches) for case in self.cases)

    @property
    def errors(self) -> tuple[SdiGateError, ...]:
        """Return why files, policies and cases could not be used."""
        of_files = (file.error for file in self.files)
        of_cases = (case.error for case in self.cases)
        return tuple(error for error in (*of_files, *of_cases) if error is not None)
