"""Find and read recorded results for commands that judge them again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdi_gate.errors import UsageError
from sdi_gate.files import read_at_most
from sdi_gate.policy.format.spelling import visible
from sdi_gate.policy.telling.history import Recorded, RecordedVerdict
from sdi_gate.policy.verdict import Status
from sdi_gate.report.document import MAX_BYTES, load
from sdi_gate.report.recorded import facts_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdi_gate.report.document import ResultDocument

_NAME = "result.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Hold what was found.

    Attributes:
        read: The results, in the order given; those of a folder sorted by path.
        unreadable: What could not be read, one message each, which names the file.
    """

    read: tuple[Recorded, ...]
    unreadable: tuple[str, ...]


def read_results(paths: Iterable[Path]) -> Results:
    """Read recorded results.

    Args:
        paths: Files, and folders that are searched for files called ``result.json``.

    Returns:
        The results, each file once, and what is wrong with the others.
    """
    read: dict[Path, Recorded] = {}
    unreadable: list[str] = []
    for path in paths:
        try:
            files = _files(path)
        except UsageError as exc:
            unreadable.append(exc.message)
            continue
        for file in files:
            if file.absolute() in read:
                continue
            try:
                read[file.absolute()] = read_result(file)
            except UsageError as exc:
                unreadable.append(exc.message)
    return Results(read=tuple(read.values()), unreadable=tuple(dict.fromkeys(unreadable)))


def read_result(path: Path) -> Recorded:
    """Read one recorded result.

    Args:
        path: The file.

    Returns:
        The result.

    Raises:
        UsageError: If it cannot be read, or is no result.
    """
    try:
        content = read_at_most(path, MAX_BYTES)
    except OSError as exc:
        msg = f"cannot read {str(path)!r}: {exc.strerror}"
        raise UsageError(msg, hint="give the result.json that a check or a scan wrote") from exc
    try:
        document = load(content, str(path))
    except UsageError as exc:
        # Names of folders and texts of a result are whatever their author wrote: none of them may
        # pass for a line of ours.
        raise UsageError(visible(exc.message), hint=exc.hint) from exc
    try:
        facts = facts_of(document)
    except UsageError as exc:
        raise UsageError(visible(f"{path}: {exc.message}"), hint=exc.hint) from exc
    return Recorded(path=str(path), facts=facts, verdict=_verdict(document))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    failures: list[OSError] = []
    found = [
        Path(folder, _NAME)
        for folder, _, names in os.walk(path, onerror=failures.append)
        if _NAME in names
    ]
    if failures:
        msg = f"cannot search {str(failures[0].filename)!r}: {failures[0].strerror}"
        raise UsageError(msg)
    if not found:
        msg = f"no {_NAME} in the folder {str(path)!r}"
        raise UsageError(msg)
    return sorted(found)


def _verdict(document: ResultDocument) -> RecordedVerdict | None:
    verdict = document.verdict
    if verdict is None:
        return None
    return RecordedVerdict(
        status=Status(verdict.status),
        closed=bool(verdict.exit_code),
        rule=verdict.findings[verdict.deciding].rule,
        policy_name=verdict.policy_name,
        policy_digest=verdict.policy_digest,
    )
