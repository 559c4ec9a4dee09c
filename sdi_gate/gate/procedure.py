"""Run a scan, step by step, and judge it.

1. Resolve both references to snapshots: pinned, checked, on this machine.
2. Align: names and shapes first; refuse what cannot be compared.
3. Decide the tier from the machine, the tokenizers and what was asked for.
4. Measure the weights, tensor by tensor.
5. Measure the probe and the curvature, if the tier has them.
6. Combine the signals to the index.
7. Judge, in `judge_scan`, if there is a policy.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import torch

from sdi_gate.gate.environment import describe_environment
from sdi_gate.gate.full_tier import measure_curvature
from sdi_gate.gate.models import load_pair, open_pair, remarks_on, resolve
from sdi_gate.gate.outputs import measure_outputs
from sdi_gate.gate.plan import Plan, make_plan
from sdi_gate.gate.probe_tier import Models, measure_probe
from sdi_gate.gate.result import Judgement, ModelFacts, ProbeFacts, ScanResult
from sdi_gate.gate.skipped import skipped_signals
from sdi_gate.gate.stages import Stages
from sdi_gate.gate.unread_rows import moved_unread_rows
from sdi_gate.gate.weights_tier import measure_weights
from sdi_gate.models.families import family_of
from sdi_gate.models.inspection import verify_unchanged
from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.facts import Tier
from sdi_gate.prediction.predict import Subject, predict, why_uncalibrated
from sdi_gate.signals.divergence import Divergence, combine
from sdi_gate.signals.interface import Outcome
from sdi_gate.signals.weighted import OutputComparisons, with_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sdi_gate.gate.request import ScanRequest
    from sdi_gate.gate.result import StageCost
    from sdi_gate.gate.weights_tier import Weights, WeightsResult
    from sdi_gate.models.opening import OpenModel
    from sdi_gate.models.ref import Scheme
    from sdi_gate.models.snapshot import ModelSource
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.prediction.calibration import Calibration
    from sdi_gate.progress import Progress
    from sdi_gate.signals.interface import SignalResult

COMPUTE_DTYPE = torch.float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Hold what a scan uses of the world around it.

    Attributes:
        sources: A source for each scheme.
        progress: Told how far the work has come.
        clock: Monotonic seconds.
        now: The time of day, for the record.
    """

    sources: Mapping[Scheme, ModelSource]
    progress: Progress
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    weights: Weights
    found: WeightsResult
    plan: Plan
    signals: tuple[SignalResult, ...]
    defects: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModelTiers:
    signals: tuple[SignalResult, ...] = ()
    outputs: OutputComparisons | None = None
    defects: tuple[str, ...] = ()


def run_scan(request: ScanRequest, effects: Effects) -> ScanResult:
    """Measure the divergence of a candidate from its base; see the module for the steps.

    Args:
        request: What to compare, and how closely.
        effects: Sources, progress, clocks.

    Returns:
        Everything found.

    Raises:
        SourceError: If a model cannot be had or read.
        IncomparableError: If the two cannot be compared.
    """  # noqa: DOC502 - raised by the steps
    stages = Stages(request.device, effects.clock)
    started = effects.now().isoformat(timespec="seconds")
    # 1. Resolve
    with stages.stage("resolve"):
        base, candidate = resolve(request, effects.sources, effects.progress)
    # 2. Align
    with stages.stage("align"):
        weights = open_pair(base, candidate)
        request = request.for_layers(weights.alignment.layers)
    # 3. Decide
    with stages.stage("plan"):
        plan = make_plan(request, weights)
    # 4. Measure the weights
    with stages.stage("weights"):
        found = measure_weights(weights, request.settings, request.device, effects.progress)
    plan = plan.lowered("the weights are not finite") if found.defects else plan
    # 5. Measure the probe and the curvature
    run = _measure_models(request, weights, (plan, found), effects, stages)
    verify_unchanged(base, candidate)
    weighed = [with_outputs(signal, run.outputs) for signal in (found.geometry, found.spectral)]
    results = (*weighed, *run.signals)
    # 6. Combine
    measured = _Measured(
        weights=weights,
        found=found,
        plan=plan,
        signals=(*results, *skipped_signals(results, plan.decision)),
        defects=(*found.defects, *run.defects, *_unusable(results, found.defects), *plan.defects),
    )
    return _combine(request, measured, started, stages.costs)


def judge_scan(result: ScanResult, policy: LoadedPolicy) -> Judgement:
    """Judge what a scan found.

    Args:
        result: The scan.
        policy: The policy.

    Returns:
        The verdict with its policy.
    """
    return Judgement(policy=policy, verdict=judge(policy.policy, result.facts))


def _unusable(results: Sequence[SignalResult], known: Sequence[str]) -> list[str]:
    # What was attempted in vain never passes, whatever a policy asks for. Weights that are not
    # finite have their own sentence.
    return [
        f"{result.name} is inconclusive: {result.reason}"
        for result in results
        if result.outcome is Outcome.INCONCLUSIVE and not known
    ]


