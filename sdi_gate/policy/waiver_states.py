"""Define what can become of a waiver in one judgement."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdi_gate.policy.origins import Origin


# As long before its last day a waiver is shown as one that ends soon.
EXPIRING_DAYS = 14


class WaiverState(StrEnum):
    """Say what became of a waiver.

    ``waived``: a value lies beyond the failing limit and within the waiver's. ``exceeded``: a
    value lies beyond the waiver's limit, too. ``unused``: the value keeps the limit without it.
    ``expired``: its last day is over. ``not-yet``: its first day has not come. ``clock-behind``:
    the clock is behind the result, so that nobody knows whether it holds, and it does not.
    ``other-digest``: it is for other weights of this model, or theirs are not known. ``no-limit``:
    the policy has no such limit for this model, or there is no value.
    """

    WAIVED = "waived"
    EXCEEDED = "exceeded"
    UNUSED = "unused"
    EXPIRED = "expired"
    NOT_YET = "not-yet"
    CLOCK_BEHIND = "clock-behind"
    OTHER_DIGEST = "other-digest"
    NO_LIMIT = "no-limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverUse:
    """Hold what became of one waiver, with what a reader must know of it.

    Attributes:
        id: Identifies it.
        state: What became of it.
        metric: The limit that it raises, such as ``behaviour.nll-change``.
        limit: The failing limit that it grants.
        owner: Who asked for it.
        approved_by: Who granted it.
        reason: Why.
        ticket: Where it was discussed; None if nobody says.
        expires: Its last day, ``YYYY-MM-DD``, UTC.
        days_left: Days from today to its last day, UTC; 0 on that day, negative after it.
        expiring: Whether it is in force and has 14 days left or fewer.
        origin: Where it stands.
    """

    id: str
    state: WaiverState
    metric: str
    limit: float
    owner: str
    approved_by: str
    reason: str
    ticket: str | None
    expires: str
    days_left: int
    expiring: bool
    origin: Origin
