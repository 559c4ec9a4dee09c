"""Divide a model's parameters into blocks, and let one block at a time take gradients."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor

from sdi_gate.models.layers import depth_of, is_decoder_layer, layer_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sdi_gate.models.causal_lm import LoadedModel

ByParameter = dict[str, Tensor]


def layer_blocks(names: Sequence[str], num_blocks: int) -> tuple[tuple[str, ...], ...]:
    """Divide a model's parameters into blocks of neighbouring decoder layers.

    Args:
        names: Names of all parameters.
        num_blocks: Number of blocks of decoder layers, at most; at least 1.

    Returns:
        Names for each block, from input to output, as many layers in each as can be; last what is
        in no decoder layer, if there is any.
    """
    groups = {name: layer_of(name) for name in names}
    layers = sorted({g for g in groups.values() if is_decoder_layer(g)}, key=depth_of)
    count = min(num_blocks, len(layers))
    places = {layer: index * count // len(layers) for index, layer in enumerate(layers)}
    blocks: list[list[str]] = [[] for _ in range(count + 1)]
    for name, layer in groups.items():
        blocks[places.get(layer, count)].append(name)
    return tuple(tuple(block) for block in blocks if block)


@contextmanager
def taking_gradients(loaded: LoadedModel, names: Collection[str] | None) -> Iterator[ByParameter]:
    """Let some of a model's parameters take gradients, and no others, for the time of a block.

    Where no parameter below takes a gradient, autograd keeps nothing of the forward pass.

    Args:
        loaded: The model.
        names: Which parameters; None for all.

    Yields:
        Those parameters by name, each tied one once.
    """
    named = dict(loaded.model.named_parameters())
    before = {name: parameter.requires_grad for name, parameter in named.items()}
    chosen = {name: p for name, p in named.items() if names is None or name in names}
    try:
        for name, parameter in named.items():
            parameter.requires_grad_(name in chosen)
        yield dict(chosen)
    finally:
        for name, parameter in named.items():
            parameter.requires_grad_(before[name])