def _measure_models(
    request: ScanRequest,
    weights: Weights,
    known: tuple[Plan, WeightsResult],
    effects: Effects,
    stages: Stages,
) -> _ModelTiers:
    plan, found = known
    if plan.tokens is None:
        return _ModelTiers()
    with stages.stage("load"):
        base, candidate = load_pair(weights, found.rounding, request.device, COMPUTE_DTYPE)
    models = Models(
        base=base,
        candidate=candidate,
        probe=plan.tokens,
        probe_digest=request.probe.digest,
        device=request.device,
    )
    with stages.stage("probe"):
        probed = measure_probe(models, request.settings, effects.progress)
    results: tuple[SignalResult, ...] = (probed.representation, probed.behaviour)
    if not all(result.outcome is Outcome.MEASURED for result in results):
        return _ModelTiers(signals=results, defects=probed.defects)
    full = plan.decision.ran is Tier.FULL
    with stages.stage("outputs"):
        outputs = measure_outputs(models, request.settings, effects.progress, with_gradients=full)
    if full:
        with stages.stage("curvature"):
            curvature = measure_curvature(models, request.settings, effects.progress)
        results = (*results, curvature)
    return _ModelTiers(signals=results, outputs=outputs, defects=probed.defects)


def _combine(
    request: ScanRequest, measured: _Measured, started: str, costs: tuple[StageCost, ...]
) -> ScanResult:
    calibration, probe = request.calibration, _probe_facts(request, measured.plan)
    sdi, sdi_plus = _indices(calibration, measured.plan.decision.ran, measured.signals)
    subject = _subject(measured, probe)
    return ScanResult(
        base=_describe(measured.weights.base),
        candidate=_describe(measured.weights.candidate),
        alignment=measured.weights.alignment,
        rounding=measured.found.rounding,
        added_rows=measured.found.added,
        config_differences=measured.plan.differences.settings,
        tokenizer=measured.plan.tokenizer,
        tier=measured.plan.decision,
        probe=probe,
        signals=measured.signals,
        calibration=calibration,
        uncalibrated=why_uncalibrated(calibration, subject),
        prediction=predict(calibration, subject, sdi),
        sdi=sdi,
        sdi_plus=sdi_plus,
        defects=measured.defects,
        notices=_notices(request, measured),
        environment=describe_environment(request, COMPUTE_DTYPE),
        started_at=started,
        stages=costs,
    )


def _indices(
    calibration: Calibration, tier: Tier, signals: tuple[SignalResult, ...]
) -> tuple[Divergence, Divergence]:
    by_name = {result.name: result for result in signals}
    sdi, plus = calibration.sdi(tier), calibration.sdi_plus(tier)
    absent = f"calibration {calibration.name} has no formula for tier {tier}"
    no_behaviour = f"tier {tier} measures no behaviour"
    return (
        combine(sdi, by_name) if sdi is not None else _no_index(absent),
        combine(plus, by_name)
        if plus is not None
        else _no_index(no_behaviour if tier is Tier.WEIGHTS else absent),
    )


def _no_index(reason: str) -> Divergence:
    return Divergence(outcome=Outcome.NOT_MEASURED, reason=reason)


def _subject(measured: _Measured, probe: ProbeFacts | None) -> Subject:
    return Subject(
        family=family_of(measured.weights.base.config.model_type),
        num_parameters=measured.weights.base.num_parameters,
        tier=measured.plan.decision.ran.value,
        probe=probe.digest if probe is not None else None,
        signal_ids=tuple(
            str(signal.id) for signal in measured.signals if signal.outcome is Outcome.MEASURED
        ),
    )


def _describe(model: OpenModel) -> ModelFacts:
    return ModelFacts(
        snapshot=model.snapshot,
        architecture=model.config.name,
        family=family_of(model.config.model_type),
        num_parameters=model.num_parameters,
        dtypes=model.stored_types,
        quantisation=model.quantisation.description if model.quantisation is not None else None,
        adapter=model.adapter,
        ignored=tuple(info.name for info in model.ignored),
        tied_copies=tuple(info.name for info in model.tied_copies),
    )


def _notices(request: ScanRequest, measured: _Measured) -> tuple[str, ...]:
    found = [*measured.plan.notices, *measured.found.notices]
    if request.base is None:
        found.append("the base was named by the candidate itself, in its adapter_config.json")
    found.extend(remarks_on(measured.weights))
    tokens = measured.plan.tokens
    unread = moved_unread_rows(measured.weights, tokens) if tokens is not None else None
    found.extend([unread] if unread is not None else [])
    if measured.found.padding_differs:
        # The probe's predictions run over rows of a head; nothing reads those of an embedding.
        first = measured.found.padding_differs[0]
        found.append(f"rows that no token addresses differ, and were not compared: {first}")
    return tuple(found)


def _probe_facts(request: ScanRequest, plan: Plan) -> ProbeFacts | None:
    if plan.tokens is None:
        return None
    return ProbeFacts(
        name=request.probe.name,
        digest=request.probe.digest,
        strata=tuple(request.probe.strata.items()),
        max_tokens=plan.tokens.max_tokens,
        chat_template=plan.tokens.chat_template,
    )
