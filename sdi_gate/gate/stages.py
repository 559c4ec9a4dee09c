"""Measure what each stage of a scan costs."""

from __future__ import annotations

import resource
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from sdi_gate.gate.result import StageCost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
