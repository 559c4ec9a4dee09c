"""Hold scans on a GPU against their targets, and against the pass that they replace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import passes, tables

if TYPE_CHECKING:
    from benchmarks.results import Row

STATES = ("cold", "base cached")
# Of one H200, in seconds; on 24 GiB of any GPU.
TARGETS_S = {("all", "cold"): 120, ("all", "base cached"): 70, ("24", "cold"): 480}
HOST_BYTES = 16 * 2**30
CHEAPER = 20


def summarise(rows: list[Row], gpu: str) -> list[Row]:
    """Return one line for each scan: its time, its target, and what the pass takes of that.

    Args:
        rows: Of scans and passes.
        gpu: Name of the GPU; empty without one.
    """
    takes = {
        row["model"]: row.get("extrapolated_seconds") for row in rows if row["state"] == "pass"
    }
    return [_line(row, takes.get(row["model"]), gpu) for row in rows if row["state"] in STATES]


def _line(row: Row, takes: dict[str, dict[str, float]] | None, gpu: str) -> Row:
    line = {key: row.get(key) for key in (*_KEPT, "not_measured")}
    if row["not_measured"] is not None:
        return line
    target = TARGETS_S.get((row["limit"], row["state"]))
    if row["limit"] == "all" and "H200" not in gpu:
        target = None  # set for that GPU
    cheaper = {name: each["all"] / row["seconds"] for name, each in (takes or {}).items()}
    return line | {
        "target_seconds": target,
        "met": None if target is None else row["ran"] == "full" and row["seconds"] <= target,
        "host_met": row["peak_rss_bytes"] <= HOST_BYTES,
        "times_cheaper_than_pass": cheaper or None,
        "cheaper_met": cheaper["usual"] >= CHEAPER if cheaper else None,
    }


_KEPT = ("model", "limit", "state", "seconds", "ran", "cuts", "peak_rss_bytes", "peak_device_bytes")


def show(lines: list[Row]) -> None:
    """Print the table.

    Args:
        lines: As `summarise` made them.
    """
    head = ("model", "GPU memory", "state", "seconds", "target", "tier", "peak host", "peak GPU")
    names = tuple(reading.name for reading in passes.READINGS)
    print("\nTimes cheaper than a pass over four benchmarks, timed on a slice and extrapolated:")
    print(tables.text_table((*head, *names), [_cells(line, names) for line in lines]))
    for reason in dict.fromkeys(line["not_measured"] for line in lines if line["not_measured"]):
        print(f"not measured: {reason}")


def _cells(line: Row, names: tuple[str, ...]) -> list[str]:
    cheaper = line.get("times_cheaper_than_pass") or {}
    missing = line["not_measured"] is not None
    return [
        str(line["model"]),
        "all" if line["limit"] == "all" else f"{line['limit']} GiB",
        str(line["state"]),
        "not measured" if missing else tables.number(line["seconds"], 1),
        tables.number(line.get("target_seconds"), 0),
        str(line["ran"] or tables.ABSENT),
        tables.size(line["peak_rss_bytes"]),
        tables.size(line["peak_device_bytes"]),
        *(tables.number(cheaper.get(name), 1) for name in names),
    ]
