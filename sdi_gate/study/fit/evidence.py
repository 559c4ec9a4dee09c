"""Say how well a score orders and flags pairs that had no part in it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sdi_gate.study.fit.bootstrap import LEVEL, Draws, percentile_interval
from sdi_gate.study.fit.numerics import average_ranks, clopper_pearson, spearman
from sdi_gate.study.fit.result import (
    BinEntry,
    BreakingEntry,
    CurveEntry,
    EvidenceEntry,
    IntervalEntry,
    RateEntry,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.study.fit.numerics import Mask, Vector
    from sdi_gate.study.fit.sample import Sample

MIN_PAIRS = 8
_NUM_BINS = 8
_NUM_BREAKING = 10
_NORMAL = 1.96


class Judge:
    """Hold scores against what was lost.

    Args:
        sample: The pairs.
    """

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self._labels = np.array(sample.families)
        self._families = {name: self._labels == name for name in sorted(set(sample.families))}
        self._within: dict[str, Draws] = {}

    @cached_property
    def _draws(self) -> Draws:
        return Draws(self.sample.bases, self.sample.degradation)

    def rho(self, scores: Vector) -> IntervalEntry:
        """Return the rank correlation with degradation over all pairs.

        Args:
            scores: Score of each pair, shape ``[n]``.

        Returns:
            It, with an interval clustered on bases.
        """
        return _interval(scores, self.sample, self._draws)

    def rho_within(self, scores: Vector) -> dict[str, IntervalEntry]:
        """Return the rank correlation with degradation within each family.

        Args:
            scores: Score of each pair, shape ``[n]``.

        Returns:
            For each family it and its interval, which is as coarse as the bases are few.
        """
        found: dict[str, IntervalEntry] = {}
        for name, mask in self._families.items():
            own = self.sample.where(mask)
            if name not in self._within:
                self._within[name] = Draws(own.bases, own.degradation)
            found[name] = _interval(scores[mask], own, self._within[name])
        return found

    def mean_within(self, scores: Vector) -> float | None:
        """Return the mean over families of the rank correlation within them.

        Args:
            scores: Score of each pair, shape ``[n]``.

        Returns:
            The mean; None if it is not defined in a family.
        """
        found = [
            spearman(scores[mask], self.sample.degradation[mask])
            for mask in self._families.values()
        ]
        return float(np.mean(found)) if np.isfinite(found).all() else None

    def difference(self, better: Vector, other: Vector) -> IntervalEntry:
        """Return how much better one score orders all pairs than another.

        Args:
            better: A score, shape ``[n]``.
            other: Another, shape ``[n]``.

        Returns:
            The difference of the rank correlations, its interval drawn with the same bases; no
            interval for fewer than two bases or `MIN_PAIRS` pairs.
        """
        truth = self.sample.degradation
        value = spearman(better, truth) - spearman(other, truth)
        if _has_too_few(self.sample):
            return _entry(value, None, len(truth))
        draws = self._draws.rho(better) - self._draws.rho(other)
        return _entry(value, percentile_interval(draws), len(truth))

    def evidence(self, scores: Vector, flags: Mask) -> EvidenceEntry:
        """Hold scores and flags against what was lost.

        Args:
            scores: Score of each pair, shape ``[n]``.
            flags: Which pairs were flagged, shape ``[n]``.

        Returns:
            Rank correlations and rates.
        """
        high = self.sample.high
        return EvidenceEntry(
            rho=self.rho(scores),
            within=self.rho_within(scores),
            misses=rate(~flags, high),
            false_alarms=rate(flags, ~high),
            misses_within=self.rate_within(~flags, high),
            false_alarms_within=self.rate_within(flags, ~high),
        )

    def rate_within(self, hits: Mask, trials: Mask) -> dict[str, RateEntry]:
        """Count within each family.

        Args:
            hits: What is counted, shape ``[n]``.
            trials: Out of which, shape ``[n]``.

        Returns:
            The rate in each family.
        """
        return {name: rate(hits[mask], trials[mask]) for name, mask in self._families.items()}


def rate(hits: Mask, trials: Mask) -> RateEntry:
    """Count how often something happened.

    Args:
        hits: What is counted, shape ``[n]``.
        trials: Out of which, shape ``[n]``.

    Returns:
        The rate, with the exact interval; no numbers without trials.
    """
    num_hits, num_trials = int((hits & trials).sum()), int(trials.sum())
    if not num_trials:
        return RateEntry(hits=0, trials=0, value=None, lower=None, upper=None)
    low, high = clopper_pearson(num_hits, num_trials, LEVEL)
    return RateEntry(
        hits=num_hits, trials=num_trials, value=num_hits / num_trials, lower=low, upper=high
    )


def curve(scores: Vector, high: Mask) -> tuple[CurveEntry, ...]:
    """Return miss rate and false-alarm rate at thresholds from 0 to 1.

    Args:
        scores: Out-of-group indices, shape ``[n]``.
        high: Which pairs are high regressions, shape ``[n]``.

    Returns:
        A row for each hundredth.
    """
    thresholds = [i / 100 for i in range(101)]
    return tuple(
        CurveEntry(
            threshold=threshold,
            misses=_share(scores < threshold, high),
            false_alarms=_share(~(scores < threshold), ~high),
        )
        for threshold in thresholds
    )


def reliability(predicted: Vector, measured: Vector) -> tuple[BinEntry, ...]:
    """Hold predicted against measured degradation, in bins of equal size.

    Args:
        predicted: Predicted degradation, shape ``[n]``.
        measured: What was lost, shape ``[n]``.

    Returns:
        Mean of both in each bin, the measured one with a normal interval of 95 %.
    """
    order = np.argsort(predicted, kind="stable")
    bins = [part for part in np.array_split(order, _NUM_BINS) if len(part) > 1]
    found: list[BinEntry] = []
    for part in bins:
        own = measured[part]
        mean = float(own.mean())
        half = _NORMAL * float(own.std(ddof=1)) / len(own) ** 0.5
        found.append(
            BinEntry(
                predicted=float(predicted[part].mean()),
                measured=mean,
                lower=max(0.0, mean - half),
                upper=mean + half,
                num_pairs=len(part),
            )
        )
    return tuple(found)


def breaking(sample: Sample, scores: Vector, flags: Mask) -> tuple[BreakingEntry, ...]:
    """Name the pairs that an index gets wrong.

    Args:
        sample: The pairs.
        scores: Out-of-group indices, shape ``[n]``.
        flags: Which pairs were flagged, shape ``[n]``.

    Returns:
        Every high regression that was missed, then the ten pairs with the largest rank error.
    """
    errors = (average_ranks(scores) - average_ranks(sample.degradation)) / max(1, len(sample))
    missed = np.flatnonzero(sample.high & ~flags)
    largest = np.argsort(-np.abs(errors), kind="stable")[:_NUM_BREAKING]
    why: Mapping[int, str] = dict.fromkeys(largest.tolist(), "rank")
    named = {**dict.fromkeys(missed.tolist(), "missed"), **why}
    return tuple(
        BreakingEntry(
            pair=sample.pairs[i],
            why="missed" if i in set(missed.tolist()) else "rank",
            score=float(scores[i]),
            degradation=float(sample.degradation[i]),
            rank_error=float(errors[i]),
        )
        for i in named
    )


def _share(hits: Mask, trials: Mask) -> float | None:
    return float(hits[trials].mean()) if trials.any() else None


def _interval(scores: Vector, sample: Sample, draws: Draws) -> IntervalEntry:
    value = spearman(scores, sample.degradation)
    if _has_too_few(sample):
        return _entry(value, None, len(sample))
    return _entry(value, percentile_interval(draws.rho(scores)), len(sample))


def _has_too_few(sample: Sample) -> bool:
    # A single base, drawn again and again, is always the same sample.
    return len(set(sample.bases)) < 2 or len(sample) < MIN_PAIRS


def _entry(value: float, ends: tuple[float, float] | None, num_pairs: int) -> IntervalEntry:
    known = bool(np.isfinite(value))
    low, high = ends if ends is not None and known else (None, None)
    return IntervalEntry(value=value if known else None, lower=low, upper=high, num_pairs=num_pairs)
