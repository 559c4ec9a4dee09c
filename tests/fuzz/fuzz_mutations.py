"""Change JSON and bytes in the ways in which strangers' files differ from sound ones."""

from __future__ import annotations

import codecs
import json
import math
import struct
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random


@dataclass(frozen=True)
class Raw:
    """Stand for a text that is written into JSON as it is."""

    text: str


@dataclass(frozen=True)
class Pairs:
    """Stand for an object that can name a key twice."""

    pairs: tuple[tuple[str, Any], ...]


def nested(depth: int, kind: str = "[]") -> Raw:
    opening = kind[0] if kind == "[]" else '{"a":'
    return Raw(opening * depth + "0" + kind[1] * depth)


# Sizes at the borders of what types and bounds hold.
NUMBERS = (
    *(0, 1, -1, 2, 3, 4, 7, 8, 16, 33, 64, 255, 300, 1000, 4096, 65536, 999_999, 1_000_001),
    *(10_000_000, 2**27, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**61, 2**63 - 1, 2**63, 2**64),
    *(-(2**31), -(2**63), 10**30, 10**400),
    *(0.0, -0.0, 0.5, 1.0, 2.0, -1.5, 1e-320, 1e-9, 1e9, 1e30, 1e31, 1e300, 1.7976931348623157e308),
)
TEXTS = (
    *("", " ", "a", "A", "0", "1", "-1", "1e3", "true", "null", "None", "x" * 90, "x" * 600),
    *("\x00", "a\x00b", "\n", "a\nb", "\r", "\x1b[31m", "\u202e", "\u2028", "\ufeff", "\x7f"),
    *("\ud800", "\udfff\ud800", "é", "e\u0301", "\uff0e\uff0e\uff0f", "\U0001f4a5", "\U000e0041"),
    *("..", ".", "/", "\\", "../x", "/etc/passwd", "C:\\x", "~", "%s", "{}", "{0.__class__}"),
    *("`x`", "<b>", "|", "::error::x", "$(id)", "'", '"', "'; DROP"),
)
CONTAINERS: tuple[Any, ...] = (
    *([], {}, [[]], [{}], [None], [0], [-1], [1, 2], [0] * 17, [1] * 40, {"": 0}, {"a": {}}),
    *({"a": None}, {"a": [1]}, [True], ["a"], [["a", 1]], [1.5], list(range(300))),
)
CONSTANTS = (None, True, False)
RAWS = (
    *map(Raw, ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "01", "+1", ".5", "1.", "0x1")),
    *(Raw("9" * 5000), Raw("1" + "0" * 4000), Raw("1e-999"), Raw("-0"), Raw("1E400")),
    *(Raw("'a'"), Raw("nul"), Raw(""), Raw('"\\ud83d"'), Raw('"\t"'), Raw('"\\x"'), Raw("[1,]")),
    *(nested(63), nested(66), nested(900), nested(70, "{}"), nested(20_000), Raw("[" * 5000)),
)


def some_value(rng: Random, words: Sequence[object] = ()) -> Any:
    """Return a value of any type that JSON has, and now and then of none."""
    pools = (NUMBERS, NUMBERS, TEXTS, CONTAINERS, CONSTANTS, words or TEXTS, words or NUMBERS)
    pool: Sequence[Any] = RAWS if rng.random() < 0.04 else rng.choice(pools)
    return deepcopy(rng.choice(pool))


def dump(value: object) -> bytes:
    """Write a value as JSON, with what stands in it for what JSON does not have."""
    held: list[str] = []

    def stand_in(item: object) -> str:
        text = item.text if isinstance(item, Raw) else _pairs_text(item)
        held.append(text)
        return f"@@{len(held) - 1}@@"

    text = json.dumps(value, default=stand_in)
    for number, raw in enumerate(held):
        text = text.replace(f'"@@{number}@@"', raw, 1)
    return text.encode("utf-8", "surrogatepass")


def _pairs_text(item: object) -> str:
    assert isinstance(item, Pairs)
    parts = (f"{json.dumps(key)}: {dump(value).decode()}" for key, value in item.pairs)
    return "{" + ", ".join(parts) + "}"


# A place in a value: what holds it, and under which key or number.
Place = tuple[Any, Any]


def places_in(value: object) -> list[Place]:
    found: list[Place] = []
    level = [value]
    while level:
        holder = level.pop()
        inner = holder.items() if isinstance(holder, dict) else enumerate(holder)  # type: ignore[arg-type]
        for key, child in inner:
            found.append((holder, key))
            if isinstance(child, (dict, list)):
                level.append(child)
    return found


def mutate_json(rng: Random, value: Any, words: Sequence[object] = (), times: int = 1) -> Any:
    """Return a changed copy of a JSON value.

    Args:
        rng: Where chance comes from.
        value: An object.
        words: Values that mean something to the reader; they are put anywhere.
        times: How many changes.
    """
    root = [deepcopy(value)]
    for _ in range(times):
        places = places_in(root)
        holder, key = rng.choice(places)
        rng.choice(_CHANGES)(rng, holder, key, words)
        if not root:
            root = [{}]
    return root[0]


