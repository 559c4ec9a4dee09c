"""Measure what each stage of a scan costs."""

from __future__ import annotations

import resource
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdi_gate.gate.result import StageCost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Say what a part of a stage did, so that its time can be held against what bounds it.

    Attributes:
        part: Its name: ``read``, ``spectra``, ``forward``.
        seconds: Time in which it was busy, summed over threads: parts overlap.
        bytes_read: Bytes that came from disk.
        operations: Floating-point operations, counted from shapes.
    """

    part: str
    seconds: float
    bytes_read: int = 0
    operations: float = 0.0


class Stages:
    """Collect the cost of stages.

    Args:
        device: Where the scan computes.
        clock: Monotonic seconds.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float]) -> None:
        self._device = device
        self._clock = clock
        self._costs: list[StageCost] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a block.

        Args:
            name: Name of the stage.

        Yields:
            Nothing; do the stage's work inside.
        """
        gpu = self._device.type == "cuda"
        if gpu:
            torch.cuda.reset_peak_memory_stats(self._device)
        began = self._clock()
        yield
        if gpu:
            torch.cuda.synchronize(self._device)
        self._costs.append(
            StageCost(
                stage=name,
                seconds=self._clock() - began,
                peak_host_bytes=peak_host_bytes(),
                peak_device_bytes=torch.cuda.max_memory_allocated(self._device) if gpu else None,
            )
        )

    def add(self, name: str, parts: Sequence[Work]) -> None:
        """Note what the parts of a finished stage did.

        Args:
            name: Name of the stage.
            parts: Its parts; each becomes a row ``stage/part``, which is no stage of its own.
        """
        self._costs.extend(
            StageCost(
                stage=f"{name}/{work.part}",
                seconds=work.seconds,
                peak_host_bytes=peak_host_bytes(),
                peak_device_bytes=None,
                bytes_read=work.bytes_read,
                operations=work.operations,
            )
            for work in parts
        )

    @property
    def seconds(self) -> float:
        """Return how long the finished stages took, one after the other."""
        return sum(cost.seconds for cost in self._costs if not cost.is_part)

    def seconds_of(self, name: str) -> float | None:
        """Return how long a finished stage took.

        Args:
            name: Its name.

        Returns:
            Seconds; None if there was no such stage.
        """
        return next((cost.seconds for cost in self._costs if cost.stage == name), None)

    @property
    def costs(self) -> tuple[StageCost, ...]:
        """Return what the finished stages cost, in their order."""
        return tuple(self._costs)


def peak_host_bytes() -> int:
    """Return the largest resident memory of this process so far.

    Returns:
        Bytes. Linux counts in KiB, macOS in bytes.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
