"""Measure the weight matrices by their outputs on tokens of the probe, and by the loss's metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdi_gate.gate.full_tier import SEED_STRIDE, generator_of
from sdi_gate.models.layers import layer_of
from sdi_gate.models.matrices import TokenReadings, read_tokens
from sdi_gate.models.pairs import read_pair
from sdi_gate.models.tokens import pad
from sdi_gate.signals.linalg import MatrixPair
from sdi_gate.signals.outputs import compare_outputs
from sdi_gate.signals.weighted import OutputComparison, OutputComparisons

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from sdi_gate.gate.request import Settings
    from sdi_gate.gate.running import Running
    from sdi_gate.gate.weights_tier import Weights
    from sdi_gate.models.alignment import TensorPair
    from sdi_gate.models.tokens import Batch, TokenSample
    from sdi_gate.progress import Progress

# Neighbouring tokens of one text are much alike, so a stratum's tokens come from this many
# samples or more, if it has so many.
_MIN_SAMPLES = 8
# No draw of the curvature has this number: the labels here have random numbers of their own.
_LABELS_DRAW = SEED_STRIDE - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenTokens:
    """Hold samples of one stratum, and which of their tokens are read.

    Attributes:
        batch: The samples, whole.
        chosen: True where a token is read, shape ``[b, t]``.
    """

    batch: Batch
    chosen: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputReadings:
    """Hold what the base gives its linear maps to read, and the loss's gradients behind them.

    Memory: for each stratum and map, as many rows as there are tokens, in the compute dtype.

    Attributes:
        strata: Readings by stratum, and in it by the name of the map's weight, in model order.
        parameters: What else moves the numbers, for a signal's id.
    """

    strata: dict[str, dict[str, TokenReadings]]
    parameters: tuple[tuple[str, str], ...]


def read_outputs(
    running: Running, settings: Settings, progress: Progress, *, with_gradients: bool
) -> OutputReadings:
    """Read the inputs of the linear maps of the base's decoder layers on tokens of the probe.

    Args:
        running: The base and the probe.
        settings: Number of tokens, and the seed.
        progress: Told of every stratum, in stage ``outputs-base``.
        with_gradients: Whether to measure in the loss's metric too.

    Returns:
        The readings; none of a model without linear maps that see every token.
    """
    strata = [*dict.fromkeys(running.probe.strata)]
    found: dict[str, dict[str, TokenReadings]] = {}
    for index, stratum in enumerate(strata):
        progress.advance("outputs-base", index, len(strata), stratum)
        own = [sample for sample in running.probe.samples if sample.stratum == stratum]
        tokens = choose_tokens(own, settings.output_tokens, running.device)
        generator = generator_of(settings, index, _LABELS_DRAW)
        uniforms = torch.rand(tokens.batch.ids.numel(), generator=generator, dtype=torch.float64)
        found[stratum] = read_tokens(
            running.loaded, tokens.batch, tokens.chosen, uniforms if with_gradients else None
        )
    progress.advance("outputs-base", len(strata), len(strata))
    return OutputReadings(
        strata=found,
        parameters=(
            *running.parameters,
            ("output-tokens", str(settings.output_tokens)),
            *((("seed", str(settings.seed)),) if with_gradients else ()),
        ),
    )


def compare_outputs_of(
    weights: Weights,
    readings: OutputReadings,
    settings: Settings,
    device: torch.device,
    progress: Progress,
) -> OutputComparisons:
    """Compare the linear maps of the decoder layers on inputs that the base gives them.

    Memory: one pair of matrices at a time, read from disk again.

    Args:
        weights: Both models, open and aligned.
        readings: What the base's maps read.
        settings: Dimension of the subspaces, and depth weights.
        device: Where to compute.
        progress: Told of every matrix, in stage ``outputs``.

    Returns:
        The comparisons; none of maps whose weights only one model has.
    """
    pairs = {pair.name: pair for pair in weights.alignment.paired}
    names = dict.fromkeys(name for maps in readings.strata.values() for name in maps)
    compared = [pairs[name] for name in names if name in pairs]
    rows: dict[tuple[str, str], OutputComparison] = {}
    for done, pair in enumerate(compared):
        progress.advance("outputs", done, len(compared), pair.name)
        for row in _compare(weights, pair, readings, (settings.top_k, device)):
            rows[row.stratum, row.tensor] = row
    progress.advance("outputs", len(compared), len(compared))
    return OutputComparisons(
        rows=tuple(
            rows[stratum, name]
            for stratum, maps in readings.strata.items()
            for name in maps
            if name in pairs
        ),
        weighting=settings.depth_weighting,
        parameters=readings.parameters,
    )


def choose_tokens(
    samples: Sequence[TokenSample], num_tokens: int, device: torch.device
) -> ChosenTokens:
    """Choose tokens of the first samples, spread over each sample, never its first.

    Args:
        samples: Samples of one stratum; at least one.
        num_tokens: How many tokens to choose, at most; at least 1.
        device: Where the tensors shall lie.

    Returns:
        The tokens. No sample gives more than an eighth of those asked for, or than an equal share
        if there are fewer than 8 samples, but each that is reached gives one.
    """
    share = max(1, num_tokens // min(_MIN_SAMPLES, len(samples)))
    taken: list[TokenSample] = []
    positions: list[list[int]] = []
    for sample in samples:
        room = min(share, num_tokens - sum(map(len, positions)))
        if room <= 0:
            break
        taken.append(sample)
        positions.append(_spread(len(sample.ids), room))
    batch = pad(taken, range(len(taken)), device)
    chosen = torch.zeros(batch.ids.shape, dtype=torch.bool)
    for row, columns in enumerate(positions):
        chosen[row, columns] = True
    return ChosenTokens(batch=batch, chosen=chosen.to(device))


def _spread(length: int, count: int) -> list[int]:
    available = length - 1  # the first position is an attention sink
    count = min(count, available)
    return [1 + (2 * i + 1) * available // (2 * count) for i in range(count)]


def _compare(
    weights: Weights,
    pair: TensorPair,
    readings: OutputReadings,
    how: tuple[int, torch.device],
) -> Iterator[OutputComparison]:
    top_k, device = how
    values = read_pair(weights.base, weights.candidate, pair)
    dtype = torch.promote_types(values.base.dtype, values.candidate.dtype)
    base, candidate = values.base.to(dtype), values.candidate.to(dtype)
    if pair.is_transposed:
        base, candidate = base.mT, candidate.mT
    matrices = MatrixPair(base=base, candidate=candidate, device=device)
    for stratum, maps in readings.strata.items():
        if (found := maps.get(pair.name)) is not None:
            gradients = None if found.gradients is None else found.gradients.to(device)
            yield OutputComparison(
                tensor=pair.name,
                layer=layer_of(pair.name),
                stratum=stratum,
                values=compare_outputs(matrices, found.inputs.to(device), gradients, top_k),
            )
