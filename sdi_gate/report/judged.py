"""Define the parts of a result document that judge, and refuse those that contradict themselves."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sdi_gate.policy.modes import Mode
from sdi_gate.policy.origins import Origin
from sdi_gate.policy.verdict import Bound, Finding, Status, Verdict, compare, margin_of
from sdi_gate.report.entries import Part, Positive
from sdi_gate.report.numbers import plural

ModeWord = Literal["enforce", "warn", "observe"]
StatusWord = Literal["pass", "warn", "inconclusive", "fail"]
WaiverWord = Literal[
    "waived",
    "exceeded",
    "unused",
    "expired",
    "not-yet",
    "clock-behind",
    "other-digest",
    "no-limit",
]
Place = Annotated[int, Field(ge=0, le=10**9)]

# What a rule without a number can come to. What is not named here is a limit: without its number
# it is inconclusive.
_MET_OR_NOT = frozenset({"pass", "inconclusive"})
_ALLOWED_OR_NOT = frozenset({"pass", "inconclusive", "fail"})
_WITHOUT_NUMBER: dict[str, frozenset[str]] = {
    "notice": frozenset({"warn", "fail"}),
    **dict.fromkeys(("required-tier", "required-calibration", "maximum-age"), _MET_OR_NOT),
    **dict.fromkeys(
        ("accepted-formats", "allowed-bases", "allowed-families", "allowed-quantisations"),
        _ALLOWED_OR_NOT,
    ),
}
_PARAMETER = "required-parameters."
_LIMITS = "limits."
_INCONCLUSIVE = frozenset({"inconclusive"})


class OriginEntry(Part):
    """A line of a policy; line 0 is a default that no file states."""

    file: str
    line: Place
    column: Place = 0
    block: Annotated[str, Field(description="match block; empty for what holds for all")] = ""

    def to_origin(self) -> Origin:
        """Return what the entry was made from.

        Returns:
            The origin.
        """
        return Origin(file=self.file, line=self.line, column=self.column, block=self.block)


class WaiverEntry(Part):
    """What became of one waiver of the policy that names this model."""

    id: str
    state: WaiverWord
    metric: Annotated[str, Field(description="the limit that it raises, without limits.")]
    limit: Annotated[float, Field(description="the failing limit that it grants")]
    owner: str
    approved_by: str
    reason: str
    ticket: str | None
    expires: Annotated[str, Field(description="its last day, UTC")]
    days_left: Annotated[int, Field(ge=-(10**7), le=10**7)]
    expiring: Annotated[bool, Field(description="holds, and for 14 days or fewer")]
    origin: OriginEntry


class StatementEntry(Part):
    """A text of the policy's authors, copied as it is."""

    title: str
    text: str
    file: str


class FindingEntry(Part):
    """What became of one rule of the policy."""

    rule: str
    metric: str
    status: StatusWord
    reason: str
    observed: float | None
    stderr: Annotated[float | None, Field(ge=0)]
    warn: float | None
    fail: float | None
    bound: Literal["upper", "lower"] | None
    margin: Annotated[float | None, Field(description="room left to the deciding limit")]
    layer: str | None
    stratum: str | None
    judged: Annotated[
        float | None, Field(description="what was held against the limits; null: observed")
    ] = None
    waiver: Annotated[str | None, Field(description="id of the one that raised fail")] = None
    waived_limit: Annotated[float | None, Field(description="fail without the waiver")] = None
    origin: Annotated[
        OriginEntry | None, Field(description="where the deciding limit or demand stands")
    ] = None

    @property
    def held(self) -> float | None:
        """Return the number that was held against the limits."""
        return self.observed if self.judged is None else self.judged

    @property
    def is_saved(self) -> bool:
        """Return whether the finding would have failed without its waiver, and does not."""
        if self.held is None or self.waived_limit is None or self.bound is None:
            return False
        without, _ = compare(self.held, None, self.waived_limit, Bound(self.bound))
        return without is Status.FAIL and self.status != "fail"

    @model_validator(mode="after")
    def _status_follows_from_the_numbers(self) -> Self:
        if self.held is None or self.observed is None:
            self._check(self._statuses_without_number(), None)
        elif self.bound is None or (self.warn is None and self.fail is None):
            msg = f"{self.rule}: an observed value was held against a limit; got none"
            raise ValueError(msg)
        else:
            bound = Bound(self.bound)
            status, decisive = compare(self.held, self.warn, self.fail, bound)
            self._check(frozenset({status.value}), margin_of(self.held, decisive, bound))
        return self

    def _check(self, statuses: frozenset[str], margin: float | None) -> None:
        if self.status in statuses and self.margin == margin:
            return
        found = f"status {self.status}, margin {self.margin}"
        expected = f"expected status {' or '.join(sorted(statuses))}, margin {margin}"
        msg = f"{self.rule}: {expected}; got {found}"
        raise ValueError(msg)

    def _statuses_without_number(self) -> frozenset[str]:
        if self.rule.startswith(_PARAMETER):
            return _MET_OR_NOT
        return _WITHOUT_NUMBER.get(self.rule, _INCONCLUSIVE)

    @model_validator(mode="after")
    def _is_held_on_the_bad_side(self) -> Self:
        if self.judged is None:
            return self
        kept = None if self.bound is None else Bound(self.bound)
        worse = self.observed is not None and (
            self.judged >= self.observed if kept is Bound.UPPER else self.judged <= self.observed
        )
        if kept is None or not worse:
            msg = f"{self.rule}: {self.judged} was held for an observed {self.observed}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _is_waived_in_the_open(self) -> Self:
        if (self.waiver is None) != (self.waived_limit is None):
            msg = f"{self.rule}: a waiver and the limit without it come together"
            raise ValueError(msg)
        if self.is_saved and self.status != "warn":
            msg = f"{self.rule}: what waiver {self.waiver} tolerates is a warning; got a pass"
            raise ValueError(msg)
        return self

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
            judged=self.judged,
            waiver=self.waiver,
            waived_limit=self.waived_limit,
            origin=None if self.origin is None else self.origin.to_origin(),
        )


