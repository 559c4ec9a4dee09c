"""Hold a value against a limit, and put what came of it into one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from sdi_gate.policy.judging.readings import held
from sdi_gate.policy.verdict import Bound, Status, compare, margin_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdi_gate.policy.chain.demands import RuleLimit, Sourced
    from sdi_gate.policy.judging.readings import Reading

_UNITS = {"kl-divergence": " nats per token", "nll-change": " nats per token"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Hold a value with the limit that it was held against.

    Attributes:
        limit: The limit.
        reading: The value.
        standard_errors: How many are added to a stochastic value.
        held: The number that was held against the limit: with standard errors added, or the upper
            end of an interval.
        status: How it came out.
        decisive: The step that decided.
    """

    limit: RuleLimit
    reading: Reading
    standard_errors: float
    held: float
    status: Status
    decisive: float

    @classmethod
    def of(cls, limit: RuleLimit, reading: Reading, standard_errors: float) -> Self:
        """Hold a value against a limit.

        Args:
            limit: The limit.
            reading: The value.
            standard_errors: How many are added to a stochastic value.

        Returns:
            What came of it.
        """
        number = held(reading.value, reading.stderr, limit.bound, standard_errors)
        number = number if reading.upper is None else max(number, reading.upper)
        warn = None if limit.warn is None else limit.warn.value
        fail = None if limit.fail is None else limit.fail.value
        status, decisive = compare(number, warn, fail, limit.bound)
        return cls(
            limit=limit,
            reading=reading,
            standard_errors=standard_errors,
            held=number,
            status=status,
            decisive=decisive,
        )

    @property
    def margin(self) -> float:
        """Return the distance to the deciding step; positive means room left."""
        return margin_of(self.held, self.decisive, self.limit.bound)

    @property
    def step(self) -> Sourced[float] | None:
        """Return the deciding step."""
        failed = self.status is Status.FAIL or self.limit.warn is None
        return self.limit.fail if failed else self.limit.warn


def sentence(found: Comparison) -> str:
    """Say how a value lies to its limit.

    Args:
        found: The value with the limit.

    Returns:
        One sentence with the value, what was held against the limit, the limit and the distance.
    """
    reading, limit = found.reading, found.limit
    number = number_format(found.held, found.decisive)
    error = "" if reading.stderr is None else f" ± {reading.stderr:.2g}"
    unit = _UNITS.get(reading.metric, "")
    added = "" if found.held == reading.value else _added(found, number(found.held))
    beyond = "above" if limit.bound is Bound.UPPER else "below"
    place = "within" if found.status is Status.PASS else beyond
    kind = "failing" if found.step is limit.fail else "warning"
    return (
        f"{_subject(limit, reading)} is {number(reading.value)}{error}{unit}{added}, {place} the "
        f"{kind} limit of {number(found.decisive)} by {abs(found.margin):.4g}."
    )


def number_format(value: float, limit: float) -> Callable[[float], str]:
    """Choose how a value and its limit are written.

    Args:
        value: The value.
        limit: The limit.

    Returns:
        The shortest format in which two different numbers look different.
    """
    formats: tuple[Callable[[float], str], ...] = ("{:.4g}".format, "{:.8g}".format)
    return next((show for show in formats if value == limit or show(value) != show(limit)), repr)


def _subject(limit: RuleLimit, reading: Reading) -> str:
    key = limit.path[-1]
    if limit.path[1] == "predicted-degradation":
        return f"predicted degradation{reading.of}"
    named = key if key == reading.metric else f"{key} ({reading.metric})"
    return f"{named}{reading.of}"


def _added(found: Comparison, shown: str) -> str:
    if found.reading.upper is not None:
        return f" (upper end {shown})"
    count = f"{found.standard_errors:.4g}"
    return f" ({shown} with {count} standard error{'' if count == '1' else 's'})"
