"""Draw every figure of the document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.study.document.figures.ranking import ranking
from sdi_gate.study.document.figures.reliability import reliability
from sdi_gate.study.document.figures.scatter import scatter
from sdi_gate.study.document.figures.style import drawing
from sdi_gate.study.document.figures.thresholds import thresholds
from sdi_gate.study.document.figures.tiers import by_tier
from sdi_gate.study.document.results import indices
from sdi_gate.study.document.rivals import highest

if TYPE_CHECKING:
    from sdi_gate.study.document.parts import Figure
    from sdi_gate.study.fit.result import FitResult

NAMES = (
    "study-scatter.svg",
    "study-signals.svg",
    "study-reliability.svg",
    "study-thresholds.svg",
    "study-tiers.svg",
)


def draw(fit: FitResult) -> tuple[Figure, ...]:
    """Draw the figures.

    Args:
        fit: The fit.

    Returns:
        The figures of the highest tier that has an index, under `NAMES`; none if no tier has one.
    """
    found = highest(fit)
    if found is None:
        return ()
    name, tier = found
    known = indices(tier)
    sdi, left_out = known["sdi"], tier.left_out or "group"
    with drawing():
        return (
            scatter(fit, name, left_out, sdi),
            ranking(name, tier),
            reliability(name, known),
            thresholds(name, sdi),
            by_tier(fit),
        )
