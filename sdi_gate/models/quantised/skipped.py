"""Refuse weights that are quantised where the configuration says that they are not.

Whoever reads the configuration takes such a weight as it is stored, without its scales; whoever
reads the scales takes another. Both are in use: transformers on a processor and on a graphics card.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from sdi_gate.errors import FormatError
from sdi_gate.models.adapters.patterns import Name, PatternError, compile_pattern
from sdi_gate.models.quantised.libraries import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sdi_gate.models.adapters.patterns import Pattern
    from sdi_gate.models.ref import ModelRef

_HINT = "get another copy, or compare the model before it was quantised"
# What transformers and vLLM call the same list.
_SKIPPED = ("modules_to_not_convert", "ignored_layers", "llm_int8_skip_modules")
# Without a list, transformers leaves the head as it is.
_DEFAULT = ("lm_head",)
# Stored names may lack the first part of those that the list means.
_PREFIXES = ("model.", "transformer.", "gpt_neox.", "language_model.")
_LISTED = "lists it among those that are not"
_MAX_PATTERNS = 100_000
_MAX_LENGTH = 500
_DOT = frozenset(".")
_PLAIN = re.compile(r"[\w.]+", re.ASCII)
_REGEX = "re:"
_LINEAR = frozenset({"Linear", "LinearBase"})
_EMBEDDING = "Embedding"


def refuse_skipped(
    names: Iterable[str],
    stored: Iterable[str],
    config: Mapping[str, object],
    ref: ModelRef,
) -> None:
    """Refuse quantised weights in modules that transformers does not convert.

    Args:
        names: The quantised weights, under the names they have once dequantised.
        stored: Every stored tensor.
        config: The model's ``quantization_config``, of FP8 or bitsandbytes.
        ref: The model, for messages.

    Raises:
        FormatError: If there is one, or the list is none.
    """  # noqa: DOC502 - raised by what it calls
    listed = [_texts_of(config[key], key, ref) for key in _SKIPPED if config.get(key) is not None]
    texts = {text for found in listed for text in found} if listed else {*_DEFAULT}
    modules = _modules(names)
    for module in modules:
        if any(_places(full) & texts for full in _fulls(module)):
            _refuse(module, _LISTED, ref)
    known = {place for name in stored for full in _fulls(name) for place in _places(full)}
    # In a name that means nothing as it is, a dot may stand for any character.
    lines = "\n".join(["", *(full for module in modules for full in _fulls(module)), ""])
    for text in sorted(texts - known):
        found = _first_line(text, lines, ref)
        if found:
            _refuse(found, _LISTED, ref)


def refuse_ignored(names: Iterable[str], config: Mapping[str, object], ref: ModelRef) -> None:
    """Refuse quantised weights in modules that compressed-tensors ignores or does not target.

    Args:
        names: The quantised weights, under the names they have once dequantised.
        config: The model's ``quantization_config``.
        ref: The model, for messages.

    Raises:
        FormatError: If there is one, or a list is none.
    """  # noqa: DOC502 - raised by what it calls
    ignored = _Targets(_texts_of(config.get("ignore") or [], "ignore", ref), ref)
    groups = config.get("config_groups")
    targets = [
        text
        for group in (groups.values() if isinstance(groups, dict) else ())
        if isinstance(group, dict) and group.get("weights")
        for text in _texts_of(group.get("targets"), "targets", ref)
    ]
    targeted = _Targets(targets, ref)
    for module in _modules(names):
        if ignored.has(module):
            _refuse(module, "ignores it", ref)
        if not targeted.has(module):
            _refuse(module, "does not target it", ref)


class _Targets:
    """Match modules as compressed-tensors does: whole names, ``re:`` and classes."""

    def __init__(self, texts: Collection[str], ref: ModelRef) -> None:
        self._names = {text for text in texts if not text.startswith(_REGEX)}
        self._patterns = [
            _compiled(text.removeprefix(_REGEX), ref) for text in texts if text.startswith(_REGEX)
        ]

    def has(self, module: str) -> bool:
        if self._names & _LINEAR or (_EMBEDDING in self._names and "emb" in module):
            return True
        fulls = [Name(full) for full in _fulls(module)]
        return any(full.text in self._names for full in fulls) or any(
            pattern.step(full, 1) for pattern in self._patterns for full in fulls
        )


def _modules(names: Iterable[str]) -> list[str]:
    # Experts that are stacked are parameters, and not modules, of that name.
    return sorted(name.removesuffix(".weight") for name in names)


def _fulls(name: str) -> list[str]:
    if name.startswith(_PREFIXES):
        return [name]
    return [name, *(f"{prefix}{name}" for prefix in _PREFIXES)]


def _places(module: str) -> set[str]:
    # As transformers compares: from the start up to a dot, or the end, from any character on.
    parts = module.split(".")
    starts = {".".join(parts[: end + 1]) for end in range(len(parts))}
    ends = {module[start:] for start in range(len(module))}
    return starts | {f"{start}." for start in starts} | ends


def _first_line(text: str, lines: str, ref: ModelRef) -> str:
    if _PLAIN.fullmatch(text):
        # Without repetition there is nothing to go back to: Python's own engine is safe here.
        found = re.search(rf"\n(?={text}(?:(?<=\.)|(?=[.\n])))([^\n]*)", lines)
        return found[1] if found and "." in text else ""
    pattern = _compiled(text, ref)
    for line in lines.split():
        name = Name(line)
        dots = name.places(_DOT)
        if pattern.step(name, 1) & (dots | dots << 1 | 1 << len(line)):
            return line
    return ""


def _compiled(text: str, ref: ModelRef) -> Pattern:
    try:
        return compile_pattern(text)
    except PatternError as exc:
        msg = f"{shown(text)} in 'quantization_config' of {ref} is no pattern that sdi-gate reads"
        raise FormatError(f"{msg}: {exc}", hint="name the modules one by one") from exc


def _texts_of(value: object, key: str, ref: ModelRef) -> list[str]:
    if (
        not isinstance(value, list)
        or len(value) > _MAX_PATTERNS
        or not all(isinstance(text, str) and len(text) <= _MAX_LENGTH for text in value)
    ):
        msg = f"{key!r} in 'quantization_config' of {ref} is no list of names; got {shown(value)}"
        raise FormatError(msg, hint="re-save the model with save_pretrained")
    return value


def _refuse(module: str, how: str, ref: ModelRef) -> NoReturn:
    msg = f"{shown(module)} of {ref} is stored quantised, and its 'quantization_config' {how}"
    raise FormatError(msg, hint=_HINT)
