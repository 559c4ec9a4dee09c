"""Out of memory: caught once for each smaller plan, then reported; nothing else is caught."""

from __future__ import annotations

import weakref

import pytest
import torch

from sdi_gate.gate.memory import ShortOfMemory, with_less_memory
from sdi_gate.gate.request import Settings
from sdi_gate.models.out_of_memory import is_out_of_memory

LARGE, SMALL = Settings(batch_size=16), Settings(batch_size=4)


def fails_above(batch_size, error):
    def run(settings):
        if settings.batch_size > batch_size:
            raise error
        return settings.batch_size

    return run


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
    ],
    ids=["device", "python", "host", "library"],
)
def test_a_step_without_memory_is_run_again_by_the_smaller_plan(error):
    assert is_out_of_memory(error)
    assert with_less_memory("probe", fails_above(4, error), (LARGE, SMALL)) == (4, SMALL)


def test_a_step_with_memory_runs_once_and_by_the_first_plan():
    assert with_less_memory("probe", fails_above(16, MemoryError()), (LARGE, SMALL)) == (16, LARGE)


def test_a_step_without_memory_at_every_plan_says_so():
    with pytest.raises(ShortOfMemory, match="probe ran out of memory even with a smaller plan"):
        with_less_memory("probe", fails_above(0, MemoryError()), (LARGE, SMALL))
    with pytest.raises(ShortOfMemory, match=r"^load ran out of memory$"):
        with_less_memory("load", fails_above(0, MemoryError()), (LARGE,))


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("no"), KeyError("x")])
def test_no_other_error_is_caught(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)):
        with_less_memory("probe", fails_above(0, error), (LARGE, SMALL))


class _Big:
    """Stands for a large allocation."""


def test_what_the_failed_attempt_held_is_free_when_the_next_one_begins():
    held = []

    def run(settings):
        big = _Big()
        big.itself = big  # a cycle, as hooks and graphs make
        held.append(weakref.ref(big))
        if settings is LARGE:
            raise torch.OutOfMemoryError
        return held[0]() is None

    assert with_less_memory("probe", run, (LARGE, SMALL)) == (True, SMALL)
