"""Compare the clock with the time of a result; a clock that is wrong proves nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

# Machines disagree by seconds; a clock that is further behind what it measured is wrong.
MAX_SKEW = timedelta(minutes=5)


def in_utc(now: datetime) -> datetime:
    """Return a time in UTC.

    Args:
        now: A time with a time zone.

    Returns:
        The same time.

    Raises:
        ValueError: If it has no time zone.
    """
    if now.utcoffset() is None:
        msg = f"the time of a judgement has a time zone; got {now}"
        raise ValueError(msg)
    return now.astimezone(UTC)


def is_behind(now: datetime, measured_at: datetime | None) -> bool:
    """Say whether the clock is behind a result by more than clocks differ.

    Args:
        now: The time, with a time zone.
        measured_at: When the scan began; None if that is not known.

    Returns:
        True if the clock, or that of the scan, must be wrong.
    """
    return measured_at is not None and measured_at - now > MAX_SKEW
