"""Say in a few sentences what came out, and hold it against the targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.study.document.parts import Table
from sdi_gate.study.document.targets import TIER, judge
from sdi_gate.study.document.words import (
    counted,
    difference,
    interval,
    joined,
    plain,
    share,
)
from sdi_gate.study.fit.tier import KL_MEAN, KL_WORST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.study.document.targets import Target
    from sdi_gate.study.fit.result import FitResult, TierEntry

_MOST_NAMED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Hold the answer.

    Attributes:
        sentences: It.
        targets: Each target and what came of it.
        broken: For each missed target the pairs that break it.
        tried: What was looked through; empty if every target was met.
    """

    sentences: tuple[str, ...]
    targets: Table
    broken: tuple[str, ...]
    tried: str


def answer(fit: FitResult) -> Answer:
    """Say what came out.

    Args:
        fit: The fit.

    Returns:
        The answer.
    """
    targets = judge(fit)
    missed = tuple(target for target in targets if not target.met)
    return Answer(
        sentences=(*_sentences(fit), _verdict(targets, missed)),
        targets=_table(fit, targets),
        broken=tuple(_broken(missed)),
        tried=_tried(fit) if missed else "",
    )


def _sentences(fit: FitResult) -> Iterator[str]:
    yield (
        f"{counted(fit.num_pairs, 'pair')} of {counted(fit.num_bases, 'base')} from "
        f"{counted(len(fit.families), 'family')} were measured; {fit.num_degraded} of them are "
        f"high regressions."
    )
    for name in reversed(fit.tiers):
        yield from _of_tier(name, fit.tiers[name])


def _of_tier(name: str, tier: TierEntry) -> Iterator[str]:
    if tier.sdi is None:
        yield f"Tier {name} has no index: {tier.reason}."
        return
    found = tier.sdi.evidence
    yield (
        f"At tier {name}, {_unseen(tier)}, sdi has a "
        f"rank correlation of {interval(found.rho)} with the degradation that was measured. At "
        f"the threshold it misses {share(found.misses)} of the high regressions and flags "
        f"{share(found.false_alarms)} of the other pairs. {_beside_kl(tier)}"
    )


def _unseen(tier: TierEntry) -> str:
    if tier.left_out == "pair":
        return "on pairs that had no part in the fit, of a base that had"
    return f"on pairs of a {tier.left_out} that had no part in the fit"


def _beside_kl(tier: TierEntry) -> str:
    known = {item.name: item.difference for item in tier.differences}
    alone = {item.name: item.evidence.rho for item in tier.baselines}
    named = [name for name in (KL_MEAN, KL_WORST) if name in alone]
    if not named:
        return ""
    rival = max(named, key=lambda name: alone[name].value or 0.0)
    told = "; ".join(
        f"{label} less that is {difference(entry)}{_meaning(entry.lower, entry.upper)}"
        for label in ("sdi", "sdi_plus")
        if (entry := known.get(f"{label} - {rival}")) is not None
    )
    reached = f"The better of both forms of KL divergence alone ({rival}) has"
    return f"{reached} {interval(alone[rival])}{'; ' * bool(told)}{told}."


def _meaning(lower: float | None, upper: float | None) -> str:
    if lower is None or upper is None:
        return ""
    if lower > 0.0:
        return ", so it orders better"
    return ", so it orders worse" if upper < 0.0 else ", which may be chance"


def _verdict(targets: tuple[Target, ...], missed: tuple[Target, ...]) -> str:
    if not missed:
        return f"All {len(targets)} targets are met."
    if not any(target.is_measured for target in targets):
        return f"No target could be measured: tier {TIER} has no fit without one of two families."
    names = "; ".join(target.name for target in missed)
    return f"{len(targets) - len(missed)} of {len(targets)} targets are met. Missed: {names}."


def _table(fit: FitResult, targets: tuple[Target, ...]) -> Table:
    rows = [
        (target.name, target.wanted, target.found, "met" if target.met else "missed")
        for target in targets
    ]
    return Table(
        head=("Target", "Wanted", "Found", "Result"),
        rows=(
            *rows,
            ("rank correlation of sdi, tier weights", "whatever it is", _weights(fit), "reported"),
        ),
    )


def _weights(fit: FitResult) -> str:
    tier = fit.tiers.get("weights")
    if tier is None or tier.sdi is None:
        return "not measured"
    return interval(tier.sdi.evidence.rho)


def _broken(missed: tuple[Target, ...]) -> Iterator[str]:
    # Two targets that the same pairs break are told in one line.
    groups: dict[tuple[str, ...], list[str]] = {}
    for target in missed:
        if target.breaks:
            groups.setdefault(target.breaks, []).append(target.name)
    for breaks, names in groups.items():
        rest = len(breaks) - _MOST_NAMED
        more = f", and {rest} more" if rest > 0 else ""
        yield f"{'; '.join(names)}: {', '.join(breaks[:_MOST_NAMED])}{more}"


def _tried(fit: FitResult) -> str:
    tier = fit.tiers.get(TIER)
    if tier is None or not tier.candidates:
        return "Nothing could be tried: tier full has no index."
    signals = dict.fromkeys(item.signal for item in tier.candidates)
    best = tier.candidates[0]
    return (
        f"What was tried: {counted(len(tier.candidates), 'candidate')} for a headline, of "
        f"{joined(signals)}, in every combination that adding, exchanging and dropping one at a "
        f"time reaches. The best of them alone, {best.signal}/{best.metric} "
        f"({best.aggregation}), orders the pairs with {plain(best.rho.value)}."
    )
