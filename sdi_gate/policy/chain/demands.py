"""Hold what a policy demands of one candidate, each demand with its place, and take the stricter.

Demands form a lattice: `stricter` is its meet. It is idempotent, commutative and associative but
for origins, of which the first argument's is kept where both demand the same. What either of two
demands fails, their meet fails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from sdi_gate.policy.chain.allowing import common_bases, common_names, common_quantisations
from sdi_gate.policy.chain.rules import rule_order
from sdi_gate.policy.verdict import Bound

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdi_gate.policy.facts import Tier
    from sdi_gate.policy.format.provisions import AllowedBase
    from sdi_gate.policy.modes import Mode
    from sdi_gate.policy.origins import Origin

COVERAGE = ("limits", "coverage")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Sourced(Generic[T_co]):
    """Hold a value with the place where it is stated."""

    value: T_co
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLimit:
    """Hold one limit as it holds for one candidate.

    Attributes:
        path: Keys from the top of the policy, such as ``("limits", "by-stratum", "safety",
            "kl-divergence")``.
        bound: Whether the steps are upper or lower bounds.
        warn: The warning step.
        fail: The failing step; a waiver has raised it already.
        confidence: For predicted degradation alone: coverage that its interval must aim at.
        waiver: Id of the waiver that raised the failing step.
        waived: The failing step without the waiver.
    """

    path: tuple[str, ...]
    bound: Bound
    warn: Sourced[float] | None = None
    fail: Sourced[float] | None = None
    confidence: Sourced[float] | None = None
    waiver: str | None = None
    waived: Sourced[float] | None = None

    def __str__(self) -> str:
        """Return the path with dots."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """Hold everything that is demanded of one candidate.

    Attributes:
        mode: What follows from a verdict.
        required_tier: How much a scan must look at.
        standard_errors: How many are added to a stochastic value.
        notices: ``warn`` or ``fail``: what a notice is.
        limits: One for each path, in the order of the schema; selectors in alphabetical order.
        calibration_families: Families that the calibration must have been fitted on.
        calibration_pairs: Pairs that it must rest on at least.
        calibration_in_scope: Whether it must speak for these models.
        parameters: Parameters of signals and the values that they must have, sorted by name.
        formats: Accepted formats; None accepts all.
        bases: Allowed bases; None allows all.
        families: Allowed families; None allows all.
        quantisations: Allowed quantisations; None allows all.
        maximum_age_days: How old a result may be.
        blocks: The match blocks that hold, the most specific last, such as ``family llama``.
        silent_on_coverage: Whether the policy says nothing on coverage, so that whatever was not
            compared makes a scan inconclusive. It is never there together with such a limit: what
            another file, or a block that may hold, would let be missing must not be missing then.
    """

    mode: Sourced[Mode]
    required_tier: Sourced[Tier]
    standard_errors: Sourced[float]
    notices: Sourced[str]
    limits: tuple[RuleLimit, ...]
    calibration_families: Sourced[frozenset[str]] | None = None
    calibration_pairs: Sourced[int] | None = None
    calibration_in_scope: Sourced[bool] | None = None
    parameters: tuple[tuple[str, Sourced[str]], ...] = ()
    formats: Sourced[frozenset[str]] | None = None
    bases: Sourced[tuple[AllowedBase, ...]] | None = None
    families: Sourced[frozenset[str]] | None = None
    quantisations: Sourced[frozenset[str]] | None = None
    maximum_age_days: Sourced[float] | None = None
    blocks: tuple[str, ...] = ()
    silent_on_coverage: bool = False

    def limit(self, path: tuple[str, ...]) -> RuleLimit | None:
        """Return the limit at a path.

        Args:
            path: Keys from the top of the policy.

        Returns:
            The limit, or None if there is none.
        """
        return next((limit for limit in self.limits if limit.path == path), None)


def stricter(first: Demands, second: Demands) -> Demands:
    """Return what two demands ask for together: of everything, the stricter of the two.

    Args:
        first: Demands of one candidate.
        second: Other demands of the same candidate.

    Returns:
        Demands that fail whatever one of the two fails. A warning step that is not
        stricter than the failing one is dropped.
    """
    a, b = first, second
    limits = _all_limits(a.limits, b.limits)
    silent = a.silent_on_coverage or b.silent_on_coverage
    stated = any(limit.path == COVERAGE for limit in limits)
    return Demands(
        mode=_highest(a.mode, b.mode, lambda mode: mode.rank),
        required_tier=_highest(a.required_tier, b.required_tier, lambda tier: tier.rank),
        standard_errors=_highest(a.standard_errors, b.standard_errors, float),
        notices=_highest(a.notices, b.notices, ("warn", "fail").index),
        limits=_with_full_coverage(limits, a.mode.origin) if silent and stated else limits,
        calibration_families=_both(a.calibration_families, b.calibration_families, _union),
        calibration_pairs=_either(a.calibration_pairs, b.calibration_pairs, int),
        calibration_in_scope=_either(a.calibration_in_scope, b.calibration_in_scope, int),
        parameters=_all_parameters(a.parameters, b.parameters),
        formats=_both(a.formats, b.formats, common_names),
        bases=_both(a.bases, b.bases, common_bases),
        families=_both(a.families, b.families, common_names),
        quantisations=_both(a.quantisations, b.quantisations, common_quantisations),
        maximum_age_days=_either(a.maximum_age_days, b.maximum_age_days, lambda days: -days),
        blocks=tuple(sorted({*a.blocks, *b.blocks}, key=_specificity)),
        silent_on_coverage=silent and not stated,
    )


def without_idle_warning(limit: RuleLimit) -> RuleLimit:
    """Return a limit without a warning step that is not stricter than its failing step.

    Args:
        limit: The limit.

    Returns:
        The limit, which decides every value as it did.
    """
    if limit.warn is None or limit.fail is None:
        return limit
    rank = strictness(limit.bound)
    return replace(limit, warn=None) if rank(limit.warn.value) <= rank(limit.fail.value) else limit


def strictness(bound: Bound) -> Callable[[float], float]:
    """Return what ranks the steps of a limit.

    Args:
        bound: Whether they are upper or lower bounds.

    Returns:
        A function of a step that is the higher, the stricter the step is.
    """
    return (lambda step: -step) if bound is Bound.UPPER else float


def _highest(a: Sourced[T], b: Sourced[T], rank: Callable[[T], float]) -> Sourced[T]:
    ranks = rank(a.value), rank(b.value)
    if ranks[0] == ranks[1]:
        # What a file states is shown rather than a default that says the same.
        return a if a.origin.line or not b.origin.line else b
    return a if ranks[0] > ranks[1] else b


def _either(
    a: Sourced[T] | None, b: Sourced[T] | None, rank: Callable[[T], float]
) -> Sourced[T] | None:
    if a is None or b is None:
        return a or b
    return _highest(a, b, rank)


def _both(
    a: Sourced[T] | None, b: Sourced[T] | None, meet: Callable[[T, T], T]
) -> Sourced[T] | None:
    if a is None or b is None:
        return a or b
    value = meet(a.value, b.value)
    return Sourced(value, b.origin if value == b.value != a.value else a.origin)


def _union(a: frozenset[str], b: frozenset[str]) -> frozenset[str]:
    return a | b


def _all_parameters(
    a: tuple[tuple[str, Sourced[str]], ...], b: tuple[tuple[str, Sourced[str]], ...]
) -> tuple[tuple[str, Sourced[str]], ...]:
    # Two values of one parameter are both demanded, which nothing meets.
    found = {(name, sourced.value): sourced for name, sourced in (*b, *a)}
    return tuple((name, found[name, value]) for name, value in sorted(found))


def _all_limits(a: tuple[RuleLimit, ...], b: tuple[RuleLimit, ...]) -> tuple[RuleLimit, ...]:
    found = {limit.path: limit for limit in a}
    for limit in b:
        known = found.get(limit.path)
        found[limit.path] = limit if known is None else _stricter_limit(known, limit)
    return tuple(found[path] for path in sorted(found, key=rule_order))


def _with_full_coverage(limits: tuple[RuleLimit, ...], origin: Origin) -> tuple[RuleLimit, ...]:
    """Return limits of which that on coverage lets nothing be missing."""
    full = RuleLimit(
        path=COVERAGE,
        bound=Bound.LOWER,
        fail=Sourced(1.0, replace(origin, line=0, column=0, block="")),
    )
    return _all_limits(limits, (full,))


def _stricter_limit(a: RuleLimit, b: RuleLimit) -> RuleLimit:
    rank = strictness(a.bound)
    fail = _either(a.fail, b.fail, rank)
    waiver, waived = _left_of_waivers(a, b, rank)
    if waived is not None and fail is not None and rank(waived.value) <= rank(fail.value):
        waiver = waived = None  # The other one fails as early without any waiver.
    return without_idle_warning(
        RuleLimit(
            path=a.path,
            bound=a.bound,
            warn=_either(a.warn, b.warn, rank),
            fail=fail,
            confidence=_either(a.confidence, b.confidence, float),
            waiver=waiver,
            waived=waived,
        )
    )


def _left_of_waivers(
    a: RuleLimit, b: RuleLimit, rank: Callable[[float], float]
) -> tuple[str | None, Sourced[float] | None]:
    """Return the waiver, and the failing step that would hold without it, of the stricter one."""
    if a.waived is None or b.waived is None:
        limit = b if a.waived is None else a
    else:
        limit = b if rank(b.waived.value) > rank(a.waived.value) else a
    return limit.waiver, limit.waived


def _specificity(block: str) -> tuple[int, str]:
    return (block.startswith("model ") + (" of family " in block), block)
