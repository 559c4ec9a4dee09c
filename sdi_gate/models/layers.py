"""Say to which layer group of a model a tensor belongs."""

from __future__ import annotations

import re

EMBEDDING = "embedding"
HEAD = "head"
OTHER = "other"

_LAYER = re.compile(r"(?:^|\.)(\d{1,9})\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:embed_\w+|wte|wpe|\w*embeddings?|embed_in|tok_embeddings)\.")
_HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output_projection)\.")


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
