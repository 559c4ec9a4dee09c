"""Run the steps of the study: compose manifest, units, work and processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch is imported, as in `scanning`; and the processes of several jobs inherit it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch
from transformers.utils import logging as transformers_logging

from sdi_gate.cli.options import cpu_count
from sdi_gate.cli.output import printable, progress_on_stderr, put, say
from sdi_gate.cli.scanning import choose_device
from sdi_gate.errors import UsageError
from sdi_gate.study.collect import collect
from sdi_gate.study.keys import signal_versions
from sdi_gate.study.manifest import Manifest, Population
from sdi_gate.study.manifest_file import load_manifest, shipped_manifest, with_inputs
from sdi_gate.study.plan import BUILD, EVALUATE, MEASURE, builds, choose, evaluations, plan
from sdi_gate.study.rows import SUFFIX, append_rows, latest, read_rows
from sdi_gate.study.units import Effects, UnitStore, pending, run_units
from sdi_gate.study.work import BuildWork, EvaluateWork, MeasureWork, TaskSource, probe_of, tasks_of
from sdi_gate.study.workers import Crew, run_in_processes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.cli.study import StudyOptions
    from sdi_gate.study.plan import PlannedPair
    from sdi_gate.study.row import Row
    from sdi_gate.study.units import Done, Unit, Work

# Between the lines of a log.
_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Hold a study as a command works on it.

    Attributes:
        options: What was asked for.
        manifest: Its pairs.
        planned: The units of all pairs.
        mine: The pairs of this machine.
        store: The files of the units.
        table: The results table.
    """

    options: StudyOptions
    manifest: Manifest
    planned: tuple[PlannedPair, ...]
    mine: tuple[PlannedPair, ...]
    store: UnitStore
    table: Path


def open_study(options: StudyOptions) -> Study:
    """Read the manifest and plan its work.

    Args:
        options: What was asked for.

    Returns:
        The study.
    """
    manifest = with_inputs(load_manifest(manifest_path(options.manifest)), options.tasks)
    planned = plan(manifest, signal_versions())
    return Study(
        options=options,
        manifest=manifest,
        planned=planned,
        mine=choose(planned, options.only, options.shard),
        store=UnitStore(folder=options.work),
        table=table_path(options.results, manifest),
    )


def manifest_path(given: str) -> Path:
    """Find a manifest.

    Args:
        given: A file, or the name of a manifest that ships with the package.

    Returns:
        The file.
    """
    path, shipped = Path(given), shipped_manifest(given)
    return shipped if not path.exists() and path.name == given and shipped.is_file() else path


def table_path(results: Path, manifest: Manifest) -> Path:
    """Say where the results table of a manifest is.

    Args:
        results: The table, or the folder of tables.
        manifest: The manifest.

    Returns:
        The table.
    """
    return results if results.suffix == SUFFIX else results / f"{manifest.name}{SUFFIX}"


def run_build(options: StudyOptions) -> None:
    """Build the models of this machine's pairs.

    Args:
        options: What was asked for.

    Raises:
        UsageError: If the manifest is of public models.
    """
    study = open_study(options)
    if study.manifest.population is not Population.ORGANISMS:
        msg = f"the manifest {study.manifest.name!r} is of public models, which are not built"
        raise UsageError(msg, hint="start with sdi-gate study measure")
    work = BuildWork(folder=options.work, device=_device(options))
    for units in builds(study.mine):
        _run(study, units, work)
    _finish(study, BUILD, [unit for units in builds(study.mine) for unit in units])


def run_measure(options: StudyOptions) -> None:
    """Scan this machine's pairs.

    Args:
        options: What was asked for.
    """
    study = open_study(options)
    # A probe set that cannot be had is no failure of any pair.
    probe_of(study.manifest)
    work = MeasureWork(manifest=study.manifest, folder=options.work, device=_device(options))
    ready = _built(study, study.mine)
    units = [entry.measure for entry in ready]
    _run(study, units, work)
    _finish(study, MEASURE, units)


