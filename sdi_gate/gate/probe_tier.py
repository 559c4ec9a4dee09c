"""Run tier ``probe``: both models over the probe set, for representation drift and behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdi_gate.models.activations import PooledActivations, is_deterministic, paired_predictions
from sdi_gate.models.tokens import batches
from sdi_gate.signals.behaviour import SampleBehaviour, behaviour, compare_predictions
from sdi_gate.signals.representation import ActivationPair, representation_drift

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.gate.request import Settings
    from sdi_gate.models.activations import PairedPredictions
    from sdi_gate.models.causal_lm import LoadedModel
    from sdi_gate.models.tokens import TokenizedProbe
    from sdi_gate.progress import Progress
    from sdi_gate.signals.interface import SignalResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Hold both models, loaded, and the probe as they read it.

    Attributes:
        base: The base.
        candidate: The candidate.
        probe: The probe set as tokens.
        probe_digest: Digest of the probe set.
        device: Where the models lie.
    """

    base: LoadedModel
    candidate: LoadedModel
    probe: TokenizedProbe
    probe_digest: str
    device: torch.device

    @property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Return what changes every number that rests on the probe, for a signal's id."""
        dtype = str(next(self.base.model.parameters()).dtype).removeprefix("torch.")
        return (
            ("compute-dtype", dtype),
            ("max-tokens", str(self.probe.max_tokens)),
            ("probe", self.probe_digest),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """Hold what tier ``probe`` found.

    Attributes:
        representation: Representation drift.
        behaviour: Behaviour.
        defects: Sentences about models that are not deterministic.
    """

    representation: SignalResult
    behaviour: SignalResult
    defects: tuple[str, ...]


def measure_probe(models: Models, settings: Settings, progress: Progress) -> ProbeResult:
    """Measure representation drift and behaviour in one pass over the probe set.

    Args:
        models: Both models and the probe.
        settings: Batch size.
        progress: Told of every batch, in stage ``probe``.

    Returns:
        Both signals. A model that gives other numbers for the same batch twice is a defect.
    """
    samples = models.probe.samples
    groups = batches(samples, settings.batch_size, models.device)
    defects = tuple(
        f"the {who} gives different numbers for the same probe batch"
        for who, loaded in (("base", models.base), ("candidate", models.candidate))
        if not is_deterministic(loaded, groups[0])
    )
    base = PooledActivations(models.base, len(samples))
    candidate = PooledActivations(models.candidate, len(samples))
    found: dict[int, SampleBehaviour] = {}
    for done, item in enumerate(paired_predictions(base, candidate, groups)):
        progress.advance("probe", done, len(groups), f"{len(item.targets)} tokens")
        found.update(_behaviours(item, models.probe.strata))
    progress.advance("probe", len(groups), len(groups))
    pairs = [
        ActivationPair(layer=f"layers.{index}", base=ours, candidate=theirs)
        for index, (ours, theirs) in enumerate(zip(base.layers, candidate.layers, strict=True))
    ]
    return ProbeResult(
        representation=representation_drift(
            pairs,
            models.probe.strata,
            (*models.parameters, ("pooling", "mean-without-first")),
            _output_pair(base, candidate),
        ),
        behaviour=behaviour([found[i] for i in range(len(samples))], models.parameters),
        defects=defects,
    )


def _output_pair(base: PooledActivations, candidate: PooledActivations) -> ActivationPair | None:
    if base.output is None or candidate.output is None:
        return None
    return ActivationPair(layer="output", base=base.output, candidate=candidate.output)


def _behaviours(
    item: PairedPredictions, strata: tuple[str, ...]
) -> Iterator[tuple[int, SampleBehaviour]]:
    tokens = compare_predictions(item.base, item.candidate, item.targets)
    columns = (tokens.kl_nats, tokens.base_nll_nats, tokens.candidate_nll_nats, tokens.flips)
    split = zip(*(torch.split(column, list(item.counts)) for column in columns), strict=True)
    for index, (kl, base_nll, candidate_nll, flips) in zip(item.indices, split, strict=True):
        yield (
            index,
            SampleBehaviour(
                stratum=strata[index],
                kl_nats=float(kl.mean()),
                base_nll_nats=float(base_nll.mean()),
                candidate_nll_nats=float(candidate_nll.mean()),
                flip_rate=float(flips.mean()),
            ),
        )
