"""Do units in several processes, of which each may die without taking a result of another along."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from sdi_gate.study.pace import Pace
from sdi_gate.study.units import Done, do_unit, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from sdi_gate.study.units import Effects, Unit, UnitStore, Work

_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Say who works.

    Attributes:
        work: Does a unit.
        prepare: Called once in each process before its first unit.
        count: How many processes.
    """

    work: Work
    prepare: Callable[[], None]
    count: int


def run_in_processes(units: Sequence[Unit], crew: Crew, store: UnitStore, effects: Effects) -> int:
    """Do units in several processes.

    Args:
        units: What is to be done; see `pending`.
        crew: Who does it.
        store: Where results go.
        effects: Progress and clock.

    Returns:
        How many failed. A process that dies fails the unit in its hands; another takes its place.
    """
    pace = Pace(len(units), effects.progress, effects.clock)
    run = _Run(queue=deque(units), crew=crew, store=store, effects=effects, pace=pace)
    try:
        for _ in range(min(crew.count, len(units))):
            run.hire()
        while run.workers:
            for connection in wait([worker.connection for worker in run.workers]):
                run.hear(connection)
    finally:
        run.dismiss()
    return run.failures


@dataclass(slots=True, eq=False)
class _Worker:
    process: SpawnProcess
    connection: Connection[Any, Any]
    unit: Unit
    began: float


@dataclass(slots=True)
class _Run:
    queue: deque[Unit]
    crew: Crew
    store: UnitStore
    effects: Effects
    pace: Pace
    workers: list[_Worker] = field(default_factory=list)
    failures: int = 0

    def hire(self) -> None:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=_serve, args=(theirs, self.crew.work, self.crew.prepare, self.store), daemon=True
        )
        process.start()
        theirs.close()
        unit = self.queue.popleft()
        worker = _Worker(process, ours, unit, self.effects.clock())
        self.workers.append(worker)
        self._hand(worker, unit)

    def hear(self, connection: object) -> None:
        worker = next(w for w in self.workers if w.connection is connection)
        try:
            done = worker.connection.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        self._take(worker.unit, done)
        if self.queue:
            self._hand(worker, self.queue.popleft())
        else:
            self._let_go(worker)

    def dismiss(self) -> None:
        for worker in [*self.workers]:
            worker.process.terminate()
            self._let_go(worker)

    def _hand(self, worker: _Worker, unit: Unit) -> None:
        worker.unit, worker.began = unit, self.effects.clock()
        self.pace.at(unit.step, unit.name)
        try:
            worker.connection.send(unit)
        except OSError:
            # It died at its start; its end of the pipe says so at the next wait.
            return

    def _bury(self, worker: _Worker) -> None:
        worker.process.join()
        reason = f"WorkerDied: the process ended with exit code {worker.process.exitcode}"
        done = self.store.read(worker.unit)
        # It may have died with its result already on the disk.
        if done is None or done.failed:
            done = failure(worker.unit, reason, self.effects.clock() - worker.began)
            self.store.write(worker.unit, done)
        self._take(worker.unit, done)
        self._let_go(worker)
        if self.queue:
            self.hire()

    def _take(self, unit: Unit, done: Done) -> None:
        self.failures += done.failed
        self.pace.ended(unit.step, unit.name)
        self.effects.on_done(unit, done)

    def _let_go(self, worker: _Worker) -> None:
        worker.connection.close()
        worker.process.join()
        self.workers.remove(worker)


def _serve(
    connection: Connection[Any, Any], work: Work, prepare: Callable[[], None], store: UnitStore
) -> None:
    # An interrupt at the terminal reaches every process; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare()
    while True:
        try:
            unit = connection.recv()
        except EOFError:
            return
        done = do_unit(unit, work)
        # Written here: it is on the disk even if nobody waits for it any more.
        store.write(unit, done)
        try:
            connection.send(done)
        except OSError:
            return
