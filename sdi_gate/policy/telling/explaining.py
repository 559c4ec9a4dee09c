"""Explain a policy: every rule that holds for a candidate, whence it comes, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.policy.chain.effective import effective
from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.facts import Facts, Tier
from sdi_gate.policy.format.limits import BehaviourLimits, SignalLimits
from sdi_gate.policy.format.section import keys_of
from sdi_gate.policy.telling.comparing import Candidates, blocks_of
from sdi_gate.policy.telling.waiver_days import waiver_days
from sdi_gate.policy.telling.wording import rows_of
from sdi_gate.signals.interface import SignalName

if TYPE_CHECKING:
    from datetime import datetime

    from sdi_gate.policy.chain.demands import Demands
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.origins import Origin
    from sdi_gate.policy.telling.comparing import CandidateChanges
    from sdi_gate.policy.telling.waiver_days import WaiverDay
    from sdi_gate.policy.telling.wording import DemandRow
    from sdi_gate.policy.verdict import Finding, Verdict
    from sdi_gate.signals.interface import Estimate


# A name that no match block and no waiver can have, for they have no blanks. A name that is empty
# is one that is not known, which is another thing.
_NOBODY = " "


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Hold one rule for one candidate; at least one of both is there.

    Attributes:
        rule: Its name.
        row: What is demanded; None for what no policy asks for, such as a defect.
        finding: What became of it; None without a result, and for settings such as the mode.
    """

    rule: str
    row: DemandRow | None
    finding: Finding | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlimited:
    """Hold a number that a scan gives and no rule limits.

    Attributes:
        rule: The rule that could limit it.
        estimate: The number; None without a result, and where it was not measured.
    """

    rule: str
    estimate: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Hold what a policy means for one candidate.

    Attributes:
        loaded: The policy.
        now: As of when.
        family: Family of the candidate; None if unknown, empty if no match block names it.
        model: Name of the candidate; None if unknown, empty if no match block names it.
        blocks: The match blocks that hold, the most specific last.
        rules: Every rule; with a result, the deciding one first, then the worst.
        unlimited: What nobody demands.
        others: Without a result: what match blocks change for other candidates, seen from what
            holds for all.
        waivers: All waivers of the policy, as they stand on the day.
        verdict: With a result: what follows.
    """

    loaded: LoadedPolicy
    now: datetime
    family: str | None
    model: str | None
    blocks: tuple[str, ...]
    rules: tuple[Explained, ...]
    unlimited: tuple[Unlimited, ...]
    others: tuple[CandidateChanges, ...] = ()
    waivers: tuple[WaiverDay, ...] = ()
    verdict: Verdict | None = None

    def level_of(self, origin: Origin) -> int | None:
        """Return which level of ``extends`` states something.

        Args:
            origin: Where it stands.

        Returns:
            From 1, the root ancestor; None for a default.
        """
        files = [level.file for level in self.loaded.levels]
        return files.index(origin.file) + 1 if origin.line and origin.file in files else None


def explain_policy(loaded: LoadedPolicy, candidates: Candidates, *, now: datetime) -> Explanation:
    """Explain what a policy would demand, without a result.

    Args:
        loaded: The policy.
        candidates: Of which candidates; a name that is not given is one that no block names.
        now: As of when waivers count.

    Returns:
        The limits that would hold, and what the match blocks change.
    """
    facts = Facts(
        tier=Tier.FULL,
        coverage=1.0,
        sdi=None,
        sdi_plus=None,
        signals=(),
        family=candidates.family or _NOBODY,
        registered_name=candidates.model or _NOBODY,
    )
    demands = effective(loaded, facts, now)
    others = tuple(
        block
        for block in blocks_of(loaded)
        if candidates.may_be_of(block.candidates) and not candidates.are_of(block.candidates)
    )
    return Explanation(
        loaded=loaded,
        now=now,
        family=candidates.family,
        model=candidates.model,
        blocks=demands.blocks,
        rules=tuple(Explained(rule=row.rule, row=row, finding=None) for row in rows_of(demands)),
        unlimited=_unlimited(demands, None),
        others=others,
        waivers=waiver_days(loaded, now),
    )


def explain_result(loaded: LoadedPolicy, facts: Facts, *, now: datetime) -> Explanation:
    """Explain how a policy judges a result.

    Args:
        loaded: The policy.
        facts: What was found.
        now: As of when it is judged.

    Returns:
        Every rule with what was observed and what became of it.
    """
    verdict = judge(loaded, facts, now=now)
    demands = effective(loaded, facts, now)
    return Explanation(
        loaded=loaded,
        now=now,
        family=facts.family,
        model=facts.model_name,
        blocks=verdict.blocks,
        rules=_judged(rows_of(demands), verdict),
        unlimited=_unlimited(demands, facts),
        waivers=waiver_days(loaded, now),
        verdict=verdict,
    )


def ranked(verdict: Verdict) -> tuple[Finding, ...]:
    """Return the findings of a verdict, the deciding one first, then the worst.

    Args:
        verdict: The verdict.

    Returns:
        All findings; among equals, the one with the least room, then the first.
    """
    return tuple(
        sorted(verdict.findings, key=lambda each: (-each.status.severity, each.relative_margin))
    )


def _judged(rows: tuple[DemandRow, ...], verdict: Verdict) -> tuple[Explained, ...]:
    by_rule = {row.rule: row for row in rows}
    findings = ranked(verdict)
    found = {finding.rule for finding in findings}
    return (
        *(
            Explained(rule=finding.rule, row=by_rule.get(finding.rule), finding=finding)
            for finding in findings
        ),
        *(Explained(rule=row.rule, row=row, finding=None) for row in rows if row.rule not in found),
    )


def _unlimited(demands: Demands, facts: Facts | None) -> tuple[Unlimited, ...]:
    paths = (
        ("sdi",),
        ("sdi-plus",),
        ("predicted-degradation", "mean"),
        *(("signals", key) for key in keys_of(SignalLimits)),
        *(("behaviour", key) for key in keys_of(BehaviourLimits)),
    )
    return tuple(
        Unlimited(
            rule=".".join(("limits", *path)),
            estimate=None if facts is None else _observed(path, facts),
        )
        for path in paths
        if demands.limit(("limits", *path)) is None
    )


def _observed(path: tuple[str, ...], facts: Facts) -> Estimate | None:
    match path:
        case ("sdi",):
            return facts.sdi
        case ("sdi-plus",):
            return facts.sdi_plus
        case ("signals", name):
            result = facts.signal(SignalName(name))
            return None if result is None else result.estimate
        case ("behaviour", metric):
            result = facts.signal(SignalName.BEHAVIOUR)
            return None if result is None else result.overall(metric)
        case _:
            return None  # what a calibration predicts is no estimate
