"""Say what failed, and which pairs and which kinds of damage an index gets wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.study.document.parts import Table
from sdi_gate.study.document.population import dose
from sdi_gate.study.document.ranks import Placed, placed
from sdi_gate.study.document.results import indices
from sdi_gate.study.document.rivals import highest
from sdi_gate.study.document.words import percent, plain, reason, signed

if TYPE_CHECKING:
    from sdi_gate.study.fit.result import FitResult, IndexEntry

_WHY = {"missed": "a high regression below the threshold", "rank": "its rank is far off"}
_VISIBLE = 0.005
_Key = tuple[str, float, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Hold what went wrong.

    Attributes:
        tier: The tier whose indices are looked at; empty if no tier has one.
        failed: Pairs that could not be measured.
        breaking: Pairs that sdi gets wrong.
        variants: Mean rank error of each variant.
        over: The variant that is overestimated most, in words; empty if there is none.
        under: The variant that is underestimated most, in words; empty if there is none.
    """

    tier: str
    failed: Table
    breaking: Table
    variants: Table
    over: str
    under: str


def failures(fit: FitResult) -> Failures:
    """Say what went wrong.

    Args:
        fit: The fit.

    Returns:
        The tables, for the highest tier that has an index.
    """
    found = highest(fit)
    known = indices(found[1]) if found else {}
    errors = {name: _by_variant(placed(fit, index)) for name, index in known.items()}
    order = sorted(errors.get("sdi", {}).items(), key=lambda item: (-_mean(item[1]), item[0]))
    return Failures(
        tier=found[0] if found else "",
        failed=Table(
            head=("Pair", "Reason"),
            rows=tuple((item.pair, reason(item.reason)) for item in fit.failures),
        ),
        breaking=_breaking(fit, known["sdi"]) if known else Table(head=(), rows=()),
        variants=_variants(errors, [key for key, _ in order]),
        over=_told(order[0]) if order and _mean(order[0][1]) > _VISIBLE else "",
        under=_told(order[-1]) if order and _mean(order[-1][1]) < -_VISIBLE else "",
    )


def _breaking(fit: FitResult, sdi: IndexEntry) -> Table:
    kinds = {pair.pair: pair for pair in fit.pairs}
    return Table(
        head=("Pair", "Kind", "Wrong because", ">sdi", ">Degradation", ">Rank error"),
        rows=tuple(
            (
                item.pair,
                kinds[item.pair].kind,
                _WHY[item.why],
                plain(item.score, 3),
                plain(item.degradation, 3),
                signed(item.rank_error),
            )
            for item in sdi.breaking
        ),
    )


def _by_variant(found: tuple[Placed, ...]) -> dict[_Key, list[Placed]]:
    groups: dict[_Key, list[Placed]] = {}
    for item in found:
        key = (item.pair.variant, item.pair.dose or 0.0, dose(item.pair.dose))
        groups.setdefault(key, []).append(item)
    return groups


def _variants(errors: dict[str, dict[_Key, list[Placed]]], order: list[_Key]) -> Table:
    head = (
        "Variant",
        ">Dose",
        ">Pairs",
        ">Mean degradation",
        *(f">{name}" for name in errors),
        "Missed by sdi",
    )
    return Table(head=head, rows=tuple(_variant(errors, key) for key in order))


def _variant(errors: dict[str, dict[_Key, list[Placed]]], key: _Key) -> tuple[str, ...]:
    own = errors["sdi"][key]
    high = [item for item in own if item.pair.high]
    return (
        key[0],
        key[2],
        str(len(own)),
        plain(sum(item.pair.degradation for item in own) / len(own), 3),
        *(signed(_mean(known[key])) for known in errors.values()),
        f"{sum(not item.score.flagged for item in high)} of {len(high)}",
    )


def _mean(found: list[Placed]) -> float:
    return sum(item.error for item in found) / len(found)


def _told(entry: tuple[_Key, list[Placed]]) -> str:
    (variant, _, amount), found = entry
    return f"{variant} {amount}, by {percent(abs(_mean(found)))} of the ranks on average"
