"""Jobs at once: order, memory in flight, errors, endings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdi_gate.gate.pipeline import Crew, Job, in_order, run_jobs

PLENTY = 1 << 40


def job(value, *, held=1, work=1, operations=1.0, read=None, compute=None):
    return Job(
        held_bytes=held,
        work_bytes=work,
        operations=operations,
        read=read or (lambda: value),
        compute=compute or (lambda found: 10 * found),
    )


def crew(workers=2, memory=PLENTY):
    return Crew(workers=workers, memory_bytes=memory)


def failing(message):
    def fail(*_):
        raise ValueError(message)

    return fail


@given(costs=st.lists(st.integers(0, 5), max_size=20), workers=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_results_are_in_the_order_of_the_jobs_whatever_they_cost(costs, workers):
    jobs = [job(number, operations=float(cost)) for number, cost in enumerate(costs)]
    assert run_jobs(jobs, crew(workers)).results == tuple(10 * n for n in range(len(costs)))


def test_the_costliest_begin_first_and_equal_ones_in_their_order():
    jobs = [job(0, operations=cost) for cost in (1.0, 3.0, 1.0, 3.0)]
    assert in_order(jobs) == (1, 3, 0, 2)


def test_every_number_of_finished_jobs_is_told_once_in_the_calling_thread():
    told, threads = [], set()

    def tell(done):
        told.append(done)
        threads.add(threading.current_thread())

    run_jobs([job(n) for n in range(7)], crew(3), tell)
    assert told == [*range(8)]
    assert threads == {threading.current_thread()}


def test_no_jobs_are_done_at_once():
    told = []
    assert run_jobs([], crew(), told.append).results == ()
    assert told == [0]


def test_one_thread_reads_and_others_compute_each_on_one_thread_of_torch():
    readers, workers, counts = set(), set(), set()

    def read():
        readers.add(threading.current_thread().name)

    def compute(_):
        workers.add(threading.current_thread().name)
        counts.add(torch.get_num_threads())

    before = torch.get_num_threads()
    run_jobs([job(0, read=read, compute=compute) for _ in range(9)], crew(3))
    assert readers == {"reader"}
    assert workers <= {"worker-0", "worker-1", "worker-2"}
    assert counts == {1}
    assert torch.get_num_threads() == before


def test_threads_that_begin_later_have_the_former_number_of_torch_threads():
    before, found = torch.get_num_threads(), []
    try:
        torch.set_num_threads(2)
        run_jobs([job(0)], crew())
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(before)
    assert found == [2]


class Meter:
    """Sum up what jobs hold, from their reading to their end, and what they work with."""

    def __init__(self):
        self.lock, self.now, self.peak, self.computing, self.most = threading.Lock(), 0, 0, 0, 0

    def job(self, held, work):
        return job(
            0, held=held, work=work, read=lambda: self.add(held), compute=self.compute(held, work)
        )

    def add(self, size):
        with self.lock:
            self.now += size
            self.peak = max(self.peak, self.now)

    def compute(self, held, work):
        def run(_):
            self.add(work)
            with self.lock:
                self.computing += 1
                self.most = max(self.most, self.computing)
            time.sleep(0.002)
            with self.lock:
                self.computing -= 1
            self.add(-held - work)

        return run


@given(
    sizes=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=12),
    workers=st.integers(1, 3),
    memory=st.integers(0, 150),
)
@settings(max_examples=40, deadline=None)
def test_memory_in_flight_is_bounded_but_for_a_job_alone(sizes, workers, memory):
    meter = Meter()
    run_jobs([meter.job(held, work) for held, work in sizes], crew(workers, memory))
    assert meter.peak <= max(memory, *(held + work for held, work in sizes))
    assert meter.most <= workers


def test_jobs_that_fit_run_side_by_side():
    both = threading.Barrier(2, timeout=30)
    jobs = [job(0, held=1, work=4, compute=lambda _: both.wait()) for _ in range(2)]
    assert {*run_jobs(jobs, crew(2, 10)).results} == {0, 1}


def test_the_next_job_is_read_while_a_worker_is_busy():
    read = threading.Event()
    first = job(0, operations=2.0, compute=lambda _: read.wait(30))
    second = job(0, read=read.set, compute=lambda _: "done")
    assert run_jobs([first, second], crew(1)).results == (True, "done")


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("where", ["read", "compute"])
def test_the_error_of_the_first_job_is_raised_though_later_ones_fail_before_it(workers, where):
    jobs = [job(n, operations=float(n)) for n in range(8)]
    for number in (2, 5, 7):
        jobs[number] = job(number, operations=float(number), **{where: failing(f"job {number}")})
    with pytest.raises(ValueError, match=r"^job 2$"):
        run_jobs(jobs, crew(workers))


def test_jobs_behind_a_failed_one_are_not_begun():
    begun = []
    jobs = [job(0, operations=9.0, read=failing("no"))]
    jobs += [job(n, read=lambda n=n: begun.append(n)) for n in range(5)]
    with pytest.raises(ValueError, match=r"^no$"):
        run_jobs(jobs, crew(1))
    assert begun == []


def test_a_library_that_ends_its_thread_ends_the_run():
    def leave(_):
        raise SystemExit(3)

    with pytest.raises(SystemExit, match=r"^3$"):
        run_jobs([job(0, compute=leave)], crew())


def test_no_thread_is_left_when_the_caller_is_interrupted_and_nothing_more_is_read():
    begun = []

    def interrupt(done):
        if done == 1:
            raise KeyboardInterrupt

    jobs = [job(n, read=lambda n=n: begun.append(n), compute=lambda _: None) for n in range(999)]
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run_jobs(jobs, crew(1), interrupt)
    assert len(begun) < 999
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"reader", "worker-0"}


def test_values_are_free_before_the_next_job_is_let_in():
    alive, peaks = [], []

    class Value:
        def __init__(self):
            alive.append(1)
            peaks.append(len(alive))

        def __del__(self):
            alive.pop()

    jobs = [job(0, held=10, work=0, read=Value, compute=lambda _: None) for _ in range(6)]
    run_jobs(jobs, crew(2, 10))
    assert max(peaks) == 1


def test_seconds_are_of_the_busy_threads_alone():
    outcome = run_jobs([job(0, compute=lambda _: time.sleep(0.01)) for _ in range(4)], crew(2))
    assert outcome.compute_s >= 4 * 0.01
    assert outcome.read_s >= 0.0


STUCK = """
import signal, sys, time
# A process that was started in the background ignores SIGINT, and so would its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:] = {paths!r}
from sdi_gate.gate.pipeline import Crew, Job, run_jobs
def compute(_):
    print("at work", flush=True)
    while True:
        time.sleep(0.05)
jobs = [Job(held_bytes=1, work_bytes=1, operations=1.0, read=lambda: 0, compute=compute)] * 3
try:
    run_jobs(jobs, Crew(workers=2, memory_bytes=100))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_ends_a_process_whose_workers_never_end():
    program = STUCK.format(paths=sys.path)
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert errors == ""


def test_a_run_is_the_same_for_any_number_of_workers():
    matrices = [torch.randn(40, 30, generator=torch.Generator().manual_seed(n)) for n in range(6)]
    runs = [
        run_jobs([job(W, compute=torch.linalg.svdvals) for W in matrices], crew(workers)).results
        for workers in (1, 2, 4)
    ]
    for ours, theirs in pairwise(runs):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
