"""Run the tiers above the weights: first the base, then the candidate.

1. Measure the base, and let it go.
2. Load the candidate.
3. Compare what it does with the probe.
4. Draw its curvature, and let it go.
5. Compare the linear maps, pair by pair, from disk.

A step that has no memory is run once more by a smaller plan. If that has none either, what it would
have measured is not measured, and everything else stands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from sdi_gate.gate.base_tiers import batch_sizes, load, measure_base
from sdi_gate.gate.full_tier import candidate_draws, shift_of
from sdi_gate.gate.memory import ShortOfMemory, release, with_less_memory
from sdi_gate.gate.outputs import compare_outputs_of
from sdi_gate.gate.probe_tier import compare_candidate
from sdi_gate.gate.replan import without_curvature, without_outputs
from sdi_gate.signals.interface import Outcome

if TYPE_CHECKING:
    from sdi_gate.gate.base_tiers import BaseFindings, ModelScan
    from sdi_gate.gate.curvature_data import CandidateCurvature
    from sdi_gate.gate.plan import Plan
    from sdi_gate.gate.probe_tier import ProbeResult
    from sdi_gate.gate.request import Settings
    from sdi_gate.gate.running import Running
    from sdi_gate.models.output_head import OutputHead
    from sdi_gate.signals.interface import SignalResult
    from sdi_gate.signals.weighted import OutputComparisons


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTiers:
    """Hold what the tiers above the weights found.

    Attributes:
        plan: What ran in the end.
        signals: Representation drift, behaviour and curvature shift, as far as they were attempted.
        outputs: The linear maps by what they do to their inputs; None if that was not measured.
        defects: What keeps the candidate from passing whatever a policy says.
        reused: What was taken from the base's profile, and what was refused there.
    """

    plan: Plan
    signals: tuple[SignalResult, ...] = ()
    outputs: OutputComparisons | None = None
    defects: tuple[str, ...] = ()
    reused: tuple[str, ...] = ()


def measure_models(scan: ModelScan, plan: Plan) -> ModelTiers:
    """Measure both models, one after the other; see the module for the steps.

    Args:
        scan: Both models and the probe.
        plan: What is to run.

    Returns:
        What was found. Where memory ran out, the plan says so.
    """
    base = None
    try:
        # 1. The base
        base, head = measure_base(scan, plan)
        release()
        # 2. Load the candidate
        candidate = load(scan, scan.weights.candidate, scan.changes[1], base.plan)
        # 3. Compare
        probed = _compare(scan, candidate, base, head)
    except ShortOfMemory as exc:
        release()
        reused = () if base is None else base.reused
        return ModelTiers(plan=plan.lowered(str(exc)), reused=reused)
    del head
    results: tuple[SignalResult, ...] = (probed.representation, probed.behaviour)
    if not all(result.outcome is Outcome.MEASURED for result in results):
        return _tiers(base, results, probed)
    # 4. Curvature
    drawn, ran = _draw_candidate(scan, candidate, base)
    del candidate
    release()
    if drawn is not None and base.curvature is not None:
        results = (*results, shift_of(base.curvature, drawn, base.parameters, ran.settings))
    # 5. Linear maps
    outputs, ran = _compare_outputs(scan, base, ran)
    return replace(_tiers(base, results, probed), plan=ran, outputs=outputs)


def _compare(
    scan: ModelScan, running: Running, base: BaseFindings, head: OutputHead
) -> ProbeResult:
    def compare(settings: Settings) -> ProbeResult:
        return compare_candidate(running, base.readings, head, settings, scan.progress)

    with scan.stages.stage("probe"):
        probed, _ = with_less_memory(
            "the candidate's pass over the probe", compare, batch_sizes(base.plan.settings)
        )
    scan.stages.add("probe", probed.work)
    return probed


def _draw_candidate(
    scan: ModelScan, running: Running, base: BaseFindings
) -> tuple[CandidateCurvature | None, Plan]:
    if base.curvature is None:
        return None, base.plan
    shapes = base.curvature.shapes

    def draw(settings: Settings) -> CandidateCurvature:
        return candidate_draws(running, shapes, settings, scan.progress)

    try:
        with scan.stages.stage("curvature"):
            drawn, _ = with_less_memory("the candidate's curvature", draw, (base.plan.settings,))
    except ShortOfMemory as exc:
        return None, without_curvature(base.plan, str(exc))
    return drawn, base.plan


def _compare_outputs(
    scan: ModelScan, base: BaseFindings, plan: Plan
) -> tuple[OutputComparisons | None, Plan]:
    readings = base.outputs
    if readings is None:
        return None, without_outputs(plan, base.outputs_short)

    def compare(device: torch.device) -> OutputComparisons:
        settings = base.plan.settings
        return compare_outputs_of(scan.weights, readings, settings, device, scan.progress)

    device, cpu = scan.request.device, torch.device("cpu")
    try:
        with scan.stages.stage("outputs"):
            found, _ = with_less_memory(
                "comparing the linear maps", compare, tuple(dict.fromkeys((device, cpu)))
            )
    except ShortOfMemory as exc:
        return None, without_outputs(plan, str(exc))
    short = base.outputs_short
    return found, without_outputs(plan, short, metric_only=True) if short else plan


def _tiers(
    base: BaseFindings, results: tuple[SignalResult, ...], probed: ProbeResult
) -> ModelTiers:
    return ModelTiers(plan=base.plan, signals=results, defects=probed.defects, reused=base.reused)
