"""Count the rows of an embedding that some token addresses, from the tokenizers' files alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError
from sdi_gate.models.strict_json import parse_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sdi_gate.models.snapshot import ModelSnapshot

_VOCABULARY = "tokenizer.json"
_CONFIG = "tokenizer_config.json"
_ADDED = "added_tokens.json"
_SPECIAL = "special_tokens_map.json"
_DECODER = "added_tokens_decoder"
_LISTS = ("additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens")
_ID = re.compile(r"[0-9]{1,10}")
_MAX_ID = 1 << 31
# Classes that have no special tokens but those of the files. All others bring some of their own:
# seven by name, and the marks of code models.
_PLAIN_CLASSES = frozenset({"TokenizersBackend", "PreTrainedTokenizerFast"})
_MOST_OWN = 16
# Makes some classes add tokens by number.
_BY_NUMBER = "extra_ids"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tokens:
    """Hold what the files of one tokenizer name.

    Attributes:
        words: The vocabulary that a tokenizer is trained with.
        top: One more than the largest id of the vocabulary, or its length if that is more.
        ids: Ids that files give to added tokens.
        added: Tokens with such an id.
        special: Tokens that are named as special, with an id or without.
        num_own: How many more the tokenizer's class may bring.
    """

    words: frozenset[str]
    top: int
    ids: tuple[int, ...]
    added: frozenset[str]
    special: frozenset[str]
    num_own: int

    @property
    def num_rows(self) -> int:
        """Return an upper bound for the rows that are addressed.

        A token that has no id gets the next one. Whether a token that has one keeps it depends on
        the tokenizer's class, so both are counted, and the larger is taken.
        """
        new = (self.added | self.special) - self.words
        largest = max([self.top, *(number + 1 for number in self.ids)])
        return self.num_own + max(self.top + len(new), largest + len(new - self.added))


def num_addressed(*snapshots: ModelSnapshot) -> int | None:
    """Count the rows of an embedding that some token addresses.

    Args:
        snapshots: The base first; others whose tokens count too.

    Returns:
        No less than one more than the largest token id of any of them; None if the base has no
        ``tokenizer.json`` that says so, or a file of a tokenizer cannot be read. Rows that are
        counted and that no token addresses are compared without need; the reverse would be a
        place to hide.
    """
    counts = []
    for place, snapshot in enumerate(snapshots):
        try:
            found = _tokens_of(snapshot)
        except (OSError, FormatError):
            return None
        if found is not None:
            counts.append(found.num_rows)
        elif place == 0 or _names(snapshot) & {"tokenizer.model", "vocab.json", "vocab.txt"}:
            return None
    return max(counts) if counts else None


def _names(snapshot: ModelSnapshot) -> set[str]:
    return {file.name for file in snapshot.files}


def _tokens_of(snapshot: ModelSnapshot) -> _Tokens | None:
    held = _names(snapshot)
    plain, config, added, special = (
        parse_object((snapshot.folder / name).read_bytes(), name) if name in held else {}
        for name in (_VOCABULARY, _CONFIG, _ADDED, _SPECIAL)
    )
    if _BY_NUMBER in config:
        return None
    model = plain.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        words, ids = set(vocabulary), tuple(_possible(vocabulary.values()))
    elif isinstance(vocabulary, list):
        words = {entry[0] if isinstance(entry, list) and entry else entry for entry in vocabulary}
        ids = (len(vocabulary) - 1,)
    else:
        return None
    if isinstance(vocabulary, dict) and len(ids) < len(vocabulary):
        return None  # no tokenizer has such ids
    top = max([len(vocabulary), *(number + 1 for number in ids)])
    return _with_added(
        _Tokens(
            words=frozenset(word for word in words if isinstance(word, str)),
            top=top,
            ids=(),
            added=frozenset(),
            special=frozenset({*_special(config), *_special(special)}),
            num_own=0 if config.get("tokenizer_class") in _PLAIN_CLASSES else _MOST_OWN,
        ),
        [*_entries(plain.get("added_tokens")), *_decoded(config), *added.items()],
    )


def _with_added(tokens: _Tokens, entries: Iterable[tuple[object, object]]) -> _Tokens:
    found = list(entries)
    return _Tokens(
        words=tokens.words,
        top=tokens.top,
        ids=tuple(_possible(number for _, number in found)),
        # One without a name is a token none the less.
        added=frozenset(
            text if isinstance(text, str) else f"{place}\0" for place, (text, _) in enumerate(found)
        ),
        special=tokens.special,
        num_own=tokens.num_own,
    )


def _possible(numbers: Iterable[object]) -> Iterator[int]:
    for number in numbers:
        if type(number) is int and 0 <= number < _MAX_ID:
            yield number


def _entries(added: object) -> Iterator[tuple[object, object]]:
    for token in added if isinstance(added, list) else ():
        if isinstance(token, dict):
            yield token.get("content"), token.get("id")


def _decoded(config: Mapping[str, object]) -> Iterator[tuple[object, object]]:
    decoder = config.get(_DECODER)
    for key, token in decoder.items() if isinstance(decoder, dict) else ():
        content = token.get("content") if isinstance(token, dict) else token
        yield content, int(key) if _ID.fullmatch(key) else None


def _special(plain: Mapping[str, object]) -> Iterator[str]:
    for key, value in plain.items():
        if key in _LISTS:
            several = list(value.values()) if isinstance(value, dict) else value
            for token in several if isinstance(several, list) else ():
                yield from _texts(token)
        elif key.endswith("_token"):
            yield from _texts(value)


def _texts(token: object) -> Iterator[str]:
    text = token.get("content") if isinstance(token, dict) else token
    if isinstance(text, str):
        yield text
