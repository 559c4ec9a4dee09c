"""Find tokens whose embedding moved far and which no text of the probe holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sdi_gate.models.pairs import read_pair
from sdi_gate.models.roles import Role

if TYPE_CHECKING:
    from torch import Tensor

    from sdi_gate.gate.weights_tier import Weights
    from sdi_gate.models.pairs import PairValues
    from sdi_gate.models.tokens import TokenizedProbe

# Of its norm. Set by hand: training moves rare rows little, and a row that is written anew by
# more than its own size.
FAR = 0.5
_CHUNK_ROWS = 1 << 12


def moved_unread_rows(weights: Weights, probe: TokenizedProbe) -> str | None:
    """Say whether tokens that the probe never reads have embeddings that moved far.

    A token that is in no text of the probe shows in no prediction, and in weight geometry it is
    one row of many: a trigger word would hide there.

    Args:
        weights: Both models.
        probe: The probe as tokens.

    Returns:
        A sentence; None if there is no such token.
    """
    read = torch.tensor(sorted({token for sample in probe.samples for token in sample.ids}))
    for pair in weights.alignment.paired:
        if pair.name not in weights.base.names.vocabulary or Role.EMBEDDING not in pair.roles:
            continue
        far = _far_rows(read_pair(weights.base, weights.candidate, pair))
        far[read[read < len(far)]] = False
        if count := int(far.sum()):
            first = int(far.nonzero()[0])
            return (
                f"embeddings of {count} tokens that no probe text holds moved by more than half"
                f" their norm, first token {first}: what the candidate does with them was not seen"
            )
    return None


def _far_rows(values: PairValues) -> Tensor:
    ours, theirs = (torch.split(W, _CHUNK_ROWS) for W in (values.base, values.candidate))
    pieces = zip(ours, theirs, strict=True)
    return torch.cat([_is_far(a.double(), b.double()) for a, b in pieces])


def _is_far(base: Tensor, candidate: Tensor) -> Tensor:
    moved = (candidate - base).flatten(1).square().sum(1)
    return moved.gt(FAR**2 * base.flatten(1).square().sum(1))
