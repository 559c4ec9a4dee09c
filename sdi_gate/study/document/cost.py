"""Say what the study cost, as the rows recorded it."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.report.numbers import duration
from sdi_gate.study.document.parts import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.study.row import Row

_STEPS = {
    "build_s": "build",
    "measure_s": "measure (the scan)",
    "evaluate_s": "evaluate (both models)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CostView:
    """Hold what the study cost.

    Attributes:
        steps: Seconds of each step.
        versions: What it ran on.
    """

    steps: Table
    versions: Table


def cost(rows: Sequence[Row]) -> CostView:
    """Add up what rows cost.

    Args:
        rows: The rows.

    Returns:
        The tables; a step that was not recorded is not in them.
    """
    steps = []
    for name, told in _STEPS.items():
        found = [getattr(row.cost, name) for row in rows]
        known = [value for value in found if value is not None]
        if known:
            steps.append(
                (
                    told,
                    f"{len(known)} of {len(rows)}",
                    duration(statistics.median(known)),
                    duration(math.fsum(known)),
                )
            )
    return CostView(
        steps=Table(head=("Step", "Rows that say", ">Median", ">Sum"), rows=tuple(steps)),
        versions=_versions(rows),
    )


def _versions(rows: Sequence[Row]) -> Table:
    found: dict[str, set[str]] = {}
    for row in rows:
        for name, version in row.versions.items():
            found.setdefault(name, set()).add(version)
    return Table(
        head=("Library", "Version"),
        rows=tuple((name, ", ".join(sorted(versions))) for name, versions in sorted(found.items())),
    )
