"""Make the result document from a scan and its judgement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.gate.facts import readable
from sdi_gate.prediction.calibration import load_default
from sdi_gate.report.document import (
    SCHEMA,
    AxisPredictionEntry,
    CalibrationEntry,
    ContributionEntry,
    CostEntry,
    EnvironmentEntry,
    EstimateEntry,
    IndexEntry,
    IntervalEntry,
    LayerShareEntry,
    MeasurementEntry,
    ParameterEntry,
    PredictionEntry,
    ProbeEntry,
    ResultDocument,
    SignalEntry,
    StageEntry,
    StratumEntry,
    TierEntry,
    TokenizerEntry,
)
from sdi_gate.report.indices import ThresholdEntry
from sdi_gate.report.subjects import alignment_entry, model_entry
from sdi_gate.report.verdicts import verdict_entry
from sdi_gate.signals.divergence import contributions_by_layer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdi_gate.gate.result import Environment, Judgement, ProbeFacts, ScanResult
    from sdi_gate.prediction.predict import Prediction
    from sdi_gate.signals.divergence import Contribution, Divergence
    from sdi_gate.signals.interface import Estimate, SignalResult


def build_document(result: ScanResult, judgement: Judgement | None) -> ResultDocument:
    """Make the result document.

    Args:
        result: What a scan found.
        judgement: What a policy makes of it; None for a scan without one.

    Returns:
        The document, which every renderer starts from.
    """
    return ResultDocument(
        schema=SCHEMA,
        base=model_entry(result.base),
        candidate=model_entry(result.candidate),
        alignment=alignment_entry(result),
        tokenizer=TokenizerEntry(same=result.tokenizer.same, detail=result.tokenizer.detail),
        tier=TierEntry(
            requested=result.tier.requested.value,
            ran=result.tier.ran.value,
            reason=result.tier.reason,
            cuts=result.tier.cuts,
            whole=result.tier.whole.value if result.tier.whole is not None else None,
        ),
        probe=_probe(result.probe) if result.probe is not None else None,
        signals=tuple(_signal(signal) for signal in result.signals),
        calibration=_calibration(result),
        sdi=_index(result.sdi),
        sdi_plus=_index(result.sdi_plus),
        prediction=_prediction(result.prediction),
        axis_predictions=tuple(
            AxisPredictionEntry(axis=readable(found.axis), prediction=_prediction(found.prediction))
            for found in result.axis_predictions
        ),
        registered_name=result.registered_name,
        defects=result.defects,
        notices=result.notices,
        verdict=verdict_entry(judgement) if judgement is not None else None,
        environment=_environment(result.environment),
        cost=_cost(result),
    )


def _calibration(result: ScanResult) -> CalibrationEntry:
    calibration = result.calibration
    return CalibrationEntry(
        name=calibration.name,
        version=calibration.version,
        own=calibration != load_default(),
        status=calibration.status.value,
        calibrated=result.uncalibrated is None,
        reason=result.uncalibrated,
        note=calibration.note,
        threshold=_threshold(result),
        families=calibration.families,
        num_pairs=calibration.num_pairs,
    )


def _threshold(result: ScanResult) -> ThresholdEntry | None:
    tier = result.calibration.tier(result.tier.ran.value)
    if result.uncalibrated is not None or tier is None:
        return None
    if tier.threshold is None or tier.evidence is None:
        return None
    misses, alarms = tier.evidence.misses, tier.evidence.false_alarms
    return ThresholdEntry(
        value=tier.threshold.value,
        bound=tier.threshold.bound,
        num_missed=misses.hits,
        num_degraded=misses.trials,
        num_false_alarms=alarms.hits,
        num_others=alarms.trials,
    )


def _prediction(prediction: Prediction) -> PredictionEntry:
    return PredictionEntry(
        value=prediction.value,
        lower=prediction.lower,
        upper=prediction.upper,
        level=prediction.level,
        reason=prediction.reason,
        intervals=tuple(
            IntervalEntry(level=found.level, lower=found.lower, upper=found.upper)
            for found in prediction.intervals
        ),
    )


def _probe(facts: ProbeFacts) -> ProbeEntry:
    return ProbeEntry(
        name=readable(facts.name),
        digest=facts.digest,
        num_samples=sum(count for _, count in facts.strata),
        max_tokens=facts.max_tokens,
        chat_template=facts.chat_template,
        strata=tuple(StratumEntry(name=name, num_samples=n) for name, n in facts.strata),
    )


def _estimate(estimate: Estimate) -> EstimateEntry:
    return EstimateEntry(value=estimate.value, stderr=estimate.stderr, n=estimate.n)


def _signal(result: SignalResult) -> SignalEntry:
    return SignalEntry(
        name=result.name.value,
        version=result.id.version,
        parameters=tuple(
            ParameterEntry(name=name, value=value) for name, value in result.id.parameters
        ),
        outcome=result.outcome.value,
        metric=result.metric,
        headline=_estimate(result.estimate) if result.estimate is not None else None,
        reason=result.reason,
        measurements=tuple(
            MeasurementEntry(
                metric=row.metric,
                layer=row.layer,
                tensor=row.tensor,
                stratum=row.stratum,
                estimate=_estimate(row.estimate),
            )
            for row in result.measurements
        ),
    )


def _index(divergence: Divergence) -> IndexEntry:
    return IndexEntry(
        outcome=divergence.outcome.value,
        estimate=_estimate(divergence.estimate) if divergence.estimate is not None else None,
        reason=divergence.reason,
        contributions=tuple(_contribution(item) for item in divergence.contributions),
        by_layer=_shares(contributions_by_layer(divergence.contributions)),
    )


def _contribution(item: Contribution) -> ContributionEntry:
    return ContributionEntry(
        signal=item.signal.value,
        metric=item.metric,
        aggregation=item.aggregation.value,
        value=item.value,
        phi=item.phi,
        weight=item.weight,
        reason=item.reason,
        contribution=item.contribution,
        by_layer=_shares(item.by_layer),
    )


def _shares(rows: Iterable[tuple[str, float]]) -> tuple[LayerShareEntry, ...]:
    # A sum of shares can be above 1 by the rounding of its last digit.
    return tuple(
        LayerShareEntry(layer=layer, contribution=min(1.0, value)) for layer, value in rows
    )


def _environment(environment: Environment) -> EnvironmentEntry:
    versions = dict(environment.versions)
    return EnvironmentEntry(
        sdi_gate=versions["sdi-gate"],
        python=versions["python"],
        torch=versions["torch"],
        transformers=versions["transformers"],
        safetensors=versions["safetensors"],
        platform=environment.platform,
        device=environment.device,
        num_threads=environment.num_threads,
        compute_dtype=environment.compute_dtype,
        seed=environment.seed,
    )


def _cost(result: ScanResult) -> CostEntry:
    return CostEntry(
        started_at=result.started_at,
        stages=tuple(
            StageEntry(
                stage=cost.stage,
                seconds=cost.seconds,
                peak_host_bytes=cost.peak_host_bytes,
                peak_device_bytes=cost.peak_device_bytes,
                bytes_read=cost.bytes_read,
                operations=cost.operations,
            )
            for cost in result.stages
        ),
        reused=result.reused,
    )
