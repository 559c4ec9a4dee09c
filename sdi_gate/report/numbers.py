"""Round numbers for a reader, by one rule that never hides a crossed limit.

The rule: a measured number is shown with 3 significant digits, or to the whole number where that
is finer; an exact 0 is shown as ``0``; a limit is shown as the policy has it; a standard error is
shown with 2 significant digits. Where a number shown beside a limit would seem to be on the other
side of it, or to equal it, or to differ from it, and is not so, it gets as many more digits as it
takes.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIGITS = 3
_ERROR_DIGITS = 2
_MAX_DIGITS = 17
_SMALLEST_FIXED = Decimal("0.0001")
_LARGEST_FIXED = Decimal(1_000_000)
_KIB = 1024


def number(value: float, against: Sequence[float] = ()) -> str:
    """Round a measured number.

    Args:
        value: A finite number.
        against: Numbers that a reader compares it with; each is shown by `exact`.

    Returns:
        Decimal text that is on the same side of each of ``against`` as the number itself.
    """
    if value in against:
        return exact(value)
    for digits in range(_DIGITS, _MAX_DIGITS):
        text = _rounded(value, digits)
        if all(_order(text, exact(other)) == _sign(value - other) for other in against):
            return text
    return exact(value)


def exact(value: float) -> str:
    """Write a number in full.

    Args:
        value: A finite number, such as a limit of a policy.

    Returns:
        The shortest decimal text that reads back as the same number.
    """
    plain = Decimal(repr(float(value))).normalize()
    if plain == 0:
        return "0"
    return format(plain, "f") if _is_fixed(plain) else format(plain, "e")


def with_error(value: float, stderr: float | None, against: Sequence[float] = ()) -> str:
    """Round a measured number and its standard error.

    Args:
        value: A finite number.
        stderr: Its standard error; None if it is deterministic.
        against: Numbers that a reader compares it with.

    Returns:
        The number, followed by ``± stderr`` if there is one.
    """
    text = number(value, against)
    return text if stderr is None else f"{text} ± {_rounded(stderr, _ERROR_DIGITS)}"


def count(value: int) -> str:
    """Write a count with separators.

    Args:
        value: The count.

    Returns:
        Such as ``1,234,567``.
    """
    return f"{value:,}"


def plural(value: int, noun: str) -> str:
    """Write a count of things.

    Args:
        value: The count.
        noun: The thing, in the singular; its plural takes an s.

    Returns:
        Such as ``1 tensor`` or ``1,200 tensors``.
    """
    return f"{count(value)} {noun}" if value == 1 else f"{count(value)} {noun}s"


def size(size_bytes: int) -> str:
    """Write a number of bytes.

    Args:
        size_bytes: The number of bytes.

    Returns:
        Such as ``12 B`` or ``1.50 GiB``.
    """
    if size_bytes < _KIB:
        return f"{size_bytes} B"
    value, unit = float(size_bytes), "B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):  # noqa: B007 - the unit at which the loop ends
        value /= _KIB
        if value < _KIB:
            break
    return f"{number(value)} {unit}"


def duration(seconds: float) -> str:
    """Write a duration.

    Args:
        seconds: At least 0.

    Returns:
        Such as ``1.23 s`` or ``12 min 3 s``.
    """
    if seconds < 60:
        return f"{number(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{count(minutes)} min {rest} s"


def _rounded(value: float, digits: int) -> str:
    plain = Decimal(repr(float(value)))
    if plain == 0:
        return "0"
    rounded = Context(prec=digits).plus(plain)
    if not _is_fixed(rounded):
        return format(rounded, f".{digits - 1}e")
    if rounded.adjusted() >= digits:
        return format(plain.quantize(Decimal(1)), "f")
    return format(rounded.quantize(Decimal(1).scaleb(rounded.adjusted() - digits + 1)), "f")


def _is_fixed(value: Decimal) -> bool:
    return _SMALLEST_FIXED <= abs(value) < _LARGEST_FIXED


def _order(left: str, right: str) -> int:
    return int(Decimal(left).compare(Decimal(right)))


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