def _put(rng: Random, holder: Any, key: Any, words: Sequence[object]) -> None:
    holder[key] = some_value(rng, words)


def _remove(_rng: Random, holder: Any, key: Any, _words: Sequence[object]) -> None:
    del holder[key]


def _rename(rng: Random, holder: Any, key: Any, words: Sequence[object]) -> None:
    if isinstance(holder, dict):
        value = holder.pop(key)
        names = [word for word in words if isinstance(word, str)] or TEXTS
        new = (rng.choice(names), changed_text(rng, key), rng.choice(TEXTS))
        holder[rng.choice(new)] = value


def _add(rng: Random, holder: Any, key: Any, words: Sequence[object]) -> None:
    target = holder[key] if isinstance(holder[key], (dict, list)) else holder
    if isinstance(target, list):
        target.append(some_value(rng, words))
        return
    names = [word for word in words if isinstance(word, str)] or TEXTS
    target[rng.choice(names)] = some_value(rng, words)


def _twice(rng: Random, holder: Any, key: Any, words: Sequence[object]) -> None:
    target = holder[key]
    if not isinstance(target, dict) or not target:
        return
    pairs = list(target.items())
    name, old = rng.choice(pairs)
    pairs.insert(rng.randrange(len(pairs) + 1), (name, rng.choice((old, some_value(rng, words)))))
    holder[key] = Pairs(tuple(pairs))


def _tweak(rng: Random, holder: Any, key: Any, _words: Sequence[object]) -> None:
    value = holder[key]
    if isinstance(value, bool) or value is None:
        holder[key] = not value
    elif isinstance(value, int):
        changes = (
            value + 1,
            value - 1,
            -value,
            value * 2,
            value // 2,
            value + 2**32,
            value * 2**33,
        )
        holder[key] = rng.choice((*changes, float(min(value, 2**60)), str(value), [value]))
    elif isinstance(value, float):
        whole = int(value) if math.isfinite(value) else 0
        holder[key] = rng.choice((-value, value * 1e9, whole, str(value)))
    elif isinstance(value, str):
        holder[key] = changed_text(rng, value)
    elif isinstance(value, list):
        _tweak_list(rng, value)
    else:
        _put(rng, holder, key, ())


def _tweak_list(rng: Random, value: list[Any]) -> None:
    match rng.randrange(4):
        case 0:
            value.reverse()
        case 1:
            value *= 2
        case 2 if value:
            value.pop()
        case _:
            value.append(some_value(rng))


def _wrap(rng: Random, holder: Any, key: Any, _words: Sequence[object]) -> None:
    value = holder[key]
    holder[key] = rng.choice(([value], {"a": value}, [[value]], {"": [value, value]}))


def _copy(rng: Random, holder: Any, key: Any, _words: Sequence[object]) -> None:
    """Take the value of another place of the same object or list."""
    others = list(holder.values() if isinstance(holder, dict) else holder)
    value = rng.choice(others)
    holder[key] = value if isinstance(value, Pairs) else deepcopy(value)


_CHANGES: tuple[Callable[..., None], ...] = (
    *(_put, _put, _put, _put, _remove, _rename, _add, _add, _twice, _tweak, _tweak, _tweak),
    *(_wrap, _copy),
)


def changed_text(rng: Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    piece = rng.choice(TEXTS)
    changes = (text[:at] + piece + text[at:], text[:at], text[at:], text + text, text.upper())
    return rng.choice((*changes, text[::-1], f"../{text}", text.replace(".", "..", 1), f" {text}"))


_WORDS = tuple(
    struct.pack(code, value)
    for code, values in (
        ("<I", (0, 1, 2, 8, 9, 255, 2**31, 2**32 - 1)),
        ("<Q", (0, 1, 2**16, 2**31, 2**32, 2**40, 2**62, 2**63, 2**64 - 1)),
    )
    for value in values
)


def mutate_bytes(rng: Random, content: bytes, *, head: int = 0) -> bytes:
    """Return changed bytes.

    Args:
        rng: Where chance comes from.
        content: The bytes.
        head: How many of the first are changed more often than the others; 0 for all alike.
    """
    end = head if head and rng.random() < 0.8 else len(content)
    at = rng.randrange(min(end, len(content)) + 1)
    span = rng.choice((1, 1, 2, 4, 8, 100))
    word = rng.choice((*_WORDS, bytes([rng.randrange(256)]), b"\xff\xfe", b"\xc0\xaf", b"\x00" * 9))
    before, after = content[:at], content[at:]
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: before + word + after[len(word) :],
        lambda: before + word + after,
        lambda: before + after[span:],
        lambda: before + after[:span] + after,
        lambda: (
            before + (bytes([after[0] ^ (1 << rng.randrange(8))]) + after[1:] if after else b"")
        ),
        lambda: before,
        lambda: content + word,
        lambda: content + content,
        lambda: b"",
        lambda: codecs.BOM_UTF8 + content,
        lambda: content.decode("latin-1").encode("utf-16"),
        lambda: rng.randbytes(rng.choice((1, 7, 8, 9, 64, 1000))),
    )
    # What keeps most of the content comes more often.
    return rng.choice(changes[:7] if rng.random() < 0.9 else changes)()
