"""Measure a base ahead of its candidates, and keep what they will need of it.

1. Resolve and open the base.
2. Decide which tiers this machine can do.
3. Compute the spectra of its matrices.
4. Read what it does with the probe, and draw its curvature, if the tier has them.

What is kept is looked up by everything that it depends on: a scan finds it where it would have
measured the same to the last bit, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError, StorageError, UsageError
from sdi_gate.gate import keys
from sdi_gate.gate.base_tiers import ModelScan, draw_base, load, read_probe
from sdi_gate.gate.memory import ShortOfMemory
from sdi_gate.gate.models import loading_changes, open_pair
from sdi_gate.gate.plan import make_plan
from sdi_gate.gate.request import ScanRequest
from sdi_gate.gate.spectra import SpectraCache
from sdi_gate.gate.stages import Stages
from sdi_gate.gate.weights_tier import Weights, measure_base_spectra
from sdi_gate.models.inspection import verify_unchanged
from sdi_gate.models.snapshot import SnapshotKind

if TYPE_CHECKING:
    import torch

    from sdi_gate.gate.plan import Plan
    from sdi_gate.gate.procedure import Effects
    from sdi_gate.gate.request import Settings, TierChoice
    from sdi_gate.models.probe import ProbeSet
    from sdi_gate.models.ref import ModelRef
    from sdi_gate.profiles.store import ProfileStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRequest:
    """Say which base is to be measured, and for which scans.

    Attributes:
        base: The base.
        tier: Highest tier that the scans will run.
        device: Where they will compute.
        dtype: Type in which their models will run.
        probe: Texts for the tiers above the weights.
        settings: Everything that changes a number.
        store: Where the profile is kept.
    """

    base: ModelRef
    tier: TierChoice
    device: torch.device
    dtype: torch.dtype
    probe: ProbeSet
    settings: Settings
    store: ProfileStore


def make_profile(request: ProfileRequest, effects: Effects) -> tuple[str, ...]:
    """Measure a base and keep its profile; see the module for the steps.

    Args:
        request: Which base, and by which settings.
        effects: Sources, progress, clocks.

    Returns:
        Names of the parts that a scan can use: none that is not the same each time, or not finite.

    Raises:
        UsageError: If the base is an adapter.
        FormatError: If its weights are not finite.
        StorageError: If there is no memory for it.
    """  # noqa: DOC502 - raised by the steps
    # 1. Resolve
    weights = _open(request, effects)
    asked = _as_scan(request)
    # 2. Decide
    plan = make_plan(asked, weights)
    # 3. Spectra
    parts = [_keep_spectra(asked, weights, effects)]
    # 4. Probe and curvature
    parts.extend(_keep_model(asked, weights, plan, effects))
    verify_unchanged(weights.base.snapshot)
    return tuple(parts)


def _open(request: ProfileRequest, effects: Effects) -> Weights:
    snapshot = effects.sources[request.base.scheme].fetch(request.base, effects.progress)
    if snapshot.kind is SnapshotKind.ADAPTER:
        msg = f"the base {snapshot.ref} is an adapter; expected a model with weights of its own"
        raise UsageError(msg, hint="give the model that the adapter was put on")
    found = open_pair(snapshot, snapshot)
    # One model: there is nothing between the two.
    return Weights(base=found.base, candidate=found.base, alignment=found.alignment)


def _as_scan(request: ProfileRequest) -> ScanRequest:
    return ScanRequest(
        base=request.base,
        candidate=request.base,
        tier=request.tier,
        device=request.device,
        probe=request.probe,
        settings=request.settings,
        dtype=request.dtype,
        store=request.store,
    )


def _keep_spectra(asked: ScanRequest, weights: Weights, effects: Effects) -> str:
    key = keys.spectra_key(weights.base, asked)
    spectra = SpectraCache.from_part(asked.store.load(key))
    broken = measure_base_spectra(weights, asked.settings, asked.device, effects.progress, spectra)
    if broken:
        msg = f"{weights.base.snapshot.ref}: {broken[0]!r} holds NaN or infinity"
        raise FormatError(msg, hint="a base that is not finite cannot be compared with")
    if spectra.has_new:
        asked.store.save(key, spectra.to_part())
    return keys.SPECTRA


def _keep_model(
    asked: ScanRequest, weights: Weights, plan: Plan, effects: Effects
) -> tuple[str, ...]:
    if plan.tokens is None:
        return ()
    scan = ModelScan(
        request=asked,
        weights=weights,
        changes=loading_changes(weights, None),
        tokens=plan.tokens,
        progress=effects.progress,
        stages=Stages(asked.device, effects.clock),
    )
    try:
        running = load(scan, weights.base, scan.changes[0], plan)
        readings, settings, _ = read_probe(scan, running, plan.settings)
    except ShortOfMemory as exc:
        raise StorageError(str(exc), hint="use a machine with more memory") from exc
    drawn, _, _ = draw_base(scan, running, replace(plan, settings=settings))
    kept = ((keys.PROBE, readings.is_worth_keeping), (keys.CURVATURE, drawn and drawn.is_finite))
    return tuple(name for name, is_kept in kept if is_kept)
