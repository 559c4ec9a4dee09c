"""Say how much a candidate lost, and whether that is a high regression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.errors import UsageError

if TYPE_CHECKING:
    from sdi_gate.study.row import Row

AXIS_BOUND = 0.10
MEAN_BOUND = 0.05
STANDARD_ERRORS = 2.0
DEFINITION = (
    "Degradation is the mean over the axes of max(0, base - candidate). It is a high regression if "
    f"one axis falls by more than {AXIS_BOUND:.2f} or degradation is above {MEAN_BOUND:.2f}, and "
    f"by more than {STANDARD_ERRORS:.0f} standard errors."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Say how much a candidate lost on one axis.

    Attributes:
        axis: The capability.
        value: Base minus candidate: above 0 is a loss.
        stderr: Standard error of the difference.
    """

    axis: str
    value: float
    stderr: float

    @property
    def loss(self) -> float:
        """Return the degradation of this axis: the positive part."""
        return max(0.0, self.value)

    @property
    def is_high(self) -> bool:
        """Return whether this axis alone makes a high regression."""
        return self.value > AXIS_BOUND and self.value > STANDARD_ERRORS * self.stderr


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """Say how much a candidate lost over all axes.

    Attributes:
        drops: The loss on each axis, by name.
    """

    drops: tuple[Drop, ...]

    @property
    def value(self) -> float:
        """Return the mean over the axes of the positive parts."""
        return math.fsum(drop.loss for drop in self.drops) / len(self.drops)

    @property
    def stderr(self) -> float:
        """Return the standard error of the mean, over all axes whether they fell or not."""
        return math.sqrt(math.fsum(drop.stderr**2 for drop in self.drops)) / len(self.drops)

    @property
    def is_high(self) -> bool:
        """Return whether this is a high regression; the bounds were set before the study."""
        by_mean = self.value > MEAN_BOUND and self.value > STANDARD_ERRORS * self.stderr
        return by_mean or any(drop.is_high for drop in self.drops)


def degradation_of(row: Row) -> Degradation:
    """Return how much the candidate of a row lost.

    Args:
        row: A complete row.

    Returns:
        Its degradation.

    Raises:
        UsageError: If the row has no benchmarks.
    """
    if not row.benchmarks:
        msg = f"{row.pair}: a complete row has benchmarks of both models; got none"
        raise UsageError(msg, hint="evaluate both models, or mark the row as failed")
    return Degradation(
        drops=tuple(
            Drop(
                axis=axis,
                value=scores.base - scores.candidate,
                stderr=math.hypot(scores.base_stderr, scores.candidate_stderr),
            )
            for axis, scores in sorted(row.benchmarks.items())
        )
    )
