"""Time tier full on models of seven billion parameters' shapes, beside the pass it replaces.

Random weights of the shapes of Llama-2-7B, Mistral-7B and Qwen2.5-7B, made on the fly;
1,000 probe texts; the whole GPU, then the GPU held to 24 and 16 GiB; with an empty cache and with
the base cached. Beside it a slice of a pass over MMLU, TruthfulQA, ToxiGen and IFEval through the
same model, extrapolated (`benchmarks.passes`). Without a GPU it writes why nothing was measured.

    python -m benchmarks.gpu [--models NAME ...] [--limits all 24 16] [--skip-pass] [--work DIR]
    python -m benchmarks.gpu --tiny --device cpu     the same code in a minute

Rows of an earlier run on the same kind of GPU stay: models can be measured one at a time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import passes, processes, results, scans, tables
from benchmarks.gpu_summary import STATES, show, summarise
from benchmarks.processes import BenchmarkError
from benchmarks.results import Result, Row
from benchmarks.shapes import SEVEN_BILLION, TINY, Shape

NO_GPU = "torch found no CUDA GPU on the machine"
_TINY_PASS = ("--batch", "2", "--batches", "1", "--answers", "2", "--steps", "2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Hold the options of the command."""

    models: tuple[str, ...]
    limits: tuple[str, ...]
    device: str
    skip_pass: bool
    tiny: bool
    probe: Path | None
    work: Path | None
    results: Path

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Return what is built."""
        chosen = tuple(shape for shape in SEVEN_BILLION if shape.name in self.models)
        return (TINY,) if self.tiny else chosen


def absent(options: Options, reason: str) -> list[Row]:
    """Return a row for each run that there would have been.

    Args:
        options: What was asked for.
        reason: Why it was not measured.
    """
    keys = [
        (s.name, limit, state)
        for s in options.shapes
        for limit in options.limits
        for state in STATES
    ]
    keys += [(shape.name, "all", "pass") for shape in options.shapes if not options.skip_pass]
    return [_row(*key) | {"not_measured": reason} for key in keys]


def _row(model: str, limit: str, state: str) -> Row:
    return {"model": model, "limit": limit, "state": state, "not_measured": None}


def measure(shape: Shape, options: Options, work: Path) -> list[Row]:
    """Make a pair, scan it with each limit, time the pass, delete it.

    Args:
        shape: The architecture.
        options: What was asked for.
        work: An existing folder.
    """
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        models = folder / "models"
        processes.call("checkpoints", str(models), "--shape", shape.name, "--tokenizer")
        size = 256 if options.tiny else None
        floors = scans.floors_of(models / "base", options.device, None, size)
        bounds = floors, scans.start_seconds(folder, None)
        rows: list[Row] = []
        for limit in options.limits:
            rows += _both(shape, options, (folder, limit), bounds)
        if not options.skip_pass:
            rows.append(_pass(shape, options, models / "candidate"))
    return rows


def _both(
    shape: Shape, options: Options, where: tuple[Path, str], bounds: tuple[scans.Floors, float]
) -> list[Row]:
    folder, limit = where
    scan = scans.Scan(
        base=folder / "models" / "base",
        candidate=folder / "models" / "candidate",
        work=folder,
        tier="full",
        device=options.device,
        cache=folder / f"cache-{limit}",
        limit_gib=None if limit == "all" else float(limit),
        more=() if options.probe is None else ("--probe", str(options.probe.resolve())),
    )
    rows = [_row(shape.name, limit, state) | _scan(scan, *bounds) for state in STATES]
    shutil.rmtree(folder / f"cache-{limit}", ignore_errors=True)
    return rows


def _scan(scan: scans.Scan, floors: scans.Floors, start_s: float) -> Row:
    try:
        measured = scans.measure(scan)
    except BenchmarkError as exc:
        return {"not_measured": _told(exc, scan.work)}
    stages = scans.stage_rows(measured, floors, start_s)
    print(f"\n{tables.stage_table(stages)}", flush=True)
    return {
        "seconds": measured.run.seconds,
        "peak_rss_bytes": measured.run.peak_rss_bytes,
        "peak_device_bytes": measured.peak_device_bytes,
        "ran": measured.ran,
        "reason": measured.reason,
        "cuts": list(measured.cuts),
        "reused": list(measured.reused),
        "floors": asdict(floors),
        "stages": stages,
    }


def _told(error: BenchmarkError, folder: Path) -> str:
    # Results are committed: no paths of a machine.
    text = str(error).replace(str(folder), "...").replace(str(processes.REPOSITORY), "...")
    return text.replace(str(Path.home()), "...")[-600:]


def _pass(shape: Shape, options: Options, model: Path) -> Row:
    row = _row(shape.name, "all", "pass")
    arguments = ["--model", str(model), "--device", options.device]
    try:
        printed = processes.call("gpu_pass", *arguments, *(_TINY_PASS if options.tiny else ()))
    except BenchmarkError as exc:
        return row | {"not_measured": _told(exc, model.parents[1])}
    rates = passes.Rates(**json.loads(printed))
    readings = {each.name: passes.extrapolate(rates, each) for each in passes.READINGS}
    return row | {"rates": asdict(rates), "extrapolated_seconds": readings}


def kept(rows: list[Row], gpus: list[Row], earlier: Row | None) -> list[Row]:
    """Return the new rows and those of an earlier run that they do not replace.

    Args:
        rows: The new ones.
        gpus: This machine's.
        earlier: What was written before, if anything was.
    """
    if earlier is None or earlier["not_measured"] or earlier["machine"]["gpus"] != gpus:
        return rows
    new = {(row["model"], row["limit"], row["state"]) for row in rows}
    old = [r for r in earlier["rows"] if (r["model"], r["limit"], r["state"]) not in new]
    return sorted([*old, *rows], key=lambda row: str(row["model"]))


def run(options: Options) -> int:
    """Measure what can be measured, print and write it.

    Args:
        options: What was asked for.
    """
    machine = json.loads(processes.call("machine"))
    reason = NO_GPU if options.device == "cuda" and not machine["gpus"] else None
    if reason is None:
        work = processes.work_folder(options.work)
        rows = [row for shape in options.shapes for row in measure(shape, options, work)]
    else:
        rows = absent(options, reason)
    earlier = results.load("gpu", options.results)
    if reason is not None and earlier is not None and earlier["not_measured"] is None:
        print(f"not measured: {reason}; what was measured elsewhere is kept")
        return 0
    rows = kept(rows, machine["gpus"], earlier)
    gpu = " ".join(str(each["name"]) for each in machine["gpus"])
    lines = summarise(rows, gpu)
    show(lines)
    _write(options, rows, lines, reason)
    return 0


def _write(
    options: Options,
    rows: list[Row],
    lines: list[Row],
    reason: str | None,
) -> None:
    settings = {
        "device": options.device,
        "tier": "full",
        "probe": "shipped, 1,000 texts" if options.probe is None else "another",
        "pass": {
            "readings": [asdict(reading) for reading in passes.READINGS],
            "answers": passes.ANSWERS,
            "lengths_are": "assumed, in tokens",
            "time_is": "of a slice, extrapolated",
        },
    }
    result = Result(
        benchmark="gpu", settings=settings, rows=rows, summary={"scans": lines}, not_measured=reason
    )
    print(f"written: {results.write(result, options.results).name}")


def main(argv: list[str] | None = None) -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [shape.name for shape in SEVEN_BILLION]
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    parser.add_argument(
        "--limits", nargs="+", default=["all", "24", "16"], metavar="GIB", help="all, or GiB"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--skip-pass", action="store_true", help="time no benchmark pass")
    parser.add_argument("--tiny", action="store_true", help="a tiny pair: does all of it work?")
    parser.add_argument("--probe", type=Path, default=None, help="another probe set")
    parser.add_argument("--work", type=Path, default=None, help="default: benchmarks/.work")
    parser.add_argument("--results", type=Path, default=results.FOLDER)
    given = vars(parser.parse_args(argv))
    # A CPU's memory is not held to anything.
    limits = ("all",) if given["device"] == "cpu" else tuple(given["limits"])
    return run(Options(**given | {"models": tuple(given["models"]), "limits": limits}))


if __name__ == "__main__":
    sys.exit(main())
