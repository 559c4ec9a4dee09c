"""Decide from file names and sizes alone whether a checkpoint may be read at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError
from sdi_gate.models.snapshot import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    SnapshotKind,
    is_pickle,
    is_wanted,
    kind_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from sdi_gate.models.ref import ModelRef

CONFIG = "config.json"
_INSPECTED = (CONFIG, "generation_config.json", "tokenizer_config.json", ADAPTER_CONFIG)
_WEIGHTS_SUFFIX = ".safetensors"
_INDEX_SUFFIX = ".safetensors.index.json"
_GGUF_SUFFIX = ".gguf"
_PICKLED_ADAPTER = "adapter_model.bin"
_VOCABULARIES = frozenset(
    {"tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model"}
)
_MAX_CONFIG_BYTES = 10_000_000
# The largest tokenizers have 40 MB: a quarter of a million entries and as many merges.
_MAX_VOCABULARY_BYTES = 200_000_000
# The index of a checkpoint with 92 000 tensors has 9 MB; this leaves room for ten times that.
_MAX_INDEX_BYTES = 100_000_000
# The Hub takes files up to 500 GB; a trillion parameters in bfloat16, in one file, have 2 TB.
_MAX_WEIGHTS_BYTES = 1 << 41

_RESAVE = (
    "re-save it as safetensors, where you trust it: AutoModel….from_pretrained(…)"
    ".save_pretrained(…), with transformers 5"
)
_RESAVE_ADAPTER = (
    "re-save the adapter as safetensors: PeftModel.from_pretrained(…)"
    ".save_pretrained(…, safe_serialization=True)"
)
_AGAIN = "copy or download the model again, every file of it"


def is_weights(name: str) -> bool:
    """Say whether a file of a snapshot holds safetensors weights.

    Args:
        name: File name relative to the model's root.

    Returns:
        True for safetensors files in the root.
    """
    return is_wanted(name) and name.endswith(_WEIGHTS_SUFFIX)


def is_index(name: str) -> bool:
    """Say whether a file of a snapshot maps tensors to shards.

    Args:
        name: File name relative to the model's root.

    Returns:
        True for safetensors indices in the root.
    """
    return is_wanted(name) and name.endswith(_INDEX_SUFFIX)


def is_large(name: str) -> bool:
    """Say whether a file of a snapshot holds weights in any format.

    Args:
        name: File name relative to the model's root.

    Returns:
        True for safetensors and GGUF files in the root.
    """
    return is_wanted(name) and name.endswith((_WEIGHTS_SUFFIX, _GGUF_SUFFIX))


def is_inspected(name: str) -> bool:
    """Say whether `check_contents` reads a file, so that it must be fetched first.

    Args:
        name: File name relative to the model's root.

    Returns:
        True for the configurations of model, generation, tokenizer and adapter, and for indices.
    """
    return name in _INSPECTED or is_index(name)


def check_size(name: str, size_bytes: int, ref: ModelRef) -> None:
    """Refuse a file that is larger than its kind can be, before it is read or fetched.

    Args:
        name: File name relative to the model's root.
        size_bytes: Its size.
        ref: The model, for messages.

    Raises:
        FormatError: If the file is too large.
    """
    if is_large(name):
        limit = _MAX_WEIGHTS_BYTES
    elif is_index(name):
        limit = _MAX_INDEX_BYTES
    else:
        limit = _MAX_VOCABULARY_BYTES if name in _VOCABULARIES else _MAX_CONFIG_BYTES
    if size_bytes > limit:
        msg = (
            f"{name!r} of {ref} is too large: expected at most {limit:,} bytes, got {size_bytes:,}"
        )
        raise FormatError(msg, hint="this is not a file that transformers wrote")


def check_listing(names: Collection[str], ref: ModelRef) -> None:
    """Refuse a model whose file names alone say that it cannot or must not be read.

    Args:
        names: Every file name of the model, wanted or not, relative to its root.
        ref: The model, for messages.

    Raises:
        FormatError: If there are no files, no configuration, no weights or more than one kind of
            them, or an unsafe name.
    """
    if not names:
        msg = f"{ref} holds no files; expected {CONFIG} and *.safetensors"
        raise FormatError(msg, hint="check the name, and whether the upload was finished")
    for name in filter(is_wanted, names):
        # A line break in a name could forge `ModelSnapshot.digest`, which is made of lines.
        if not name.isprintable() or "\\" in name:
            msg = f"{ref} holds a file with a name that is not safe to use: {name[:80]!r}"
            raise FormatError(msg, hint="rename it, or use another copy of the model")
    if ADAPTER_CONFIG in names:
        _check_adapter(names, ref)
    elif ADAPTER_WEIGHTS in names:
        msg = f"{ref} holds {ADAPTER_WEIGHTS} but no {ADAPTER_CONFIG}: its scale cannot be known"
        raise FormatError(msg, hint=f"add the {ADAPTER_CONFIG} that the adapter was saved with")
    elif kind_of(names) is SnapshotKind.GGUF:
        _check_single_gguf(names, ref)
    else:
        _check_full(names, ref)


def _check_adapter(names: Collection[str], ref: ModelRef) -> None:
    others = sorted(n for n in names if (is_weights(n) or is_index(n)) and n != ADAPTER_WEIGHTS)
    if others:
        # transformers would load the adapter and the base that it names, not these.
        msg = (
            f"{ref} holds {ADAPTER_CONFIG} and other weights than {ADAPTER_WEIGHTS}:"
            f" {others[0][:80]!r}; which of them runs depends on how they are loaded"
        )
        hint = (
            f"put {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} into a folder of their own, or remove"
            " them and give the full model"
        )
        raise FormatError(msg, hint=hint)
    if ADAPTER_WEIGHTS in names:
        return
    msg = f"{ref} holds {ADAPTER_CONFIG} but no {ADAPTER_WEIGHTS}"
    if _PICKLED_ADAPTER in names:
        msg = f"{msg}; got {_PICKLED_ADAPTER!r}, a format that can run code when it is loaded"
        raise FormatError(msg, hint=_RESAVE_ADAPTER)
    raise FormatError(msg, hint=_AGAIN)


def _check_single_gguf(names: Collection[str], ref: ModelRef) -> None:
    found = sorted(name for name in names if is_large(name))
    if len(found) > 1:
        msg = (
            f"{ref} holds {len(found)} GGUF files, {found[0][:80]!r} and {found[1][:80]!r} first;"
            " expected one, for each of them can be a model of its own"
        )
        raise FormatError(msg, hint="put the one that is meant into a folder of its own")


def _check_full(names: Collection[str], ref: ModelRef) -> None:
    if CONFIG not in names:
        msg = f"{ref} holds no {CONFIG}; expected a model in transformers format in its root"
        raise FormatError(msg, hint="give the folder or repository that save_pretrained wrote")
    if not any(is_weights(name) for name in names):
        pickles = sorted(filter(is_pickle, names))
        msg = f"{ref} holds {CONFIG} but no weights; expected *.safetensors beside it"
        if pickles:
            msg = f"{msg}, got {pickles[0][:80]!r}, a format that can run code when it is loaded"
        raise FormatError(msg, hint=_RESAVE if pickles else _AGAIN)
