"""Load the tokenizers of two models and compare how they read."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transformers import AutoTokenizer

from sdi_gate.errors import FormatError
from sdi_gate.models.tokenizer_bounds import check_built, check_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerBase

    from sdi_gate.models.probe import ProbeSet
    from sdi_gate.models.snapshot import ModelSnapshot

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_RESAVE = "re-save the tokenizer with save_pretrained"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerComparison:
    """Say whether two models read text alike.

    Attributes:
        same: Whether they do; None if the candidate has no tokenizer of its own.
        detail: One sentence for a reader.
        notice: What differs and does not show on the probe's texts; empty if nothing does.
    """

    same: bool | None
    detail: str
    notice: str = ""


def is_tokenizer_file(name: str) -> bool:
    """Say whether a file decides how text becomes tokens.

    Args:
        name: File name relative to the model's root.

    Returns:
        True for vocabularies and for a chat template of its own file.
    """
    return name in {*_TOKENIZER_FILES, "merges.txt", "chat_template.jinja", "chat_template.json"}


def has_tokenizer(snapshot: ModelSnapshot) -> bool:
    """Say whether a snapshot holds a tokenizer.

    Args:
        snapshot: The model.

    Returns:
        True if a vocabulary or a tokenizer's configuration is there.
    """
    # A tokenizer of bytes needs no vocabulary: its class is named in tokenizer_config.json.
    names = {file.name for file in snapshot.files}
    return not names.isdisjoint({*_TOKENIZER_FILES, "tokenizer_config.json"})


def load_tokenizer(snapshot: ModelSnapshot) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer from its folder, running no code of the model's.

    Args:
        snapshot: The model; `has_tokenizer` holds.

    Returns:
        The tokenizer.

    Raises:
        FormatError: If transformers cannot use the files, or a text can grow beyond bounds in them.
    """  # noqa: DOC502 - raised by what it calls
    check_tokenizer(snapshot)
    with translated(f"transformers cannot read the tokenizer of {snapshot.ref}", _RESAVE):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            snapshot.folder, local_files_only=True, trust_remote_code=False
        )
    if not any(file.name == "tokenizer.json" for file in snapshot.files):
        check_built(tokenizer, snapshot.ref)
    return tokenizer


def compare_tokenizers(
    base: PreTrainedTokenizerBase, candidate: PreTrainedTokenizerBase, probe: ProbeSet
) -> TokenizerComparison:
    """Compare two tokenizers by vocabulary and by what they make of the probe set.

    Args:
        base: The base's.
        candidate: The candidate's.
        probe: Texts to try them on.

    Returns:
        Whether they read alike.

    Raises:
        FormatError: If one of them cannot read the probe set.
    """  # noqa: DOC502 - raised by encode()
    ours, theirs = base.get_vocab(), candidate.get_vocab()
    added = len(theirs) - len(ours)
    if not ours.items() <= theirs.items():
        sizes = f"{len(ours)} and {len(theirs)} entries"
        return TokenizerComparison(same=False, detail=f"the vocabularies differ ({sizes})")
    texts = [text for sample in probe.samples for text in (sample.text, sample.prompt) if text]
    different = sum(encode(base, text) != encode(candidate, text) for text in texts)
    if different:
        detail = f"{different} of {len(texts)} probe texts give other tokens"
        return TokenizerComparison(same=False, detail=detail)
    detail = "the same vocabulary, and the same tokens on every probe text"
    differs = []
    if added:
        detail = f"the candidate adds {added} tokens; the same tokens on every probe text"
        differs.append(f"what the candidate does with its {added} added tokens")
    elif _construction(base) != _construction(candidate):
        differs.append("that the tokenizers treat some text or special tokens otherwise")
    if getattr(base, "chat_template", None) != getattr(candidate, "chat_template", None):
        detail += "; the chat templates differ, and the base's was used for both"
        differs.append("that the chat templates differ")
    notice = f"not seen on the probe's texts: {' and '.join(differs)}" if differs else ""
    return TokenizerComparison(same=True, detail=detail, notice=notice)


def _construction(tokenizer: PreTrainedTokenizerBase) -> tuple[object, ...]:
    # Normaliser, pre-tokenizer, merges, added and special tokens.
    backend = getattr(tokenizer, "backend_tokenizer", None)
    parts = json.loads(backend.to_str()) if backend is not None else {}
    for key in ("padding", "truncation"):  # how it was last called, not what it is
        parts.pop(key, None)
    return (type(tokenizer).__name__, parts, tokenizer.special_tokens_map)


def encode(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool = True) -> list[int]:
    """Turn a text into token ids.

    Args:
        tokenizer: The tokenizer.
        text: The text.
        special: Whether to add special tokens, as the tokenizer does.

    Returns:
        The ids.

    Raises:
        FormatError: If the tokenizer fails.
    """  # noqa: DOC502 - raised by translated()
    with translated("a tokenizer cannot read the probe set", _RESAVE):
        return list(tokenizer(text, add_special_tokens=special)["input_ids"])


@contextmanager
def translated(what: str, hint: str) -> Iterator[None]:
    """Translate whatever a tokenizer or a template raises.

    Args:
        what: What failed, for the message.
        hint: What to try.

    Yields:
        Nothing; call the tokenizer inside.

    Raises:
        FormatError: If anything was raised.
    """  # noqa: DOC501 - what ends the process is handed on as it is
    # The tokenizers library raises plain Exception and, on a regular expression that explodes, a
    # panic that is none; a template can raise anything.
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as exc:
        raise FormatError(f"{what}: {type(exc).__name__}", hint=hint) from exc
