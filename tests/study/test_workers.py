import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from study_manifests import VERSIONS
from unit_works import QUIET, SlowWork, crew, settled, study

from sdi_gate.progress import NullProgress
from sdi_gate.study.collect import collect
from sdi_gate.study.keys import row_key
from sdi_gate.study.rows import append_rows, read_rows
from sdi_gate.study.units import Done, Effects, Unit, UnitStore, pending
from sdi_gate.study.workers import run_in_processes

HERE = Path(__file__).parent


def units_named(*names):
    return [Unit(step="measure", name=name, key=f"{i:016x}") for i, name in enumerate(names)]


def test_several_processes_do_each_unit_once_and_a_failure_stops_none(tmp_path):
    store, units = UnitStore(folder=tmp_path), units_named("a", "fails", "c", "d", "e")
    told = []
    effects = Effects(progress=NullProgress(), on_done=lambda unit, _done: told.append(unit.name))
    assert run_in_processes(units, crew(SlowWork(0.3)), store, effects) == 1
    found = [store.read(unit) for unit in units]
    assert [done.status for done in found] == ["done", "failed", "done", "done", "done"]
    assert len({done.payload["process"] for done in found if not done.failed} - {os.getpid()}) == 2
    assert sorted(told) == sorted(unit.name for unit in units)
    assert pending(store, units) == []


def test_a_process_that_dies_fails_its_unit_alone(tmp_path):
    store, units = UnitStore(folder=tmp_path), units_named("dies", "b", "dies", "d")
    assert run_in_processes(units, crew(SlowWork(), count=1), store, QUIET) == 2
    found = [store.read(unit) for unit in units]
    assert [done.status for done in found] == ["failed", "done", "failed", "done"]
    assert found[0].reason == "WorkerDied: the process ended with exit code 7"


def test_each_process_is_prepared_before_its_first_unit(tmp_path):
    store, units = UnitStore(folder=tmp_path), units_named("a", "b")
    run_in_processes(units, crew(settled), store, QUIET)
    assert [store.read(unit).payload for unit in units] == [{"settled": "1"}] * 2


def test_processes_end_when_the_one_that_hired_them_is_interrupted(tmp_path):
    def interrupt(_unit, _done):
        raise KeyboardInterrupt

    store, units = UnitStore(folder=tmp_path), units_named(*"abcdef")
    effects = Effects(progress=NullProgress(), on_done=interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_in_processes(units, crew(SlowWork(0.05)), store, effects)
    before = len(pending(store, units))
    time.sleep(0.3)
    assert 0 < len(pending(store, units)) == before < len(units)


def program(folder):
    path = os.pathsep.join(str(part) for part in (HERE, HERE.parent))
    return subprocess.Popen(  # noqa: S603 - the arguments are ours
        [sys.executable, HERE / "unit_works.py", folder],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def whole_files(folder):
    """Return the units that are there, each of which can be read."""
    files = sorted((folder / "units").glob("*/[!.]*.json"))
    return {Done.model_validate_json(file.read_bytes()).key for file in files}


def test_a_study_that_is_killed_again_and_again_ends_with_whole_rows(tmp_path):
    manifest, entries, units = study()
    table = tmp_path / "trial.jsonl"
    written = b""
    before: set[str] = set()
    for kill_after in (1, 5, 12, 20, None):
        process = program(tmp_path)
        left = int(process.stdout.readline())
        # One who worked for the program that was killed may have ended his unit since.
        assert left <= len(units) - len(before)
        while kill_after is not None and len(whole_files(tmp_path)) < kill_after:
            time.sleep(0.005)
        if kill_after is not None:
            process.kill()
        process.wait(timeout=60)
        process.stdout.close()
        # Those who worked for it finish what they have in hand, and go.
        time.sleep(0.5)
        there = whole_files(tmp_path)
        assert before < there
        before = there
        append_rows(table, collect(manifest, entries, UnitStore(folder=tmp_path)))
        assert table.read_bytes().startswith(written) if table.exists() else not written
        written = table.read_bytes() if table.exists() else b""
    assert process.returncode == 0
    rows = read_rows(table)
    assert [row.key for row in sorted(rows, key=lambda row: int(row.pair.split("/v")[1]))] == [
        row_key(manifest, pair, VERSIONS) for pair in manifest.pairs
    ]
    assert all(row.is_complete for row in rows)
