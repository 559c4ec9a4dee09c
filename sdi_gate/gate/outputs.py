"""Measure the weight matrices by their outputs on tokens of the probe, and by the loss's metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdi_gate.gate.full_tier import SEED_STRIDE, generator_of
from sdi_gate.models.layers import layer_of
from sdi_gate.models.matrices import linear_maps, read_tokens, weight_of
from sdi_gate.models.tokens import pad
from sdi_gate.signals.linalg import MatrixPair
from sdi_gate.signals.outputs import compare_outputs
from sdi_gate.signals.weighted import OutputComparison, OutputComparisons

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from sdi_gate.gate.probe_tier import Models
    from sdi_gate.gate.request import Settings
    from sdi_gate.models.tokens import Batch, TokenSample
    from sdi_gate.progress import Progress
    from sdi_gate.signals.outputs import OutputValues

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


def measure_outputs(
    models: Models, settings: Settings, progress: Progress, *, with_gradients: bool
) -> OutputComparisons:
    """Compare the linear maps of the decoder layers on inputs that the base gives them.

    Args:
        models: Both models and the probe.
        settings: Number of tokens, dimension of the subspaces, depth weights, and the seed.
        progress: Told of every stratum, in stage ``outputs``.
        with_gradients: Whether to measure in the loss's metric too.

    Returns:
        The comparisons; none for a model without linear maps that see every token.
    """
    strata = [*dict.fromkeys(models.probe.strata)]
    rows: list[OutputComparison] = []
    for index, stratum in enumerate(strata):
        progress.advance("outputs", index, len(strata), stratum)
        own = [sample for sample in models.probe.samples if sample.stratum == stratum]
        tokens = choose_tokens(own, settings.output_tokens, models.device)
        generator = generator_of(settings, index, _LABELS_DRAW)
        uniforms = torch.rand(tokens.batch.ids.numel(), generator=generator, dtype=torch.float64)
        found = _compare(models, settings.top_k, tokens, uniforms if with_gradients else None)
        rows.extend(
            OutputComparison(tensor=name, layer=layer_of(name), stratum=stratum, values=values)
            for name, values in found
        )
    progress.advance("outputs", len(strata), len(strata))
    return OutputComparisons(
        rows=tuple(rows),
        weighting=settings.depth_weighting,
        parameters=(
            *models.parameters,
            ("output-tokens", str(settings.output_tokens)),
            *((("seed", str(settings.seed)),) if with_gradients else ()),
        ),
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
    models: Models, top_k: int, tokens: ChosenTokens, uniforms: Tensor | None
) -> Iterator[tuple[str, OutputValues]]:
    base, candidate = linear_maps(models.base), linear_maps(models.candidate)
    readings = read_tokens(models.base, tokens.batch, tokens.chosen, uniforms)
    for name, reading in readings.items():
        pair = MatrixPair(
            base=weight_of(base[name]),
            candidate=weight_of(candidate[name]),
            device=models.device,
        )
        yield name, compare_outputs(pair, reading.inputs, reading.gradients, top_k)
