"""Run sdi-gate as its users do and read what each stage cost."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks import processes
from benchmarks.processes import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.processes import Run
    from benchmarks.results import Row

_IMPORT = "import sdi_gate.cli.scanning"
# What is computed in double precision whatever the models are loaded in; all else is not.
_DOUBLE = ("spectra", "cka")
START, REST, TOTAL = "start (imports)", "judge, report, rest", "whole process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Say what to scan, and how.

    Attributes:
        base: Folder of the base.
        candidate: Folder of the candidate.
        work: An existing folder for the report.
        tier: Highest tier.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads; None for all.
        cache: Folder of profiles of bases; None to have none.
        limit_gib: Memory of the device that the scan may use; None for all.
        more: More options of the command.
    """

    base: Path
    candidate: Path
    work: Path
    tier: str = "weights"
    device: str = "cpu"
    threads: int | None = None
    cache: Path | None = None
    limit_gib: float | None = None
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Say what one stage cost, or a part of one, named ``stage/part``.

    Attributes:
        name: Its name.
        seconds: Wall time; of a part busy time, summed over threads.
        peak_host_bytes: Largest resident memory until its end.
        peak_device_bytes: Largest allocation on the GPU; None without one.
        bytes_read: From disk; None where it is not counted.
        operations: Floating-point; None where they are not counted.
    """

    name: str
    seconds: float
    peak_host_bytes: int | None = None
    peak_device_bytes: int | None = None
    bytes_read: int | None = None
    operations: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Hold what came of a scan.

    Attributes:
        run: The process.
        stages: Its stages in their order.
        ran: The tier that ran.
        reason: Why that one.
        cuts: What was measured on less than was asked for.
        reused: What of the base came from its profile.
    """

    run: Run
    stages: tuple[Stage, ...]
    ran: str = ""
    reason: str = ""
    cuts: tuple[str, ...] = ()
    reused: tuple[str, ...] = ()

    def seconds_of(self, stage: str) -> float:
        """Return the seconds of a stage; 0 if it did not run."""
        return sum(each.seconds for each in self.stages if each.name == stage)

    @property
    def peak_device_bytes(self) -> int | None:
        """Return the largest allocation on the GPU; None without one."""
        peaks = [e.peak_device_bytes for e in self.stages if e.peak_device_bytes is not None]
        return max(peaks, default=None)


def command(scan: Scan) -> list[str]:
    """Return the command line of a scan."""
    program = ["-m", "sdi_gate"]
    if scan.limit_gib is not None:
        program = ["-m", "benchmarks.gpu_scan", "--limit-gib", str(scan.limit_gib), "--"]
    line = [sys.executable, *program, "scan", "--tier", scan.tier, "--device", scan.device]
    line += ["--base", f"file:{scan.base}", "--candidate", f"file:{scan.candidate}"]
    line += ["--out", str(scan.work / "out")]
    if scan.threads is not None:
        line += ["--threads", str(scan.threads)]
    line += ["--no-cache"] if scan.cache is None else ["--cache", str(scan.cache)]
    return [*line, *scan.more]


def measure(scan: Scan) -> Measured:
    """Run a scan.

    Args:
        scan: What and how.

    Returns:
        What it took.

    Raises:
        BenchmarkError: If it ended with another code than 0.
    """
    run = processes.run(command(scan), scan.work, processes.environment(scan.threads))
    if run.code:
        msg = f"sdi-gate scan: exit code {run.code}: {run.output}"
        raise BenchmarkError(msg)
    return read(run, json.loads((scan.work / "out" / "result.json").read_text(encoding="utf-8")))


def read(run: Run, result: Row) -> Measured:
    """Read what a result says about cost; fields of later versions are read if they are there."""
    cost, tier = result["cost"], result["tier"]
    return Measured(
        run=run,
        stages=tuple(_stage(entry) for entry in cost["stages"]),
        ran=str(tier["ran"]),
        reason=str(tier["reason"]),
        cuts=tuple(tier.get("cuts", ())),
        reused=tuple(cost.get("reused", ())),
    )


def _stage(entry: Row) -> Stage:
    return Stage(
        name=entry["stage"],
        seconds=entry["seconds"],
        peak_host_bytes=entry["peak_host_bytes"],
        peak_device_bytes=entry["peak_device_bytes"],
        bytes_read=entry.get("bytes_read"),
        operations=entry.get("operations"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """Hold how fast this machine can be.

    Attributes:
        read_bytes_per_s: Reading the weights' files.
        operations_per_s: Matrix products, by dtype.
        compute: The dtype that models are loaded in.
    """

    read_bytes_per_s: float
    operations_per_s: Mapping[str, float] = field(default_factory=dict)
    compute: str = "float32"

    def of(self, stage: Stage) -> float | None:
        """Return the least seconds that a part can take; None where nothing was counted."""
        floors = []
        if stage.bytes_read is not None:
            floors.append(stage.bytes_read / self.read_bytes_per_s)
        if stage.operations is not None:
            floors.append(stage.operations / self.operations_per_s[self._dtype(stage)])
        return max(floors, default=0.0) or None

    def _dtype(self, stage: Stage) -> str:
        return "float64" if stage.name.rpartition("/")[2] in _DOUBLE else self.compute


def floors_of(base: Path, device: str, threads: int | None, size: int | None = None) -> Floors:
    """Measure the floors in a process of its own.

    Args:
        base: A model, whose files are read.
        device: Where matrices are multiplied.
        threads: CPU threads; None for all.
        size: Of the matrices; None for the usual one.
    """
    options = ["--folder", str(base), "--device", device]
    options += [] if threads is None else ["--threads", str(threads)]
    options += [] if size is None else ["--size", str(size)]
    rates = json.loads(processes.call("floors", *options))
    return Floors(
        read_bytes_per_s=rates["read_bytes_per_s"],
        operations_per_s=rates["operations_per_s"],
        compute="bfloat16" if device == "cuda" else "float32",
    )


def start_seconds(work: Path, threads: int | None) -> float:
    """Return how long the command takes before it does anything: the better of two starts."""
    line = [sys.executable, "-c", _IMPORT]
    runs = [processes.run(line, work, processes.environment(threads)) for _ in range(2)]
    return min(run.seconds for run in runs)


def stage_rows(measured: Measured, floors: Floors, start_s: float) -> list[Row]:
    """Return one row for each stage and part, the start and the whole.

    Args:
        measured: The scan.
        floors: What bounds it.
        start_s: Seconds of the start.
    """
    whole = measured.run.seconds
    counted = sum(stage.seconds for stage in measured.stages if "/" not in stage.name)
    known = [Stage(name=START, seconds=start_s), *measured.stages]
    known.append(Stage(name=REST, seconds=max(whole - start_s - counted, 0.0)))
    total = Stage(
        name=TOTAL,
        seconds=whole,
        peak_host_bytes=measured.run.peak_rss_bytes,
        peak_device_bytes=measured.peak_device_bytes,
    )
    return [_row(stage, floors.of(stage)) for stage in (*known, total)]


def _row(stage: Stage, floor_s: float | None) -> Row:
    return {
        "stage": stage.name,
        "seconds": stage.seconds,
        "bytes_read": stage.bytes_read,
        "operations": stage.operations,
        "peak_host_bytes": stage.peak_host_bytes,
        "peak_device_bytes": stage.peak_device_bytes,
        "floor_seconds": floor_s,
        "ratio_to_floor": None if floor_s is None else stage.seconds / floor_s,
    }
