"""Define the verdict: findings, one for each rule, and what follows from them."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from sdi_gate.errors import ExitCode
from sdi_gate.policy.modes import Mode

if TYPE_CHECKING:
    from sdi_gate.policy.origins import Origin
    from sdi_gate.policy.waiver_states import WaiverUse


class Status(StrEnum):
    """Say how a finding or a verdict came out."""

    PASS = "pass"  # noqa: S105 - a status, not a password
    WARN = "warn"
    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"

    @property
    def severity(self) -> int:
        """Return 0 for pass, 1 for warn, 2 for inconclusive, 3 for fail; the worst wins."""
        return tuple(Status).index(self)


_EXIT_CODES = {
    Status.PASS: ExitCode.OK,
    Status.WARN: ExitCode.OK,
    Status.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    Status.FAIL: ExitCode.FAIL,
}


class Bound(StrEnum):
    """Say on which side of its limit a value is good: below an upper, above a lower bound."""

    UPPER = "upper"
    LOWER = "lower"


def compare(
    value: float, warn: float | None, fail: float | None, bound: Bound
) -> tuple[Status, float]:
    """Hold a value against the two steps of a limit.

    Args:
        value: The observed value; NaN is on the wrong side of every limit.
        warn: The warning limit, if there is one.
        fail: The failing limit, if there is one.
        bound: Whether they are upper or lower bounds; a value that equals a limit keeps it.

    Returns:
        FAIL, WARN or PASS, and the number that decided: the limit that was crossed, or, if none
        was, the nearer one; infinite if there is none.
    """
    unbounded = math.inf if bound is Bound.UPPER else -math.inf
    last = unbounded if fail is None else fail
    first = last if warn is None else warn
    if not _keeps(value, last, bound):
        return Status.FAIL, last
    if not _keeps(value, first, bound):
        return Status.WARN, first
    return Status.PASS, first


def margin_of(value: float, limit: float, bound: Bound) -> float:
    """Return the distance from a value to a limit.

    Args:
        value: The observed value.
        limit: The deciding limit.
        bound: Whether it is an upper or a lower bound.

    Returns:
        The distance, positive if there is room left; the largest finite number where the distance
        of two finite numbers is too large for a float.
    """
    room = limit - value if bound is Bound.UPPER else value - limit
    return max(-sys.float_info.max, min(sys.float_info.max, room))


def _keeps(value: float, limit: float, bound: Bound) -> bool:
    return value <= limit if bound is Bound.UPPER else value >= limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Hold what became of one rule.

    Law: a finding has a margin exactly if it has an observed value, and then every number in it
    is finite.

    Attributes:
        rule: Where the rule stands in the policy, such as ``limits.signals.weight-geometry``;
            ``required-tier`` and what else is demanded without a number; or ``defect``, ``notice``
            or ``limits``, which no policy needs to ask for.
        metric: Name of the metric, in kebab-case; where there is none, what the rule is about:
            ``tier``, ``calibration``, ``parameter``, ``format``, ``base``, ``family``,
            ``quantisation``, ``age``, ``defect``, ``notice``, ``limits``.
        status: How the rule came out.
        reason: One plain sentence with the observed value, the limit and the margin, or with
            why there is no value.
        observed: The value that the rule is about; None if there is none.
        stderr: Standard error of ``observed``; None if it is deterministic.
        warn: The warning limit; None if the policy has none.
        fail: The failing limit; None if the policy has none.
        bound: Whether the limits are upper or lower bounds; None for a rule without limits.
        margin: Distance from ``judged`` to the deciding limit, in units of the metric; positive
            means room left.
        layer: Layer group with the largest value of the metric; None if unknown.
        stratum: Probe stratum with the largest value of the metric; None if unknown.
        judged: The number that was held against the limits, where it is not ``observed``: with
            standard errors added, on the bad side, or the upper end of a prediction's interval.
        waiver: Id of the waiver that raised the failing limit, whether or not the value needs it;
            None if none did.
        waived_limit: The failing limit without the waiver; None if none was waived.
        origin: Where the deciding limit or demand stands; None for what no policy asks for.
    """

    rule: str
    metric: str
    status: Status
    reason: str
    observed: float | None = None
    stderr: float | None = None
    warn: float | None = None
    fail: float | None = None
    bound: Bound | None = None
    margin: float | None = None
    layer: str | None = None
    stratum: str | None = None
    judged: float | None = None
    waiver: str | None = None
    waived_limit: float | None = None
    origin: Origin | None = None

    def __post_init__(self) -> None:
        """Refuse a finding that breaks the law.

        Raises:
            ValueError: If a number is not finite, or value and margin do not come together.
        """
        numbers = (
            self.observed,
            self.stderr,
            self.warn,
            self.fail,
            self.margin,
            self.judged,
            self.waived_limit,
        )
        if not all(number is None or math.isfinite(number) for number in numbers):
            msg = f"{self.rule}: the numbers of a finding are finite; got {numbers}"
            raise ValueError(msg)
        if (self.observed is None) != (self.margin is None):
            msg = f"{self.rule}: an observed value and a margin come together"
            raise ValueError(msg)

    @property
    def limit(self) -> float | None:
        """Return the deciding limit, from which the margin is measured.

        It is the limit that was crossed, or, in a finding that passes, the nearer one.
        """
        match self.status:
            case Status.FAIL:
                return self.fail
            case Status.WARN:
                return self.warn
            case _:
                return self.fail if self.warn is None else self.warn

    @property
    def relative_margin(self) -> float:
        """Return the margin as a fraction of the deciding limit.

        It is infinite, with the margin's sign, where the limit is 0, and positive infinity where
        there is no margin, so that a finding without a number never outranks one with a number,
        and where the observed value is the best there can be: full coverage keeps any limit, and
        has no room only because there is nothing above it.
        """
        if self.bound is Bound.LOWER and self.observed == 1.0:
            return math.inf
        if self.margin is None or self.limit is None:
            return math.inf
        if self.limit == 0.0 and self.margin != 0.0:
            return math.copysign(math.inf, self.margin)
        return self.margin / abs(self.limit) if self.margin else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Hold the findings of one scan under one policy, and the worst of them.

    Law: there is at least one finding, and the status is the worst among the findings, in the
    order FAIL, INCONCLUSIVE, WARN, PASS. Nothing passes by emptiness.

    Attributes:
        status: The worst status among the findings.
        findings: One for each defect and each notice, one for the tier, one for each other demand
            without a number, one for each limit that holds for the candidate, one if none does,
            and one for parameters that were left out where no limit is on coverage.
        mode: What follows: only in mode ``enforce`` does the verdict close the gate.
        waivers: What became of each waiver that names this model.
        blocks: The match blocks that hold for the candidate, the most specific last.
    """

    status: Status
    findings: tuple[Finding, ...]
    mode: Mode
    waivers: tuple[WaiverUse, ...] = ()
    blocks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a verdict that breaks the law.

        Raises:
            ValueError: If there is no finding, or the status is not the worst among them.
        """
        if not self.findings:
            msg = "a verdict rests on at least one finding; got none"
            raise ValueError(msg)
        if self.status is not self.deciding.status:
            msg = f"the worst finding is {self.deciding.status}; got a verdict {self.status}"
            raise ValueError(msg)

    @classmethod
    def of(
        cls,
        findings: tuple[Finding, ...],
        *,
        mode: Mode,
        waivers: tuple[WaiverUse, ...] = (),
        blocks: tuple[str, ...] = (),
    ) -> Self:
        """Return the verdict that follows from findings.

        Args:
            findings: At least one.
            mode: What follows from it.
            waivers: What became of each waiver that names this model.
            blocks: The match blocks that hold for the candidate.

        Returns:
            The verdict; its status is the worst among the findings.
        """
        statuses = (finding.status for finding in findings)
        worst = max(statuses, key=lambda status: status.severity, default=Status.PASS)
        return cls(status=worst, findings=findings, mode=mode, waivers=waivers, blocks=blocks)

    @property
    def enforced(self) -> bool:
        """Return whether the verdict closes the gate."""
        return self.mode is Mode.ENFORCE

    @property
    def deciding(self) -> Finding:
        """Return the finding that decided.

        It has the worst status; among those, the smallest margin relative to its limit; among
        those, it is the first.
        """
        return min(self.findings, key=lambda found: (-found.status.severity, found.relative_margin))

    @property
    def exit_code(self) -> ExitCode:
        """Return the code with which the process ends; always 0 if not enforced."""
        return _EXIT_CODES[self.status] if self.enforced else ExitCode.OK
