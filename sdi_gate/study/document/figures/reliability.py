"""Draw predicted against measured degradation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.study.document.figures.style import GREY, as_svg, canvas, marks
from sdi_gate.study.document.parts import Figure
from sdi_gate.study.document.words import percent, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from sdi_gate.study.fit.result import BinEntry, IndexEntry


def reliability(name: str, known: Mapping[str, IndexEntry]) -> Figure:
    """Draw the mean degradation of pairs with similar predictions.

    Args:
        name: The tier.
        known: Its indices, by name; ``sdi`` is one.

    Returns:
        The figure.
    """
    figure, axes = canvas(6.4, 4.6)
    bins = [item for index in known.values() for item in index.prediction.reliability]
    highest = max([0.05, *(max(item.upper, item.predicted) for item in bins)])
    for label, (colour, marker) in marks([*known]).items():
        _bins(axes, known[label].prediction.reliability, label, (colour, marker))
    axes.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1.2, label="predicted = measured")
    axes.set_xlim(-0.03 * highest, 1.05 * highest)
    axes.set_ylim(-0.03 * highest, 1.05 * highest)
    axes.set_xlabel("predicted degradation, mean of the bin (fall in score, 0 to 1)")
    axes.set_ylabel("measured degradation, mean of the bin")
    axes.legend(loc="upper left")
    sdi = known["sdi"].prediction
    title = (
        f"Tier {name}: degradation predicted from sdi is off by {plain(sdi.mean_error)} on average"
    )
    axes.set_title(title)
    return Figure(
        name="study-reliability.svg",
        title=title,
        caption=(
            f"Pairs in bins of equal count by what was predicted for them, by a fit without their "
            f"group; bars are normal intervals of 95 % of the mean. Of single pairs, the "
            f"{percent(sdi.level)} interval around the prediction holds "
            f"{percent(sdi.coverage.value)}."
        ),
        svg=as_svg(figure),
    )


def _bins(axes: Axes, bins: Sequence[BinEntry], label: str, mark: tuple[str, str]) -> None:
    axes.errorbar(
        [item.predicted for item in bins],
        [item.measured for item in bins],
        yerr=[
            [item.measured - item.lower for item in bins],
            [item.upper - item.measured for item in bins],
        ],
        fmt=mark[1],
        color=mark[0],
        markersize=6,
        linewidth=1.4,
        capsize=3,
        label=label,
    )
