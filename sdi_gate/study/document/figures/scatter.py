"""Draw the index against what was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.parts import clean
from sdi_gate.study.document.figures.style import GREY, as_svg, canvas, marks
from sdi_gate.study.document.parts import Figure
from sdi_gate.study.document.ranks import placed
from sdi_gate.study.document.words import interval, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sdi_gate.study.document.ranks import Placed
    from sdi_gate.study.fit.result import FitResult, IndexEntry


def scatter(fit: FitResult, name: str, left_out: str, sdi: IndexEntry) -> Figure:
    """Draw the index of each pair against its degradation.

    Args:
        fit: The fit.
        name: The tier.
        left_out: What was left out in turn.
        sdi: The index of the tier.

    Returns:
        The figure.
    """
    figure, axes = canvas(7.6, 4.6)
    _all_points(axes, fit, sdi)
    _limits(axes, sdi)
    axes.set_xlabel(f"sdi at tier {name}, fitted without the pair's {left_out} (no unit, 0 to 1)")
    axes.set_ylabel("degradation (mean fall in score, 0 to 1)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    title = f"sdi against degradation: rank correlation {interval(sdi.evidence.rho)}"
    axes.set_title(title)
    return Figure(
        name="study-scatter.svg",
        title=title,
        caption=(
            f"Each mark is one pair; its sdi is that of the fit without its {left_out}. Marks high "
            f"up on the left of the threshold are damage that the index does not see; hollow marks "
            f"on its right are false alarms."
        ),
        svg=as_svg(figure),
    )


def _all_points(axes: Axes, fit: FitResult, sdi: IndexEntry) -> None:
    pairs = placed(fit, sdi)
    for family, (colour, marker) in marks(fit.families).items():
        own = [item for item in pairs if item.pair.family == family]
        _points(axes, [item for item in own if item.pair.high], marker, colour, filled=True)
        _points(axes, [item for item in own if not item.pair.high], marker, colour, filled=False)
        axes.plot([], [], marker, color=colour, markersize=5, label=clean(family, 20))
    for fill, told in ((GREY, "filled: high regression"), ("none", "hollow: not one")):
        axes.plot([], [], "o", color=GREY, markersize=5, markerfacecolor=fill, label=told)


def _limits(axes: Axes, sdi: IndexEntry) -> None:
    if sdi.threshold is not None:
        told = f"threshold, {plain(sdi.threshold)}"
        axes.axvline(sdi.threshold, color=GREY, linestyle="--", linewidth=1.2, label=told)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(bottom=-0.02)


def _points(axes: Axes, found: list[Placed], marker: str, colour: str, *, filled: bool) -> None:
    axes.plot(
        [item.score.score for item in found],
        [item.pair.degradation for item in found],
        marker,
        color=colour,
        markersize=4.5,
        markerfacecolor=colour if filled else "none",
        markeredgewidth=0.8,
        alpha=0.75,
    )
