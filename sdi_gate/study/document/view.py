"""Gather everything that the document says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.study.document.answer import Answer, answer
from sdi_gate.study.document.cost import CostView, cost
from sdi_gate.study.document.failures import Failures, failures
from sdi_gate.study.document.population import Population, population
from sdi_gate.study.document.protocol import Protocol, protocol
from sdi_gate.study.document.results import TierView, tier_views
from sdi_gate.study.document.rivals import Rivals, rivals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.study.document.parts import Figure
    from sdi_gate.study.fit.result import FitResult
    from sdi_gate.study.row import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyView:
    """Hold everything that a reader sees.

    Attributes:
        answer: What came out.
        population: What was measured.
        protocol: How the fit was made and judged.
        tiers: What each tier reached, the highest first.
        rivals: What the indices are held against.
        figures: The figures; none if there is no index.
        failures: What went wrong.
        cost: What it cost.
    """

    answer: Answer
    population: Population
    protocol: Protocol
    tiers: tuple[TierView, ...]
    rivals: Rivals
    figures: tuple[Figure, ...]
    failures: Failures
    cost: CostView


def view_of(fit: FitResult, rows: Sequence[Row], figures: tuple[Figure, ...]) -> StudyView:
    """Gather what the document says.

    Args:
        fit: The fit.
        rows: The rows that it was fitted on.
        figures: Its figures.

    Returns:
        The view.
    """
    return StudyView(
        answer=answer(fit),
        population=population(fit, rows),
        protocol=protocol(fit),
        tiers=tier_views(fit),
        rivals=rivals(fit),
        figures=figures,
        failures=failures(fit),
        cost=cost(rows),
    )
