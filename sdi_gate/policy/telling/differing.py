"""Compare two policies: rules for every candidate, metadata and waivers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from itertools import product
from typing import TYPE_CHECKING

from sdi_gate.policy.chain.effective import effective
from sdi_gate.policy.facts import Facts, ModelIdentity, Tier
from sdi_gate.policy.telling.comparing import (
    Candidates,
    Change,
    candidates_of,
    changes_between,
    demands_for,
    is_at_least_as_strict,
    news_in,
)
from sdi_gate.policy.telling.wording import COVERAGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from sdi_gate.policy.chain.demands import Demands, RuleLimit
    from sdi_gate.policy.format.provisions import Waiver
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.telling.comparing import CandidateChanges, RuleChange


_LOOSER = frozenset({Change.LOOSENED, Change.REMOVED, Change.CHANGED})


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChange:
    """Hold a text of the policies that differs; None where one has none.

    Attributes:
        name: Such as ``metadata.owner`` or ``documentation.reviewer``.
        before: In the first.
        after: In the second.
    """

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverChange:
    """Hold a waiver under two policies; at least one of them has it.

    Attributes:
        id: Identifies it.
        change: Added, removed, changed, or unchanged; loosened if it merely grants more or longer,
            tightened if it merely grants less or shorter.
        before: In the first.
        after: In the second.
    """

    id: str
    change: Change
    before: Waiver | None
    after: Waiver | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDiff:
    """Hold what differs between two policies.

    Attributes:
        before: The first.
        after: The second.
        rules: Every rule, for candidates that no match block names.
        others: For each sort of candidate that a match block names, what differs from what is
            said for all.
        texts: Metadata and documentation that differ.
        waivers: Every waiver of either.
        as_strict: Whether the second's rules are at least as strict for every candidate.
        as_lenient: Whether the first's rules are at least as strict for every candidate.
        waived_as_strict: Whether that is so, too, for every model with a waiver, on every day.
    """

    before: LoadedPolicy
    after: LoadedPolicy
    rules: tuple[RuleChange, ...]
    others: tuple[CandidateChanges, ...]
    texts: tuple[TextChange, ...]
    waivers: tuple[WaiverChange, ...]
    as_strict: bool
    as_lenient: bool
    waived_as_strict: bool

    @property
    def looser(self) -> tuple[str, ...]:
        """Return the rules in which the second is not as strict, each with for whom."""
        sides = ((Candidates(), self.rules), *((o.candidates, o.changes) for o in self.others))
        return tuple(
            f"{change.rule} ({candidates})"
            for candidates, changes in sides
            for change in changes
            if _is_looser(change)
        )

    @property
    def grants_more(self) -> tuple[str, ...]:
        """Return the waivers by which the second may let pass what the first does not."""
        mild = {Change.UNCHANGED, Change.REMOVED, Change.TIGHTENED}
        return tuple(waiver.id for waiver in self.waivers if waiver.change not in mild)

    @property
    def never_looser(self) -> bool:
        """Return whether the second is at least as strict throughout, waivers counted."""
        return self.as_strict and self.waived_as_strict


def diff(before: LoadedPolicy, after: LoadedPolicy) -> PolicyDiff:
    """Compare two policies.

    Args:
        before: The first.
        after: The second.

    Returns:
        Everything that differs, and what is the same.
    """
    pairs = {
        each: (demands_for(before, each), demands_for(after, each))
        for each in candidates_of(before, after)
    }
    found = {each: changes_between(old, new) for each, (old, new) in pairs.items()}
    return PolicyDiff(
        before=before,
        after=after,
        rules=found[Candidates()],
        others=news_in(found),
        texts=_texts(before, after),
        waivers=_waivers(before, after),
        as_strict=all(_keeps(old, new) for old, new in pairs.values()),
        as_lenient=all(_keeps(new, old) for old, new in pairs.values()),
        waived_as_strict=all(
            _keeps(_waived(before, facts, now), _waived(after, facts, now))
            for facts, now in _waived_cases(before, after)
        ),
    )


def num_comparisons(before: LoadedPolicy, after: LoadedPolicy) -> int:
    """Count how many kinds of candidates, and days of waivers, `diff` compares two policies for.

    Args:
        before: The first.
        after: The second.

    Returns:
        What the time that it takes is in proportion to; counting takes none.
    """
    kinds = candidates_of(before, after)
    families = len({each.family for each in kinds})
    waivers = _waivers_by_model(before, after).values()
    return len(kinds) + sum(
        families * len(_digests(own)) * len(_turning_days(own)) for own in waivers
    )


def _is_looser(change: RuleChange) -> bool:
    if change.rule != ".".join(COVERAGE):
        return change.change in _LOOSER
    if change.before is None:
        return not (change.after and _demands_all(change.after.limit))
    return change.after is not None and change.change in _LOOSER


def _keeps(before: Demands, after: Demands) -> bool:
    """Return whether nothing that closes the gate before lets a scan pass after.

    Without any limit on coverage, a scan that left parameters out is inconclusive: no limit is
    stricter, and a limit that is added is looser unless it fails whatever is below 1.
    """
    old, new = before.limit(COVERAGE), after.limit(COVERAGE)
    if old is None and new is not None and not _demands_all(new):
        return False
    if new is None:
        rest = tuple(limit for limit in before.limits if limit.path != COVERAGE)
        before = replace(before, limits=rest)
    return is_at_least_as_strict(before, after)


def _demands_all(limit: RuleLimit | None) -> bool:
    return limit is not None and limit.fail is not None and limit.fail.value == 1.0


def _waived_cases(*policies: LoadedPolicy) -> Iterator[tuple[Facts, datetime]]:
    """Yield every model that has a waiver, with the days on which what is waived changes."""
    families = sorted({each.family for each in candidates_of(*policies)})
    for model, own in sorted(_waivers_by_model(*policies).items()):
        for family, digest, day in product(families, _digests(own), _turning_days(own)):
            facts = Facts(
                tier=Tier.FULL,
                coverage=1.0,
                sdi=None,
                sdi_plus=None,
                signals=(),
                family=family,
                registered_name=model,
                candidate=ModelIdentity(reference=model, digest=digest or None),
            )
            yield facts, datetime.combine(day, time(12), tzinfo=UTC)


def _waivers_by_model(*policies: LoadedPolicy) -> Mapping[str, list[Waiver]]:
    found: dict[str, list[Waiver]] = {}
    for loaded in policies:
        for level in loaded.levels:
            for waiver in level.policy.waivers or ():
                found.setdefault(waiver.model, []).append(waiver)
    return found


def _digests(waivers: list[Waiver]) -> list[str]:
    return sorted({waiver.candidate_digest or "" for waiver in waivers})


def _turning_days(waivers: list[Waiver]) -> list[date]:
    days = {waiver.first_day for waiver in waivers}
    return sorted(days | {waiver.last_day + timedelta(days=1) for waiver in waivers})


def _waived(loaded: LoadedPolicy, facts: Facts, now: datetime) -> Demands:
    demands = effective(loaded, facts, now)
    limits = tuple(replace(limit, waiver=None, waived=None) for limit in demands.limits)
    return replace(demands, limits=limits)


def _texts(before: LoadedPolicy, after: LoadedPolicy) -> tuple[TextChange, ...]:
    old, new = _texts_of(before), _texts_of(after)
    return tuple(
        TextChange(name=name, before=old.get(name), after=new.get(name))
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    )


def _texts_of(loaded: LoadedPolicy) -> Mapping[str, str]:
    metadata = loaded.policy.metadata.model_dump(mode="json", by_alias=True, exclude_none=True)
    documentation = {
        title: text
        for level in loaded.levels
        for title, text in (level.policy.documentation or {}).items()
    }
    return {f"metadata.{key}": str(value) for key, value in metadata.items()} | {
        f"documentation.{title}": text for title, text in documentation.items()
    }


def _waivers(before: LoadedPolicy, after: LoadedPolicy) -> tuple[WaiverChange, ...]:
    old, new = _waivers_of(before), _waivers_of(after)
    return tuple(
        WaiverChange(
            id=key,
            change=_kind(old.get(key), new.get(key)),
            before=old.get(key),
            after=new.get(key),
        )
        for key in dict.fromkeys((*old, *new))
    )


def _waivers_of(loaded: LoadedPolicy) -> Mapping[str, Waiver]:
    found: dict[str, Waiver] = {}
    for level in loaded.levels:
        for waiver in level.policy.waivers or ():
            # Two files of a chain may name two waivers alike.
            found[waiver.id if waiver.id not in found else f"{waiver.id} ({level.file})"] = waiver
    return found


def _kind(before: Waiver | None, after: Waiver | None) -> Change:
    if before is None:
        return Change.ADDED
    if after is None:
        return Change.REMOVED
    if before == after:
        return Change.UNCHANGED
    if _grants_no_more(before, after):
        return Change.TIGHTENED
    return Change.LOOSENED if _grants_no_more(after, before) else Change.CHANGED


def _grants_no_more(before: Waiver, after: Waiver) -> bool:
    same = (before.model, before.metric) == (after.model, after.metric)
    weights = before.candidate_digest in {None, after.candidate_digest}
    days = before.first_day <= after.first_day and after.last_day <= before.last_day
    lower = before.metric == "coverage"
    limit = after.limit >= before.limit if lower else after.limit <= before.limit
    return same and weights and days and limit
