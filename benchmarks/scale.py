"""Show that the weights tier takes time in proportion to its work, and memory that stays flat.

Scans pairs of 25 million to 1.1 billion parameters, which are made on the fly and deleted.

    python -m benchmarks.scale [--largest 1.1B] [--threads N] [--work DIR] [--results DIR]
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import processes, results, scans, tables
from benchmarks.results import Result, Row
from benchmarks.shapes import SCALE, TINY, Shape

# Time is called linear if it grows with no more than this power of the work. A power below 1 is
# no fault: small matrices use a processor badly.
LINEAR = 1.1
# Memory is called flat if it grows by no more than this share of the growth of one model on disk:
# a program that holds one model has 1, one that holds both has 2. What grows is the largest matrix.
FLAT = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Hold the options of the command."""

    largest: str
    threads: int | None
    work: Path | None
    results: Path
    tiny: bool


def measure(shape: Shape, options: Options, work: Path) -> Row:
    """Make a pair, scan it, delete it.

    Args:
        shape: Its architecture.
        options: What was asked for.
        work: An existing folder.

    Returns:
        The row.
    """
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        models = folder / "models"
        processes.call("checkpoints", str(models), "--shape", shape.name)
        base, candidate = models / "base", models / "candidate"
        size = 256 if options.tiny else None
        floors = scans.floors_of(base, "cpu", options.threads, size)
        scan = scans.Scan(base=base, candidate=candidate, work=folder, threads=options.threads)
        measured = scans.measure(scan)
        start_s = scans.start_seconds(folder, options.threads)
        shutil.rmtree(models)
    stages = scans.stage_rows(measured, floors, start_s)
    print(f"\n{shape.name}:\n{tables.stage_table(stages)}", flush=True)
    seconds = measured.seconds_of("weights")
    return {
        "shape": shape.name,
        "num_parameters": shape.num_parameters,
        "largest_tensor_bytes": shape.largest_bytes,
        "spectra_operations": shape.spectra_operations,
        "weights_seconds": seconds,
        "seconds": measured.run.seconds,
        "seconds_per_1e12_operations": seconds / shape.spectra_operations * 1e12,
        "peak_rss_bytes": measured.run.peak_rss_bytes,
        "load_before": measured.run.load,
        "floors": asdict(floors),
        "stages": stages,
    }


def slope(xs: list[float], ys: list[float]) -> float:
    """Return the slope of a line through points by least squares; NaN through fewer than two."""
    if len(xs) < 2:
        return math.nan
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - mean_x) ** 2 for x in xs)


def summarise(rows: list[Row]) -> Row:
    """Return the power of the work that time grows with, and how memory grows.

    Args:
        rows: One for each shape, growing.
    """
    works = [math.log(row["spectra_operations"]) for row in rows]
    times = [math.log(row["weights_seconds"]) for row in rows]
    power = slope(works, times)
    peaks = [float(row["peak_rss_bytes"]) for row in rows]
    per_byte = slope([2.0 * row["num_parameters"] for row in rows], peaks)
    known = len(rows) > 1
    return {
        "time_grows_with_power": power if known else None,
        "time_is_linear": power <= LINEAR if known else None,
        "power_at_most": LINEAR,
        "memory_per_byte_of_model": per_byte if known else None,
        "memory_is_flat": per_byte <= FLAT if known else None,
        "memory_at_most": FLAT,
        "parameters_grew": rows[-1]["num_parameters"] / rows[0]["num_parameters"],
        "peak_rss_grew": rows[-1]["peak_rss_bytes"] / rows[0]["peak_rss_bytes"],
        "shapes": [{key: row[key] for key in _SHOWN} for row in rows],
    }


_SHOWN = (
    "shape",
    "num_parameters",
    "weights_seconds",
    "seconds",
    "seconds_per_1e12_operations",
    "peak_rss_bytes",
    "largest_tensor_bytes",
)


def show(summary: Row) -> None:
    """Print the table of shapes and what it shows.

    Args:
        summary: As `summarise` made it.
    """
    head = ("shape", "parameters", "weights s", "whole s", "s per 10^12", "peak RSS", "largest")
    print("\n" + tables.text_table(head, [_cells(row) for row in summary["shapes"]]))
    if summary["time_grows_with_power"] is None:
        print("one shape says nothing about growth")
        return
    linear = "linear" if summary["time_is_linear"] else "NOT linear"
    flat = "flat" if summary["memory_is_flat"] else "NOT flat"
    print(
        f"time grows with the work to the power of {summary['time_grows_with_power']:.2f}: "
        f"{linear} (at most {LINEAR})\n"
        f"memory grows by {summary['memory_per_byte_of_model']:.3f} bytes for each byte "
        f"of a model: {flat} (at most {FLAT}); parameters grew "
        f"{summary['parameters_grew']:.0f} times, peak memory {summary['peak_rss_grew']:.2f} times"
    )


def _cells(row: Row) -> list[str]:
    return [
        str(row["shape"]),
        tables.number(row["num_parameters"], 0),
        tables.number(row["weights_seconds"], 2),
        tables.number(row["seconds"], 2),
        tables.number(row["seconds_per_1e12_operations"], 1),
        tables.size(row["peak_rss_bytes"]),
        tables.size(row["largest_tensor_bytes"]),
    ]


def chosen_shapes(largest: str) -> tuple[Shape, ...]:
    """Return the shapes up to the largest that was asked for."""
    names = [shape.name for shape in SCALE]
    return SCALE[: names.index(largest) + 1]


def run(options: Options) -> int:
    """Measure all shapes, print and write what came of them.

    Args:
        options: What was asked for.
    """
    work = processes.work_folder(options.work)
    shapes = (TINY,) if options.tiny else chosen_shapes(options.largest)
    rows = [measure(shape, options, work) for shape in shapes]
    summary = summarise(rows)
    show(summary)
    settings = {"threads": options.threads, "dtype": "bfloat16", "largest": shapes[-1].name}
    result = Result(benchmark="scale", settings=settings, rows=rows, summary=summary)
    print(f"written: {results.write(result, options.results).name}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [shape.name for shape in SCALE]
    parser.add_argument("--largest", choices=names, default=names[-1], help="stop here")
    parser.add_argument("--threads", type=int, default=None, help="default: all")
    parser.add_argument("--work", type=Path, default=None, help="default: benchmarks/.work")
    parser.add_argument("--results", type=Path, default=results.FOLDER)
    parser.add_argument("--tiny", action="store_true", help="a tiny pair: does all of it work?")
    return run(Options(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    sys.exit(main())
