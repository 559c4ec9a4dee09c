"""Keep a results table: JSON Lines that only grow, and can be merged."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sdi_gate.errors import PublishError, UsageError
from sdi_gate.report.files import check_replaceable, remove, stage
from sdi_gate.study.keys import row_key
from sdi_gate.study.row import Benchmark, Cost, Feature, Row, dump_row, parse_row

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows, where two writers have to take turns themselves
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sdi_gate.study.manifest import Manifest

__all__ = [
    "Benchmark",
    "Cost",
    "Feature",
    "Row",
    "append_rows",
    "latest",
    "merge_tables",
    "read_rows",
    "write_whole",
]

_logger = logging.getLogger(__name__)
SUFFIX = ".jsonl"


def read_rows(path: Path, notice: Callable[[str], None] = _logger.warning) -> tuple[Row, ...]:
    """Read a results table, or all tables of a folder.

    Args:
        path: A JSON Lines file, or a folder of such files.
        notice: Told of a last line that a killed writer left unfinished, which is ignored.

    Returns:
        The rows, each key once, in the order in which they were first written.

    Raises:
        UsageError: If a table cannot be read, holds a line that is no row, or two rows of one
            key that contradict each other.
    """  # noqa: DOC502 - raised by the readers
    files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    merged: tuple[Row, ...] = ()
    for file in files:
        merged = merge_tables(merged, _read_table(file, notice))
    return merged


def append_rows(path: Path, rows: Iterable[Row]) -> int:
    """Append to a table the rows that it does not have; what is there stays, byte for byte.

    Args:
        path: The table; made if absent, with its folder.
        rows: The rows. One that is there already, whatever it cost this time, is left out; a
            complete one follows a failed one of the same key and stands from then on.

    Returns:
        How many rows were written.

    Raises:
        UsageError: If a row contradicts one of the same key.
        PublishError: If the table cannot be written.
    """  # noqa: DOC502 - raised by the merge
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent):
            return _append(path, rows)
    except OSError as exc:
        msg = f"cannot write the results table {str(path)!r}: {exc.strerror}"
        raise PublishError(msg, hint="free some room, and run again: no work is lost") from exc


def merge_tables(first: Iterable[Row], second: Iterable[Row]) -> tuple[Row, ...]:
    """Unite two tables.

    Args:
        first: Rows.
        second: Rows.

    Returns:
        Each key once, in the order of first appearance. Of rows of one key that differ in cost
        alone the first stands; a complete row stands before a failed one, and of two failed
        ones the later.

    Raises:
        UsageError: If two complete rows of one key contradict each other.
    """  # noqa: DOC502 - raised by the choice
    merged: dict[str, Row] = {}
    for row in (*first, *second):
        known = merged.get(row.key)
        merged[row.key] = row if known is None else _which_stands(known, row)
    return tuple(merged.values())


def latest(rows: Sequence[Row], manifest: Manifest, versions: Mapping[str, int]) -> tuple[Row, ...]:
    """Choose the rows of a manifest as it is now.

    Args:
        rows: Rows of this and of former recipes.
        manifest: The manifest.
        versions: Version of each signal.

    Returns:
        At most one row for each pair, in the order of the manifest.
    """
    by_key = {row.key: row for row in rows}
    keys = (row_key(manifest, pair, versions) for pair in manifest.pairs)
    return tuple(by_key[key] for key in keys if key in by_key)


def _which_stands(known: Row, row: Row) -> Row:
    if known.is_complete and row.is_complete and not known.says_the_same(row):
        msg = (
            f"two rows with the key {row.key} contradict each other: {known.pair!r} and"
            f" {row.pair!r} {_difference(known, row)}"
        )
        raise UsageError(msg, hint="one recipe gave two results: keep the table that you trust")
    if known.is_complete or (not row.is_complete and known.says_the_same(row)):
        return known
    return row


def _difference(known: Row, row: Row) -> str:
    ours, theirs = known.model_dump(), row.model_dump()
    fields = [name for name in ours if name != "cost" and ours[name] != theirs[name]]
    return f"differ in {', '.join(fields)}"


def _append(path: Path, rows: Iterable[Row]) -> int:
    existing = _whole_lines(path)
    known = {row.key: row for row in _parse(existing, path)}
    lines = []
    for row in rows:
        before = known.get(row.key)
        stands = row if before is None else _which_stands(before, row)
        if stands is not before:
            known[row.key] = stands
            lines.append(dump_row(row))
    if lines:
        write_whole(path, existing + "".join(lines).encode())
    return len(lines)


def _read_table(path: Path, notice: Callable[[str], None]) -> tuple[Row, ...]:
    try:
        content = path.read_bytes()
    except OSError as exc:
        msg = f"cannot read the results table {str(path)!r}: {exc.strerror}"
        raise UsageError(msg, hint="give a table or a folder of tables (*.jsonl)") from exc
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        notice(f"{path}: the last line is unfinished and was ignored")
    return _parse(whole, path)


def _whole_lines(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]


def _parse(content: bytes, path: Path) -> tuple[Row, ...]:
    rows: tuple[Row, ...] = ()
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError as exc:
        msg = f"{path}: not a results table: not UTF-8 at byte {exc.start}"
        raise UsageError(msg) from exc
    parsed = (parse_row(line, f"{path}:{i}") for i, line in enumerate(lines, 1) if line)
    return merge_tables(rows, parsed)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whenever the process is killed.

    Args:
        path: The file, in an existing folder.
        content: All of it.

    Raises:
        OSError: If it cannot be written; a former content is as it was.
        PublishError: If something else than a regular file is there.
    """  # noqa: DOC502 - raised by the system
    check_replaceable(path)
    temporary = stage(path, content)
    try:
        temporary.replace(path)
    finally:
        remove(temporary)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    # Two shards that end at once would each write the table without the other's rows. The lock
    # goes with the process, however it ends.
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
