"""Say in plain lines what a policy demands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.policy.chain.clock import in_utc
from sdi_gate.policy.format.spelling import visible
from sdi_gate.policy.telling.comparing import Candidates, Change, blocks_of, demands_for
from sdi_gate.policy.telling.waiver_days import waiver_days
from sdi_gate.policy.telling.wording import COVERAGE, WHOLE, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.origins import Origin
    from sdi_gate.policy.telling.comparing import RuleChange
    from sdi_gate.policy.telling.wording import DemandRow


def describe(loaded: LoadedPolicy, *, now: datetime) -> str:
    """Return what a policy demands, for a person at a terminal.

    Args:
        loaded: The policy.
        now: The time, UTC, by which waivers stand as they are shown.

    Returns:
        Lines of plain text, without a line break at the end. Texts of the policy can forge none
        of them: characters that cannot be printed are made visible, and a description is
        indented.
    """
    metadata = loaded.policy.metadata
    owner = f", owned by {visible(metadata.owner)}" if metadata.owner else ""
    return "\n".join(
        (
            f"Policy {metadata.name}{owner}",
            *_description(metadata.description),
            *_identity(loaded),
            *_levels(loaded),
            "Demands:",
            *(f"  {line}" for line in _demands(loaded)),
            *_blocks(loaded),
            *_waivers(loaded, now),
            *_documentation(loaded),
        )
    )


def place_of(origin: Origin) -> str:
    """Say where something stands.

    Args:
        origin: Where.

    Returns:
        Such as ``base.yml:12 (family llama)``, or ``default``, in one line.
    """
    block = f" ({origin.block})" if origin.block else ""
    return visible(f"{origin}{block}")


def places_of(row: DemandRow) -> str:
    """Say where a demand stands.

    Args:
        row: The demand.

    Returns:
        The places of its parts, without repetition.
    """
    return ", ".join(dict.fromkeys(map(place_of, row.origins)))


def _description(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    return ("Description:", *(f"    {visible(line)}" for line in text.strip().split("\n")))


def _identity(loaded: LoadedPolicy) -> Iterator[str]:
    metadata = loaded.policy.metadata
    if metadata.contact:
        yield f"Contact: {visible(metadata.contact)}"
    if metadata.version:
        yield f"Version: {visible(metadata.version)}"
    if metadata.revision:
        yield f"Revision: {metadata.revision}"
    yield f"File: {visible(loaded.path)}"
    yield f"Digest: {loaded.digest}"


def _levels(loaded: LoadedPolicy) -> Iterator[str]:
    *parents, _ = loaded.levels
    if not parents:
        return
    yield "Extends:"
    for level in reversed(parents):
        metadata = level.policy.metadata
        revision = f", revision {metadata.revision}" if metadata.revision else ""
        yield f"  {metadata.name} ({visible(level.file)}{revision})"


def _demands(loaded: LoadedPolicy) -> Iterator[str]:
    demands = demands_for(loaded, Candidates())
    for row in rows_of(demands):
        yield _demand(row, loaded)
    if demands.limit(COVERAGE) is None:
        yield f"coverage: {WHOLE}"


def _demand(row: DemandRow, loaded: LoadedPolicy) -> str:
    # What the file itself states needs no place: the reader has it open.
    elsewhere = {origin for origin in row.origins if origin.file != loaded.levels[-1].file}
    stated = any(origin.line for origin in elsewhere)
    return f"{row.rule.removeprefix('limits.')}: {row.words}" + (
        f"  [{places_of(row)}]" if stated else ""
    )


def _blocks(loaded: LoadedPolicy) -> Iterator[str]:
    for block in blocks_of(loaded):
        yield f"For {block.candidates}:"
        for change in block.changes:
            yield f"  {_instead(change, loaded)}"


def _instead(change: RuleChange, loaded: LoadedPolicy) -> str:
    assert change.after is not None  # noqa: S101 - a block takes nothing back
    kind = "" if change.change is Change.ADDED else f" ({change.change})"
    return f"{_demand(change.after, loaded)}{kind}"


def _waivers(loaded: LoadedPolicy, now: datetime) -> Iterator[str]:
    days = waiver_days(loaded, now)
    if days:
        yield f"Waivers, as they stand on {in_utc(now).date().isoformat()}:"
    for day in days:
        yield f"  {day.words}  [{place_of(day.origin)}]"


def _documentation(loaded: LoadedPolicy) -> Iterator[str]:
    titles = dict.fromkeys(
        title for level in loaded.levels for title in level.policy.documentation or {}
    )
    if titles:
        yield f"Documentation copied into reports: {', '.join(titles)}"
