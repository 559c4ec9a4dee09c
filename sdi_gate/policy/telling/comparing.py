"""Compare what two policies demand, rule by rule, for every candidate that either tells apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from typing import TYPE_CHECKING

from sdi_gate.policy.chain.demands import stricter
from sdi_gate.policy.chain.matching import demands_of, selectors_of
from sdi_gate.policy.format.spelling import visible
from sdi_gate.policy.telling.wording import rows_of

if TYPE_CHECKING:
    from sdi_gate.policy.chain.demands import Demands
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.telling.wording import DemandRow


class Change(StrEnum):
    """Say what became of a rule, seen from the first policy.

    ``changed``: stricter in one part and looser in another, or simply other.
    """

    TIGHTENED = "tightened"
    LOOSENED = "loosened"
    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Say for which candidates something holds.

    Attributes:
        family: Their family; empty for one that no match block names.
        model: Their name; empty for one that no match block names.
    """

    family: str = ""
    model: str = ""

    def are_of(self, others: Candidates) -> bool:
        """Say whether what holds for others holds for these, unless something narrower does.

        Args:
            others: The others.

        Returns:
            Whether these have every name that the others have.
        """
        return others.family in {"", self.family} and others.model in {"", self.model}

    def may_be_of(self, others: Candidates) -> bool:
        """Say whether what holds for others could hold for these, once they are known better.

        Args:
            others: The others.

        Returns:
            Whether no name that these have is another than the others'.
        """
        pairs = ((self.family, others.family), (self.model, others.model))
        return all(not own or not other or own == other for own, other in pairs)

    def __str__(self) -> str:
        """Return such as ``family llama``, or ``all`` for what no match block names."""
        names = (("model", self.model), ("family", self.family))
        return visible(" of ".join(f"{key} {name}" for key, name in names if name)) or "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleChange:
    """Hold one rule under two policies; at least one of them has it.

    Attributes:
        rule: Its name.
        change: What became of it.
        before: What the first demands.
        after: What the second demands.
    """

    rule: str
    change: Change
    before: DemandRow | None
    after: DemandRow | None

    @property
    def values(self) -> tuple[object, object]:
        """Return what is demanded before and after, without places."""
        before, after = self.before, self.after
        return (before and before.values, after and after.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateChanges:
    """Hold what changes for some candidates."""

    candidates: Candidates
    changes: tuple[RuleChange, ...]


def demands_for(loaded: LoadedPolicy, candidates: Candidates) -> Demands:
    """Return what a policy demands of candidates, before waivers.

    Args:
        loaded: The policy.
        candidates: Which candidates.

    Returns:
        The strictest of what its levels demand.
    """
    family, model = candidates.family, candidates.model
    levels = (demands_of(level, family=family, model=model) for level in loaded.levels)
    return reduce(stricter, levels)


def candidates_of(*policies: LoadedPolicy) -> tuple[Candidates, ...]:
    """Return every sort of candidate that policies tell apart.

    Args:
        policies: The policies.

    Returns:
        Every pair of a family and a model that a match block names, or none of either; first
        those that no block names, then by family, by model, and by both.
    """
    levels = [level for loaded in policies for level in loaded.levels]
    pairs = [Candidates(family=family, model=model) for family, model in selectors_of(levels)]
    return tuple(sorted(pairs, key=lambda pair: bool(pair.family) + 2 * bool(pair.model)))


def changes_between(before: Demands, after: Demands) -> tuple[RuleChange, ...]:
    """Compare two sets of demands.

    Args:
        before: The first.
        after: The second.

    Returns:
        One change for each rule of either, in the order of the second, then what it lacks.
    """
    old, new = _by_rule(before), _by_rule(after)
    both = _by_rule(stricter(before, after))
    rules = (*new, *(rule for rule in old if rule not in new))
    return tuple(_change(rule, old.get(rule), new.get(rule), both.get(rule)) for rule in rules)


def is_at_least_as_strict(before: Demands, after: Demands) -> bool:
    """Say whether one set of demands is nowhere looser than another.

    Args:
        before: The one.
        after: The other.

    Returns:
        Whether ``after`` is what the stricter of the two is.
    """
    both, new = rows_of(stricter(before, after)), rows_of(after)
    return [(row.rule, row.values) for row in both] == [(row.rule, row.values) for row in new]


def blocks_of(loaded: LoadedPolicy) -> tuple[CandidateChanges, ...]:
    """Return what the match blocks of a policy change.

    Args:
        loaded: The policy.

    Returns:
        For each sort of candidate that a block names, the rules that differ from those for all
        and, for a model of a family, from those of the model and of the family.
    """
    everyone = demands_for(loaded, Candidates())
    found = {
        candidates: changes_between(everyone, demands_for(loaded, candidates))
        for candidates in candidates_of(loaded)
    }
    return news_in(found)


def news_in(
    found: dict[Candidates, tuple[RuleChange, ...]],
) -> tuple[CandidateChanges, ...]:
    """Leave out of the changes for some candidates what the wider ones have said.

    Args:
        found: The changes for each sort of candidate, those for all among them.

    Returns:
        What is left, for all but those that no block names; nothing for a sort without news.
    """
    values = {
        candidates: {change.rule: change.values for change in changes}
        for candidates, changes in found.items()
    }
    news = []
    for candidates, changes in found.items():
        if candidates == Candidates():
            continue
        expected = _expected(candidates, values)
        fresh = tuple(change for change in changes if change.values != expected.get(change.rule))
        if fresh:
            news.append(CandidateChanges(candidates=candidates, changes=fresh))
    return tuple(news)


def _expected(
    candidates: Candidates, values: dict[Candidates, dict[str, tuple[object, object]]]
) -> dict[str, tuple[object, object]]:
    """Return what a reader expects who knows the changes for all, for the family, for the model."""
    everyone = values[Candidates()]
    if not (candidates.family and candidates.model):
        return everyone
    model = values[Candidates(model=candidates.model)]
    of_model = {rule: pair for rule, pair in model.items() if pair != everyone.get(rule)}
    return values[Candidates(family=candidates.family)] | of_model


def _by_rule(demands: Demands) -> dict[str, DemandRow]:
    return {row.rule: row for row in rows_of(demands)}


def _change(
    rule: str, before: DemandRow | None, after: DemandRow | None, both: DemandRow | None
) -> RuleChange:
    return RuleChange(rule=rule, change=_kind(before, after, both), before=before, after=after)


def _kind(before: DemandRow | None, after: DemandRow | None, both: DemandRow | None) -> Change:
    if before is None:
        return Change.ADDED
    if after is None:
        return Change.REMOVED
    if before.values == after.values:
        return Change.UNCHANGED
    stricter_values = both and both.values
    if stricter_values == after.values:
        return Change.TIGHTENED
    return Change.LOOSENED if stricter_values == before.values else Change.CHANGED
