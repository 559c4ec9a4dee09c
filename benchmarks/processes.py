"""Run a command as a process of its own and read what it took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REPOSITORY = Path(__file__).resolve().parents[1]
LAUNCHER = Path(__file__).with_name("launcher.py")
WORK = Path(__file__).with_name(".work")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_TOLD = 1500


class BenchmarkError(RuntimeError):
    """Say that something that was to be timed did not do its work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Say what one process took.

    Attributes:
        seconds: Wall time, from its start to its end.
        cpu_seconds: Processor time of it and its children.
        peak_rss_bytes: Largest resident memory, summed over the tree of processes.
        load: Processes that were ready to run on this machine when it began.
        code: Exit code.
        output: The end of what it printed.
    """

    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    load: float
    code: int
    output: str


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Run:
    """Run a command and wait for it.

    Args:
        command: Program and arguments.
        folder: An existing folder for its record and its output.
        environment: All that it sees.

    Returns:
        What it took, whatever its exit code.
    """
    record, log = folder / "record.json", folder / "log.txt"
    load = os.getloadavg()[0]
    launch = [sys.executable, "-I", "-S", str(LAUNCHER), str(record), str(log), *command]
    subprocess.run(launch, check=True, env=dict(environment), cwd=REPOSITORY)  # noqa: S603
    facts = json.loads(record.read_text(encoding="utf-8"))
    return Run(
        seconds=facts["seconds"],
        cpu_seconds=facts["cpu_seconds"],
        peak_rss_bytes=facts["tree_rss_bytes"],
        load=load,
        code=facts["code"],
        output=log.read_text(encoding="utf-8", errors="replace")[-_TOLD:],
    )


def environment(threads: int | None) -> dict[str, str]:
    """Return the environment of everything that is timed.

    Args:
        threads: For all alike; None leaves it to each program, which then takes all there are.

    Returns:
        Ours without settings of threads and without a network.
    """
    kept = {k: v for k, v in os.environ.items() if k not in {*_THREADS, "OMP_WAIT_POLICY"}}
    if threads is not None:
        kept |= dict.fromkeys(_THREADS, str(threads))
    return kept | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def call(module: str, *arguments: str) -> str:
    """Run one of our own modules and return what it printed: what imports torch stays outside.

    Args:
        module: Its name below ``benchmarks``.
        arguments: Of its command line.

    Returns:
        Its standard output.

    Raises:
        BenchmarkError: If it fails.
    """
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(  # noqa: S603 - our own program
        command, capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    if done.returncode:
        msg = f"{module}: exit code {done.returncode}: {done.stderr[-_TOLD:]}"
        raise BenchmarkError(msg)
    return done.stdout


def work_folder(folder: Path | None) -> Path:
    """Make the folder of work, which keeps itself out of the repository.

    Args:
        folder: The one that was asked for, if one was.

    Returns:
        It, absolute.
    """
    chosen = (folder or WORK).resolve()
    chosen.mkdir(parents=True, exist_ok=True)
    ignore = chosen / ".gitignore"
    if not ignore.exists():
        ignore.write_text("# Made by the benchmarks; nothing in here is committed.\n*\n")
    return chosen
