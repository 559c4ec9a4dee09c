"""Measure the base for the tiers above the weights, and keep what a comparison needs of it.

1. Load it.
2. Read what it does with the probe, or take that from its profile.
3. Read what its linear maps are given.
4. Draw its curvature, or take that from its profile.
5. Keep its head, and let the rest of it go.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.gate import keys
from sdi_gate.gate.curvature_data import BaseCurvature
from sdi_gate.gate.full_tier import base_draws, quadratic_forms
from sdi_gate.gate.memory import ShortOfMemory, with_less_memory
from sdi_gate.gate.outputs import read_outputs
from sdi_gate.gate.probe_tier import read_base, spot_check, take_head
from sdi_gate.gate.readings import BaseReadings
from sdi_gate.gate.replan import announce, replan, smaller, without_curvature
from sdi_gate.gate.room import placement_for
from sdi_gate.gate.running import Running
from sdi_gate.gate.update import HeldUpdate
from sdi_gate.models.causal_lm import load_model
from sdi_gate.policy.facts import Tier

if TYPE_CHECKING:
    from sdi_gate.gate.outputs import OutputReadings
    from sdi_gate.gate.plan import Plan
    from sdi_gate.gate.request import ScanRequest, Settings
    from sdi_gate.gate.stages import Stages
    from sdi_gate.gate.weights_tier import Weights
    from sdi_gate.models.causal_lm import LoadingChanges
    from sdi_gate.models.opening import OpenModel
    from sdi_gate.models.output_head import OutputHead
    from sdi_gate.models.tokens import TokenizedProbe
    from sdi_gate.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScan:
    """Hold what the tiers above the weights start from.

    Attributes:
        request: What was asked for.
        weights: Both models, open and aligned.
        changes: What is done to the weights of base and candidate when they are loaded.
        tokens: The probe as both read it.
        progress: Told how far the work has come.
        stages: Told what each step costs.
    """

    request: ScanRequest
    weights: Weights
    changes: tuple[LoadingChanges, LoadingChanges]
    tokens: TokenizedProbe
    progress: Progress
    stages: Stages


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFindings:
    """Hold what is kept of the base once it is out of memory.

    Attributes:
        plan: What runs from here on.
        readings: What it does with the probe.
        outputs: What its linear maps are given; None if there was no memory for that.
        outputs_short: Why that is not there, or not in the loss's metric; empty if it is.
        curvature: Its draws; None if curvature is not measured.
        parameters: What changes every number that rests on the probe.
        reused: Sentences on its profile.
    """

    plan: Plan
    readings: BaseReadings
    outputs: OutputReadings | None
    outputs_short: str
    curvature: BaseCurvature | None
    parameters: tuple[tuple[str, str], ...]
    reused: tuple[str, ...]


def measure_base(scan: ModelScan, plan: Plan) -> tuple[BaseFindings, OutputHead]:
    """Measure the base; see the module for the steps.

    Args:
        scan: Both models and the probe.
        plan: What is to run.

    Returns:
        What is kept of it, and its head.

    Raises:
        ShortOfMemory: If there is no memory for the base, for its pass over the probe or its head.
    """  # noqa: DOC502 - raised by the steps
    # 1. Load the base
    running = load(scan, scan.weights.base, scan.changes[0], plan)
    # 2. The probe
    readings, settings, said = read_probe(scan, running, plan.settings)
    plan = replace(plan, settings=settings)
    # 3. Inputs of the linear maps
    outputs, outputs_short = _read_outputs(scan, running, plan)
    # 4. Curvature
    forward_s = None if said else scan.stages.seconds_of("probe-base")
    again = replan(plan, scan.stages.seconds, forward_s)
    if again is not plan:
        announce(again)
    plan = again
    curvature, plan, told = draw_base(scan, running, plan)
    # 5. The head
    head, _ = with_less_memory("the base's head", lambda at: take_head(running, at), (readings,))
    found = BaseFindings(
        plan=plan,
        readings=readings,
        outputs=outputs,
        outputs_short=outputs_short,
        curvature=curvature,
        parameters=running.parameters,
        reused=(*said, *told),
    )
    return found, head


def load(scan: ModelScan, model: OpenModel, changes: LoadingChanges, plan: Plan) -> Running:
    """Load one of the two models.

    Args:
        scan: Where, and in which type.
        model: Which.
        changes: What is done to its weights on the way.
        plan: Names the probe set.

    Returns:
        The model beside the probe.

    Raises:
        ShortOfMemory: If there is no room for it.
    """  # noqa: DOC502 - raised by with_less_memory()
    request = scan.request
    who = "base" if model is scan.weights.base else "candidate"
    with scan.stages.stage("load-base" if who == "base" else "load"):
        loaded, _ = with_less_memory(
            f"loading the {who}",
            lambda place: load_model(model, place, request.dtype, changes),
            (placement_for(request, model, plan),),
        )
    return Running(
        loaded=loaded,
        probe=scan.tokens,
        probe_digest=plan.probe.digest,
        device=loaded.input_device,
    )


def read_probe(
    scan: ModelScan, running: Running, settings: Settings
) -> tuple[BaseReadings, Settings, tuple[str, ...]]:
    """Read what the base does with the probe, or take that from its profile.

    Args:
        scan: Names the profile.
        running: The base.
        settings: Size of the batches.

    Returns:
        The readings, the settings by which they were made (batches are made smaller where memory
        runs out), and a sentence if the profile had any.

    Raises:
        ShortOfMemory: If there is no memory for the smallest batches.
    """  # noqa: DOC502 - raised by with_less_memory()
    request = scan.request

    def read(settings: Settings) -> tuple[BaseReadings, tuple[str, ...]]:
        asked = replace(request, settings=settings)
        key = keys.probe_key(scan.weights.base, asked, scan.tokens, scan.changes[0])
        known = BaseReadings.from_part(request.store.load(key), running.probe)
        if known is not None and spot_check(running, known, settings):
            return known, (_reused("predictions and activations"),)
        made = read_base(running, settings, scan.progress)
        if made.is_worth_keeping:
            request.store.save(key, made.to_part())
        return made, () if known is None else (_refused("predictions and activations"),)

    with scan.stages.stage("probe-base"):
        (readings, said), ran = with_less_memory(
            "the base's pass over the probe", read, batch_sizes(settings)
        )
    return readings, ran, said


def draw_base(
    scan: ModelScan, running: Running, plan: Plan
) -> tuple[BaseCurvature | None, Plan, tuple[str, ...]]:
    """Draw the base's curvature, or take it from its profile.

    Args:
        scan: Both models; names the profile.
        running: The base.
        plan: Whether to measure curvature, and how.

    Returns:
        The draws, or None if curvature is not to be measured or memory does not allow it; the plan
        that ran; and a sentence if the profile had any.
    """
    if not plan.curvature:
        return None, plan, ()
    reason = "the curvature of the base ran out of memory"
    less = smaller(plan, reason)
    try:
        with scan.stages.stage("curvature-base"):
            (found, said), ran = with_less_memory(
                "the base's curvature",
                lambda attempt: _draw_by(scan, running, attempt.settings),
                (plan,) if less is None else (plan, less),
            )
    except ShortOfMemory as exc:
        return None, without_curvature(plan, str(exc)), ()
    return found, ran, said


def _draw_by(
    scan: ModelScan, running: Running, settings: Settings
) -> tuple[BaseCurvature, tuple[str, ...]]:
    request = scan.request
    asked = replace(request, settings=settings)
    key = keys.curvature_key(scan.weights.base, asked, scan.tokens, scan.changes[0])
    # A base that is measured ahead of its candidates has no update.
    alone = scan.weights.candidate is scan.weights.base
    update = None if alone else HeldUpdate(weights=scan.weights, changes=scan.changes[1])
    known = BaseCurvature.from_part(request.store.load(key))
    if known is not None:
        found = quadratic_forms(running, update, settings, scan.progress, known)
        if found is not None:
            return found, (_reused("curvature draws"),)
    made = base_draws(running, update, settings, scan.progress)
    if made.is_finite:
        request.store.save(key, made.to_part())
    return made, () if known is None else (_refused("curvature draws"),)


def _read_outputs(
    scan: ModelScan, running: Running, plan: Plan
) -> tuple[OutputReadings | None, str]:
    full = plan.decision.ran is Tier.FULL

    def read(with_gradients: bool) -> OutputReadings:
        return read_outputs(running, plan.settings, scan.progress, with_gradients=with_gradients)

    try:
        with scan.stages.stage("outputs-base"):
            found, whole = with_less_memory(
                "reading inputs", read, (True, False) if full else (False,)
            )
    except ShortOfMemory as exc:
        return None, str(exc)
    return found, "" if whole is full else "reading inputs with gradients ran out of memory"


def batch_sizes(settings: Settings) -> tuple[Settings, ...]:
    """Return the settings that a pass over the probe is tried with.

    Args:
        settings: Size of the batches.

    Returns:
        The settings, and those of an eighth of the samples at a time.
    """
    smaller_batches = replace(settings, batch_size=max(1, settings.batch_size // 8))
    return (settings,) if settings.batch_size == 1 else (settings, smaller_batches)


def _reused(what: str) -> str:
    return f"{what} of the base were taken from its profile"


def _refused(what: str) -> str:
    return f"{what} in the base's profile did not agree with the base, and were measured anew"
