"""Say what a job of tier weights takes of memory and time, before it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sdi_gate.gate.pipeline import Crew
from sdi_gate.gate.tier import available_memory_bytes
from sdi_gate.models.header import BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.gate.pipeline import Job
    from sdi_gate.models.tensors import TensorInfo

_CHUNK_ELEMENTS, _CHUNKS, _SQUARES = 1 << 21, 3, 8
_LEAST_BYTES = 1 << 23
# A matrix of a small model: so much for each thread, and none of them waits for long.
_WORKER_BYTES = 168 << 20


def crew_for(jobs: Sequence[Job[Any, Any]], device: torch.device) -> Crew:
    """Say how many jobs run at once, and in how much memory.

    So much that every thread has one of those jobs in which most of the time goes, and with two
    threads at least what the largest job takes alone, with more of them in proportion; up to half
    of the memory that is free. A GPU has one worker, and the next job is read meanwhile.

    Args:
        jobs: The jobs.
        device: Where to compute.

    Returns:
        The crew: a worker for each of torch's threads.
    """
    workers = torch.get_num_threads() if device.type == "cpu" else 1
    largest = max((job.size_bytes for job in jobs), default=0)
    wanted = workers * max(largest // 2, _typical_bytes(jobs))
    share = min(wanted, available_memory_bytes() // 2)
    return Crew(workers=workers, memory_bytes=max(largest, workers * _WORKER_BYTES, share))


def _typical_bytes(jobs: Sequence[Job[Any, Any]]) -> int:
    # Half of all operations are in jobs that take no more.
    by_size = sorted(jobs, key=lambda job: job.size_bytes)
    left = sum(job.operations for job in jobs) / 2
    for job in by_size:
        left -= job.operations
        if left <= 0:
            return job.size_bytes
    return 0


def held_bytes(tensors: Sequence[TensorInfo]) -> int:
    """Say how much memory tensors take that are read and compared with each other.

    Args:
        tensors: The tensors.

    Returns:
        Bytes of all of them in their storage types, and of a copy of one where the types differ.
    """
    stored = [BITS.get(info.dtype, 64) * info.numel // 8 for info in tensors]
    return sum(stored) + (min(stored) if len({info.dtype for info in tensors}) > 1 else 0)


def work_bytes(info: TensorInfo, top_k: int) -> int:
    """Estimate the memory that the comparison of a tensor takes beside the tensors.

    Three chunks in float64, of which the next are made while the last are alive, and for the
    spectra of an ``[m, n]`` matrix eight float64 matrices of order ``min(m, n)`` and four
    ``[max(m, n), top_k]``.

    Args:
        info: The tensor.
        top_k: Upper bound for the dimension of the subspaces.

    Returns:
        Bytes.
    """
    short, long, _ = _matrices_of(info)
    chunks = _CHUNKS * min(short * long, 2 * _CHUNK_ELEMENTS)
    return max(_LEAST_BYTES, 8 * (chunks + _SQUARES * short**2 + 4 * long * top_k))


def operations_of(info: TensorInfo) -> float:
    """Count the floating-point operations in which a tensor's matrices are compared with others.

    Args:
        info: The tensor.

    Returns:
        The operations; the number of elements where there are no matrices.
    """
    # Half of each of three Gram matrices, and their eigenvalues.
    short, long, count = _matrices_of(info)
    return float(count * (3 * long * short**2 + 4 * short**3)) or float(info.numel)


def _matrices_of(info: TensorInfo) -> tuple[int, int, int]:
    if len(info.shape) < 2 or not info.numel:
        return 0, 0, 0
    short, long = sorted(info.shape[-2:])
    return short, long, info.numel // (short * long)
