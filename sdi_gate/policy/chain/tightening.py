"""Find what in a policy is looser than in those that it extends.

Every statement of a file is compared with what each file before it demands of exactly the
candidates that the statement is for: what is said for all with what they say for all, a match
block with what they demand of every candidate that it selects. Statements that overlap in part
are not compared: there the stricter of the two holds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import eq
from typing import TYPE_CHECKING, TypeVar

from sdi_gate.policy.chain.allowing import covers_base, covers_quantisation
from sdi_gate.policy.chain.demands import COVERAGE, strictness
from sdi_gate.policy.chain.matching import OTHER, demands_of
from sdi_gate.policy.chain.stating import Layer, demands_in
from sdi_gate.policy.format.places import Place, Problem, dotted, quoted
from sdi_gate.policy.format.provisions import AllowedBase, MatchBlock
from sdi_gate.policy.format.spelling import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from sdi_gate.policy.chain.demands import Demands, RuleLimit, Sourced
    from sdi_gate.policy.chain.levels import Level
    from sdi_gate.policy.format.places import Path
    from sdi_gate.policy.origins import Origin

T = TypeVar("T")
E = TypeVar("E", str, AllowedBase)

_RULE = "a policy that extends another only tightens"


def loosening_problems(level: Level, ancestors: Sequence[Level]) -> list[Problem]:
    """Return where a file is looser than those that it extends.

    Args:
        level: The file.
        ancestors: The files that it extends, the root first.

    Returns:
        One problem for each statement that is, at its place, with the place that it loosens: of
        several, the one in the nearest file that states it.
    """
    found: dict[tuple[Origin, str], str] = {}
    for layer, family, model in _layers(level):
        own = demands_in((layer,), as_stated=True)
        known = [demands_of(each, family=family, model=model) for each in reversed(ancestors)]
        clashes = [
            clash
            for demands in known
            for clash in (*_clashes(own, demands), *_of_lists(layer, demands))
        ]
        # What a file states is easier to find than what holds there by default.
        for clash in sorted(clashes, key=lambda clash: not clash.theirs.line):
            path = (*layer.path, *clash.key)
            found.setdefault((clash.mine, clash.item), dotted(path, clash.sentence))
    return [
        *_waiver_days(level, ancestors),
        *(Problem(_place(origin), message) for (origin, _), message in found.items()),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clash:
    """Hold one statement that is looser than another one.

    Attributes:
        key: What both are about, below the policy or the block.
        why: The comparison, up to the place of the other statement.
        mine: Where the looser statement stands.
        theirs: Where the other one stands.
        item: The entry of a list that is meant; empty where it is no list.
    """

    key: Path
    why: str
    mine: Origin
    theirs: Origin
    item: str = ""

    @property
    def sentence(self) -> str:
        """Return the comparison with the place of the other statement."""
        origin = self.theirs
        if not origin.line:
            return f"{self.why}, the default, which holds in {origin.file}; {_RULE}"
        return f"{self.why} at {origin.file}:{origin.line}:{origin.column}; {_RULE}"


def _layers(level: Level) -> Iterator[tuple[Layer, str, str]]:
    yield Layer(level=level, section=level.policy), OTHER, OTHER
    for index, block in enumerate(level.policy.match or ()):
        layer = Layer(level=level, section=block, path=("match", str(index)))
        yield layer, block.match.family or OTHER, block.match.model or OTHER


def _place(origin: Origin) -> Place:
    return Place(origin.line, origin.column)


def _clashes(own: Demands, other: Demands) -> Iterator[_Clash]:
    yield from _lower(("mode",), own.mode, other.mode, lambda mode: mode.rank)
    yield from _lower(
        ("required-tier",), own.required_tier, other.required_tier, lambda tier: tier.rank
    )
    yield from _lower(("standard-errors",), own.standard_errors, other.standard_errors, float)
    yield from _lower(("notices",), own.notices, other.notices, ("warn", "fail").index)
    yield from _lower(
        ("maximum-age",), own.maximum_age_days, other.maximum_age_days, lambda days: -days
    )
    for limit in own.limits:
        yield from _of_limit(limit, other.limit(limit.path))
    yield from _of_coverage(own, other)
    yield from _of_calibration(own, other)
    yield from _of_parameters(own, other)


def _lower(
    key: Path, own: Sourced[T] | None, other: Sourced[T] | None, rank: Callable[[T], float]
) -> Iterator[_Clash]:
    if own is None or other is None or not own.origin.line:
        return
    if rank(own.value) < rank(other.value):
        why = f"{_shown(own.value)} is looser than {_shown(other.value)}"
        yield _Clash(key=key, why=why, mine=own.origin, theirs=other.origin)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return plain(value) if isinstance(value, int | float) else str(value)


def _of_limit(own: RuleLimit, other: RuleLimit | None) -> Iterator[_Clash]:
    if other is None:
        return
    rank = strictness(own.bound)
    yield from _lower((*own.path, "warn"), own.warn, other.warn, rank)
    yield from _lower((*own.path, "fail"), own.fail, other.fail, rank)
    yield from _lower((*own.path, "confidence"), own.confidence, other.confidence, float)


def _of_coverage(own: Demands, other: Demands) -> Iterator[_Clash]:
    limit = own.limit(COVERAGE)
    if limit is None or not other.silent_on_coverage:
        return
    # Where the root is silent on coverage, a scan that left anything out is inconclusive there.
    if limit.fail is not None and limit.fail.value >= 1.0:
        return
    key, step = ("warn", limit.warn) if limit.fail is None else ("fail", limit.fail)
    if step is not None:
        what = "a warning alone" if key == "warn" else _shown(step.value)
        yield _Clash(
            key=(*COVERAGE, key),
            why=f"{what} is looser than a demand that every parameter was compared",
            mine=step.origin,
            theirs=replace(other.mode.origin, line=0, column=0),
        )


def _of_calibration(own: Demands, other: Demands) -> Iterator[_Clash]:
    key = "required-calibration"
    yield from _lower((key, "min-pairs"), own.calibration_pairs, other.calibration_pairs, int)
    yield from _lower((key, "in-scope"), own.calibration_in_scope, other.calibration_in_scope, int)
    mine, theirs = own.calibration_families, other.calibration_families
    if mine is None or theirs is None:
        return
    for family in sorted(theirs.value - mine.value):
        yield _Clash(
            key=(key, "families"),
            why=f"{quoted(family)} is missing, which is required",
            mine=mine.origin,
            theirs=theirs.origin,
            item=family,
        )


def _of_parameters(own: Demands, other: Demands) -> Iterator[_Clash]:
    known = dict(other.parameters)
    for name, mine in own.parameters:
        theirs = known.get(name)
        if theirs is not None and theirs.value != mine.value:
            yield _Clash(
                key=("required-parameters", name),
                why=f"{quoted(mine.value)} is not {quoted(theirs.value)}, which is required",
                mine=mine.origin,
                theirs=theirs.origin,
            )


def _of_lists(layer: Layer, other: Demands) -> Iterator[_Clash]:
    own, policy = layer.level, layer.section
    if isinstance(policy, MatchBlock):
        return
    yield from _wider(own, "accepted-formats", (policy.accepted_formats, other.formats), eq)
    yield from _wider(own, "allowed-families", (policy.allowed_families, other.families), eq)
    quantisations = policy.allowed_quantisations, other.quantisations
    yield from _wider(own, "allowed-quantisations", quantisations, covers_quantisation)
    yield from _wider(own, "allowed-bases", (policy.allowed_bases, other.bases), covers_base)


def _wider(
    level: Level,
    key: str,
    lists: tuple[Sequence[E] | None, Sourced[Collection[E]] | None],
    covers: Callable[[E, E], bool],
) -> Iterator[_Clash]:
    own, other = lists
    if own is None or other is None:
        return
    for index, entry in enumerate(own):
        if not any(covers(known, entry) for known in other.value):
            yield _Clash(
                key=(key, str(index)),
                why=f"{_entry(entry)} is not among what is allowed",
                mine=level.origin((key, str(index))),
                theirs=other.origin,
            )


def _entry(entry: str | AllowedBase) -> str:
    if isinstance(entry, str):
        return quoted(entry)
    given = (("name", entry.name), ("revision", entry.revision), ("digest", entry.digest))
    return " ".join(f"{key} {value}" for key, value in given if value is not None)


def _waiver_days(level: Level, ancestors: Sequence[Level]) -> Iterator[Problem]:
    own = level.policy.maximum_waiver_days
    if not ancestors or own is None or own <= ancestors[-1].maximum_waiver_days:
        return
    days = ancestors[-1].maximum_waiver_days
    stating = [each for each in ancestors if each.policy.maximum_waiver_days == days]
    theirs = stating[-1].origin(("maximum-waiver-days",)) if stating else ancestors[0].default()
    mine = level.origin(("maximum-waiver-days",))
    why = f"{own} is looser than {days}"
    clash = _Clash(key=("maximum-waiver-days",), why=why, mine=mine, theirs=theirs)
    yield Problem(_place(mine), dotted(clash.key, clash.sentence))
