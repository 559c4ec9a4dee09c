"""Sort the tensors of an adapter by the module that they change."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn

from sdi_gate.errors import FormatError

if TYPE_CHECKING:
    from sdi_gate.models.tensors import TensorInfo, TensorSource

_PREFIX = "base_model.model."
# Names of modules and parameters in Python; a matcher of names can rely on it.
_NAME = re.compile(r"[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]+)*", re.ASCII)
_MAX_NAME = 300
_LAYER = re.compile(r"(?P<part>lora_[AB])(?:\.(?P<adapter>[^.]+))?\.weight")
_MAGNITUDE = re.compile(
    r"(?P<part>lora_magnitude_vector)(?:\.(?!weight$)(?P<adapter>[^.]+))?(?:\.weight)?"
)
_PARAMETER = re.compile(
    r"(?P<part>lora_embedding_[AB]|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2)"
    r"(?:\.(?P<adapter>[^.]+))?"
)
# PEFT's wrappers: around an adapted module, and around one that was trained as a whole.
_WRAPPED = re.compile(
    r"\.(?P<wrapper>base_layer|original_module|modules_to_save(?:\.(?!weight$|bias$)[^.]+)?)"
    r"(?P<leaf>\.[^.]+)$"
)
# A component of a name that only an adapter's tensors have.
_OF_ADAPTERS = re.compile(r"lora_.*|hada_.*|lokr_.*|base_layer|original_module|modules_to_save")
# The name that PEFT loads an adapter under. Tensors under another one are ignored.
_DEFAULT = "default"
_LOADED = frozenset({None, _DEFAULT})
_HINT = "save the adapter again with PEFT's save_pretrained, or merge it with merge_and_unload"


class Part(StrEnum):
    """Name what a tensor of an adapter is within its module."""

    A = "lora_A"
    B = "lora_B"
    EMBEDDING_A = "lora_embedding_A"
    EMBEDDING_B = "lora_embedding_B"
    MAGNITUDE = "lora_magnitude_vector"
    HADA_W1_A = "hada_w1_a"
    HADA_W1_B = "hada_w1_b"
    HADA_W2_A = "hada_w2_a"
    HADA_W2_B = "hada_w2_b"
    HADA_T1 = "hada_t1"
    HADA_T2 = "hada_t2"
    LOKR_W1 = "lokr_w1"
    LOKR_W1_A = "lokr_w1_a"
    LOKR_W1_B = "lokr_w1_b"
    LOKR_W2 = "lokr_w2"
    LOKR_W2_A = "lokr_w2_a"
    LOKR_W2_B = "lokr_w2_b"
    LOKR_T2 = "lokr_t2"


@dataclass(slots=True, kw_only=True)
class Groups:
    """Hold the tensors of an adapter, each exactly once.

    Attributes:
        adapted: Parts of an adapter by the name of its module.
        whole: Full tensors by the name of the base's tensor that each takes the place of.
        beneath: Copies of a base's weight beneath an adapter, by the base's tensor.
        originals: Copies of a base's tensor beside one that was trained as a whole.
        copies: Second copies of tensors in ``whole``.
        names: Names of adapters that tensors were found under; None for none.
    """

    adapted: dict[str, dict[Part, TensorInfo]] = field(default_factory=dict)
    whole: dict[str, TensorInfo] = field(default_factory=dict)
    beneath: dict[str, TensorInfo] = field(default_factory=dict)
    originals: dict[str, TensorInfo] = field(default_factory=dict)
    copies: dict[str, TensorInfo] = field(default_factory=dict)
    names: set[str | None] = field(default_factory=set)


def group_tensors(source: TensorSource, where: str) -> Groups:
    """Sort the tensors of an adapter by what they change.

    Args:
        source: The adapter's tensors.
        where: Which file of which model, for messages.

    Returns:
        The groups; together they hold every tensor exactly once.

    Raises:
        FormatError: If a tensor's name means nothing, two mean the same, or there are none.
    """
    groups = Groups()
    for info in source.tensors.values():
        if not info.name.startswith(_PREFIX) or not is_name(info.name):
            _refuse(info, where, f"expected {_PREFIX}, a module and a parameter")
        if not _sort(info, groups):
            _refuse(info, where, "it is there twice, or is no tensor of an adapter known here")
    if not groups.adapted:
        msg = f"{where} holds no tensors of an adapter"
        raise FormatError(msg, hint=_HINT)
    if len(groups.names) > 1:
        names = [str(name)[:80] for name in sorted(groups.names, key=str)]
        msg = f"{where} holds the adapters {names[:2]}; expected one"
        raise FormatError(msg, hint=_HINT)
    name = next(iter(groups.names))
    if name not in _LOADED:
        msg = f"{where} holds the adapter {str(name)[:80]!r}; PEFT loads {_DEFAULT!r}, or no name"
        raise FormatError(msg, hint=_HINT)
    return groups


def is_name(name: str) -> bool:
    """Say whether a text can be the name of a tensor.

    Args:
        name: Any text.

    Returns:
        True if it is made of dots and Python's words, and is of sane length.
    """
    return len(name) <= _MAX_NAME and _NAME.fullmatch(name) is not None


def split_adapter(name: str) -> tuple[str, Part, str | None] | None:
    """Take the name of an adapter's part apart.

    Args:
        name: Tensor name, such as ``X.lora_A.default.weight``.

    Returns:
        Module, part, and the adapter's name if there is one; None if it is no adapter's part.
    """
    components = name.split(".")
    for length in (1, 2, 3):
        tail, head = ".".join(components[-length:]), ".".join(components[:-length])
        for form in (_LAYER, _MAGNITUDE, _PARAMETER):
            match = form.fullmatch(tail)
            if match and head:
                return head, Part(match["part"]), match["adapter"]
    return None


def split_wrapped(name: str) -> str:
    """Take PEFT's wrappers out of the name of a base's tensor.

    Args:
        name: Tensor name, such as ``X.base_layer.weight`` or ``X.modules_to_save.default.weight``.

    Returns:
        The name in the unwrapped model; the same one if there is no wrapper.
    """
    return _WRAPPED.sub(r"\g<leaf>", name)


def _sort(info: TensorInfo, groups: Groups) -> bool:
    name = info.name.removeprefix(_PREFIX)
    part = split_adapter(name)
    if part is not None:
        module, kind, adapter = part
        if kind is Part.MAGNITUDE and adapter is not None and not name.endswith(".weight"):
            return False  # PEFT asks for the weight of a named one, and ignores this
        groups.names.add(adapter)
        parts = groups.adapted.setdefault(module, {})
        return parts.setdefault(kind, info) is info
    target = split_wrapped(name)
    if any(_OF_ADAPTERS.fullmatch(component) for component in target.split(".")):
        return False
    return _group_of(name, groups).setdefault(target, info) is info


def _group_of(name: str, groups: Groups) -> dict[str, TensorInfo]:
    match = _WRAPPED.search(name)
    wrapper = "" if match is None else match["wrapper"]
    if wrapper == "base_layer" and name.endswith(".weight"):
        return groups.beneath
    if wrapper == "original_module":
        return groups.originals
    return groups.copies if wrapper.startswith("modules_to_save") else groups.whole


def _refuse(info: TensorInfo, where: str, why: str) -> NoReturn:
    msg = f"tensor {info.name[:120]!r} in {where} cannot be used: {why}"
    raise FormatError(msg, hint=_HINT)
