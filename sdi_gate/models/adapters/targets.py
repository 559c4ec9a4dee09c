"""Hold an adapter's tensors to the modules that its configuration names.

PEFT puts adapters on the modules that the configuration names, and then loads what tensors there
are: it drops those of other modules, and makes up those that are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError
from sdi_gate.models.adapters.patterns import Name, PatternError, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sdi_gate.models.adapters.build import BaseModel
    from sdi_gate.models.adapters.config import AdapterConfig

    Rule = Callable[[str], bool]

_ALL_LINEAR = "all-linear"
_AGAIN = "the adapter's files do not belong together, or are cut short: save it again with PEFT"


def check_targets(
    adapted: Collection[str], whole: Collection[str], config: AdapterConfig, base: BaseModel
) -> None:
    """Refuse an adapter whose tensors are not those that its configuration asks for.

    Args:
        adapted: Modules that it has adapters for.
        whole: Names of the base's tensors that it has full weights for.
        config: Its configuration.
        base: The base.

    Raises:
        FormatError: If PEFT would drop tensors of it, or make some up.
    """
    where = f"{config.where} (target_modules)"
    rule = _rule_of(config)
    if rule is not None:
        ends = _vocabulary_modules(base) if config.ensure_weight_tying else frozenset()
        for module in sorted(set(adapted) - ends):
            if not rule(module):
                msg = f"the adapter has tensors for {module[:120]!r}, which is no target in {where}"
                raise FormatError(msg, hint=_AGAIN)
        asked = () if config.is_partial else _matrices(base)
        for module in sorted(set(asked) - set(adapted) - ends):
            if rule(module) and f"{module}.weight" not in whole:
                msg = (
                    f"the adapter has no tensors for {module[:120]!r}, which is a target in {where}"
                )
                raise FormatError(msg, hint=_AGAIN)
    _check_saved(whole, config, base)


def _check_saved(whole: Collection[str], config: AdapterConfig, base: BaseModel) -> None:
    exempt = {*base.tied, *base.tied.values()} if config.ensure_weight_tying else set()
    for name in sorted({*base.tensors, *base.tied} - {*whole} - exempt):
        if is_saved(name, config):
            msg = (
                f"{name[:120]!r} belongs to a module in modules_to_save of {config.where}, and the"
                " adapter does not hold it"
            )
            raise FormatError(msg, hint=_AGAIN)


def is_saved(target: str, config: AdapterConfig) -> bool:
    """Say whether a tensor belongs to a module that was trained as a whole.

    Args:
        target: Name of a base's tensor.
        config: The adapter's configuration.

    Returns:
        True if one of the modules around it ends as an entry of ``modules_to_save`` does.
    """
    ends = config.modules_to_save
    # In PEFT any end of a name counts here, also one that begins within a word.
    return bool(ends) and any(
        module[start:] in ends for module in _owners(target) for start in range(len(module) + 1)
    )


def _owners(name: str) -> list[str]:
    parts = name.split(".")[:-1]
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _dotted_ends(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _rule_of(config: AdapterConfig) -> Rule | None:
    targets = config.target_modules
    if targets is None or targets == _ALL_LINEAR:
        return None
    if not isinstance(targets, str):
        names = frozenset(targets)
        return lambda module: any(end in names for end in _dotted_ends(module))
    try:
        pattern = compile_pattern(targets)
    except PatternError:
        # Look-around and the like; then the tensors alone say what is adapted.
        return None
    return lambda module: pattern.matches(Name(module))


def _matrices(base: BaseModel) -> list[str]:
    names = {*base.tensors, *base.tied}
    suffix = ".weight"
    return [
        name.removesuffix(suffix)
        for name in names
        if name.endswith(suffix)
        and (start := base.start_of(name)) is not None
        and len(start.shape) == 2
    ]


def _vocabulary_modules(base: BaseModel) -> frozenset[str]:
    names = {*base.tied, *base.tied.values()}
    return frozenset(name.rpartition(".")[0] for name in names)
