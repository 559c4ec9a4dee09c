"""Run tier ``probe``, one model after the other, for representation drift and behaviour.

The base runs first and leaves its readings: what its layers give on average over each sample, and
the states that its head reads. Then its head alone stays, if it comes apart from the rest, and the
candidate runs. Both models' logits are made side by side from blocks of some hundred states, so
that the logits of a batch never exist.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdi_gate.gate.predictions import behaviours_of, opened, split_of
from sdi_gate.gate.readings import BaseReadings, num_predictions
from sdi_gate.gate.stages import Work
from sdi_gate.models.activations import PooledActivations, output_head, predicting
from sdi_gate.models.output_head import OutputHead, same_bits
from sdi_gate.models.tokens import batches
from sdi_gate.signals.behaviour import SampleBehaviour, behaviour
from sdi_gate.signals.representation import ActivationPair, representation_drift

if TYPE_CHECKING:
    from sdi_gate.gate.request import Settings
    from sdi_gate.gate.running import Running
    from sdi_gate.models.tokens import Batch
    from sdi_gate.progress import Progress
    from sdi_gate.signals.interface import SignalResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """Hold what tier ``probe`` found.

    Attributes:
        representation: Representation drift.
        behaviour: Behaviour.
        defects: Sentences about models that are not deterministic.
        work: What running the candidate and comparing representations took.
    """

    representation: SignalResult
    behaviour: SignalResult
    defects: tuple[str, ...]
    work: tuple[Work, ...] = ()


def read_base(running: Running, settings: Settings, progress: Progress) -> BaseReadings:
    """Run the base over the probe set.

    Args:
        running: The base and the probe.
        settings: Batch size.
        progress: Told of every batch, in stage ``probe-base``.

    Returns:
        What the candidate is compared with.
    """
    probe = running.probe
    groups = batches(probe.samples, settings.batch_size, running.device)
    collector = PooledActivations(running.loaded, len(probe.samples))
    states = _States(num_predictions(probe))
    deterministic = True
    with opened(running, collector) as head:
        for done, batch in enumerate(groups):
            progress.advance("probe-base", done, len(groups), _tokens_in(batch))
            rows = collector.rows(head, batch)
            deterministic &= done > 0 or head.repeats(batch, rows)
            if head.is_apart:
                states.keep(rows, batch)
    progress.advance("probe-base", len(groups), len(groups))
    return BaseReadings(
        layers=tuple(collector.layers),
        output=collector.output,
        states=states.all,
        counts=states.counts,
        deterministic=deterministic,
    )


def spot_check(running: Running, readings: BaseReadings, settings: Settings) -> bool:
    """Run one batch again to see whether readings from elsewhere are those of this base, here.

    Args:
        running: The base and the probe.
        readings: Readings of a former scan.
        settings: Batch size: the same, or rounding may differ.

    Returns:
        True if all that the batch shows is equal to the bit. Nobody can know beforehand which
        batch it is: who forges half of them is found out every other time.
    """
    groups = batches(running.probe.samples, settings.batch_size, running.device)
    chosen = groups[secrets.randbelow(len(groups))]
    collector = PooledActivations(running.loaded, len(running.probe.samples))
    with opened(running, collector) as head:
        rows = collector.rows(head, chosen)
        is_apart = head.is_apart
    if is_apart != (readings.states is not None) or len(collector.layers) != len(readings.layers):
        return False
    if is_apart and not same_bits(readings.states_of(chosen.indices), rows):
        return False
    which = list(chosen.indices)
    pairs = [*zip(collector.layers, readings.layers, strict=True)]
    if collector.output is not None and readings.output is not None:
        pairs.append((collector.output, readings.output))
    elif collector.output is not readings.output:
        return False
    return all(same_bits(ours[which], theirs[which]) for ours, theirs in pairs)


def take_head(running: Running, readings: BaseReadings) -> OutputHead:
    """Keep of a base what its readings need to become predictions.

    Args:
        running: The base, which cannot be run any more afterwards: its decoder's memory is freed.
            Drop it. Of a model that does not come apart the head keeps all.
        readings: The base's readings.

    Returns:
        The head.
    """
    split = split_of(running) if readings.states is not None else None
    return OutputHead.take(running.loaded, split)


def compare_candidate(
    running: Running,
    readings: BaseReadings,
    head: OutputHead,
    settings: Settings,
    progress: Progress,
) -> ProbeResult:
    """Measure representation drift and behaviour in one pass of the candidate over the probe set.

    Args:
        running: The candidate and the probe.
        readings: The base's readings on the same probe.
        head: The base's head.
        settings: Batch size.
        progress: Told of every batch, in stage ``probe``.

    Returns:
        Both signals. A model that gives other numbers for the same batch twice is a defect.
    """
    began = time.perf_counter()
    collector = PooledActivations(running.loaded, len(running.probe.samples))
    groups = batches(running.probe.samples, settings.batch_size, running.device)
    found: dict[int, SampleBehaviour] = {}
    deterministic = True
    with opened(running, collector) as own:
        for done, batch in enumerate(groups):
            progress.advance("probe", done, len(groups), _tokens_in(batch))
            rows = collector.rows(own, batch)
            deterministic &= done > 0 or own.repeats(batch, rows)
            base = _base_rows(readings, head, batch)
            found.update(behaviours_of((head, base), (own, rows), batch, running.probe.strata))
    progress.advance("probe", len(groups), len(groups))
    forward = Work(
        part="forward",
        seconds=time.perf_counter() - began,
        operations=_operations_of_forward(running),
    )
    representation, cka = _representation(running, collector, readings)
    return ProbeResult(
        representation=representation,
        behaviour=behaviour([found[i] for i in range(len(found))], running.parameters),
        defects=tuple(
            f"the {who} gives different numbers for the same probe batch"
            for who, repeats in (("base", readings.deterministic), ("candidate", deterministic))
            if not repeats
        ),
        work=(forward, cka),
    )


class _States:
    """Collect states, sample after sample, whatever the order in which they come."""

    def __init__(self, counts: tuple[int, ...]) -> None:
        self.counts = counts
        self.all: Tensor | None = None

    def keep(self, rows: Tensor, batch: Batch) -> None:
        if self.all is None:
            self.all = torch.empty(sum(self.counts), rows.shape[1], dtype=rows.dtype)
        places = torch.split(self.all, list(self.counts))
        parts = torch.split(rows.cpu(), [self.counts[i] for i in batch.indices])
        for index, part in zip(batch.indices, parts, strict=True):
            places[index].copy_(part)


def _tokens_in(batch: Batch) -> str:
    return f"{int(batch.mask.sum())} tokens"


def _base_rows(readings: BaseReadings, head: OutputHead, batch: Batch) -> Tensor:
    if head.is_apart:
        return readings.states_of(batch.indices)
    return predicting(head.run(batch), batch)


def _representation(
    running: Running, collector: PooledActivations, readings: BaseReadings
) -> tuple[SignalResult, Work]:
    began = time.perf_counter()
    pairs = [
        ActivationPair(layer=f"layers.{index}", base=ours, candidate=theirs)
        for index, (ours, theirs) in enumerate(zip(readings.layers, collector.layers, strict=True))
    ]
    output = None
    if readings.output is not None and collector.output is not None:
        output = ActivationPair(layer="output", base=readings.output, candidate=collector.output)
    parameters = (*running.parameters, ("pooling", "mean-without-first"))
    found = representation_drift(pairs, running.probe.strata, parameters, output)
    sizes = Counter(running.probe.strata).values()
    # Two Gram matrices for each layer and stratum.
    operations = sum(4.0 * n * n * pair.base.shape[1] for pair in pairs for n in sizes)
    return found, Work(part="cka", seconds=time.perf_counter() - began, operations=operations)


def _operations_of_forward(running: Running) -> float:
    # Each token meets each parameter of the layers and of the head once, in a product and a sum.
    head = output_head(running.loaded)
    modules = [*running.loaded.layers, *([head] if head is not None else [])]
    size = sum(parameter.numel() for module in modules for parameter in module.parameters())
    return 2.0 * size * running.probe.num_tokens
