"""Define the parts of a result document that judge, and refuse those that contradict themselves."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sdi_gate.policy.verdict import Bound, Finding, Status, Verdict, compare, margin_of
from sdi_gate.report.entries import Part
from sdi_gate.report.numbers import plural

# Findings without a number: whether the scan is of the required tier, and what warns by itself.
_WITHOUT_NUMBER = {"required-tier": "pass", "notice": "warn"}


class FindingEntry(Part):
    """What became of one rule of the policy."""

    rule: str
    metric: str
    status: Literal["pass", "warn", "inconclusive", "fail"]
    reason: str
    observed: float | None
    stderr: Annotated[float | None, Field(ge=0)]
    warn: float | None
    fail: float | None
    bound: Literal["upper", "lower"] | None
    margin: Annotated[float | None, Field(description="room left to the deciding limit")]
    layer: str | None
    stratum: str | None

    @model_validator(mode="after")
    def _status_follows_from_the_numbers(self) -> Self:
        if self.observed is None:
            expected: tuple[str, float | None] = (self._status_without_number(), None)
        elif self.bound is None or (self.warn is None and self.fail is None):
            msg = f"{self.rule}: an observed value was held against a limit; got none"
            raise ValueError(msg)
        else:
            bound = Bound(self.bound)
            status, decisive = compare(self.observed, self.warn, self.fail, bound)
            expected = (status.value, margin_of(self.observed, decisive, bound))
        if (self.status, self.margin) != expected:
            found = f"status {self.status}, margin {self.margin}"
            msg = f"{self.rule}: expected status {expected[0]}, margin {expected[1]}; got {found}"
            raise ValueError(msg)
        return self

    def _status_without_number(self) -> str:
        usual = _WITHOUT_NUMBER.get(self.rule)
        return self.status if self.status == usual else Status.INCONCLUSIVE.value

    def to_finding(self) -> Finding:
        """Return what the entry was made from.

        Returns:
            The finding.
        """
        return Finding(
            rule=self.rule,
            metric=self.metric,
            status=Status(self.status),
            reason=self.reason,
            observed=self.observed,
            stderr=self.stderr,
            warn=self.warn,
            fail=self.fail,
            bound=None if self.bound is None else Bound(self.bound),
            margin=self.margin,
            layer=self.layer,
            stratum=self.stratum,
        )


class VerdictEntry(Part):
    """The judgement under a policy; ``deciding`` is an index into ``findings``."""

    status: Literal["pass", "warn", "inconclusive", "fail"]
    enforced: bool
    exit_code: int
    policy_name: str
    policy_digest: str
    deciding: Annotated[int, Field(ge=0)]
    findings: Annotated[tuple[FindingEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _follows_from_its_findings(self) -> Self:
        if self.deciding >= len(self.findings):
            known = plural(len(self.findings), "finding")
            msg = f"deciding is an index into {known}; got {self.deciding}"
            raise ValueError(msg)
        found = tuple(entry.to_finding() for entry in self.findings)
        verdict = Verdict.of(found, enforced=self.enforced)
        facts = (self.status, self.findings[self.deciding].status, self.exit_code)
        expected = (verdict.status.value, verdict.status.value, int(verdict.exit_code))
        if facts != expected:
            msg = (
                "status, status of the deciding finding and exit code: the findings give "
                f"{expected}; got {facts}"
            )
            raise ValueError(msg)
        return self
