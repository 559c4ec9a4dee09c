"""Draw miss rate and false-alarm rate against the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.study.document.figures.style import COLOURS, GREY, as_svg, canvas
from sdi_gate.study.document.parts import Figure
from sdi_gate.study.document.targets import FALSE_ALARMS, MISSES
from sdi_gate.study.document.words import percent, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sdi_gate.study.fit.result import IndexEntry

_BOUNDS = {"misses": MISSES, "false alarms": FALSE_ALARMS}
_CAPTION = (
    "Misses are high regressions below the threshold, as a share of the high regressions; false "
    "alarms are other pairs at or above it, as a share of the others. Scores are those of groups "
    "left out."
)


def thresholds(name: str, sdi: IndexEntry) -> Figure:
    """Draw both rates at every threshold.

    Args:
        name: The tier.
        sdi: Its index.

    Returns:
        The figure.
    """
    figure, axes = canvas(7.6, 4.2)
    misses = [(item.threshold, item.misses) for item in sdi.curve]
    alarms = [(item.threshold, item.false_alarms) for item in sdi.curve]
    _rates(axes, misses, "misses", "-", COLOURS[1])
    _rates(axes, alarms, "false alarms", "-.", COLOURS[0])
    if sdi.threshold is not None:
        told = f"threshold, {plain(sdi.threshold)}"
        axes.axvline(sdi.threshold, color=GREY, linestyle="--", linewidth=1.2, label=told)
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(-2.0, 102.0)
    axes.set_xlabel(f"threshold on sdi at tier {name} (no unit, 0 to 1)")
    axes.set_ylabel("rate (%)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    title = _title(name, sdi)
    axes.set_title(title)
    return Figure(name="study-thresholds.svg", title=title, caption=_CAPTION, svg=as_svg(figure))


def _rates(
    axes: Axes, found: list[tuple[float, float | None]], told: str, line: str, colour: str
) -> None:
    known = [(threshold, 100 * rate) for threshold, rate in found if rate is not None]
    at, rates = [threshold for threshold, _ in known], [rate for _, rate in known]
    axes.plot(at, rates, line, color=colour, linewidth=2, label=told)
    bound = _BOUNDS[told]
    label = f"target for {told}, {percent(bound)}"
    axes.axhline(100 * bound, color=colour, linestyle=":", linewidth=1.2, label=label)


def _title(name: str, sdi: IndexEntry) -> str:
    both = [
        item.threshold
        for item in sdi.curve
        if item.misses is not None
        and item.misses <= MISSES
        and item.false_alarms is not None
        and item.false_alarms <= FALSE_ALARMS
    ]
    if not both:
        return f"Tier {name}: no threshold keeps both targets"
    low, high = plain(min(both)), plain(max(both))
    told = low if low == high else f"{low} to {high}"
    return f"Tier {name}: thresholds that keep both targets: {told}"
