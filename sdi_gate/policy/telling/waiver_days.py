"""Say how each waiver of a policy stands on a day, whatever is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.policy.chain.clock import in_utc
from sdi_gate.policy.format.spelling import plain, visible
from sdi_gate.policy.waiver_states import EXPIRING_DAYS

if TYPE_CHECKING:
    from datetime import datetime

    from sdi_gate.policy.format.provisions import Waiver
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.origins import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverDay:
    """Hold a waiver with how it stands on a day.

    Attributes:
        waiver: The waiver.
        state: ``in force``, ``expiring`` (in force, 14 days or fewer left), ``expired`` or
            ``not yet in force``.
        days_left: Whole days until its last day is over; negative once it is.
        origin: Where it stands.
    """

    waiver: Waiver
    state: str
    days_left: int
    origin: Origin

    @property
    def words(self) -> str:
        """Return the waiver in one line that none of its texts can break."""
        waiver = self.waiver
        weights = f" with weights {waiver.candidate_digest}" if waiver.candidate_digest else ""
        ticket = f", ticket {waiver.ticket}" if waiver.ticket else ""
        # A limit of another file of the chain is not raised, and may well hold in its place.
        return visible(
            f"{waiver.id}, {self.state}: the limit of its own file on {waiver.metric} fails at"
            f" {plain(waiver.limit)} for {waiver.model}{weights} from {waiver.granted} to"
            f" {waiver.expires}, asked for by {waiver.owner}, approved by"
            f" {waiver.approved_by}{ticket}: {waiver.reason.strip()}"
        )


def waiver_days(loaded: LoadedPolicy, now: datetime) -> tuple[WaiverDay, ...]:
    """Return the waivers of a policy and of all that it extends.

    Args:
        loaded: The policy.
        now: The time, with a zone; its day in UTC counts.

    Returns:
        The waivers, the root ancestor's first, in the order of the files.
    """
    return tuple(
        WaiverDay(
            waiver=waiver,
            state=_state(waiver, now),
            days_left=_days_left(waiver, now),
            origin=level.origin(("waivers", str(index))),
        )
        for level in loaded.levels
        for index, waiver in enumerate(level.policy.waivers or ())
    )


def _days_left(waiver: Waiver, now: datetime) -> int:
    return (waiver.last_day - in_utc(now).date()).days


def _state(waiver: Waiver, now: datetime) -> str:
    today = in_utc(now).date()
    if today > waiver.last_day:
        return "expired"
    if today < waiver.first_day:
        return "not yet in force"
    return "expiring" if _days_left(waiver, now) <= EXPIRING_DAYS else "in force"
