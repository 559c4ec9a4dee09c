"""Put the demands of a policy into words, one row for each rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sdi_gate.policy.format.spelling import plain, visible
from sdi_gate.policy.modes import Mode
from sdi_gate.policy.verdict import Bound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.policy.chain.demands import Demands, RuleLimit, Sourced
    from sdi_gate.policy.format.provisions import AllowedBase
    from sdi_gate.policy.origins import Origin

T = TypeVar("T")

CONSEQUENCES = {
    Mode.ENFORCE: "a verdict of fail or inconclusive closes the gate",
    Mode.WARN: "a verdict of fail or inconclusive is a warning, and the gate stays open",
    Mode.OBSERVE: "the verdict is reported, and the gate stays open",
}

COVERAGE = ("limits", "coverage")
# What holds where nobody limits coverage.
WHOLE = "no limit; a scan that left any parameter out is inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandRow:
    """Hold one rule as it holds for one candidate.

    Law: of two rows for one rule, the values are equal exactly if the demands are.

    Attributes:
        rule: Its name, as findings have it, such as ``limits.sdi`` or ``mode``.
        words: What it demands, in one line that no text of the policy can break.
        values: What it demands, for comparison.
        origins: Where each part stands, without repetition, in the order of the words.
        limit: The limit, for a rule that has one.
    """

    rule: str
    words: str
    values: tuple[object, ...]
    origins: tuple[Origin, ...]
    limit: RuleLimit | None = None


def rows_of(demands: Demands) -> tuple[DemandRow, ...]:
    """Return everything that is demanded, in words.

    Args:
        demands: What is demanded.

    Returns:
        One row for each rule: what follows from a verdict, the limits in the order of the
        schema, then the demands without numbers.
    """
    return (*_general(demands), *(_limit_row(limit) for limit in demands.limits), *_rest(demands))


def limit_words(limit: RuleLimit) -> str:
    """Say what a limit demands.

    Args:
        limit: The limit.

    Returns:
        Such as ``warns above 0.3, fails above 0.4``.
    """
    beyond = "above" if limit.bound is Bound.UPPER else "below"
    steps = (("warns", limit.warn), ("fails", limit.fail))
    words = [f"{verb} {beyond} {plain(step.value)}" for verb, step in steps if step is not None]
    if limit.confidence is not None:
        words.append(f"at a confidence of {plain(limit.confidence.value)}")
    if limit.waived is not None:
        words.append(f"waived by {limit.waiver}: without it, {plain(limit.waived.value)}")
    return ", ".join(words)


def base_words(base: AllowedBase) -> str:
    """Say which base is allowed.

    Args:
        base: The base.

    Returns:
        Such as ``org/name at 0123…``.
    """
    name = base.name or "any name"
    revision = f" at {base.revision}" if base.revision else ""
    weights = f" with weights {base.digest}" if base.digest else ""
    return visible(f"{name}{revision}{weights}")


def _general(demands: Demands) -> tuple[DemandRow, ...]:
    mode, tier = demands.mode, demands.required_tier
    errors, notices = demands.standard_errors, demands.notices
    return (
        _row("mode", mode, f"{mode.value}; {CONSEQUENCES[mode.value]}"),
        _row(
            "required-tier", tier, f"{tier.value} or higher; a scan of a lower tier is inconclusive"
        ),
        _row(
            "standard-errors",
            errors,
            f"{plain(errors.value)} standard error{'' if errors.value == 1.0 else 's'} on the bad"
            " side of a stochastic value",
        ),
        _row("notices", notices, f"a notice is a finding that {notices.value}s"),
    )


def _limit_row(limit: RuleLimit) -> DemandRow:
    steps = (limit.warn, limit.fail, limit.confidence, limit.waived)
    # A warning at the failing step warns of nothing: it is not compared.
    same = limit.warn is not None and limit.fail and limit.warn.value == limit.fail.value
    compared = (None, *steps[1:]) if same else steps
    return DemandRow(
        rule=visible(str(limit)),
        words=limit_words(limit),
        values=(*(None if step is None else step.value for step in compared), limit.waiver),
        origins=_distinct(steps),
        limit=limit,
    )


def _rest(demands: Demands) -> Iterator[DemandRow]:
    calibration = _calibration_row(demands)
    if calibration is not None:
        yield calibration
    yield from _parameter_rows(demands)
    for rule, allowed in (
        ("accepted-formats", demands.formats),
        ("allowed-families", demands.families),
        ("allowed-quantisations", demands.quantisations),
    ):
        if allowed is not None:
            yield _row(rule, allowed, f"only {', '.join(sorted(allowed.value))}")
    if demands.bases is not None:
        bases = sorted(map(base_words, demands.bases.value))
        yield DemandRow(
            rule="allowed-bases",
            words=f"only {'; '.join(bases)}",
            values=tuple(bases),
            origins=(demands.bases.origin,),
        )
    age = demands.maximum_age_days
    if age is not None:
        days = "day" if age.value == 1.0 else "days"
        yield _row("maximum-age", age, f"at most {plain(age.value)} {days} old")


def _parameter_rows(demands: Demands) -> Iterator[DemandRow]:
    # A chain of files may demand two values of one parameter, which nothing meets.
    for name in dict.fromkeys(name for name, _ in demands.parameters):
        wanted = [sourced for key, sourced in demands.parameters if key == name]
        values = tuple(sourced.value for sourced in wanted)
        yield DemandRow(
            rule=f"required-parameters.{name}",
            words=f"must be {' and '.join(map(visible, values))}",
            values=values,
            origins=_distinct(tuple(wanted)),
        )


def _calibration_row(demands: Demands) -> DemandRow | None:
    families, pairs = demands.calibration_families, demands.calibration_pairs
    in_scope = demands.calibration_in_scope
    words = [
        *(() if families is None else (f"fitted on each of {', '.join(sorted(families.value))}",)),
        *(() if pairs is None else (f"on at least {pairs.value} pairs",)),
        *(("it speaks for the models compared",) if in_scope and in_scope.value else ()),
    ]
    parts = (families, pairs, in_scope)
    if all(part is None for part in parts):
        return None
    return DemandRow(
        rule="required-calibration",
        words=", ".join(words) or "none in particular",
        values=tuple(None if part is None else part.value for part in parts),
        origins=_distinct(parts),
    )


def _row(rule: str, sourced: Sourced[T], words: str) -> DemandRow:
    return DemandRow(rule=rule, words=words, values=(sourced.value,), origins=(sourced.origin,))


def _distinct(parts: tuple[Sourced[T] | None, ...]) -> tuple[Origin, ...]:
    return tuple(dict.fromkeys(part.origin for part in parts if part is not None))
