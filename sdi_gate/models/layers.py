"""Match the tensors of two checkpoints, and say where in the model each of them belongs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.errors import IncomparableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sdi_gate.models.weights import TensorInfo

EMBEDDING = "embedding"
HEAD = "head"
OTHER = "other"

_LAYER = re.compile(r"(?:^|\.)(\d{1,9})\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:embed_\w+|wte|wpe|\w*embeddings?|embed_in|tok_embeddings)\.")
_HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output_projection)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPair:
    """Hold the same tensor of both models: same name, same shape.

    Attributes:
        base: In the base.
        candidate: In the candidate.
        layer: Layer group.
    """

    base: TensorInfo
    candidate: TensorInfo
    layer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Hold every tensor of both models in exactly one list.

    Attributes:
        paired: Same name and shape, in the base's shard order.
        base_only: Missing in the candidate.
        candidate_only: Missing in the base.
        mismatched: Same name and another shape; base first.
    """

    paired: tuple[TensorPair, ...]
    base_only: tuple[TensorInfo, ...]
    candidate_only: tuple[TensorInfo, ...]
    mismatched: tuple[tuple[TensorInfo, TensorInfo], ...]

    @property
    def paired_parameters(self) -> int:
        """Return the number of parameters in paired tensors, each pair counted once."""
        return sum(pair.base.numel for pair in self.paired)

    @property
    def coverage(self) -> float:
        """Return compared parameters over all, from 0 to 1; a mismatched pair counts by its larger.

        It is 1 only if every parameter of both models was compared.
        """
        unpaired = sum(info.numel for info in (*self.base_only, *self.candidate_only))
        unpaired += sum(max(base.numel, other.numel) for base, other in self.mismatched)
        whole = self.paired_parameters + unpaired
        return self.paired_parameters / whole if whole else 0.0

    @property
    def layers(self) -> tuple[str, ...]:
        """Return the layer groups of the paired tensors, from input to output."""
        return tuple(sorted({pair.layer for pair in self.paired}, key=depth_of))


def layer_of(name: str) -> str:
    """Say to which layer group a tensor belongs.

    Args:
        name: Tensor name, such as ``model.layers.3.mlp.up_proj.weight``.

    Returns:
        ``layers.N`` by the first number in the name, else ``embedding``, ``head`` or ``other``
        (such as the final norm).
    """
    if match := _LAYER.search(name):
        return f"layers.{int(match[1])}"
    if _HEAD.search(name):  # first, for embed_out is a head
        return HEAD
    return EMBEDDING if _EMBEDDING.search(name) else OTHER


def depth_of(layer: str) -> tuple[int, int]:
    """Return a key that sorts layer groups from input to output.

    Args:
        layer: Layer group from `layer_of`.

    Returns:
        A sort key.
    """
    kind, _, number = layer.partition(".")
    return ((EMBEDDING, "layers", OTHER, HEAD).index(kind), int(number or 0))


def is_decoder_layer(layer: str) -> bool:
    """Say whether a layer group is a decoder layer, not embedding, head or what is between.

    Args:
        layer: Layer group from `layer_of`.

    Returns:
        True for ``layers.N``.
    """
    return layer.startswith("layers.")


def align(base: Mapping[str, TensorInfo], candidate: Mapping[str, TensorInfo]) -> Alignment:
    """Match the tensors of two checkpoints by name and shape, without reading any.

    Args:
        base: Tensors of the base by name, in shard order.
        candidate: Tensors of the candidate by name.

    Returns:
        The alignment.

    Raises:
        IncomparableError: If not one tensor has its counterpart.
    """
    shared = [(info, candidate[name]) for name, info in base.items() if name in candidate]
    alignment = Alignment(
        paired=tuple(
            TensorPair(base=info, candidate=other, layer=layer_of(info.name))
            for info, other in shared
            if info.shape == other.shape
        ),
        base_only=_missing(base.values(), candidate),
        candidate_only=_missing(candidate.values(), base),
        mismatched=tuple((info, other) for info, other in shared if info.shape != other.shape),
    )
    if not alignment.paired_parameters:
        msg = (
            f"no tensor of the base ({len(base)}) has its counterpart, of the same name and shape,"
            f" in the candidate ({len(candidate)})"
        )
        raise IncomparableError(msg, hint="is the candidate a fine-tune of this base?")
    return alignment


def _missing(
    tensors: Iterable[TensorInfo], other: Mapping[str, TensorInfo]
) -> tuple[TensorInfo, ...]:
    return tuple(info for info in tensors if info.name not in other)
