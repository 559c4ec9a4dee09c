"""Bring both models' predictions on a batch side by side, a block of positions at a time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from sdi_gate.models.activations import predicting
from sdi_gate.models.output_head import BLOCK_ROWS, OutputHead, Split, find_split
from sdi_gate.models.tokens import TokenSample, pad
from sdi_gate.signals.behaviour import SampleBehaviour, compare_predictions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from sdi_gate.gate.running import Running
    from sdi_gate.models.activations import PooledActivations
    from sdi_gate.models.tokens import Batch

# Tokens of each of the two samples on which it is tried whether a model comes apart.
_TRIED_TOKENS = 16


@contextmanager
def opened(running: Running, collector: PooledActivations) -> Iterator[OutputHead]:
    """Take a model apart, if it comes apart, and read its layers for the time of a block.

    Args:
        running: The model and the probe.
        collector: Collects from the model.

    Yields:
        The model's way from tokens to logits; run it inside, without gradients.
    """
    split = split_of(running)
    with (
        torch.inference_mode(),
        collector.reading(),
        OutputHead.opened(running.loaded, split) as head,
    ):
        yield head


def split_of(running: Running) -> Split | None:
    """Find out where a model comes apart, on a few tokens of the probe.

    Args:
        running: The model and the probe.

    Returns:
        The place; None if there is none.
    """
    samples = sorted(running.probe.samples, key=lambda sample: len(sample.ids))
    # Of unequal length, so that padding is tried too.
    tried = [
        TokenSample(stratum=sample.stratum, ids=sample.ids[:_TRIED_TOKENS])
        for sample in (samples[-1], samples[0])
    ]
    return find_split(running.loaded, pad(tried, range(len(tried)), running.device))


def behaviours_of(
    base: tuple[OutputHead, Tensor],
    candidate: tuple[OutputHead, Tensor],
    batch: Batch,
    strata: Sequence[str],
) -> dict[int, SampleBehaviour]:
    """Compare both models' predictions on a batch.

    Args:
        base: What makes the base's logits, and of what, at every predicting position.
        candidate: Likewise of the candidate.
        batch: The tokens.
        strata: Stratum of every sample of the probe.

    Returns:
        What changed, by position in the probe.
    """
    columns = _by_token(base, candidate, predicting(batch.ids.roll(-1, 1)[..., None], batch)[:, 0])
    counts = (batch.mask.sum(1) - 1).tolist()
    found = {}
    for index, part in zip(batch.indices, torch.split(columns, counts, dim=1), strict=True):
        kl, base_nll, candidate_nll, flips = (float(column.mean()) for column in part)
        found[index] = SampleBehaviour(
            stratum=strata[index],
            kl_nats=kl,
            base_nll_nats=base_nll,
            candidate_nll_nats=candidate_nll,
            flip_rate=flips,
        )
    return found


def _by_token(
    base: tuple[OutputHead, Tensor], candidate: tuple[OutputHead, Tensor], targets: Tensor
) -> Tensor:
    parts = []
    for start in range(0, len(targets), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        ours, theirs = (head.logits(found[rows]) for head, found in (base, candidate))
        # What the base has beyond the candidate's columns is padding, which no token addresses.
        ours = ours[:, : theirs.shape[1]]
        tokens = compare_predictions(
            ours.to(theirs.device), theirs, targets[rows].to(theirs.device), _dtype_on(theirs)
        )
        parts.append(
            torch.stack(
                [tokens.kl_nats, tokens.base_nll_nats, tokens.candidate_nll_nats, tokens.flips]
            )
        )
    return torch.cat(parts, 1)


def _dtype_on(logits: Tensor) -> torch.dtype:
    # GPUs that are not made for science compute in float64 at a thirtieth of the speed or less.
    return torch.float64 if logits.device.type == "cpu" else torch.float32
