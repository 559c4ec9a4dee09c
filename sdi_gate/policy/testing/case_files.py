"""Find and read policy tests, and lay what each case gives over what the whole file gives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from sdi_gate.errors import PolicyError, UsageError
from sdi_gate.files import read_at_most
from sdi_gate.policy.format.places import Place, Problem, dotted, quoted
from sdi_gate.policy.format.reading import MAX_SIZE_BYTES, listed, read_model
from sdi_gate.policy.testing.cases import Case, Expect, Given, PolicyTest
from sdi_gate.policy.testing.facts_given import numbers_of
from sdi_gate.policy.testing.laying import laid_over, without

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdi_gate.policy.format.places import Document
    from sdi_gate.policy.format.section import Section

_FIRST_YEAR, _LAST_YEAR = 2000, 2999
SUFFIXES = (".test.yml", ".test.yaml")
HINT = "docs/policies.md says how policy tests are written; sdi-gate policy init writes one."


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Hold one case, complete in itself.

    Attributes:
        name: Its name.
        line: Where it starts in its file.
        at: Day on which it is judged; None for today.
        given: What a scan found; None where a result was recorded.
        result: File of the recorded result; None where measurements are given.
        expect: What the policy is to say.
    """

    name: str
    line: int
    at: date | None
    given: Given | None
    result: Path | None
    expect: Expect


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFile:
    """Hold one policy test.

    Attributes:
        path: Where it was read from.
        policy: The policy that it tests.
        trials: Its cases.
    """

    path: Path
    policy: Path
    trials: tuple[Trial, ...]


