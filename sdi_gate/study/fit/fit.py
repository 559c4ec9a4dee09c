"""Fit a results table: every tier, with its evidence."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from sdi_gate.errors import UsageError
from sdi_gate.study.fit.candidates import TIERS
from sdi_gate.study.fit.degradation import DEFINITION, degradation_of
from sdi_gate.study.fit.result import FailureEntry, FitResult, PairEntry
from sdi_gate.study.fit.rounding import rounded
from sdi_gate.study.fit.sample import complete_rows, sample_of, signal_ids
from sdi_gate.study.fit.tier import fit_tier
from sdi_gate.study.row import Cost, dump_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.study.fit.numerics import Vector
    from sdi_gate.study.fit.result import TierEntry
    from sdi_gate.study.row import Row

MICRO_BENCHMARK = "micro-benchmark/drop"


def fit_study(rows: Sequence[Row]) -> FitResult:
    """Fit every tier of a results table.

    Args:
        rows: Rows of one population, one per pair; failed ones are counted and named.

    Returns:
        What was found. Equal rows give an equal result, whatever their order and cost.

    Raises:
        UsageError: If there is no complete row, or rows do not belong together.
    """
    complete = complete_rows(rows)
    if not complete:
        msg = f"expected complete rows to fit on; got {len(rows)} rows, none complete"
        raise UsageError(msg, hint="sdi-gate study measure and evaluate make rows complete")
    plain = _fit(rows, complete).model_dump(mode="json", by_alias=True)
    return FitResult.model_validate_json(json.dumps(rounded(plain)))


def results_digest(rows: Sequence[Row]) -> str:
    """Return the digest of what the rows say, whatever they cost.

    Args:
        rows: The rows, in any order.

    Returns:
        ``sha256:`` and the digest of their lines, sorted.
    """
    lines = sorted(dump_row(row.model_copy(update={"cost": Cost()})) for row in rows)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def _fit(rows: Sequence[Row], complete: Sequence[Row]) -> FitResult:
    sizes = [row.num_parameters for row in complete if row.num_parameters is not None]
    probes = {row.probe for row in complete if row.probe is not None}
    return FitResult(
        schema=1,
        results_digest=results_digest(rows),
        population=complete[0].population,
        scales=tuple(sorted({row.scale for row in complete})),
        families=tuple(sorted({row.family for row in complete})),
        num_bases=len({row.base for row in complete}),
        min_parameters=min(sizes, default=0),
        max_parameters=max(sizes, default=0),
        probe=next(iter(probes), None),
        signal_ids=signal_ids(complete),
        axes=tuple(sorted(complete[0].benchmarks)),
        definition=DEFINITION,
        num_pairs=len(complete),
        num_degraded=sum(degradation_of(row).is_high for row in complete),
        failures=_failures(rows),
        pairs=tuple(_pair(row) for row in complete),
        tiers={tier: _tier(complete, tier) for tier in TIERS},
    )


def _failures(rows: Sequence[Row]) -> tuple[FailureEntry, ...]:
    failed = [row for row in rows if row.status != "complete"]
    return tuple(
        FailureEntry(pair=row.pair, reason=row.reason or "no reason was recorded")
        for row in sorted(failed, key=lambda row: (row.pair, row.key))
    )


def _tier(complete: Sequence[Row], tier: str) -> TierEntry:
    sample = sample_of(complete, tier)
    own = [row for row in complete if row.pair in set(sample.pairs)]
    found = [row.features.get(MICRO_BENCHMARK) for row in own]
    drops = [feature.overall for feature in found if feature is not None]
    known = [drop for drop in drops if drop is not None]
    micro: Vector | None = np.array(known) if known and len(known) == len(own) else None
    return fit_tier(sample, tier, micro)


def _pair(row: Row) -> PairEntry:
    lost = degradation_of(row)
    return PairEntry(
        pair=row.pair,
        family=row.family,
        base=row.base,
        kind=row.kind,
        variant=row.variant,
        dose=row.dose,
        degradation=lost.value,
        stderr=lost.stderr,
        high=lost.is_high,
        drops={drop.axis: drop.value for drop in lost.drops},
    )
