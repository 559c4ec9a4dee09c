"""Describe a part of a profile in JSON that vouches for itself and for the tensors beside it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdi_gate.errors import FormatError
from sdi_gate.profiles.parts import SCHEMA, PartKey
from sdi_gate.profiles.plain import decode, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 1 << 24
_HEX = re.compile(r"[0-9a-f]{64}")
_HINT = "remove it; it is made again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Describe a part.

    Law: a document that was written is read as the same; no other text is read.

    Attributes:
        key: Everything that the part was computed from.
        sha256: Digest of the tensors' file, 64 hex digits.
        size_bytes: Size of the tensors' file.
        facts: See `Part`.
    """

    key: PartKey
    sha256: str
    size_bytes: int
    facts: Mapping[str, Any]

    @property
    def tensors_file(self) -> str:
        """Return the name of the tensors' file."""
        return f"{self.sha256}.safetensors"


def dump(document: Document) -> bytes:
    """Write a document.

    Args:
        document: The document.

    Returns:
        JSON whose last entry is a digest over all others.

    Raises:
        FormatError: If a number is not finite, or the text is longer than 16 MiB.
    """
    key = document.key
    plain = {
        "schema": SCHEMA,
        "key": {"base": key.base, "part": key.part, "parameters": dict(key.parameters)},
        "tensors": {"sha256": document.sha256, "size_bytes": document.size_bytes},
        "facts": dict(document.facts),
    }
    try:
        digest = hashlib.sha256(encode(plain)).hexdigest()
    except ValueError as exc:
        msg = f"the facts of part {key.part!r} cannot be written: {exc}"
        raise FormatError(msg) from exc
    content = encode({**plain, "digest": f"sha256:{digest}"})
    if len(content) > MAX_BYTES:
        msg = f"the facts of part {key.part!r} take {len(content):,} bytes; expected at most"
        raise FormatError(f"{msg} {MAX_BYTES:,}")
    return content


def parse(content: bytes, where: str) -> Document:
    """Read a document.

    Args:
        content: What a file holds; of at most 16 MiB, or one byte more.
        where: Which file, for messages.

    Returns:
        The document.

    Raises:
        FormatError: If it is no document, of another schema, or not the one that was written.
    """
    if len(content) > MAX_BYTES:
        msg = f"{where} is longer than {MAX_BYTES:,} bytes"
        raise FormatError(msg, hint=_HINT)
    document = _read(decode(content, where), where)
    # All at once: the schema, the digest, the order of the entries, and that there are no others.
    if document is None or dump(document) != content:
        msg = f"{where} is damaged, or was not written by this version of sdi-gate"
        raise FormatError(msg, hint=_HINT)
    return document


def _read(plain: Any, where: str) -> Document | None:  # noqa: ANN401 - as parsed
    try:
        key, tensors, facts = plain["key"], plain["tensors"], plain["facts"]
        parameters = tuple(key["parameters"].items())
        texts = [*(value for _, value in parameters), key["base"], key["part"], tensors["sha256"]]
        size_bytes = tensors["size_bytes"]
        if not all(isinstance(text, str) for text in texts) or type(size_bytes) is not int:
            return None
        if not _HEX.fullmatch(tensors["sha256"]) or not isinstance(facts, dict):
            return None
        named = PartKey(base=key["base"], part=key["part"], parameters=parameters)
    except (AttributeError, IndexError, KeyError, TypeError):
        return None
    except ValueError as exc:
        msg = f"{where} describes no part of a profile: {exc}"
        raise FormatError(msg, hint=_HINT) from exc
    return Document(key=named, sha256=tensors["sha256"], size_bytes=size_bytes, facts=facts)
