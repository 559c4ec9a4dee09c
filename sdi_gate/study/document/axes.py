"""Write what is predicted for each axis, and how that did on groups left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.study.document.parts import Table
from sdi_gate.study.document.words import interval, percent, plain
from sdi_gate.study.fit.conformal import LEVELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.study.fit.result import IndexEntry, LevelEntry, TierEntry

_MEAN = "mean of the axes"


def axes_table(tier: TierEntry) -> Table:
    """Say how well a tier predicts the mean and each axis.

    Args:
        tier: The tier.

    Returns:
        A row for the mean, then one for each axis; no rows if no axis was fitted.
    """
    index = tier.sdi
    return Table(
        head=("Predicted", ">Mean loss", ">High", "Rank correlation", ">Mean error", ">Explained"),
        rows=(_mean(index, tier.num_degraded), *_axes(index)) if index and index.axes else (),
    )


def intervals_table(tier: TierEntry) -> Table:
    """Say what the intervals around the predictions of a tier reached.

    Args:
        tier: The tier.

    Returns:
        A row for the mean, then one for each axis; no rows if no axis was fitted.
    """
    index = tier.sdi
    known = {_MEAN: index.prediction.levels} if index and index.axes else {}
    known |= {axis: entry.levels for axis, entry in index.axes.items()} if index else {}
    columns = (": holds", ": width", ": high above it")
    return Table(
        head=("Predicted", *(f">{percent(level)}{name}" for level in LEVELS for name in columns)),
        rows=tuple((name, *_levels(levels)) for name, levels in known.items()),
    )


def silent_axes(tier: TierEntry) -> tuple[str, ...]:
    """Say for which axes a tier predicts nothing.

    Args:
        tier: The tier.

    Returns:
        A line for each, with the reason.
    """
    axes = tier.sdi.axes if tier.sdi is not None else {}
    return tuple(f"{axis}: {entry.reason}" for axis, entry in axes.items() if entry.reason)


def _mean(index: IndexEntry, num_degraded: int) -> tuple[str, ...]:
    losses = [entry.mean_loss for entry in index.axes.values()]
    return (
        _MEAN,
        plain(sum(losses) / len(losses), 3),
        str(num_degraded),
        interval(index.evidence.rho),
        plain(index.prediction.mean_error, 3),
        plain(index.prediction.explained),
    )


def _axes(index: IndexEntry) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            axis,
            plain(entry.mean_loss, 3),
            str(entry.num_degraded),
            interval(entry.rho),
            plain(entry.mean_error, 3),
            plain(entry.explained),
        )
        for axis, entry in index.axes.items()
    )


def _levels(levels: Sequence[LevelEntry]) -> tuple[str, ...]:
    return tuple(
        cell
        for entry in levels
        for cell in (
            percent(entry.coverage.value),
            plain(entry.mean_width, 3),
            f"{entry.exceeded.hits} of {entry.exceeded.trials}{_given(entry)}",
        )
    )


def _given(entry: LevelEntry) -> str:
    return "" if entry.slope is not None else " (not given)"
