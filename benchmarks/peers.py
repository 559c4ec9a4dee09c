"""Compare sdi-gate's weights tier with afterburn, modeldelta and WeightWatcher on one pair.

All of them run one after the other, again and again, each as a process of its own on the same two
folders, so that what else the machine does hits all alike; what counts is the ratio within a round.
sdi-gate runs twice in a round: with an empty cache, and then, on another candidate of the same
base, with what the first left there.

    python -m benchmarks.peers [--rounds 5] [--threads N] [--work DIR] [--results DIR]
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import peer_programs, processes, results, scans, tables
from benchmarks.peer_programs import Pair, Peer
from benchmarks.processes import BenchmarkError
from benchmarks.results import Result, Row, middle
from benchmarks.shapes import PEERS, TINY

COLD, CACHED = "sdi-gate, cold", "sdi-gate, base cached"
# What the project set itself, of a peer's wall time.
TARGETS = {COLD: 1 / 3, CACHED: 1 / 5}
HELD_AGAINST = ("afterburn", "modeldelta")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Hold the options of the command."""

    rounds: int
    threads: int | None
    work: Path | None
    results: Path
    tiny: bool
    only: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Hold who runs, on what, and where.

    Attributes:
        work: Folder of work.
        models: Folder of ``base``, ``candidate`` and ``candidate-2``.
        programs: Each peer with its environment's programs.
        threads: For all alike; None for all there are.
    """

    work: Path
    models: Path
    programs: tuple[tuple[Peer, Path], ...]
    threads: int | None


def prepare(options: Options) -> Field:
    """Install the peers and write the models, if they are not there.

    Args:
        options: What was asked for.
    """
    work = processes.work_folder(options.work)
    shape = TINY if options.tiny else PEERS
    models = work / "models" / shape.name
    if not (models / "candidate-2" / "model.safetensors").exists():
        processes.call("checkpoints", str(models), "--shape", shape.name, "--candidates", "2")
    chosen = [peer for peer in peer_programs.PEERS if peer.name in options.only]
    programs = tuple((peer, peer_programs.install(peer, work)) for peer in chosen)
    return Field(work=work, models=models, programs=programs, threads=options.threads)


def one_round(field: Field, number: int) -> list[Row]:
    """Run everybody once.

    Args:
        field: Who runs, on what.
        number: The round's.

    Returns:
        A row for each run.
    """
    cache = field.work / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    rows = [_gate(field, COLD, "candidate"), _gate(field, CACHED, "candidate-2")]
    rows += [_peer(field, peer, programs) for peer, programs in field.programs]
    return [{"round": number, **row} for row in rows]


def _gate(field: Field, program: str, candidate: str) -> Row:
    scan = scans.Scan(
        base=field.models / "base",
        candidate=field.models / candidate,
        work=field.work,
        threads=field.threads,
        cache=field.work / "cache",
    )
    measured = scans.measure(scan)
    stages = [asdict(stage) for stage in measured.stages]
    return {**_row(program, measured.run), "stages": stages, "reused": list(measured.reused)}


def _peer(field: Field, peer: Peer, programs: Path) -> Row:
    report = field.work / f"{peer.name}.json"
    report.unlink(missing_ok=True)
    pair = Pair(base=field.models / "base", candidate=field.models / "candidate", report=report)
    command = peer_programs.command(peer, programs, pair)
    run = processes.run(command, field.work, processes.environment(field.threads))
    # A program that ended early would win.
    if run.code or not report.exists() or not report.stat().st_size:
        msg = f"{peer.name}: exit code {run.code}, no report: {run.output}"
        raise BenchmarkError(msg)
    return _row(peer.name, run)


def _row(program: str, run: processes.Run) -> Row:
    return {
        "program": program,
        "seconds": run.seconds,
        "cpu_seconds": run.cpu_seconds,
        "peak_rss_bytes": run.peak_rss_bytes,
        "load_before": run.load,
    }


def summarise(rows: list[Row]) -> Row:
    """Return medians of each program, and of its ratios within a round.

    Args:
        rows: Of all rounds.
    """
    programs = list(dict.fromkeys(row["program"] for row in rows))
    return {
        "programs": [_of_program(rows, program) for program in programs],
        "targets": [
            _target(rows, ours, theirs)
            for ours in TARGETS
            for theirs in HELD_AGAINST
            if theirs in programs
        ],
    }


def _values(rows: list[Row], program: str, key: str) -> list[float]:
    return [row[key] for row in rows if row["program"] == program]


def _of_program(rows: list[Row], program: str) -> Row:
    return {
        "program": program,
        "seconds": middle(_values(rows, program, "seconds")),
        "cpu_seconds": middle(_values(rows, program, "cpu_seconds")),
        "peak_rss_bytes": middle(_values(rows, program, "peak_rss_bytes")),
        "cold_over_it": middle(_ratios(rows, COLD, program, "seconds")),
        "cached_over_it": middle(_ratios(rows, CACHED, program, "seconds")),
    }


def _ratios(rows: list[Row], ours: str, theirs: str, key: str) -> list[float]:
    pairs = zip(_values(rows, ours, key), _values(rows, theirs, key), strict=True)
    return [mine / other for mine, other in pairs]


def _target(rows: list[Row], ours: str, theirs: str) -> Row:
    walls = _ratios(rows, ours, theirs, "seconds")
    memory = middle(_ratios(rows, ours, theirs, "peak_rss_bytes"))
    return {
        "program": ours,
        "peer": theirs,
        "ratio_median": middle(walls),
        "ratio_min": min(walls),
        "ratio_max": max(walls),
        "ratio_target": TARGETS[ours],
        "met": middle(walls) <= TARGETS[ours],
        "memory_ratio_median": memory,
        "memory_met": memory < 1.0,
    }


def show(rows: list[Row], stages: list[Row]) -> None:
    """Print the stages of the last cold scan and everybody's medians.

    Args:
        rows: Of all rounds.
        stages: Rows of stages.
    """
    summary = summarise(rows)
    print(f"\nStages of the last run of {COLD}:\n{tables.stage_table(stages)}\n")
    head = ("program", "wall s", "CPU s", "peak RSS", "cold ÷ it", "cached ÷ it")
    print(tables.text_table(head, [_cells(each) for each in summary["programs"]]))
    for each in summary["targets"]:
        verdict = "met" if each["met"] else "MISSED"
        memory = "met" if each["memory_met"] else "MISSED"
        print(
            f"{each['program']} ÷ {each['peer']}: {each['ratio_median']:.3f} "
            f"({each['ratio_min']:.3f} to {each['ratio_max']:.3f}), "
            f"target {each['ratio_target']:.3f}: {verdict}; "
            f"peak memory {each['memory_ratio_median']:.2f}, target below 1: {memory}"
        )


def _cells(program: Row) -> list[str]:
    return [
        str(program["program"]),
        tables.number(program["seconds"], 2),
        tables.number(program["cpu_seconds"], 1),
        tables.size(program["peak_rss_bytes"]),
        tables.number(program["cold_over_it"], 3),
        tables.number(program["cached_over_it"], 3),
    ]


def run(options: Options) -> int:
    """Run all rounds, print and write what came of them.

    Args:
        options: What was asked for.
    """
    field = prepare(options)
    floors = scans.floors_of(field.models / "base", "cpu", options.threads)
    rows: list[Row] = []
    for number in range(1, options.rounds + 1):
        rows += one_round(field, number)
        print(f"round {number}: " + _line(rows, number), flush=True)
    last = [row for row in rows if row["program"] == COLD][-1]
    stages = _stage_rows(field, last, floors)
    show(rows, stages)
    shape = TINY if options.tiny else PEERS
    result = Result(
        benchmark="peers",
        settings={**asdict(shape), "num_parameters": shape.num_parameters, "dtype": "bfloat16"}
        | {"rounds": options.rounds, "threads": options.threads, "floors": asdict(floors)}
        | {"peers": [_about(peer, programs) for peer, programs in field.programs]},
        rows=rows,
        summary=summarise(rows) | {"stages": stages},
    )
    print(f"written: {results.write(result, options.results).name}")
    return 0


def _stage_rows(field: Field, row: Row, floors: scans.Floors) -> list[Row]:
    whole = processes.Run(
        seconds=row["seconds"],
        cpu_seconds=row["cpu_seconds"],
        peak_rss_bytes=row["peak_rss_bytes"],
        load=row["load_before"],
        code=0,
        output="",
    )
    stages = tuple(scans.Stage(**stage) for stage in row["stages"])
    start_s = scans.start_seconds(field.work, field.threads)
    return scans.stage_rows(scans.Measured(run=whole, stages=stages), floors, start_s)


def _line(rows: list[Row], number: int) -> str:
    chosen = [row for row in rows if row["round"] == number]
    return ", ".join(f"{row['program']} {row['seconds']:.1f} s" for row in chosen)


def _about(peer: Peer, programs: Path) -> Row:
    return {
        "program": peer.name,
        "spectra": peer.spectra,
        "versions": peer_programs.versions(programs),
    }


def main(argv: list[str] | None = None) -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None, help="for all alike; default: all")
    parser.add_argument("--work", type=Path, default=None, help="default: benchmarks/.work")
    parser.add_argument("--results", type=Path, default=results.FOLDER)
    parser.add_argument("--tiny", action="store_true", help="a tiny pair: does all of it work?")
    names = [peer.name for peer in peer_programs.PEERS]
    parser.add_argument("--only", nargs="*", choices=names, default=names, help="these peers")
    given = vars(parser.parse_args(argv))
    return run(Options(**given | {"only": tuple(given["only"])}))


if __name__ == "__main__":
    sys.exit(main())
