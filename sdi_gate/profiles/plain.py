"""Write JSON in one form only, and read no other: a text that we would not have written is damaged.

To hold a text against what we would write of its own values settles keys that stand twice, numbers
that are none, and everything else on which readers of JSON disagree.
"""

from __future__ import annotations

import json

from sdi_gate.errors import FormatError

# A list that is empty takes two bytes of text and sixty of memory.
_MAX_PARTS = 2_000_000
_SIGNS = (b"{", b"[", b",")


def encode(value: object) -> bytes:
    """Write a value as JSON.

    Args:
        value: Objects with texts as keys, lists, texts, whole and finite numbers, truths, None.

    Returns:
        The text in ASCII, without spaces, in the order in which objects hold their keys.

    Raises:
        ValueError: If a number is not finite.
        TypeError: If something in it is nothing that JSON has.
    """  # noqa: DOC502 - raised by the library
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def decode(content: bytes, where: str) -> object:
    """Read JSON of strangers.

    Args:
        content: The text; its length is the caller's to bound.
        where: What it is, for messages.

    Returns:
        The value.

    Raises:
        FormatError: If it is not what `encode` writes, or of more than 2,000,000 parts.
    """
    try:
        if sum(map(content.count, _SIGNS)) <= _MAX_PARTS:
            value: object = json.loads(content.decode("ascii"))
            if encode(value) == content:
                return value
    except (ValueError, RecursionError):
        pass
    msg = f"{where} is not JSON as sdi-gate writes it"
    raise FormatError(msg, hint="remove it; it is made again")
