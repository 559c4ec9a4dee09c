"""Run a scan, step by step, and judge it.

1. Resolve both references to snapshots: pinned, checked, on this machine.
2. Align: names and shapes first; refuse what cannot be compared.
3. Decide the tier from the machine, the budget, the tokenizers and what was asked for.
4. Measure the weights, tensor by tensor.
5. Measure the probe and the curvature, if the tier has them: first the base, then the candidate.
6. Combine the signals to the index.
7. Judge, in `judge_scan`, if there is a policy.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import torch

from sdi_gate.errors import StorageError
from sdi_gate.gate import keys
from sdi_gate.gate.base_tiers import ModelScan
from sdi_gate.gate.budget import budget_of
from sdi_gate.gate.description import describe_model, describe_probe
from sdi_gate.gate.environment import describe_environment
from sdi_gate.gate.memory import ShortOfMemory, with_less_memory
from sdi_gate.gate.model_tiers import ModelTiers, measure_models
from sdi_gate.gate.models import loading_changes, open_pair, remarks_on, resolve
from sdi_gate.gate.plan import Plan, make_plan
from sdi_gate.gate.replan import announce
from sdi_gate.gate.result import Judgement, ProbeFacts, ScanResult
from sdi_gate.gate.skipped import skipped_signals
from sdi_gate.gate.spectra import SpectraCache
from sdi_gate.gate.stages import Stages
from sdi_gate.gate.unread_rows import moved_unread_rows
from sdi_gate.gate.weights_tier import measure_weights
from sdi_gate.models.families import family_of
from sdi_gate.models.inspection import verify_unchanged
from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.facts import Tier
from sdi_gate.prediction.predict import Subject, predict, predict_axes, why_uncalibrated
from sdi_gate.profiles.store import NoStore
from sdi_gate.signals.divergence import Divergence, combine
from sdi_gate.signals.interface import Outcome
from sdi_gate.signals.weighted import with_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sdi_gate.gate.request import ScanRequest
    from sdi_gate.gate.result import StageCost
    from sdi_gate.gate.weights_tier import Weights, WeightsResult
    from sdi_gate.models.ref import Scheme
    from sdi_gate.models.snapshot import ModelSource
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.prediction.calibration import Calibration
    from sdi_gate.progress import Progress
    from sdi_gate.signals.interface import SignalResult


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
    reused: tuple[str, ...]


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
        budget = budget_of(request, weights, effects.clock, stages.seconds)
        plan = make_plan(request, weights, budget)
    announce(plan)
    # 4. Measure the weights
    found, reused = _measure_weights(request, weights, effects, stages)
    plan = plan.lowered("the weights are not finite") if found.defects else plan
    # 5. Measure the probe and the curvature
    run = _measure_models(request, weights, (plan, found), effects, stages)
    verify_unchanged(base, candidate)
    # 6. Combine
    measured = _together(weights, found, replace(run, reused=(*reused, *run.reused)))
    return _combine(request, measured, started, stages.costs)


def judge_scan(result: ScanResult, policy: LoadedPolicy, now: datetime) -> Judgement:
    """Judge what a scan found.

    Args:
        result: The scan.
        policy: The policy.
        now: The time of day, by which waivers hold and a result is too old.

    Returns:
        The verdict with its policy.
    """
    return Judgement(policy=policy, verdict=judge(policy, result.facts, now=now))


def _together(weights: Weights, found: WeightsResult, run: ModelTiers) -> _Measured:
    weighed = [with_outputs(signal, run.outputs) for signal in (found.geometry, found.spectral)]
    results = (*weighed, *run.signals)
    return _Measured(
        weights=weights,
        found=found,
        plan=run.plan,
        signals=(*results, *skipped_signals(results, run.plan.decision)),
        defects=(
            *found.defects,
            *run.defects,
            *_unusable(results, found.defects),
            *run.plan.defects,
        ),
        reused=run.reused,
    )


def _unusable(results: Sequence[SignalResult], known: Sequence[str]) -> list[str]:
    # What was attempted in vain never passes, whatever a policy asks for. Weights that are not
    # finite have their own sentence.
    return [
        f"{result.name} is inconclusive: {result.reason}"
        for result in results
        if result.outcome is Outcome.INCONCLUSIVE and not known
    ]


def _measure_weights(
    request: ScanRequest, weights: Weights, effects: Effects, stages: Stages
) -> tuple[WeightsResult, tuple[str, ...]]:
    key = keys.spectra_key(weights.base, request)
    kept = not isinstance(request.store, NoStore)
    spectra = SpectraCache.from_part(request.store.load(key)) if kept else None
    cpu = torch.device("cpu")
    devices = (request.device,) if request.device == cpu else (request.device, cpu)

    def measure(device: torch.device) -> WeightsResult:
        return measure_weights(weights, request.settings, device, effects.progress, spectra)

    try:
        with stages.stage("weights"):
            found, _ = with_less_memory("comparing the weights", measure, devices)
    except ShortOfMemory as exc:
        raise StorageError(str(exc), hint="use a machine with more memory") from exc
    stages.add("weights", found.work)
    if spectra is None:
        return found, ()
    if spectra.has_new:
        request.store.save(key, spectra.to_part())
    return found, spectra.remarks


def _measure_models(
    request: ScanRequest,
    weights: Weights,
    known: tuple[Plan, WeightsResult],
    effects: Effects,
    stages: Stages,
) -> ModelTiers:
    plan, found = known
    if plan.tokens is None:
        return ModelTiers(plan=plan)
    scan = ModelScan(
        request=request,
        weights=weights,
        changes=loading_changes(weights, found.rounding),
        tokens=plan.tokens,
        progress=effects.progress,
        stages=stages,
    )
    return measure_models(scan, plan)


def _combine(
    request: ScanRequest, measured: _Measured, started: str, costs: tuple[StageCost, ...]
) -> ScanResult:
    calibration, probe = request.calibration, describe_probe(measured.plan)
    sdi, sdi_plus = _indices(calibration, measured.plan.decision.ran, measured.signals)
    subject = _subject(measured, probe)
    return ScanResult(
        base=describe_model(measured.weights.base),
        candidate=describe_model(measured.weights.candidate),
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
        axis_predictions=predict_axes(calibration, subject, sdi),
        sdi=sdi,
        sdi_plus=sdi_plus,
        defects=measured.defects,
        notices=_notices(request, measured),
        environment=describe_environment(request, request.dtype),
        started_at=started,
        stages=costs,
        reused=measured.reused,
        registered_name=request.registered_name,
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