def find_case_files(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Find the policy tests that are meant.

    Args:
        paths: Files, of any name, and folders, which are searched with all that is in them for
            names that end with ``.test.yml`` or ``.test.yaml``. Folders that are links or whose
            names start with a dot are passed over.

    Returns:
        The files, each once, those of a folder in alphabetical order.

    Raises:
        UsageError: If a folder cannot be searched, or there is no test in it.
    """  # noqa: DOC502 - raised by _below()
    found: dict[Path, Path] = {}
    for path in paths:
        for file in _below(path) if path.is_dir() else (path,):
            found.setdefault(file.resolve(), file)
    return tuple(found.values())


def _below(folder: Path) -> list[Path]:
    failures: list[OSError] = []
    found: list[Path] = []
    for where, folders, files in os.walk(folder, onerror=failures.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += (Path(where, name) for name in files if name.endswith(SUFFIXES))
    if failures:
        msg = f"cannot search {str(failures[0].filename)!r}: {failures[0].strerror}"
        raise UsageError(msg, hint="a test that is not found is a test that does not run")
    if not found:
        msg = f"no policy test in the folder {str(folder)!r}"
        raise UsageError(msg, hint=f"the names of policy tests end with {' or '.join(SUFFIXES)}")
    return sorted(found)


def read_cases(path: Path) -> CaseFile:
    """Read a policy test from a file.

    Args:
        path: The file.

    Returns:
        Its cases, each complete in itself.

    Raises:
        PolicyError: If the file cannot be read or is not a policy test; the message lists every
            problem with file, line and column.
    """
    try:
        content = read_at_most(path, MAX_SIZE_BYTES)
    except OSError as exc:
        msg = f"{path}: the policy test cannot be read: {exc.strerror}"
        raise PolicyError(msg, hint=HINT) from exc
    return parse_cases(content, path)


def parse_cases(content: bytes, path: Path) -> CaseFile:
    """Read a policy test from bytes.

    Args:
        content: The whole file, UTF-8.
        path: Where it came from; other files are named relative to it.

    Returns:
        Its cases, each complete in itself.

    Raises:
        PolicyError: If the bytes are not a policy test; the message lists every problem with file,
            line and column.
    """
    test, document = read_model(content, path=str(path), model=PolicyTest, hint=HINT)
    reader = _Reader(path=path, test=test, document=document, problems=[])
    trials = tuple(reader.trial(index, case) for index, case in enumerate(test.cases))
    if reader.problems:
        raise PolicyError(listed(str(path), reader.problems, what=PolicyTest.called), hint=HINT)
    return CaseFile(path=path, policy=_beside(path, test.policy), trials=trials)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Read the cases of one file, and collect what is wrong with them."""

    path: Path
    test: PolicyTest
    document: Document
    problems: list[Problem]

    def trial(self, index: int, case: Case) -> Trial:
        where = ("cases", str(index))
        self._check_name(index, case)
        return Trial(
            name=case.name,
            line=self.document.values[where].line,
            at=self._day(case, where),
            given=self._given(case, where) if case.result is None else None,
            result=self._result(case, where),
            expect=case.expect,
        )

    def _day(self, case: Case, where: tuple[str, ...]) -> date | None:
        text = case.at or self.test.at
        if text is None:
            return None
        day = date.fromisoformat(text)
        # An age is counted back from it, and the calendar has an end.
        if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
            message = f"must be a day of the years {_FIRST_YEAR} to {_LAST_YEAR}, got {text}"
            self._refuse((*(where if case.at else ()), "at"), message)
        return day

    def _check_name(self, index: int, case: Case) -> None:
        for earlier in range(index):
            if self.test.cases[earlier].name == case.name:
                first = self.document.values["cases", str(earlier), "name"].line
                message = f"the name is there twice; it was given first in line {first}"
                self._refuse(("cases", str(index), "name"), message)
                return

    def _result(self, case: Case, where: tuple[str, ...]) -> Path | None:
        if case.result is None:
            return None
        for key in ("given", "without"):
            if getattr(case, key) is not None:
                message = f"a case with a recorded result has no {quoted(key)}; remove one of them"
                self._refuse((*where, key), message)
        return _beside(self.path, case.result)

    def _given(self, case: Case, where: tuple[str, ...]) -> Given:
        common, own = self.test.given, case.given
        laid = (
            laid_over(common, own) if common and own else own or common or Given.model_construct()
        )
        before = _headlines(laid)
        for index, key in enumerate(case.without or ()):
            reduced = without(laid, key)
            if reduced is None:
                message = f"{quoted(key)} takes nothing away: it is not given"
                self._refuse((*where, "without", str(index)), message)
            laid = reduced or laid
        for lost in before - _headlines(laid):
            laid = _without_rows(laid, lost)
        self._check_complete(laid, where)
        return laid

    def _check_complete(self, given: Given, where: tuple[str, ...]) -> None:
        for key in ("tier", "coverage"):
            if getattr(given, key) is None:
                message = f"no {key} is given; give it here, or for all cases under 'given'"
                self._refuse(where, message)
        whole = _headlines(given)
        for path in _rows(given):
            if path[-1] not in whole:
                section = "behaviour" if path[-1] in _BEHAVIOUR else "signals"
                message = f"needs {section}.{path[-1]} beside it, the number over all of them"
                known = (*where, "given", *path) in self.document.values
                self._refuse((*(where if known else ()), "given", *path), message)

    def _refuse(self, path: tuple[str, ...], message: str) -> None:
        place = self.document.values.get(path, Place(1, 1))
        self.problems.append(Problem(place, dotted(path, message)))


_BEHAVIOUR = frozenset({"kl-divergence", "nll-change", "top1-flip-rate"})


def _headlines(given: Given) -> frozenset[str]:
    return frozenset({*numbers_of(given.signals), *numbers_of(given.behaviour)})


def _rows(given: Given) -> Iterator[tuple[str, ...]]:
    for key in ("by-stratum", "by-layer", "by-role"):
        sections: dict[str, Section] = getattr(given, key.replace("-", "_")) or {}
        for name, section in sections.items():
            yield from ((key, name, number) for number in numbers_of(section))


def _without_rows(given: Given, number: str) -> Given:
    for path in tuple(_rows(given)):
        if path[-1] == number:
            given = without(given, ".".join(path)) or given
    return given


def _beside(path: Path, other: str) -> Path:
    # Shorter to read than a path with "..", and still relative where the first one was.
    return Path(os.path.normpath(path.parent / other))
