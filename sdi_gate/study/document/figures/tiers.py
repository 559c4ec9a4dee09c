"""Draw how well the indices order, tier by tier, over all pairs and within families."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.parts import clean
from sdi_gate.study.document.figures.style import GREY, as_svg, canvas, marks
from sdi_gate.study.document.parts import Figure
from sdi_gate.study.document.results import indices
from sdi_gate.study.document.targets import RHO, RHO_WITHIN
from sdi_gate.study.document.words import joined, percent, plain
from sdi_gate.study.fit.bootstrap import LEVEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from sdi_gate.study.fit.result import FitResult, IndexEntry

_CAPTION = (
    f"The lines are intervals of {percent(LEVEL)} over all pairs, clustered on bases; the marks "
    "below them are the correlations within each family. The targets are for tier full."
)


def by_tier(fit: FitResult) -> Figure:
    """Draw the rank correlation of each index of each tier.

    Args:
        fit: The fit; a tier has an index.

    Returns:
        The figure.
    """
    known = [
        (f"{label}, tier {name}", index)
        for name, tier in fit.tiers.items()
        for label, index in indices(tier).items()
    ]
    figure, axes = canvas(7.6, 1.8 + 0.6 * len(known))
    found = [index for _, index in known]
    for row, index in enumerate(found):
        _overall(axes, row + 0.12, index)
    _families(axes, fit.families, found)
    axes.plot([], [], "-d", color="#000000", label=f"all pairs, {percent(LEVEL)}")
    for bound, told, line in (
        (RHO, "target, all pairs", "--"),
        (RHO_WITHIN, "target, families", ":"),
    ):
        axes.axvline(bound, color=GREY, linestyle=line, linewidth=1.2, label=told)
    axes.set_yticks(range(len(known)), [label for label, _ in known])
    axes.set_ylim(-0.6, len(known) - 0.5)
    axes.set_xlabel("Spearman's rank correlation with degradation (no unit, -1 to 1)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    title = f"sdi orders groups left out with {_reached(fit)}"
    figure.suptitle(title, fontsize=11)
    return Figure(name="study-tiers.svg", title=title, caption=_CAPTION, svg=as_svg(figure))


def _families(axes: Axes, families: Sequence[str], known: Sequence[IndexEntry]) -> None:
    for place, (family, (colour, marker)) in enumerate(marks(families).items()):
        lower = 0.08 + 0.3 * place / max(1, len(families) - 1)
        found = [
            (index.evidence.within[family].value, row - lower)
            for row, index in enumerate(known)
            if family in index.evidence.within
        ]
        shown = [(value, row) for value, row in found if value is not None]
        label = f"within {clean(family, 20)}"
        values, heights = [value for value, _ in shown], [row for _, row in shown]
        axes.plot(values, heights, marker, color=colour, markersize=5, label=label)


def _reached(fit: FitResult) -> str:
    return joined(
        f"{plain(tier.sdi.evidence.rho.value)} at tier {name}"
        for name, tier in fit.tiers.items()
        if tier.sdi is not None
    )


def _overall(axes: Axes, row: float, index: IndexEntry) -> None:
    rho = index.evidence.rho
    if rho.lower is not None and rho.upper is not None:
        axes.plot([rho.lower, rho.upper], [row] * 2, "-", color="#000000", linewidth=2)
    if rho.value is not None:
        axes.plot([rho.value], [row], "d", color="#000000", markersize=7)
