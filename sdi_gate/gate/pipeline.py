"""Do many independent jobs at once: one thread reads, others compute, memory in flight is bounded.

Readers need not be safe in several threads, so there is one of them. Each job is computed on one
torch thread, so that its numbers are the same however many jobs run beside it. Progress is told,
and errors are raised, in the thread that called.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_R = TypeVar("_R")
_T = TypeVar("_T")
# How long an ending waits for kernels that cannot be interrupted, before it leaves them behind.
_PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Generic[_R, _T]):
    """Describe one job.

    Attributes:
        held_bytes: Memory that it takes from the beginning of its reading to its end.
        work_bytes: Memory that it takes beside that while it is computed.
        operations: What it costs to compute; the costliest jobs begin first.
        read: Reads what it needs; called in the one thread that reads.
        compute: Computes its result; called in one of several threads.
    """

    held_bytes: int
    work_bytes: int
    operations: float
    read: Callable[[], _R]
    compute: Callable[[_R], _T]

    @property
    def size_bytes(self) -> int:
        """Return the memory that it takes alone."""
        return self.held_bytes + self.work_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Say how much is done at once.

    Attributes:
        workers: Threads that compute; at least 1.
        memory_bytes: What all jobs in flight may take. One alone runs whatever it takes.
    """

    workers: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[_T]):
    """Hold what came of the jobs.

    Attributes:
        results: One for each job, in the order in which the jobs were given.
        read_s: Seconds in which the reader was busy.
        compute_s: Seconds in which workers were busy, summed over them.
    """

    results: tuple[_T, ...]
    read_s: float
    compute_s: float


def in_order(jobs: Sequence[Job[_R, _T]]) -> tuple[int, ...]:
    """Return the numbers of the jobs in the order in which they begin.

    Args:
        jobs: The jobs.

    Returns:
        Costliest first, so that none of those is left for the end; equal ones as they were given.
    """
    return tuple(sorted(range(len(jobs)), key=lambda number: -jobs[number].operations))


def run_jobs(
    jobs: Sequence[Job[_R, _T]], crew: Crew, on_done: Callable[[int], None] = lambda _: None
) -> Outcome[_T]:
    """Do jobs, several at once.

    Args:
        jobs: The jobs.
        crew: How much is done at once.
        on_done: Told how many jobs are done, from 0 up to all of them, each number once.

    Returns:
        The results.

    Raises:
        BaseException: What a job raised; of several that fail, the one that was given first. An
            interrupt of the calling thread ends the jobs: kernels that are at work are waited for
            for two seconds, and then left behind.
    """  # noqa: DOC502 - raised by the jobs
    run: _Run[_R, _T] = _Run(jobs=jobs, crew=crew, waiting=deque(in_order(jobs)))
    threads_before = torch.get_num_threads()
    # Daemons: the process must be able to end while one of them is in a kernel of a minute.
    threads = [Thread(target=run.read, name="reader", daemon=True)]
    threads += [
        Thread(target=run.compute, name=f"worker-{number}", daemon=True)
        for number in range(min(crew.workers, len(jobs)))
    ]
    try:
        for thread in threads:
            thread.start()
        run.watch(on_done)
    finally:
        run.stop()
        _join(threads)
        # torch hands the last setting of any thread on to threads that begin later.
        torch.set_num_threads(threads_before)
    if run.errors:
        raise run.errors[min(run.errors)]
    return Outcome(
        results=tuple(run.results[number] for number in range(len(jobs))),
        read_s=run.read_s,
        compute_s=run.compute_s,
    )


def _join(threads: Sequence[Thread]) -> None:
    until = time.monotonic() + _PATIENCE_S
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, until - time.monotonic()))


@dataclass(slots=True, kw_only=True)
class _Run(Generic[_R, _T]):
    """Hold the state that the threads share; everything in it is under its lock."""

    jobs: Sequence[Job[_R, _T]]
    crew: Crew
    waiting: deque[int]
    read_ahead: deque[tuple[int, _R]] = field(default_factory=deque)
    in_flight: set[int] = field(default_factory=set)
    results: dict[int, _T] = field(default_factory=dict)
    errors: dict[int, BaseException] = field(default_factory=dict)
    read_s: float = 0.0
    compute_s: float = 0.0
    stopped: bool = False
    changed: Condition = field(default_factory=Condition)

    # In the calling thread.

    def watch(self, on_done: Callable[[int], None]) -> None:
        told = -1
        while told < len(self.jobs):
            done, over = self._more_than(told)
            for number in range(told + 1, done + 1):
                on_done(number)
            told = done
            if over:
                return

    def _more_than(self, told: int) -> tuple[int, bool]:
        with self.changed:
            self.changed.wait_for(lambda: self.is_over or len(self.results) > told)
            return len(self.results), self.is_over

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    # In the threads.

    def read(self) -> None:
        torch.set_num_threads(1)
        while (number := self._next_to_read()) is not None:
            began = time.monotonic()
            try:
                value = self.jobs[number].read()
            except BaseException as exc:  # noqa: BLE001 - raised again in the calling thread
                self._fail(number, exc)
                continue
            with self.changed:
                self.read_s += time.monotonic() - began
                self.read_ahead.append((number, value))
                self.changed.notify_all()
            del value  # or this frame would hold it until the next one is read

    def compute(self) -> None:
        torch.set_num_threads(1)
        while (found := self._next_to_compute()) is not None:
            number, value = found
            began = time.monotonic()
            try:
                result = self.jobs[number].compute(value)
            except BaseException as exc:  # noqa: BLE001 - raised again in the calling thread
                self._fail(number, exc)
                continue
            finally:
                del found, value  # free before the next job is let in
            with self.changed:
                self.compute_s += time.monotonic() - began
                self.results[number] = result
                self.in_flight.remove(number)
                self.changed.notify_all()

    def _next_to_read(self) -> int | None:
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or not self.waiting or self._has_room())
            if self.stopped or not self.waiting:
                return None
            number = self.waiting.popleft()
            self.in_flight.add(number)
            return number

    def _next_to_compute(self) -> tuple[int, _R] | None:
        with self.changed:
            self.changed.wait_for(lambda: self.is_over or bool(self.read_ahead))
            return None if self.is_over else self.read_ahead.popleft()

    def _has_room(self) -> bool:
        # One job is read while the workers have theirs.
        if len(self.in_flight) > self.crew.workers:
            return False
        jobs = [self.jobs[number] for number in (*self.in_flight, self.waiting[0])]
        held = sum(job.held_bytes for job in jobs)
        work = sorted((job.work_bytes for job in jobs), reverse=True)[: self.crew.workers]
        return not self.in_flight or held + sum(work) <= self.crew.memory_bytes

    def _fail(self, number: int, exc: BaseException) -> None:
        with self.changed:
            self.errors[number] = exc
            self.in_flight.remove(number)
            # Those before it may fail as well, and then theirs is the error that is raised.
            first = min(self.errors)
            self.waiting = deque(other for other in self.waiting if other < first)
            self.in_flight -= {other for other, _ in self.read_ahead if other >= first}
            self.read_ahead = deque(job for job in self.read_ahead if job[0] < first)
            self.changed.notify_all()

    @property
    def is_over(self) -> bool:
        return self.stopped or not (self.waiting or self.in_flight)
