"""Say which modules PEFT puts an adapter on, by the rules of peft 0.21.

What cannot be decided as exactly as PEFT does is refused: a module that is wrongly thought to be a
target would be measured and never run, and one that is wrongly thought to be none would be run
with numbers that PEFT makes up.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.adapters.patterns import Name, Pattern, PatternError, compile_pattern
from sdi_gate.models.adapters.settings import MERGE, PeftType
from sdi_gate.models.roles import Role, roles_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sdi_gate.models.adapters.build import BaseModel
    from sdi_gate.models.adapters.config import AdapterConfig

    Rule = Callable[[str], bool]

_ALL_LINEAR = "all-linear"
_WEIGHT = ".weight"
# The only names by which PEFT knows what may be tied (EMBEDDING_LAYER_NAMES).
_ENDS = ("embed_tokens", "lm_head")
# PEFT takes these for experts of a model that has fused ones, wherever else they stand.
_EXPERTS = frozenset({"gate", "w1", "w2", "w3", "gate_proj", "up_proj", "down_proj"})
# PEFT puts entries of modules_to_save into an expression as they are; a name has none of its signs.
_PLAIN = re.compile(r"[A-Za-z0-9_\-.]+", re.ASCII)
_MAX_DOTTED = 5_000
# So many names PEFT shortens first; then one that was given in full no longer counts as such.
_SHORTENED = 20
_FITS_NO_LAYER = -1


class Tying(StrEnum):
    """Say how PEFT keeps the embedding and the head of a model tied."""

    NONE = "not"
    SAVED = "both trained as a whole"
    TARGETED = "both adapted"


def tying_of(config: AdapterConfig, base: BaseModel) -> Tying:
    """Say how PEFT keeps the embedding and the head of a model tied.

    Args:
        config: The adapter's configuration.
        base: The base.

    Returns:
        How; ``ensure_weight_tying`` alone is not enough, for PEFT wants one of the two named.

    Raises:
        IncomparableError: If ``target_modules`` is an expression that is not understood.
    """  # noqa: DOC502 - raised by _compiled()
    if not config.ensure_weight_tying or not base.tied:
        return Tying.NONE
    if any(entry.split(".")[-1] in _ENDS for entry in config.modules_to_save):
        return Tying.SAVED
    targets = config.target_modules
    if isinstance(targets, str):
        pattern = None if _is_all_linear(targets) else _compiled(targets, "target_modules", config)
        named = pattern is not None and any(pattern.matches(Name(end)) for end in _ENDS)
    else:
        named = any(entry.split(".")[-1] in _ENDS for entry in targets or ())
    return Tying.TARGETED if named else Tying.NONE


def tied_modules(base: BaseModel) -> frozenset[str]:
    """Return the modules whose weights are one.

    Args:
        base: The base.

    Returns:
        Names of modules; mostly the embedding and the head.
    """
    return frozenset(name.rpartition(".")[0] for name in (*base.tied, *base.tied.values()))


def rule_of(config: AdapterConfig, base: BaseModel) -> Rule:
    """Say which modules PEFT puts an adapter on.

    Args:
        config: The adapter's configuration.
        base: The base.

    Returns:
        A function from the name of a module to whether it is a target. Modules that are kept tied
        are all targets, or none.

    Raises:
        FormatError: If the configuration contradicts itself, so that PEFT cannot load it.
        IncomparableError: If the rule cannot be decided here as PEFT decides it.
    """  # noqa: DOC502 - raised by the functions below
    _refuse_contradiction(config)
    _refuse_experts(config, base)
    excluded, saved, targeted = _excluded(config), _saved(config), _targeted(config, base)
    tying, ends = tying_of(config, base), tied_modules(base)
    for module in sorted(ends):
        unclear = excluded(module) if tying is Tying.TARGETED else targeted(module)
        if unclear and tying is not Tying.NONE:
            _refuse_merge(config, f"both ties {module[:120]!r} and adapts or excludes it")

    def rule(module: str) -> bool:
        if tying is not Tying.NONE and module in ends:
            return tying is Tying.TARGETED
        return targeted(module) and not excluded(module) and not saved(module)

    return rule


def is_embedding(target: str, config: AdapterConfig, base: BaseModel) -> bool:
    """Say whether a weight is an embedding's, which PEFT adapts in another way than a matrix's.

    Args:
        target: Name of a matrix of the base.
        config: The adapter's configuration.
        base: The base.

    Returns:
        True for ``nn.Embedding``; transformers' names say so.

    Raises:
        IncomparableError: If the name does not tell the embedding from the head.
    """  # noqa: DOC502 - raised by _refuse_merge()
    roles = roles_of(target)
    if Role.HEAD in roles:
        return False
    if Role.EMBEDDING in roles or "embed" in target.removesuffix(_WEIGHT).split(".")[-1].lower():
        return True
    if target in base.vocabulary:
        _refuse_merge(config, f"adapts {target[:120]!r}, which may be an embedding or a head")
    return False


def _refuse_contradiction(config: AdapterConfig) -> None:
    chooses_layers = config.layers_to_transform is not None or bool(config.layers_pattern)
    wrong = ""
    if isinstance(config.target_modules, str) and chooses_layers:
        wrong = "layers_to_transform beside an expression as target_modules"
    elif config.layers_pattern and config.layers_to_transform is None:
        wrong = "layers_pattern without layers_to_transform"
    if wrong:
        msg = f"{config.where} sets {wrong}, which PEFT does not load"
        raise FormatError(msg, hint="save the adapter again with PEFT's save_pretrained")


def _refuse_experts(config: AdapterConfig, base: BaseModel) -> None:
    # In such models PEFT rewrites the targets: experts were modules, and are parameters now.
    fused = any(
        "experts" in name.split(".")[:-1] and not name.endswith((_WEIGHT, ".bias"))
        for name in base.tensors
    )
    if not fused or config.peft_type is not PeftType.LORA:
        return
    targets = config.target_modules
    if isinstance(targets, str) or any(end.split(".")[-1] in _EXPERTS for end in targets or ()):
        _refuse_merge(config, "may target fused experts (target_modules), which is not read yet")


def _excluded(config: AdapterConfig) -> Rule:
    names = config.exclude_modules
    if not names:
        return lambda _: False
    if isinstance(names, str):
        pattern = _compiled(names, "exclude_modules", config)
        return lambda module: pattern.matches(Name(module))
    return _ends_in(names)


def _saved(config: AdapterConfig) -> Rule:
    plain, dotted = set(), []
    for entry in sorted(config.modules_to_save):
        if _PLAIN.fullmatch(entry) is None:
            _refuse_merge(config, f"names {entry[:80]!r} in modules_to_save, which is no name")
        if "." in entry:
            dotted.append(_compiled(rf"(^|.*\.){entry}($|\..*)", "modules_to_save", config))
        else:
            plain.add(entry)
    if sum(len(pattern.text) for pattern in dotted) > _MAX_DOTTED:
        _refuse_merge(config, "names too many modules by their full names in modules_to_save")

    def rule(module: str) -> bool:
        if not plain.isdisjoint(module.split(".")):
            return True
        name = Name(module)
        return any(pattern.matches(name) for pattern in dotted)

    return rule


def _targeted(config: AdapterConfig, base: BaseModel) -> Rule:
    targets = config.target_modules
    if targets is None:
        _refuse_merge(config, "names no target_modules, so that PEFT's own list decides")
    if isinstance(targets, str):
        if not _is_all_linear(targets):
            pattern = _compiled(targets, "target_modules", config)
            return lambda module: pattern.matches(Name(module))
        linear = _all_linear(config, base)
        return lambda module: module in linear
    names, ends_in = frozenset(targets), _ends_in(targets)
    layers = config.layers_to_transform
    if not layers:
        return ends_in
    if len(names) >= _SHORTENED:
        _refuse_merge(config, f"sets layers_to_transform beside {len(names)} target_modules")
    markers = [_marker(pattern, config) for pattern in config.layers_pattern]
    # A name in full is a target in whatever layer it is.
    return lambda module: (
        module in names or (ends_in(module) and _layer_of(module, markers) in layers)
    )


def _layer_of(module: str, markers: list[Pattern]) -> int:
    # The first number after the marker counts; without one, the first after two other parts.
    parts = module.split(".")
    numbers = [at for at in range(1, len(parts) - 1) if parts[at].isdecimal()]
    if not markers:
        return next((int(parts[at]) for at in numbers if at > 1), _FITS_NO_LAYER)
    for marker in markers:
        for at in numbers:
            if marker.matches_end(Name(".".join(parts[:at]))):
                return int(parts[at])
    return _FITS_NO_LAYER


def _marker(text: str, config: AdapterConfig) -> Pattern:
    pattern = _compiled(text, "layers_pattern", config)
    if not pattern.is_literal:
        _refuse_merge(config, f"has the expression {text[:80]!r} as layers_pattern")
    return pattern


def _all_linear(config: AdapterConfig, base: BaseModel) -> frozenset[str]:
    found = set()
    for name, info in base.tensors.items():
        if not name.endswith(_WEIGHT) or len(info.shape) != 2 or name in base.vocabulary:
            continue
        roles = set(roles_of(name))
        if name not in base.transposed:
            if is_embedding(name, config, base):
                continue
            if not base.vocabulary or roles & {Role.OTHER, Role.ROUTER, Role.NORM, Role.HEAD}:
                _refuse_merge(config, f"targets all-linear, and {name[:120]!r} may be none of them")
        found.add(name.removesuffix(_WEIGHT))
    return frozenset(found)


def _ends_in(names: Iterable[str]) -> Rule:
    ends = frozenset(names)

    def rule(module: str) -> bool:
        parts = module.split(".")
        return any(".".join(parts[start:]) in ends for start in range(len(parts)))

    return rule


def _is_all_linear(targets: str) -> bool:
    return targets.lower() == _ALL_LINEAR


def _compiled(text: str, key: str, config: AdapterConfig) -> Pattern:
    try:
        return compile_pattern(text)
    except PatternError as exc:
        msg = f"{key} in {config.where} has the expression {text[:80]!r}: {exc}"
        raise IncomparableError(msg, hint=MERGE) from exc


def _refuse_merge(config: AdapterConfig, what: str) -> NoReturn:
    msg = f"{config.where} {what}"
    raise IncomparableError(msg, hint=MERGE)