def _mode_of(found: dict[str, Any]) -> ModeWord:
    # A document of before there was a third mode says only whether it was enforced.
    return "enforce" if found.get("enforced", True) else "observe"


class VerdictEntry(Part):
    """The judgement under a policy; ``deciding`` is an index into ``findings``."""

    status: StatusWord
    enforced: Annotated[bool, Field(description="whether the mode is enforce")]
    exit_code: int
    policy_name: str
    policy_digest: str
    deciding: Annotated[int, Field(ge=0)]
    findings: Annotated[tuple[FindingEntry, ...], Field(min_length=1)]
    mode: ModeWord = Field(default_factory=_mode_of, description="what follows from the status")
    policy_file: str | None = None
    policy_version: str | None = None
    policy_revision: Positive | None = None
    policy_owner: str | None = None
    policy_contact: str | None = None
    signature: Annotated[
        Literal["verified", "not-checked"] | None,
        Field(description="of the policy, by a key that the verifier gave; null: not known"),
    ] = None
    signature_key: Annotated[
        str | None,
        Field(
            pattern="^sha256:[0-9a-f]{16}$",
            description="fingerprint of that key: start of the sha256 of its raw bytes",
        ),
    ] = None
    policy_extends: Annotated[
        tuple[str, ...], Field(description="files that it tightens, the nearest first")
    ] = ()
    blocks: Annotated[
        tuple[str, ...], Field(description="match blocks that hold, the most specific last")
    ] = ()
    waivers: tuple[WaiverEntry, ...] = ()
    documentation: tuple[StatementEntry, ...] = ()

    @property
    def would_close(self) -> bool:
        """Return whether the gate is closed, or would have been in mode enforce."""
        return self.status in {"fail", "inconclusive"}

    @model_validator(mode="after")
    def _is_signed_by_a_key(self) -> Self:
        if (self.signature == "verified") != (self.signature_key is not None):
            told = f"{self.signature}, key {self.signature_key}"
            msg = f"a signature is verified by a key, and by none otherwise; got {told}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _follows_from_its_findings(self) -> Self:
        if self.deciding >= len(self.findings):
            known = plural(len(self.findings), "finding")
            msg = f"deciding is an index into {known}; got {self.deciding}"
            raise ValueError(msg)
        found = tuple(entry.to_finding() for entry in self.findings)
        verdict = Verdict.of(found, mode=Mode(self.mode))
        facts = (self.status, self.findings[self.deciding].status, self.exit_code, self.enforced)
        expected = (
            *(verdict.status.value, verdict.status.value),
            *(int(verdict.exit_code), verdict.enforced),
        )
        if facts != expected:
            msg = (
                "status, status of the deciding finding, exit code and whether it is enforced: "
                f"the findings and mode {self.mode} give {expected}; got {facts}"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _waivers_and_findings_agree(self) -> Self:
        waived = {(each.id, each.metric) for each in self.waivers if each.state == "waived"}
        known = {(each.id, each.metric) for each in self.waivers}
        for finding in self.findings:
            if finding.waiver is None:
                continue
            named = (finding.waiver, finding.rule.removeprefix(_LIMITS))
            if named not in (waived if finding.is_saved else known):
                msg = f"{finding.rule}: waiver {finding.waiver} is not among those in force"
                raise ValueError(msg)
        for waiver in self.waivers:
            if waiver.state in {"waived", "exceeded"} and not self._bears_out(waiver):
                msg = f"waiver {waiver.id}: no finding shows that it is {waiver.state}"
                raise ValueError(msg)
        return self

    def _bears_out(self, waiver: WaiverEntry) -> bool:
        for finding in self.findings:
            if finding.rule == f"{_LIMITS}{waiver.metric}" and finding.held is not None:
                bound = Bound(finding.bound or "upper")
                beyond, _ = compare(finding.held, None, waiver.limit, bound)
                return (beyond is Status.FAIL) == (waiver.state == "exceeded")
        return False
