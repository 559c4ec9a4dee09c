"""List everything that a run depends on: its policy, its event, its version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.numbers import count
from sdi_gate.report.parts import Section, Table, clean, listed
from sdi_gate.report.runs.candidates import verdict_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.report.runs.document import RunDocument

_MAX_WORDS = 4
_NAME = 60


def facts_section(run: RunDocument) -> Section:
    """Return what a run depends on.

    Args:
        run: The run.

    Returns:
        The section, with one table.
    """
    rows = tuple((name, clean(text)) for name, text in _facts(run) if text)
    table = Table(
        key="facts",
        nouns="facts",
        head=("What", "Value"),
        rows=rows,
        total=len(rows),
        essential=2,
        is_numeric=(False, False),
    )
    return Section(title="Policy and run", tables=(table,))


def policy_sentence(run: RunDocument) -> str:
    """Say in a line which policy judged, and at which tier.

    Args:
        run: The run.

    Returns:
        Such as ``Policy production, mode enforce, read from policies/production.yml.``
    """
    policy, named = run.policy, clean(run.policy.reference)
    if policy.name is None:
        return f"The policy was asked for as {named}."
    owner = "" if policy.owner is None else f", owner {clean(policy.owner, _NAME)}"
    modes, tiers = _modes(run), _tiers(run)
    mode = f", mode {modes}" if modes else ""
    tier = f" Measured at tier {tiers}." if tiers else ""
    return (
        f"Policy {clean(policy.name, _NAME)}{owner}{mode}, read from {named}{_commit(run)}.{tier}"
    )


def _commit(run: RunDocument) -> str:
    policy = run.policy
    if policy.commit is None or policy.commit in policy.reference:
        return ""
    return f" at {policy.commit[:7]}"


def _facts(run: RunDocument) -> Iterator[tuple[str, str]]:
    policy, event = run.policy, run.event
    yield "policy", policy.name or ""
    yield "policy digest", policy.digest or ""
    yield "policy reference", policy.reference
    yield "policy commit", policy.commit or ""
    yield "policy owner", policy.owner or ""
    yield "policy contact", policy.contact or ""
    yield "mode", _modes(run)
    yield "tier", _tiers(run)
    yield "event", event.name
    yield "repository", event.repository or ""
    yield "pull request", "" if event.pull_request is None else str(event.pull_request)
    yield "from a fork", "yes" if event.is_fork else ""
    yield "base commit", event.base_sha or ""
    yield "head commit", event.head_sha or ""
    yield "manifest", run.manifest or ""
    yield "candidates judged", count(len(run.subjects))
    if run.manifest is not None:
        yield "candidates left as they are", count(run.num_unchanged)
    yield "sdi-gate", run.version


def _modes(run: RunDocument) -> str:
    return _all(verdict.mode for verdict in map(verdict_of, run.subjects) if verdict is not None)


def _tiers(run: RunDocument) -> str:
    return _all(each.result.tier.ran for each in run.subjects if each.result is not None)


def _all(words: Iterator[str]) -> str:
    found = list(dict.fromkeys(words))
    return listed(found, _MAX_WORDS) if found else ""
