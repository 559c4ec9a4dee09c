"""List the rules of a policy: its limits, each with its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.policy.schema import Limit, Section, keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.policy.schema import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Hold one limit of a policy.

    Attributes:
        path: Keys from the top of the policy, such as ``("limits", "behaviour", "nll-change")``.
        limit: The limit.
    """

    path: tuple[str, ...]
    limit: Limit

    def __str__(self) -> str:
        """Return the path with dots."""
        return ".".join(self.path)


def rules_of(policy: Policy) -> tuple[Rule, ...]:
    """Return the limits of a policy.

    Args:
        policy: The policy.

    Returns:
        One rule for each limit, in the order of the schema.
    """
    return tuple(_rules(policy.limits, ("limits",)))


def _rules(section: Section, path: tuple[str, ...]) -> Iterator[Rule]:
    for key in keys_of(type(section)):
        value = getattr(section, key.replace("-", "_"))
        inner = (*path, key)
        if isinstance(value, Limit):
            yield Rule(path=inner, limit=value)
        elif isinstance(value, Section):
            yield from _rules(value, inner)
