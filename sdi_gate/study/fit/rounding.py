"""Round the numbers of JSON, so that equal rows give equal bytes on any machine."""

from __future__ import annotations

import math
from typing import TypeAlias

# Beyond this the last digits of sums depend on the processor.
_DIGITS = 10

Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | int | bool | None"


def rounded(value: Json) -> Json:
    """Round every number of a JSON value to ten significant digits.

    Args:
        value: The value.

    Returns:
        The same with rounded numbers.
    """
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.{_DIGITS}g}") + 0.0  # no -0.0
    return value
