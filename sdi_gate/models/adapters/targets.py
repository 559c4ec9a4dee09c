"""Hold an adapter's tensors to the modules that its configuration names.

PEFT puts adapters on the modules that the configuration names, and then loads what tensors there
are: it drops those of other modules, and makes up those that are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.adapters.rules import Tying, rule_of, tied_modules, tying_of
from sdi_gate.models.adapters.settings import MERGE

if TYPE_CHECKING:
    from sdi_gate.models.adapters.build import BaseModel
    from sdi_gate.models.adapters.config import AdapterConfig
    from sdi_gate.models.adapters.names import Groups
    from sdi_gate.models.adapters.rules import Rule

_AGAIN = "the adapter's files do not belong together, or are cut short: save it again with PEFT"
_WEIGHT = ".weight"
_BENEATH = ".base_layer."


def check_targets(groups: Groups, config: AdapterConfig, base: BaseModel) -> None:
    """Refuse an adapter whose tensors are not those that its configuration asks for.

    Args:
        groups: Its tensors.
        config: Its configuration.
        base: The base.

    Raises:
        FormatError: If PEFT would drop tensors of it, or make some up.
        IncomparableError: If it cannot be decided what PEFT would do.
    """  # noqa: DOC502 - raised by rule_of() and _check_saved()
    where = f"{config.where} (target_modules, without what other keys leave out)"
    rule = rule_of(config, base)
    for module in sorted(groups.adapted):
        if not rule(module):
            _refuse(f"the adapter has tensors for {module[:120]!r}, which is no target in {where}")
    for module in sorted(_weighted(base) - groups.adapted.keys()):
        if rule(module):
            _refuse(
                f"the adapter has no tensors for {module[:120]!r}, which is a target in {where}"
            )
    is_wrapped = wrapping_of(config, base)
    for name in sorted({*base.tensors, *base.tied}):
        if is_wrapped(name):
            _check_saved(name, groups, config)
    _check_whole(groups, config)
    _check_copies(groups, config, is_wrapped)


def _check_saved(name: str, groups: Groups, config: AdapterConfig) -> None:
    if name not in groups.whole:
        _refuse(
            f"{name[:120]!r} belongs to a module in modules_to_save of {config.where}, and the"
            " adapter does not hold it"
        )
    if len(_saved_owners(name, config)) > 1:
        msg = f"{config.where} names two modules around {name[:120]!r} in modules_to_save"
        raise IncomparableError(msg, hint=MERGE)


def _check_whole(groups: Groups, config: AdapterConfig) -> None:
    for target, info in groups.whole.items():
        # Of a module that is adapted PEFT reads X.base_layer.bias alone, and of another X.bias.
        is_adapted = target.rpartition(".")[0] in groups.adapted
        if is_adapted != (_BENEATH in info.name):
            why = "has an adapter over it" if is_adapted else "has no adapter over it"
            _refuse(
                f"{config.where} holds {info.name[:120]!r}, whose module {why}: PEFT ignores it"
            )


def _check_copies(groups: Groups, config: AdapterConfig, is_wrapped: Rule) -> None:
    for target, info in groups.copies.items():
        if target not in groups.whole:
            _refuse(
                f"{config.where} holds {info.name[:120]!r} alone: PEFT reads a module in"
                f" modules_to_save from {target[:120]!r}"
            )
        if not is_wrapped(target):
            _refuse(
                f"{config.where} holds {info.name[:120]!r}, whose module is not in its"
                " modules_to_save: PEFT ignores it"
            )


def wrapping_of(config: AdapterConfig, base: BaseModel) -> Rule:
    """Say which modules PEFT wraps as those that were trained as a whole.

    Args:
        config: The adapter's configuration.
        base: The base.

    Returns:
        A function from the name of a base's tensor to whether its module is one, or is kept tied
        to one.

    Raises:
        IncomparableError: If ``target_modules`` is an expression that is not understood.
    """  # noqa: DOC502 - raised by tying_of()
    kept = tied_modules(base) if tying_of(config, base) is Tying.SAVED else frozenset()
    return lambda target: is_saved(target, config) or target.rpartition(".")[0] in kept


def is_saved(target: str, config: AdapterConfig) -> bool:
    """Say whether a tensor belongs to a module that was trained as a whole.

    Args:
        target: Name of a base's tensor.
        config: The adapter's configuration.

    Returns:
        True if one of the modules around it ends as an entry of ``modules_to_save`` does.
    """
    return bool(_saved_owners(target, config))


def _saved_owners(target: str, config: AdapterConfig) -> list[str]:
    ends = config.modules_to_save
    if not ends:
        return []
    # In PEFT any end of a name counts here, also one that begins within a word.
    parts = target.split(".")[:-1]
    owners = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return [
        module
        for module in owners
        if any(module[start:] in ends for start in range(len(module) + 1))
    ]


def _weighted(base: BaseModel) -> set[str]:
    names = {*base.tensors, *base.tied}
    return {name.removesuffix(_WEIGHT) for name in names if name.endswith(_WEIGHT)}


def _refuse(msg: str) -> NoReturn:
    raise FormatError(msg, hint=_AGAIN)
