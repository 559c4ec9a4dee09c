"""Turn rows into arrays, and refuse rows that do not belong together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sdi_gate.errors import UsageError
from sdi_gate.prediction.predict import without_seed
from sdi_gate.study.fit.candidates import candidates_of, tiers_up_to, value_of
from sdi_gate.study.fit.degradation import degradation_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sdi_gate.study.fit.candidates import Candidate
    from sdi_gate.study.fit.numerics import Mask, Matrix, Vector
    from sdi_gate.study.row import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Hold the pairs of one tier, sorted by name, with what was measured and what was lost.

    Attributes:
        pairs: Name of each pair.
        families: Its family.
        bases: Its base.
        degradation: What it lost, shape ``[n]``.
        high: Whether that is a high regression, shape ``[n]``.
        axes: Name of each axis.
        losses: What it lost on each, from 0 on, shape ``[n, a]``.
        high_losses: Whether that axis alone makes a high regression, shape ``[n, a]``.
        candidates: The numbers that may become headlines.
        values: Value of each, from 0 on, shape ``[n, k]``.
    """

    pairs: tuple[str, ...]
    families: tuple[str, ...]
    bases: tuple[str, ...]
    degradation: Vector
    high: Mask
    axes: tuple[str, ...]
    losses: Matrix
    high_losses: Mask
    candidates: tuple[Candidate, ...]
    values: Matrix

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    def where(self, mask: Mask) -> Sample:
        """Return some of the pairs.

        Args:
            mask: Which, shape ``[n]``.

        Returns:
            The sample of those pairs alone.
        """
        kept = np.flatnonzero(mask)
        return replace(
            self,
            pairs=tuple(self.pairs[i] for i in kept),
            families=tuple(self.families[i] for i in kept),
            bases=tuple(self.bases[i] for i in kept),
            degradation=self.degradation[kept],
            high=self.high[kept],
            losses=self.losses[kept],
            high_losses=self.high_losses[kept],
            values=self.values[kept],
        )


def complete_rows(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the rows to fit on, and refuse a mixture.

    Args:
        rows: Rows of one results table.

    Returns:
        The complete ones, sorted by pair.

    Raises:
        UsageError: If a pair is there twice, or rows were measured in different ways: other
            populations, axes, probe sets, versions or parameters of signals.
    """
    complete = sorted((row for row in rows if row.status == "complete"), key=lambda row: row.pair)
    pairs = [row.pair for row in complete]
    if len(set(pairs)) < len(pairs):
        twice = next(a for a, b in pairwise(pairs) if a == b)
        msg = f"expected one row for each pair; {twice!r} has several"
        raise UsageError(msg, hint="keep the rows of one recipe")
    _refuse_mixture("populations", {row.population for row in complete})
    _refuse_mixture("axes", {", ".join(sorted(row.benchmarks)) for row in complete})
    _refuse_mixture("probe sets", {row.probe for row in complete if row.probe is not None})
    for name, found in _ids(complete).items():
        _refuse_mixture(f"{name} of different versions or parameters", found)
    return tuple(complete)


def signal_ids(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the identity of each signal, without the seed, which only draws.

    Args:
        rows: Rows that belong together.

    Returns:
        Identities, sorted.
    """
    return tuple(sorted(identity for found in _ids(rows).values() for identity in found))


def sample_of(rows: Sequence[Row], tier: str) -> Sample:
    """Return the rows of a tier as arrays.

    Args:
        rows: Complete rows that belong together.
        tier: The tier; rows of higher tiers have its numbers too.

    Returns:
        The sample, empty if no row is of that tier.
    """
    own = [row for row in rows if row.tier is not None and tier in tiers_up_to(row.tier)]
    candidates = candidates_of(tier, own) if own else ()
    lost = [degradation_of(row) for row in own]
    columns = [
        [value_of(row.features.get(candidate.key), candidate.aggregation) for row in own]
        for candidate in candidates
    ]
    axes = tuple(sorted(own[0].benchmarks)) if own else ()
    return Sample(
        pairs=tuple(row.pair for row in own),
        families=tuple(row.family for row in own),
        bases=tuple(row.base for row in own),
        degradation=np.array([item.value for item in lost], dtype=np.float64),
        high=np.array([item.is_high for item in lost], dtype=np.bool_),
        axes=axes,
        losses=np.array(
            [[drop.loss for drop in item.drops] for item in lost], dtype=np.float64
        ).reshape(len(own), len(axes)),
        high_losses=np.array(
            [[drop.is_high for drop in item.drops] for item in lost], dtype=np.bool_
        ).reshape(len(own), len(axes)),
        candidates=candidates,
        values=np.array(columns, dtype=np.float64).reshape(len(columns), len(own)).T,
    )


def _ids(rows: Iterable[Row]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        for identity in row.signal_ids:
            found.setdefault(identity.split("/")[0], set()).add(without_seed(identity))
    return found


def _refuse_mixture(what: str, found: Iterable[str]) -> None:
    known = sorted(found)
    if len(known) > 1:
        msg = f"the rows mix {what}: {known[0]!r} and {known[1]!r}"
        raise UsageError(msg, hint="fit each kind alone: numbers of two kinds do not compare")
