"""Bound what a stranger's tokenizer can make of a text, before the text is given to it.

The library behind tokenizers allocates what the steps of a tokenizer ask for, and ends the process
where there is no memory: ten replacements of one letter by ten make ten billion letters of it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

from sdi_gate.errors import FormatError
from sdi_gate.models.strict_json import parse_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerBase

    from sdi_gate.models.ref import ModelRef
    from sdi_gate.models.snapshot import ModelSnapshot

_FILE = "tokenizer.json"
_RESAVE = "re-save the tokenizer with save_pretrained"
_MAX_STEPS = 100
_MAX_ENTRIES = 100
_MAX_IDS = 1_000
_MAX_AFFIX = 100
# A step that writes before or after a text adds this much to each piece of it.
_MAX_CONSTANT = 16
# Real tokenizers replace a space by one other character.
_MAX_REPLACED = 16.0
# NFKD, lower case and a table of SentencePiece one after the other, each at its worst, are 648.
_MAX_GROWTH = 1_000.0
# The most characters that one character becomes. The longest in Unicode has 18 in NFKC.
_GROWTH = {
    "NFC": 3.0,
    "NFD": 4.0,
    "NFKC": 18.0,
    "NFKD": 18.0,
    "Lowercase": 2.0,
    "BertNormalizer": 24.0,
    "ByteLevel": 5.0,
    "Metaspace": 2.0,
    "ByteFallback": 1.0,
}
_PARTS = ("normalizer", "pre_tokenizer", "decoder")
_AFFIXES = ("continuing_subword_prefix", "end_of_word_suffix")


def check_tokenizer(snapshot: ModelSnapshot) -> None:
    """Refuse a tokenizer in whose steps a text can grow beyond bounds.

    Args:
        snapshot: The model.

    Raises:
        FormatError: If it can, or if a file is damaged.
    """  # noqa: DOC502 - raised by what it calls
    if any(file.name == _FILE for file in snapshot.files):
        _check(_read(snapshot, _FILE), f"the tokenizer of {snapshot.ref}")


def check_built(tokenizer: PreTrainedTokenizerBase, ref: ModelRef) -> None:
    """Refuse a tokenizer that was built of other files than ``tokenizer.json``.

    Args:
        tokenizer: The tokenizer; nothing was given to it yet.
        ref: The model, for messages.

    Raises:
        FormatError: If a text can grow in its steps beyond bounds.
    """  # noqa: DOC502 - raised by what it calls
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        where = f"the tokenizer of {ref}"
        _check(parse_object(backend.to_str().encode(), where), where)


def _read(snapshot: ModelSnapshot, name: str) -> dict[str, object]:
    try:
        return parse_object((snapshot.folder / name).read_bytes(), name)
    except (OSError, FormatError) as exc:
        why = exc.message if isinstance(exc, FormatError) else type(exc).__name__
        msg = f"sdi-gate cannot read the tokenizer of {snapshot.ref}: {why}"
        raise FormatError(msg, hint=_RESAVE) from exc


def _check(plain: Mapping[str, object], where: str) -> None:
    for part in _PARTS:
        _check_steps(list(_objects(plain.get(part))), f"the {part} of {where}")
    _check_post_processor(plain.get("post_processor"), f"the post_processor of {where}")
    model = plain.get("model")
    for key in _AFFIXES if isinstance(model, dict) else ():
        affix = model.get(key) if isinstance(model, dict) else None
        if isinstance(affix, str) and len(affix) > _MAX_AFFIX:
            _refuse(f"{where} has {key!r} of {len(affix):,} characters", _MAX_AFFIX)


def _refuse(what: str, most: float) -> NoReturn:
    raise FormatError(f"{what}; expected at most {most:,.0f}", hint=_RESAVE)


def _objects(value: object) -> Iterator[Mapping[str, object]]:
    # Whatever the types say: the library reads untagged objects by their keys.
    if isinstance(value, Mapping):
        yield value
    for child in _children(value):
        yield from _objects(child)


def _children(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else []


def _check_steps(steps: list[Mapping[str, object]], where: str) -> None:
    # A pattern is an object as well as its step.
    num_steps = sum(not step.keys() & {"String", "Regex"} for step in steps)
    if num_steps > _MAX_STEPS:
        _refuse(f"{where} has {num_steps:,} steps", _MAX_STEPS)
    replaced = growth = 1.0
    for step in steps:
        added = max((len(text) for text in _constants(step)), default=0)
        if added > _MAX_CONSTANT:
            _refuse(f"a step in {where} writes {added:,} characters before a text", _MAX_CONSTANT)
        factor, is_string = _replacement(step)
        replaced *= factor if is_string else 1.0
        growth *= factor * _GROWTH.get(str(step.get("type")), 1.0) * _table(step, where)
    if not replaced <= _MAX_REPLACED:
        _refuse(f"{where} makes a text {replaced:,.0f} times as long by replacing", _MAX_REPLACED)
    if not growth <= _MAX_GROWTH:
        _refuse(f"{where} can make a text {growth:,.0f} times as long", _MAX_GROWTH)


def _constants(step: Mapping[str, object]) -> list[str]:
    # Metaspace writes its replacement before each piece.
    values = (step.get(key) for key in ("prepend", "append", "replacement", "suffix", "prefix"))
    return [value for value in values if isinstance(value, str)]


def _replacement(step: Mapping[str, object]) -> tuple[float, bool]:
    pattern, content = step.get("pattern"), step.get("content")
    if not isinstance(content, str) or pattern is None:
        return 1.0, True
    text = pattern.get("String") if isinstance(pattern, Mapping) else pattern
    if isinstance(text, str) and text:
        return max(1.0, len(content) / len(text)), True
    # A regular expression can match nothing, before every character.
    most = 1.0 + len(content)
    return most, len(content) >= _MAX_REPLACED


def _table(step: Mapping[str, object], where: str) -> float:
    # SentencePiece's own: a trie, and then texts that end with a zero byte.
    charsmap = step.get("precompiled_charsmap")
    if not isinstance(charsmap, str):
        return 1.0
    try:
        table = base64.b64decode(charsmap)
    except (binascii.Error, ValueError) as exc:
        msg = f"{where} holds a table that is not in base64"
        raise FormatError(msg, hint=_RESAVE) from exc
    texts = table[4 + int.from_bytes(table[:4], "little") :]
    return float(max(1, *(_num_characters(text) for text in texts.split(b"\0"))))


def _num_characters(text: bytes) -> int:
    return sum(byte & 0xC0 != 0x80 for byte in text) if len(text) < _MAX_IDS else len(text)


def _check_post_processor(post: object, where: str) -> None:
    num_entries = 0
    for step in _objects(post):
        for key in ("single", "pair"):
            entries = step.get(key)
            listed: list[object] = (
                entries if isinstance(entries, list) else [*str(entries or "").split()]
            )
            num_entries += len(listed)
            _check_sequences(listed, where)
        for key in ("ids", "tokens", "special_tokens"):
            held = step.get(key)
            if isinstance(held, (list, Mapping)) and len(held) > _MAX_IDS:
                _refuse(f"{where} has {len(held):,} {key!r}", _MAX_IDS)
    if num_entries > _MAX_ENTRIES:
        _refuse(f"{where} has {num_entries:,} entries", _MAX_ENTRIES)


def _check_sequences(entries: list[object], where: str) -> None:
    # The text itself, once: a template of a template would double it again and again.
    texts = [str(entry.get("Sequence")) for entry in entries if isinstance(entry, Mapping)]
    texts = [text for text in texts if text != "None"]
    short = [entry for entry in entries if isinstance(entry, str) and entry.startswith("$")]
    ids = [text.partition("'type_id'")[0] for text in texts] + [text[:2] for text in short]
    if len(ids) > len(set(ids)):
        _refuse(f"{where} writes a text {len(ids)} times", 1)
