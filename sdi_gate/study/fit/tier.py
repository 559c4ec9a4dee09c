"""Fit both indices of one tier, and hold them against their rivals."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sdi_gate.signals.divergence import Aggregation
from sdi_gate.signals.interface import SignalName
from sdi_gate.study.fit.axes import axis_entries
from sdi_gate.study.fit.candidates import METRICS, Candidate, tiers_up_to
from sdi_gate.study.fit.conformal import risk_threshold
from sdi_gate.study.fit.crossfit import (
    STRUCTURAL,
    cross_fit,
    fit_structural,
    fit_with_behaviour,
    splits_of,
)
from sdi_gate.study.fit.entries import index_entry
from sdi_gate.study.fit.evidence import Judge
from sdi_gate.study.fit.procedure import groups_of, prepare
from sdi_gate.study.fit.result import (
    BaselineEntry,
    CandidateEntry,
    DifferenceEntry,
    TierEntry,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdi_gate.study.fit.crossfit import Split
    from sdi_gate.study.fit.numerics import Mask, Vector
    from sdi_gate.study.fit.procedure import FittedIndex, Ground
    from sdi_gate.study.fit.sample import Sample

KL_MEAN, KL_WORST = "KL divergence, mean of strata", "KL divergence, worst stratum"
DELTA_NLL = "likelihood change, mean of strata"
RELATIVE_L2 = "relative L2 distance of the weights"
MICRO_BENCHMARK = "micro-benchmark of 250 items"
_MIN_PAIRS = 6
_MIN_HIGH = 2
_BASELINES = {
    KL_MEAN: Candidate(
        signal=SignalName.BEHAVIOUR,
        metric="kl-divergence",
        aggregation=Aggregation.MEAN_OF_STRATA,
    ),
    KL_WORST: Candidate(
        signal=SignalName.BEHAVIOUR,
        metric="kl-divergence",
        aggregation=Aggregation.WORST_STRATUM,
    ),
    DELTA_NLL: Candidate(
        signal=SignalName.BEHAVIOUR, metric="nll-change", aggregation=Aggregation.MEAN_OF_STRATA
    ),
    RELATIVE_L2: Candidate(
        signal=SignalName.WEIGHT_GEOMETRY,
        metric="pooled-relative-distance",
        aggregation=Aggregation.OVERALL,
    ),
}


def fit_tier(sample: Sample, tier: str, micro: Vector | None) -> TierEntry:
    """Fit both indices of a tier, with their evidence.

    Args:
        sample: The pairs of the tier.
        tier: Its name.
        micro: Loss on the micro-benchmark, shape ``[n]``, if it was measured for every pair.

    Returns:
        What was found; a reason where there is too little to fit.
    """
    problem = _problem(sample)
    if problem:
        return _no_index(sample, tier, problem)
    return _Fitting(sample, tier).entry(micro)


class _Fitting:
    def __init__(self, sample: Sample, tier: str) -> None:
        self._sample, self._tier = sample, tier
        self._judge = Judge(sample)
        self._ground = prepare(sample)
        self._splits = splits_of(sample)
        self._known: dict[int, FittedIndex] = {}

    def entry(self, micro: Vector | None) -> TierEntry:
        sample, judge = self._sample, self._judge
        sdi = cross_fit(self._ground, self._splits, self._sdi)
        if sdi.index.is_empty:
            return _no_index(sample, self._tier, "no signal orders pairs of a group left out")
        has_behaviour = any(c.signal is SignalName.BEHAVIOUR for c in sample.candidates)
        plus = cross_fit(self._ground, self._splits, self._plus) if has_behaviour else None
        rivals = self._rivals(micro)
        known = {"sdi": sdi.scores} | ({"sdi_plus": plus.scores} if plus is not None else {})
        return TierEntry(
            reason=None,
            left_out=groups_of(sample)[0],
            num_pairs=len(sample),
            num_degraded=int(sample.high.sum()),
            sdi=index_entry(judge, sdi).model_copy(update={"axes": axis_entries(sample, sdi)}),
            sdi_plus=index_entry(judge, plus) if plus is not None else None,
            baselines=(
                *(self._raw(name, metric, scores) for name, (metric, scores) in rivals.items()),
                *self._alone(),
            ),
            differences=_differences(judge, known, rivals),
            candidates=_ranking(judge),
            not_measured=_not_measured(sample, self._tier),
        )

    def _sdi(self, ground: Ground) -> FittedIndex:
        if id(ground) not in self._known:
            self._known[id(ground)] = fit_structural(ground)
        return self._known[id(ground)]

    def _plus(self, ground: Ground) -> FittedIndex:
        return fit_with_behaviour(ground, self._sdi(ground))

    def _rivals(self, micro: Vector | None) -> dict[str, tuple[str, Vector]]:
        sample = self._sample
        found = {
            name: (str(item), sample.values[:, sample.candidates.index(item)])
            for name, item in _BASELINES.items()
            if item in sample.candidates
        }
        if micro is not None:
            found[MICRO_BENCHMARK] = ("mean loss over the axes, on fresh items", micro)
        return found

    def _raw(self, name: str, metric: str, scores: Vector) -> BaselineEntry:
        flags = _threshold_flags(self._sample, self._splits, scores)
        evidence = self._judge.evidence(scores, flags)
        return BaselineEntry(name=name, metric=metric, evidence=evidence)

    def _alone(self) -> list[BaselineEntry]:
        found: list[BaselineEntry] = []
        measured = {item.signal for item in self._sample.candidates}
        for signal in (name for name in (*STRUCTURAL, SignalName.BEHAVIOUR) if name in measured):
            alone = partial(fit_structural, signals=(signal,))
            fitted = cross_fit(self._ground, self._splits, alone)
            found.append(
                BaselineEntry(
                    name=f"{signal.value} alone",
                    metric=str(fitted.index.terms[0].candidate),
                    evidence=self._judge.evidence(fitted.scores, fitted.flags),
                )
            )
        return found


def _threshold_flags(sample: Sample, splits: Sequence[Split], scores: Vector) -> Mask:
    flags = np.ones(len(sample), dtype=np.bool_)
    for split in splits:
        threshold = risk_threshold(scores[~split.test], split.fitted.sample.high)
        if threshold is not None:
            flags[split.test] = ~(scores[split.test] < threshold)
    return flags


def _differences(
    judge: Judge, known: Mapping[str, Vector], rivals: Mapping[str, tuple[str, Vector]]
) -> tuple[DifferenceEntry, ...]:
    pairs = [
        (name, rival, scores, others)
        for name, scores in known.items()
        for rival, (_, others) in rivals.items()
    ]
    if "sdi_plus" in known:
        pairs.append(("sdi_plus", "sdi", known["sdi_plus"], known["sdi"]))
    return tuple(
        DifferenceEntry(name=f"{name} - {rival}", difference=judge.difference(scores, others))
        for name, rival, scores, others in pairs
    )


def _ranking(judge: Judge) -> tuple[CandidateEntry, ...]:
    sample = judge.sample
    entries = [
        CandidateEntry(
            signal=item.signal.value,
            metric=item.metric,
            aggregation=item.aggregation.value,
            rho=judge.rho(sample.values[:, column]),
            mean_within=judge.mean_within(sample.values[:, column]),
        )
        for column, item in enumerate(sample.candidates)
    ]
    return tuple(sorted(entries, key=lambda entry: -(entry.rho.value or 0.0)))


def _not_measured(sample: Sample, tier: str) -> tuple[str, ...]:
    known = {item.key for item in sample.candidates}
    return tuple(
        f"{signal.value}/{metric}"
        for signal, metrics in METRICS.items()
        for metric, since in metrics
        if since in tiers_up_to(tier) and f"{signal.value}/{metric}" not in known
    )


def _problem(sample: Sample) -> str | None:
    num_high = int(sample.high.sum())
    if len(sample) < _MIN_PAIRS:
        return f"{len(sample)} complete pairs; expected at least {_MIN_PAIRS}"
    if min(num_high, len(sample) - num_high) < _MIN_HIGH:
        return f"{num_high} of {len(sample)} pairs are high regressions; expected some of each"
    if not any(item.signal in STRUCTURAL for item in sample.candidates):
        return "no metric of a signal is in every row"
    return None


def _no_index(sample: Sample, tier: str, reason: str) -> TierEntry:
    return TierEntry(
        reason=reason,
        left_out=None,
        num_pairs=len(sample),
        num_degraded=int(sample.high.sum()),
        sdi=None,
        sdi_plus=None,
        baselines=(),
        differences=(),
        candidates=(),
        not_measured=_not_measured(sample, tier),
    )
