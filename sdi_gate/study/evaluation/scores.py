"""Hold what an evaluation asks of a model, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lm_eval.api.group import Group
    from lm_eval.api.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisTask:
    """Hold the harness tasks that measure one axis.

    Attributes:
        axis: Name of the axis.
        result: Under which name the harness reports the axis: a task's, or a group's.
        metric: Which of its metrics is the axis's score; higher is better, 0 to 1.
        tasks: The harness's task objects by name.
        groups: The harness's groups by name, if the axis is one.
        note: What is left out of the benchmark, and why; empty if nothing is.
    """

    axis: str
    result: str
    metric: str
    tasks: Mapping[str, Task]
    groups: Mapping[str, Group]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisScore:
    """Hold a model's score on one axis.

    Attributes:
        value: Mean over the items, 0 to 1, higher is better.
        stderr: Standard error of the mean, as the harness gives it, in closed form.
        n: Number of items.
        items: Score of every item, in the order of the items. Two models' scores on the same
            items have a paired difference whose standard error is smaller than that of two
            independent means.
    """

    value: float
    stderr: float
    n: int
    items: tuple[float, ...]
