"""Draw with one style: the same bytes on every run, legible without colours."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib import style
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

# The palette of Okabe and Ito, which people with any colour vision tell apart. Yellow is left out:
# it is too light on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#666666"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sdi-gate study",
    "text.parse_math": False,
    "font.family": "sans-serif",
    # What text is measured by. Viewers have it or a narrower one.
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "figure.facecolor": "#ffffff",
    "axes.facecolor": "#ffffff",
}
_FONT = re.compile(r"font-family: [^;\"]*")
_FRACTION = re.compile(r"(?<=\d\.)(\d\d)\d+")
_PROLOGUE = re.compile(r"\A.*?(?=<svg)", re.DOTALL)
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@contextmanager
def drawing() -> Iterator[None]:
    """Set the style for as long as a figure is made, whatever the user's own settings are."""
    with mpl.rc_context(), style.context("default"):
        mpl.rcParams.update(_STYLE)
        yield


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Make an empty figure.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        The figure and its one pair of axes.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def marks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Give each name a colour and a marker.

    Args:
        names: Names, in an order that does not depend on the numbers.

    Returns:
        Colour and marker by name.
    """
    count = len(COLOURS)
    # The shift makes the pairs repeat only after all combinations were used.
    return {
        name: (COLOURS[i % count], MARKERS[(i + i // count) % count])
        for i, name in enumerate(names)
    }


def as_svg(figure: Figure) -> bytes:
    """Write a figure as SVG.

    Args:
        figure: The figure.

    Returns:
        SVG without scripts, dates, names of fonts or references to other files. Coordinates have
        two digits: more would differ between processors, and nobody sees them.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    text = _PROLOGUE.sub('<?xml version="1.0" encoding="utf-8"?>\n', buffer.getvalue(), count=1)
    text = _FONT.sub("font-family: sans-serif", text)
    lines = (
        _FRACTION.sub(r"\1", line) if "<text" not in line else line for line in text.splitlines()
    )
    return ("\n".join(line.rstrip() for line in lines) + "\n").encode()
