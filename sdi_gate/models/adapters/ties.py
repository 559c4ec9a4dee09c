"""Settle what an adapter does to parameters that are one in the base.

PEFT puts its layers around modules, not around parameters: an adapter of the embedding is in what
the embedding computes and not in what the tied head computes, and the reverse. So the candidate
has two matrices where the base has one, unless the adapter was made to keep them tied
(``ensure_weight_tying``), or its full weights were loaded into the one parameter that both are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import torch

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.adapters.changes import Change, Kind, have_equal_values, thin_factors
from sdi_gate.models.adapters.rules import Tying, tying_of
from sdi_gate.models.adapters.settings import MERGE
from sdi_gate.models.adapters.targets import is_saved

if TYPE_CHECKING:
    from sdi_gate.models.adapters.build import BaseModel
    from sdi_gate.models.adapters.config import AdapterConfig
    from sdi_gate.models.tensors import TensorInfo, TensorSource


def settle_ties(
    changes: dict[str, Change], adapter: TensorSource, config: AdapterConfig, base: BaseModel
) -> dict[str, Change]:
    """Untie what the adapter unties, and keep one change for what it keeps tied.

    Args:
        changes: Every change by target.
        adapter: The adapter's tensors.
        config: The adapter's configuration.
        base: The base.

    Returns:
        The changes, with an untied copy for each tied parameter whose source alone is changed.

    Raises:
        FormatError: If the adapter keeps two parameters tied and holds two values for them.
        IncomparableError: If it resizes one of them, and does not hold the other.
    """  # noqa: DOC502 - raised by the functions below
    settled = dict(changes)
    is_kept = tying_of(config, base) is not Tying.NONE
    for alias, source in base.tied.items():
        first, second = settled.get(source), settled.get(alias)
        if first is None and second is None:
            continue
        pairs = ((source, first), (alias, second))
        if is_kept or all(_is_loaded_into_both(*pair, config) for pair in pairs):
            settled.pop(alias, None)
            settled[source] = _one_of_both(source, first, second, adapter, config)
            continue
        for name, one, other in ((alias, first, second), (source, second, first)):
            if one is not None and other is None and (name == alias or one.beneath is not None):
                settled[name] = _untied_copy(name, one, base.tensors[source], config)
        _check_shared(first, second, adapter, config)
    return settled


def _one_of_both(
    source: str,
    first: Change | None,
    second: Change | None,
    adapter: TensorSource,
    config: AdapterConfig,
) -> Change:
    if first is None and second is not None and second.kind is Kind.WHOLE:
        return replace(second, target=source)
    if first is None or (second is not None and not _are_equal(first, second, adapter)):
        _refuse_two_values(source, config)
    return first


def _is_loaded_into_both(name: str, change: Change | None, config: AdapterConfig) -> bool:
    # Full weights of a module that is not wrapped are loaded into the one parameter of both.
    return change is None or (change.kind is Kind.WHOLE and not is_saved(name, config))


def _untied_copy(target: str, other: Change, source: TensorInfo, config: AdapterConfig) -> Change:
    if other.beneath is not None:
        # The adapter's own copy of the weight is loaded into the parameter of both.
        info = other.beneath
        return Change(target=target, kind=Kind.WHOLE, shape=info.shape, whole=info)
    if other.shape != source.shape:
        msg = (
            f"{config.where} has {other.target[:120]!r} of shape {list(other.shape)} and does not"
            f" hold {target[:120]!r}, which is tied to it in the base: its new rows are unknown"
        )
        raise IncomparableError(msg, hint=f"save it with save_embedding_layers=True, or {MERGE}")
    return Change(target=target, kind=Kind.UNTIED, shape=source.shape, start=source.name)


def _check_shared(
    first: Change | None, second: Change | None, adapter: TensorSource, config: AdapterConfig
) -> None:
    if first is None or second is None:
        return
    for one, other in ((first, second), (second, first)):
        # What stands beneath a wrapper is the one parameter that the other module has without.
        if one.beneath is None or other.whole is None or is_saved(other.target, config):
            continue
        if not have_equal_values(adapter.read(one.beneath), adapter.read(other.whole)):
            _refuse_two_values(one.target, config)


def _are_equal(first: Change, second: Change, adapter: TensorSource) -> bool:
    if first.whole is not None and second.whole is not None:
        return have_equal_values(adapter.read(first.whole), adapter.read(second.whole))
    if first.kind is not Kind.LORA or second.kind is not Kind.LORA or first.shape != second.shape:
        return False
    pairs = (
        thin_factors(change, {part: adapter.read(info) for part, info in change.parts.items()})
        for change in (first, second)
    )
    return all(torch.equal(one, other) for one, other in zip(*pairs, strict=True))


def _refuse_two_values(name: str, config: AdapterConfig) -> NoReturn:
    msg = (
        f"{config.where} keeps {name[:120]!r} tied to another parameter, and the adapter holds"
        " other values for one than for the other"
    )
    raise FormatError(msg, hint="save the adapter again with PEFT's save_pretrained")
