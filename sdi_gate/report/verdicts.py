"""Make the part of the result document that judges: verdict, findings, waivers, policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.gate.facts import readable
from sdi_gate.report.judged import (
    FindingEntry,
    OriginEntry,
    StatementEntry,
    VerdictEntry,
    WaiverEntry,
)

if TYPE_CHECKING:
    from sdi_gate.gate.result import Judgement
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.origins import Origin
    from sdi_gate.policy.verdict import Finding
    from sdi_gate.policy.waiver_states import WaiverUse


def verdict_entry(judgement: Judgement) -> VerdictEntry:
    """Describe a verdict with the policy that it follows from.

    Args:
        judgement: Both.

    Returns:
        Its entry.
    """
    verdict, policy = judgement.verdict, judgement.policy
    metadata = policy.policy.metadata
    return VerdictEntry(
        status=verdict.status.value,
        enforced=verdict.enforced,
        exit_code=int(verdict.exit_code),
        policy_name=metadata.name,
        policy_digest=policy.digest,
        deciding=verdict.findings.index(verdict.deciding),
        findings=tuple(_finding(finding) for finding in verdict.findings),
        mode=verdict.mode.value,
        policy_file=readable(policy.path),
        policy_version=_text(metadata.version),
        policy_revision=metadata.revision,
        policy_owner=_text(metadata.owner),
        policy_contact=_text(metadata.contact),
        signature="not-checked" if policy.signed_by is None else "verified",
        signature_key=policy.signed_by,
        policy_extends=tuple(readable(level.file) for level in reversed(policy.levels[:-1])),
        blocks=tuple(map(readable, verdict.blocks)),
        waivers=tuple(_waiver(use) for use in verdict.waivers),
        documentation=_documentation(policy),
    )


def _finding(finding: Finding) -> FindingEntry:
    return FindingEntry(
        rule=readable(finding.rule),
        metric=readable(finding.metric),
        status=finding.status.value,
        reason=readable(finding.reason),
        observed=finding.observed,
        stderr=finding.stderr,
        warn=finding.warn,
        fail=finding.fail,
        bound=finding.bound.value if finding.bound is not None else None,
        margin=finding.margin,
        layer=finding.layer,
        stratum=finding.stratum,
        judged=finding.judged,
        waiver=finding.waiver,
        waived_limit=finding.waived_limit,
        origin=None if finding.origin is None else _origin(finding.origin),
    )


def _waiver(use: WaiverUse) -> WaiverEntry:
    return WaiverEntry(
        id=use.id,
        state=use.state.value,
        metric=readable(use.metric),
        limit=use.limit,
        owner=readable(use.owner),
        approved_by=readable(use.approved_by),
        reason=readable(use.reason),
        ticket=_text(use.ticket),
        expires=use.expires,
        days_left=use.days_left,
        expiring=use.expiring,
        origin=_origin(use.origin),
    )


def _origin(origin: Origin) -> OriginEntry:
    return OriginEntry(
        file=readable(origin.file),
        line=origin.line,
        column=origin.column,
        block=readable(origin.block),
    )


def _documentation(policy: LoadedPolicy) -> tuple[StatementEntry, ...]:
    # What a policy says under a title that its parent has, too, stands in the parent's place.
    found: dict[str, StatementEntry] = {}
    for level in policy.levels:
        for title, text in (level.policy.documentation or {}).items():
            found[title] = StatementEntry(
                title=readable(title), text=readable(text), file=readable(level.file)
            )
    return tuple(found.values())


def _text(text: str | None) -> str | None:
    return None if text is None else readable(text)
