"""Say where an index ranks pairs too high or too low."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sdi_gate.study.fit.numerics import average_ranks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sdi_gate.study.fit.result import FitResult, IndexEntry, PairEntry, PairScoreEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Hold a pair, what an index says of it, and how far off its rank is.

    Attributes:
        pair: What was measured.
        score: What the index says, fitted without its group.
        error: Rank by the index less rank by degradation, as a share of the pairs: above 0 the
            damage was overestimated.
    """

    pair: PairEntry
    score: PairScoreEntry
    error: float


def placed(fit: FitResult, index: IndexEntry, family: str | None = None) -> tuple[Placed, ...]:
    """Rank pairs by an index and by what they lost.

    Args:
        fit: The fit.
        index: One of its indices.
        family: Rank within this family alone.

    Returns:
        The pairs, by name.
    """
    known = {pair.pair: pair for pair in fit.pairs}
    scored = [
        (known[score.pair], score)
        for score in index.pairs
        if family is None or known[score.pair].family == family
    ]
    errors = _errors([score.score for _, score in scored], [pair.degradation for pair, _ in scored])
    return tuple(
        Placed(pair=pair, score=score, error=error)
        for (pair, score), error in zip(scored, errors, strict=True)
    )


def worst(found: Iterable[Placed], most: int) -> tuple[Placed, ...]:
    """Return the pairs whose rank is furthest off.

    Args:
        found: Pairs.
        most: How many at most.

    Returns:
        The worst first; of equals the first by name.
    """
    return tuple(sorted(found, key=lambda item: (-abs(item.error), item.pair.pair))[:most])


def _errors(scores: Sequence[float], degradation: Sequence[float]) -> list[float]:
    if not scores:
        return []
    ours = average_ranks(np.array(scores, dtype=np.float64))
    truth = average_ranks(np.array(degradation, dtype=np.float64))
    return [float(error) for error in (ours - truth) / len(scores)]
