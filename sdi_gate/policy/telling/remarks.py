"""Remark on what is allowed in a policy and better otherwise."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from sdi_gate.policy.format.spelling import visible
from sdi_gate.policy.telling.waiver_days import waiver_days
from sdi_gate.policy.waiver_states import EXPIRING_DAYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.origins import Origin
    from sdi_gate.policy.telling.waiver_days import WaiverDay


def remarks_on(
    loaded: LoadedPolicy, now: datetime, *, families: Mapping[str, str]
) -> Iterator[str]:
    """Say what the owner of a policy should look at.

    Args:
        loaded: The policy.
        now: The time, UTC, by which waivers stand as they are shown.
        families: For each known family, and each type of model that is of one, the family.

    Yields:
        One line each, which no text of the policy can break.
    """
    metadata = loaded.policy.metadata
    if metadata.owner is None:
        yield "metadata names no owner: nobody is said to answer for the policy."
    if metadata.contact is None:
        yield "metadata names no contact: nobody knows where to ask for a waiver."
    for origin, family in _families(loaded):
        if (remark := _on_family(family, families)) is not None:
            yield visible(f"{origin}: {remark}")
    for day in waiver_days(loaded, now):
        if (remark := _on_waiver(day)) is not None:
            yield visible(f"{day.origin}: {remark}")


def _families(loaded: LoadedPolicy) -> Iterator[tuple[Origin, str]]:
    for level in loaded.levels:
        for number, family in enumerate(level.policy.allowed_families or ()):
            yield level.origin(("allowed-families", str(number))), family
        for number, block in enumerate(level.policy.match or ()):
            if block.match.family is not None:
                yield level.origin(("match", str(number), "match", "family")), block.match.family


def _on_family(family: str, families: Mapping[str, str]) -> str | None:
    # Any type of model may be named, so that a name that is not known is no error; but a block for
    # a name that no model has would never act.
    known = set(families.values())
    if family in known:
        return None
    if (meant := families.get(family)) is not None:
        return f"no model is of family {family}: models of that type are of family {meant}."
    if not (near := difflib.get_close_matches(family, sorted(known), n=1, cutoff=0.8)):
        return None
    return (
        f"the family {family} means only models whose own model_type is {family};"
        f" it is another one than {near[0]}."
    )


def _on_waiver(day: WaiverDay) -> str | None:
    waiver = day.waiver
    if day.days_left < 0:
        return f"the waiver {waiver.id} expired on {waiver.expires}; remove it, or ask for another."
    if day.days_left <= EXPIRING_DAYS and day.state == "expiring":
        left = {0: "today", 1: "tomorrow"}.get(day.days_left, f"in {day.days_left} days")
        return f"the waiver {waiver.id} expires {left}, on {waiver.expires}."
    return None
