"""Lay what one section gives over what another gives, and take things out of it."""

from __future__ import annotations

from typing import Any, TypeVar

from sdi_gate.policy.format.section import Section, kebab
from sdi_gate.policy.testing.numbers_given import Measured, PredictionNumbers

S = TypeVar("S", bound=Section)


def laid_over(under: S, over: S) -> S:
    """Lay one section over another.

    Args:
        under: What holds where the other is silent.
        over: What it says holds, key by key; numbers, texts and lists are taken whole.

    Returns:
        Both in one.
    """
    changes = {
        name: _laid(getattr(under, name), value) for name, value in over if value is not None
    }
    return under.model_copy(update=changes)


def _laid(under: Any, over: Any) -> Any:  # noqa: ANN401 - values of fields of any type
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {key: _laid(under.get(key), value) for key, value in over.items()}
    if _is_branch(under) and type(under) is type(over):
        return laid_over(under, over)
    return over


def _is_branch(value: object) -> bool:
    return isinstance(value, Section) and not isinstance(value, (Measured, PredictionNumbers))


def without(section: S, key: str) -> S | None:
    """Take something out of a section.

    Args:
        section: What is given.
        key: Keys with dots between them, such as ``behaviour.nll-change``.

    Returns:
        The section without it; None if it is not there.
    """
    for name, value in section:
        rest = _rest(key, kebab(name))
        if rest is None or value is None:
            continue
        left = None if not rest else _less(value, rest)
        if rest and left is None:
            return None
        return section.model_copy(update={name: left})
    return None


def _less(value: Any, key: str) -> Any:  # noqa: ANN401 - values of fields of any type
    if _is_branch(value):
        return without(value, key)
    if not isinstance(value, dict):
        return None
    for name, item in value.items():
        rest = _rest(key, name)
        if rest == "":
            return {other: kept for other, kept in value.items() if other != name}
        if rest is not None and (left := _less(item, rest)) is not None:
            return value | {name: left}
    return None


def _rest(key: str, name: str) -> str | None:
    """Return what comes after a name in a key: nothing, more, or None if it is another name."""
    if key == name:
        return ""
    return key.removeprefix(f"{name}.") if key.startswith(f"{name}.") else None
