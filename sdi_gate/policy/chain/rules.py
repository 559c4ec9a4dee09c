"""List the limits of a policy, each with its path, and put paths into the order of the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard, get_args, get_origin

from sdi_gate.policy.format.limits import Limit, Limits
from sdi_gate.policy.format.section import Section, keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.policy.format.places import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Hold one limit as a section states it.

    Attributes:
        path: Keys from ``limits`` on, such as ``("limits", "behaviour", "nll-change")``.
        limit: The limit.
    """

    path: Path
    limit: Limit

    def __str__(self) -> str:
        """Return the path with dots."""
        return ".".join(self.path)


def rules_of(limits: Limits | None) -> tuple[Rule, ...]:
    """Return the limits that a policy, or a block of one, states.

    Args:
        limits: What it has under ``limits``.

    Returns:
        One rule for each limit, in the order of :func:`rule_order`.
    """
    return () if limits is None else tuple(_rules(limits, ("limits",)))


def rule_order(path: Path) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts rules: keys in the order of the schema, names by the alphabet.

    Args:
        path: Path of a rule, from ``limits`` on.

    Returns:
        One pair for each key below ``limits``.
    """
    inside: object = Limits
    order = []
    for key in path[1:]:
        if _is_section(inside):
            order.append((keys_of(inside).index(key), ""))
            inside = _below(inside.model_fields[key.replace("-", "_")].annotation)
        else:  # a mapping from names to sections
            order.append((0, key))
            inside = get_args(inside)[1]
    return tuple(order)


def _below(annotation: object) -> object:
    # The kinds that a key may hold: a section or a mapping, as a rule with a bound on its length,
    # or nothing.
    kinds = (annotation, *get_args(annotation))
    plain = (get_args(kind)[0] if hasattr(kind, "__metadata__") else kind for kind in kinds)
    return next(kind for kind in plain if _is_section(kind) or get_origin(kind) is dict)


def _is_section(kind: object) -> TypeGuard[type[Section]]:
    return isinstance(kind, type) and issubclass(kind, Section)


def _rules(inside: Section | Mapping[str, Section], path: Path) -> Iterator[Rule]:
    for key, value in _entries(inside):
        inner = (*path, key)
        if isinstance(value, Limit):
            yield Rule(path=inner, limit=value)
        elif isinstance(value, Section | Mapping):
            yield from _rules(value, inner)


def _entries(inside: Section | Mapping[str, Section]) -> Iterator[tuple[str, object]]:
    if isinstance(inside, Mapping):
        yield from sorted(inside.items())
        return
    for key in keys_of(type(inside)):
        yield key, getattr(inside, key.replace("-", "_"))