def run_evaluate(options: StudyOptions, benchmarks: Path | None) -> None:
    """Run the tests on the models of this machine's pairs.

    Args:
        options: What was asked for.
        benchmarks: Files of the public benchmarks, in place of the Hub's.
    """
    from sdi_gate.study.evaluation.harness import require_harness  # noqa: PLC0415 - an extra

    require_harness()
    study = open_study(options)
    tests = TaskSource(items=options.tasks, benchmarks=benchmarks)
    # Tests that cannot be had are no failure of any model.
    tasks_of(study.manifest.population, tests)
    work = EvaluateWork(
        manifest=study.manifest, folder=options.work, tests=tests, device=_device(options)
    )
    units = evaluations(study.planned, _built(study, study.mine))
    _run(study, units, work)
    _finish(study, EVALUATE, units)


def run_collect(options: StudyOptions) -> None:
    """Write the rows of all pairs whose work has ended.

    Args:
        options: What was asked for.
    """
    study = open_study(options)
    count = append_rows(study.table, collect(study.manifest, study.planned, study.store))
    put(f"{count} rows added to {printable(str(study.table))}\n{_summary(study)}")


def rows_of(study: Study) -> tuple[Row, ...]:
    """Read the rows of a study as its manifest is now.

    Args:
        study: The study.

    Returns:
        At most one row for each pair, in the order of the manifest.
    """
    collected = collect(study.manifest, study.planned, study.store)
    if collected:
        append_rows(study.table, collected)
    return latest(read_rows(study.table, say), study.manifest, signal_versions())


def prepare_process(threads: int) -> None:
    """Settle what a process that works relies on.

    Args:
        threads: CPU threads.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=torch.cuda.is_available(), warn_only=True)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _device(options: StudyOptions) -> str:
    return choose_device(options.device).type


def _built(study: Study, planned: Sequence[PlannedPair]) -> list[PlannedPair]:
    # What could not be built has failed already; what was not built yet has to wait.
    found, waiting = [], 0
    for entry in planned:
        done = study.store.read(entry.build) if entry.build is not None else None
        if entry.build is None or (done is not None and not done.failed):
            found.append(entry)
        waiting += entry.build is not None and done is None
    if waiting:
        say(f"{waiting} pairs are not built yet and were left out; run sdi-gate study build")
    return found


def _run(study: Study, units: Sequence[Unit], work: Work) -> None:
    options = study.options
    todo = pending(study.store, units, retry_failed=options.retry_failed)
    by_key: dict[str, list[PlannedPair]] = {}
    for entry in study.planned:
        for unit in entry.units:
            by_key.setdefault(unit.key, []).append(entry)

    def write_rows(unit: Unit, _done: Done) -> None:
        rows = collect(study.manifest, by_key[unit.key], study.store)
        if rows:
            append_rows(study.table, rows)

    with progress_on_stderr(_EVERY_S) as progress:
        effects = Effects(progress=progress, on_done=write_rows)
        if options.jobs > 1 and len(todo) > 1:
            prepare = partial(prepare_process, options.threads or 1)
            crew = Crew(work=work, prepare=prepare, count=options.jobs)
            run_in_processes(todo, crew, study.store, effects)
        elif todo:
            prepare_process(options.threads or cpu_count())
            run_units(todo, work, study.store, effects)


def _finish(study: Study, step: str, units: Sequence[Unit]) -> None:
    done = [study.store.read(unit) for unit in units]
    failed = [entry for entry in done if entry is not None and entry.failed]
    for entry in failed:
        say(f"{step} failed: {entry.name}: {entry.reason}")
    whole = sum(entry is not None and not entry.failed for entry in done)
    put(f"{step}: {whole} done, {len(failed)} failed\n{_summary(study)}")


def _summary(study: Study) -> str:
    if not study.table.exists():
        return ""
    rows = latest(read_rows(study.table, say), study.manifest, signal_versions())
    whole = sum(row.is_complete for row in rows)
    failed = len(rows) - whole
    total = len(study.planned)
    where = printable(str(study.table))
    return f"{where}: {whole} of {total} pairs complete, {failed} failed\n"
