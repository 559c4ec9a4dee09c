"""Remark on what is allowed in a policy and better otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.policy.format.spelling import visible
from sdi_gate.policy.telling.waiver_days import waiver_days
from sdi_gate.policy.waiver_states import EXPIRING_DAYS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.telling.waiver_days import WaiverDay


def remarks_on(loaded: LoadedPolicy, now: datetime) -> Iterator[str]:
    """Say what the owner of a policy should look at.

    Args:
        loaded: The policy.
        now: The time, UTC, by which waivers stand as they are shown.

    Yields:
        One line each, which no text of the policy can break.
    """
    metadata = loaded.policy.metadata
    if metadata.owner is None:
        yield "metadata names no owner: nobody is said to answer for the policy."
    if metadata.contact is None:
        yield "metadata names no contact: nobody knows where to ask for a waiver."
    for day in waiver_days(loaded, now):
        if (remark := _on_waiver(day)) is not None:
            yield visible(f"{day.origin}: {remark}")


def _on_waiver(day: WaiverDay) -> str | None:
    waiver = day.waiver
    if day.days_left < 0:
        return f"the waiver {waiver.id} expired on {waiver.expires}; remove it, or ask for another."
    if day.days_left <= EXPIRING_DAYS and day.state == "expiring":
        left = {0: "today", 1: "tomorrow"}.get(day.days_left, f"in {day.days_left} days")
        return f"the waiver {waiver.id} expires {left}, on {waiver.expires}."
    return None
