"""Keep what the benchmarks measured: one JSON file each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import processes

FOLDER = Path(__file__).with_name("results")
# Plain values as JSON has them.
Row = dict[str, Any]

SCHEMA = "sdi-gate/benchmark/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Hold what a benchmark measured.

    Attributes:
        benchmark: Its name, which is its file's.
        settings: What it was told to do.
        rows: What it measured, each a flat or nested mapping of plain values.
        summary: The figures that the README shows.
        not_measured: Why nothing was measured; None if something was.
    """

    benchmark: str
    settings: Row
    rows: list[Row]
    summary: Row
    not_measured: str | None = None


def write(result: Result, folder: Path = FOLDER) -> Path:
    """Write a result beside a description of this machine.

    Args:
        result: What was measured.
        folder: Where to; made if it is not there.

    Returns:
        The file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "schema": SCHEMA,
        "benchmark": result.benchmark,
        "measured_at": datetime.now(UTC).date().isoformat(),
        "machine": json.loads(processes.call("machine")),
        "not_measured": result.not_measured,
        "settings": result.settings,
        "summary": result.summary,
        "rows": result.rows,
    }
    file = folder / f"{result.benchmark}.json"
    text = json.dumps(document, indent=1, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8")
    return file


def load(benchmark: str, folder: Path = FOLDER) -> Row | None:
    """Return what was written; None if the benchmark has not been run.

    Args:
        benchmark: Its name.
        folder: Of the results.

    Raises:
        ValueError: If the file is of another kind.
    """
    file = folder / f"{benchmark}.json"
    if not file.exists():
        return None
    document: Row = json.loads(file.read_text(encoding="utf-8"))
    if document["schema"] != SCHEMA:
        msg = f"{file.name}: expected schema {SCHEMA}, got {document['schema']}"
        raise ValueError(msg)
    return document


def middle(values: list[float]) -> float:
    """Return the median."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2
