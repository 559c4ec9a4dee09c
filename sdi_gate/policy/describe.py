"""Say in plain lines what a policy demands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.policy.rules import rules_of
from sdi_gate.policy.schema import Mode
from sdi_gate.policy.verdict import Bound

if TYPE_CHECKING:
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.schema import Limit

_CONSEQUENCES = {
    Mode.ENFORCE: "a verdict of fail or inconclusive closes the gate",
    Mode.OBSERVE: "the verdict is reported, and the gate stays open",
}


def describe(loaded: LoadedPolicy) -> str:
    """Return what a policy demands, for a person at a terminal.

    Args:
        loaded: The policy.

    Returns:
        A few lines of plain text, without a line break at the end. Texts of the policy can forge
        none of them: characters that cannot be printed are made visible, and a description is
        indented.
    """
    policy = loaded.policy
    owner = f", owned by {_visible(policy.owner)}" if policy.owner else ""
    return "\n".join(
        (
            f"Policy {policy.name}{owner}",
            *_description(policy.description),
            f"File: {_visible(loaded.path)}",
            f"Digest: {loaded.digest}",
            f"Mode {policy.mode}: {_CONSEQUENCES[policy.mode]}.",
            f"Required tier: {policy.required_tier}; a scan of a lower tier is inconclusive.",
            "Limits:",
            *(f"  {'.'.join(rule.path[1:])}: {_limits(rule.limit)}" for rule in rules_of(policy)),
        )
    )


def _description(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    return ("Description:", *(f"    {_visible(line)}" for line in text.strip().split("\n")))


def _visible(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _limits(limit: Limit) -> str:
    beyond = "above" if limit.bound is Bound.UPPER else "below"
    levels = (("warns", limit.warn), ("fails", limit.fail))
    return ", ".join(f"{verb} {beyond} {level}" for verb, level in levels if level is not None)
