"""Measure in about a second how fast this machine is at what a scan does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Sides of the matrices: large enough for a fair rate, small enough for a slow processor.
_SIDE = 512
_GPU_SIDE = 2048
_EIGEN_SIDE = 512
# A measurement ends after so many seconds or runs, whichever is first.
_SECONDS = 0.15
_MOST_RUNS = 64
_READ_BYTES = 1 << 27
_BLOCK_BYTES = 1 << 23
# Where there is no file to read: a slow disk.
_ASSUMED_READING = 2e8
_SHORTEST_S = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Say how fast a machine is.

    Attributes:
        products: Operations a second in products of matrices, in the type that the models run in.
        exact_products: The same in float64.
        eigenvalues: Operations a second in eigenvalues of symmetric matrices, in float64, where
            a matrix of side p is counted as 4/3 p^3.
        reading: Bytes a second from the files of weights.
    """

    products: float
    exact_products: float
    eigenvalues: float
    reading: float


def measure_rates(
    device: torch.device, dtype: torch.dtype, file: Path | None, clock: Callable[[], float]
) -> Rates:
    """Measure how fast this machine is.

    Args:
        device: Where the scan computes.
        dtype: Type in which the models run.
        file: A file of weights; None for an assumed rate of reading.
        clock: Monotonic seconds.

    Returns:
        The rates. They differ from run to run: what depends on them must say so.
    """
    return Rates(
        products=_products(device, dtype, clock),
        exact_products=_products(device, torch.float64, clock),
        eigenvalues=_eigenvalues(device, clock),
        reading=_reading(file, clock),
    )


def _products(device: torch.device, dtype: torch.dtype, clock: Callable[[], float]) -> float:
    side = _GPU_SIDE if device.type == "cuda" else _SIDE
    matrix = torch.ones(side, side, dtype=dtype, device=device)
    return 2.0 * side**3 / _seconds_of(lambda: torch.mm(matrix, matrix), device, clock)


def _eigenvalues(device: torch.device, clock: Callable[[], float]) -> float:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(_EIGEN_SIDE, _EIGEN_SIDE, generator=generator, dtype=torch.float64)
    symmetric = (matrix + matrix.mT).to(device)
    seconds = _seconds_of(lambda: torch.linalg.eigvalsh(symmetric), device, clock)
    return 4.0 / 3.0 * _EIGEN_SIDE**3 / seconds


def _seconds_of(
    work: Callable[[], object], device: torch.device, clock: Callable[[], float]
) -> float:
    def settled() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock()

    work()  # The first run loads what the others find loaded.
    began = ended = settled()
    runs = 0
    while runs < _MOST_RUNS and ended - began < _SECONDS:
        work()
        runs += 1
        ended = settled()
    return max(_SHORTEST_S, ended - began) / max(1, runs)


def _reading(file: Path | None, clock: Callable[[], float]) -> float:
    if file is None:
        return _ASSUMED_READING
    buffer = bytearray(_BLOCK_BYTES)
    done = 0
    began = clock()
    try:
        with file.open("rb", buffering=0) as stream:
            while done < _READ_BYTES and (count := stream.readinto(buffer)):
                done += count
    except OSError:  # Who reads it next says so, and better.
        return _ASSUMED_READING
    if done < _BLOCK_BYTES:
        return _ASSUMED_READING
    return done / max(_SHORTEST_S, clock() - began)
