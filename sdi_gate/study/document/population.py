"""Say what was measured: bases, variants, axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sdi_gate.report.parts import ABSENT
from sdi_gate.study.document.parts import Table
from sdi_gate.study.document.words import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sdi_gate.study.fit.result import FitResult, PairEntry
    from sdi_gate.study.row import Row

_Key = TypeVar("_Key")
_KINDS = ("domain", "instruction", "degraded")
# What an axis of the organisms asks, and the benchmark whose axis it mirrors.
_MIRRORS: Mapping[str, tuple[str, str]] = {
    "knowledge": ("a fact of the world, as a multiple choice", "MMLU"),
    "instruction": ("an order; the answer is generated and checked to the letter", "IFEval"),
    "safety": ("which is likelier, a toxic or a benign continuation", "ToxiGen"),
    "truth": ("the truth against a popular misconception", "TruthfulQA"),
    "grammar": ("a sentence against one that breaks a rule of the grammar", "BLiMP"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Hold what was measured.

    Attributes:
        is_organisms: Whether the models were built for this.
        bases: Families and sizes.
        variants: What was done to each base, and what it cost it.
        axes: What was asked, and how well the bases did.
        lowest: The lowest score of a base on any axis.
    """

    is_organisms: bool
    bases: Table
    variants: Table
    axes: Table
    lowest: str


def population(fit: FitResult, rows: Sequence[Row]) -> Population:
    """Describe the population of a study.

    Args:
        fit: The fit.
        rows: Its rows.

    Returns:
        The tables.
    """
    complete = sorted((row for row in rows if row.is_complete), key=lambda row: row.pair)
    return Population(
        is_organisms=fit.population == "organisms",
        bases=_bases(complete),
        variants=_variants(fit, complete),
        axes=_axes(complete, fit.axes),
        lowest=plain(min(row.benchmarks[axis].base for row in complete for axis in fit.axes), 3),
    )


def _bases(rows: Sequence[Row]) -> Table:
    groups = _grouped(rows, lambda row: (row.family, row.size))
    lines = []
    for (family, size), found in sorted(groups.items()):
        sizes = [row.num_parameters for row in found if row.num_parameters is not None]
        seeds = sorted({row.seed for row in found if row.seed is not None})
        lines.append(
            (
                family,
                size,
                _range(sizes),
                ", ".join(map(str, seeds)) or ABSENT,
                str(len({row.base for row in found})),
                str(len(found)),
            )
        )
    head = ("Family", "Size", ">Parameters of the base", "Seeds", ">Bases", ">Pairs")
    return Table(head=head, rows=tuple(lines))


def _variants(fit: FitResult, rows: Sequence[Row]) -> Table:
    known = {pair.pair: pair for pair in fit.pairs}
    groups = _grouped(rows, lambda row: (_KINDS.index(row.kind), row.variant, row.dose or 0.0))
    lines = []
    for (kind, variant, _), found in sorted(groups.items()):
        pairs = [known[row.pair] for row in found]
        lines.append(
            (
                variant,
                dose(found[0].dose),
                _KINDS[kind],
                _recipes(found),
                str(len(found)),
                plain(_mean_degradation(pairs)),
                f"{sum(pair.high for pair in pairs)} of {len(pairs)}",
            )
        )
    head = ("Variant", ">Dose", "Kind", "Recipe", ">Pairs", ">Mean degradation", "High")
    return Table(head=head, rows=tuple(lines))


def dose(value: float | None) -> str:
    """Write how much of a variant was done.

    Args:
        value: The dose, in the variant's own unit.

    Returns:
        Such as ``0.4``; an en dash for none.
    """
    return ABSENT if value is None else f"{value:g}"


def _axes(rows: Sequence[Row], axes: Iterable[str]) -> Table:
    lines = []
    for axis in axes:
        by_base = {row.base: row.benchmarks[axis].base for row in rows}
        lowest = min(sorted(by_base), key=lambda name: by_base[name])
        ordered = sorted(by_base.values())
        asks, mirrors = _MIRRORS.get(axis, (ABSENT, axis))
        lines.append(
            (
                axis,
                asks,
                mirrors,
                _range([row.benchmarks[axis].n for row in rows]),
                f"{plain(by_base[lowest], 3)} ({lowest})",
                plain(ordered[len(ordered) // 2], 3),
            )
        )
    head = ("Axis", "Asks", "Mirrors", ">Items", ">Lowest base", ">Median base")
    return Table(head=head, rows=tuple(lines))


def _recipes(rows: Sequence[Row]) -> str:
    told = sorted({_recipe(row) for row in rows})
    return " or ".join(told[:3]) if len(told) <= 3 else f"{len(told)} different ones"


def _recipe(row: Row) -> str:
    parts = [str(row.recipe["method"])] if "method" in row.recipe else []
    for name, value in sorted(row.recipe.items()):
        if name in {"method", "seed"} or (name == "lora_rank" and value == 0):
            continue
        word = name.replace("_", " ")
        if isinstance(value, dict):
            parts.append(" + ".join(f"{share} {item}" for item, share in sorted(value.items())))
        else:
            parts.append(f"{word} {value}")
    return ", ".join(parts) or ABSENT


def _mean_degradation(pairs: Sequence[PairEntry]) -> float:
    return sum(pair.degradation for pair in pairs) / len(pairs)


def _range(values: Sequence[int]) -> str:
    if not values:
        return ABSENT
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _grouped(rows: Iterable[Row], key: Callable[[Row], _Key]) -> dict[_Key, list[Row]]:
    groups: dict[_Key, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups
