"""Draw how well each number alone orders the pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.report.parts import clean
from sdi_gate.signals.interface import SignalName
from sdi_gate.study.document.figures.style import as_svg, canvas, marks
from sdi_gate.study.document.parts import Figure
from sdi_gate.study.document.results import indices
from sdi_gate.study.document.words import counted, percent
from sdi_gate.study.fit.bootstrap import LEVEL
from sdi_gate.study.fit.tier import MICRO_BENCHMARK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from sdi_gate.study.fit.result import IntervalEntry, TierEntry

_INDEX = "index"
_MICRO = "micro-benchmark"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    label: str
    group: str
    rho: IntervalEntry


def ranking(name: str, tier: TierEntry) -> Figure:
    """Draw the rank correlation of the indices and of the best form of every metric.

    Args:
        name: The tier.
        tier: What was found at it; it has an index.

    Returns:
        The figure.
    """
    lines = sorted(_lines(tier), key=lambda line: line.rho.value or 0.0)
    figure, axes = canvas(8.4, 1.6 + 0.23 * len(lines))
    _points(axes, lines)
    axes.axvline(0.0, color="#000000", linewidth=0.8)
    axes.set_yticks(range(len(lines)), [line.label for line in lines])
    axes.set_ylim(-0.7, len(lines) - 0.3)
    axes.set_xlabel("Spearman's rank correlation with degradation (no unit, -1 to 1)")
    figure.legend(loc="outside lower center", ncols=4)
    title = _title(name, tier, lines)
    figure.suptitle(title, fontsize=11)
    return Figure(
        name="study-signals.svg",
        title=title,
        caption=(
            "The indices are scored on groups left out; every other number is taken as it is. Of "
            "the ways to join the strata of the probe set, the best one is shown for each metric. "
            f"Bars are intervals of {percent(LEVEL)}, clustered on bases."
        ),
        svg=as_svg(figure),
    )


def _points(axes: Axes, lines: list[_Line]) -> None:
    groups = marks([_INDEX, *(signal.value for signal in SignalName), _MICRO])
    for group, (colour, marker) in groups.items():
        own = [(row, line.rho) for row, line in enumerate(lines) if line.group == group]
        for row, rho in own:
            if rho.lower is not None and rho.upper is not None:
                axes.plot([rho.lower, rho.upper], [row, row], "-", color=colour, linewidth=1.6)
        if own:
            values, rows = [rho.value or 0.0 for _, rho in own], [row for row, _ in own]
            axes.plot(values, rows, marker, color=colour, markersize=6, label=group)


def _title(name: str, tier: TierEntry, lines: list[_Line]) -> str:
    rho = tier.sdi.evidence.rho.value if tier.sdi is not None else None
    others = [line for line in lines if line.group != _INDEX]
    above = [line for line in others if rho is None or not (line.rho.value or 0.0) < rho]
    metrics = counted(len(others), "other number")
    return f"Tier {name}: {len(above) or 'none'} of {metrics} alone reach the correlation of sdi"


def _lines(tier: TierEntry) -> Iterator[_Line]:
    for name, index in indices(tier).items():
        if index.evidence.rho.value is not None:
            yield _Line(label=name, group=_INDEX, rho=index.evidence.rho)
    for rival in tier.baselines:
        if rival.name == MICRO_BENCHMARK and rival.evidence.rho.value is not None:
            yield _Line(label=rival.name, group=_MICRO, rho=rival.evidence.rho)
    best: dict[tuple[str, str], _Line] = {}
    for item in tier.candidates:
        if item.rho.value is not None and (item.signal, item.metric) not in best:
            label = f"{clean(item.metric, 44)} ({item.aggregation})"
            best[item.signal, item.metric] = _Line(label=label, group=item.signal, rho=item.rho)
    yield from best.values()
