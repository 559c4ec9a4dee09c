"""Write the numbers of a fit as words."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, TypeGuard

from sdi_gate.report.parts import ABSENT, clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdi_gate.study.fit.result import IntervalEntry, RateEntry, TermEntry

NOT_DEFINED = "not defined"
_REASON_LIMIT = 400
# Folders differ between machines, and are nobody's business; the address of a site is neither.
_FOLDERS = re.compile(r"(?<![\w./:])/(?:[^\s/'\":,;()]+/)+")


def is_defined(value: float | None) -> TypeGuard[float]:
    """Say whether there is a number to write.

    Args:
        value: A number or None.

    Returns:
        Whether it is finite.
    """
    return value is not None and math.isfinite(value)


def plain(value: float | None, digits: int = 2) -> str:
    """Write a number.

    Args:
        value: The number, if it is defined.
        digits: Digits after the point.

    Returns:
        Such as ``0.83``; never ``-0.00``.
    """
    return f"{round(value, digits) + 0.0:.{digits}f}" if is_defined(value) else NOT_DEFINED


def signed(value: float | None) -> str:
    """Write a difference.

    Args:
        value: The difference, if it is defined.

    Returns:
        Such as ``+0.02``; ``0.00`` has no sign.
    """
    if not is_defined(value):
        return NOT_DEFINED
    short = round(value, 2) + 0.0
    return f"{short:+.2f}" if short else plain(short)


def interval(entry: IntervalEntry) -> str:
    """Write a correlation with its interval.

    Args:
        entry: The correlation.

    Returns:
        Such as ``0.83 (0.78 to 0.88)``.
    """
    return _with_ends(plain(entry.value), entry, plain(entry.lower), plain(entry.upper))


def difference(entry: IntervalEntry) -> str:
    """Write a difference of correlations with its interval.

    Args:
        entry: The difference.

    Returns:
        Such as ``+0.02 (-0.01 to +0.05)``.
    """
    return _with_ends(signed(entry.value), entry, signed(entry.lower), signed(entry.upper))


def percent(share: float | None) -> str:
    """Write a share.

    Args:
        share: From 0 to 1, if it is defined.

    Returns:
        Such as ``12.5 %``, or ``15 %`` where the share is whole.
    """
    return f"{100 * share:.1f}".removesuffix(".0") + " %" if is_defined(share) else NOT_DEFINED


def rate(entry: RateEntry) -> str:
    """Write a rate with its interval.

    Args:
        entry: The rate.

    Returns:
        Such as ``12 of 96: 12.5 % (6.6 % to 20.8 %)``.
    """
    if not is_defined(entry.value):
        return "none to count"
    ends = f" ({percent(entry.lower)} to {percent(entry.upper)})"
    return f"{entry.hits} of {entry.trials}: {percent(entry.value)}{ends}"


def share(entry: RateEntry) -> str:
    """Write a rate inside a sentence.

    Args:
        entry: The rate.

    Returns:
        Such as ``12.5 % (6.6 % to 20.8 %; 12 of 96)``.
    """
    if not is_defined(entry.value):
        return "none (there is none to count)"
    ends = f"{percent(entry.lower)} to {percent(entry.upper)}"
    return f"{percent(entry.value)} ({ends}; {entry.hits} of {entry.trials})"


def headline(term: TermEntry) -> str:
    """Name the number by which a signal enters an index.

    Args:
        term: The term.

    Returns:
        Such as ``cka-angle, worst-stratum``.
    """
    return f"{term.metric}, {term.aggregation}"


def joined(items: Iterable[str]) -> str:
    """Join names to a list.

    Args:
        items: Names.

    Returns:
        Such as ``a, b and c``; an en dash for none.
    """
    *head, last = [*items] or [ABSENT]
    return f"{', '.join(head)} and {last}" if head else last


def counted(number: int, noun: str) -> str:
    """Write a count of things.

    Args:
        number: The count.
        noun: The thing, in the singular.

    Returns:
        Such as ``1 base``, ``5 families``, ``1,200 pairs``.
    """
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {plural}"


def reason(text: str) -> str:
    """Write the reason of a failure as one line, without the folders of a machine.

    Args:
        text: The reason as it was recorded.

    Returns:
        One printable line.
    """
    return clean(_FOLDERS.sub("…/", text), _REASON_LIMIT)


def _with_ends(value: str, entry: IntervalEntry, lower: str, upper: str) -> str:
    if not is_defined(entry.value):
        return value
    known = is_defined(entry.lower) and is_defined(entry.upper)
    return f"{value} ({lower} to {upper})" if known else f"{value} (no interval)"
