"""Read JSON from strangers: bounded, without duplicate keys, without numbers that are none."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from sdi_gate.errors import FormatError

_AGAIN = "copy or download the model again, every file of it"
_FOREIGN = "this is not a file that transformers wrote"
# Python's own parser takes a thousand levels of nesting; no model's file has more than a few.
_MAX_DEPTH = 64
# A list that is empty takes two bytes of text and sixty of memory. The header of a file with
# 100 000 tensors has 800 000 of these signs.
_MAX_PARTS = 3_000_000


class _DuplicateKeyError(ValueError):
    """Say that an object names a key twice."""


def parse_object(content: bytes, where: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        content: UTF-8 text.
        where: Which file of which model, for messages.

    Returns:
        The object.

    Raises:
        FormatError: If the text is no JSON, no object, nested deeper than 64 levels, of more than
            3,000,000 parts, names a key twice, or holds NaN or infinity.
    """
    parts = sum(map(content.count, (b"{", b"[", b",")))
    if parts > _MAX_PARTS:
        msg = f"{where} has {parts:,} parts; expected at most {_MAX_PARTS:,}"
        raise FormatError(msg, hint=_FOREIGN)
    try:
        # Decoded here: left to itself, the parser takes UTF-16 and UTF-32 too.
        value = json.loads(
            content.decode(),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_int=_whole,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as exc:
        msg = f"{where} is not JSON: {_reason(exc)}"
        raise FormatError(msg, hint=_AGAIN) from exc
    if not isinstance(value, dict):
        msg = f"{where} is not a JSON object; got {type(value).__name__}"
        raise FormatError(msg, hint=_AGAIN)
    if _is_deeper(value, _MAX_DEPTH):
        msg = f"{where} is nested deeper than {_MAX_DEPTH} levels"
        raise FormatError(msg, hint=_FOREIGN)
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        # Readers disagree on which of the two counts.
        counts = Counter(key for key, _ in pairs)
        twice = counts.most_common(1)[0][0]
        msg = f"key {twice[:80]!r} stands in one object twice"
        raise _DuplicateKeyError(msg)
    return found


def _refuse_constant(name: str) -> float:
    msg = f"{name} is no JSON number"
    raise ValueError(msg)


def _whole(text: str) -> int:
    if text == "-0":
        # A float to the reader of safetensors, which refuses it where we would read a size of 0.
        msg = "-0 is no whole number"
        raise ValueError(msg)
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        msg = f"{text[:20]} is no number that a float can hold"
        raise ValueError(msg)
    return value


def _reason(exc: Exception) -> str:
    match exc:
        case RecursionError():
            return "nested too deeply"
        case UnicodeDecodeError():
            return "not UTF-8"
        case _:
            return str(exc)[:160]


def _is_deeper(value: object, levels: int) -> bool:
    level: list[object] = [value]
    for _ in range(levels):
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True
