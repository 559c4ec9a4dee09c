"""Read off a model's tensors what its cost depends on, or make it up for a size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.models.layers import is_decoder_layer, layer_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# The shape of the Llama models: heads of 128, as many layers as heads, eight thirds of the width
# inside a block; a vocabulary as recent ones have it.
_HEAD_WIDTH = 128
_VOCABULARY = 128_256
_PER_SQUARE = 12  # four matrices of attention, and three of 8/3 as many parameters
_MOST_HEADS = 512  # of a model of 26 T parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """Hold what of a model's shape its cost depends on.

    Attributes:
        num_parameters: Parameters, tied ones counted once.
        vocabulary_parameters: Those of embedding and head.
        num_tokens: Size of the vocabulary.
        width: Width of the hidden states.
        num_layers: Decoder layers.
        inputs: Sum of the inputs of all matrices but embedding and head.
        outputs: Sum of their outputs.
        largest: Parameters of the largest tensor.
        side: The longest of the shorter sides of all matrices.
        gram: Sum of the shorter side squared times the longer, over all matrices.
        cubes: Sum of the shorter side cubed, over all matrices.
    """

    num_parameters: int
    vocabulary_parameters: int
    num_tokens: int
    width: int
    num_layers: int
    inputs: int
    outputs: int
    largest: int
    side: int
    gram: float
    cubes: float


def shape_of(shapes: Mapping[str, tuple[int, ...]], vocabulary: Collection[str]) -> ModelShape:
    """Read a model's shape off its tensors.

    Args:
        shapes: Shape of every tensor by name, tied ones once.
        vocabulary: Names of those with one row for each token.

    Returns:
        The shape. Where no tensor is known to be an embedding, the largest matrix is taken for it.
    """
    flat = {name: shape for name, shape in shapes.items() if len(shape) == 2}
    inner = [shape for name, shape in flat.items() if name not in vocabulary]
    known = [flat[name] for name in vocabulary if name in flat]
    rows, width = max(known or inner, key=math.prod, default=(1, 1))
    layers = {layer_of(name) for name in shapes}
    sides = [_sides(shape) for shape in shapes.values() if len(shape) > 1]
    return ModelShape(
        num_parameters=sum(map(math.prod, shapes.values())),
        vocabulary_parameters=sum(math.prod(shapes[name]) for name in vocabulary if name in shapes),
        num_tokens=rows,
        width=width,
        num_layers=max(1, sum(map(is_decoder_layer, layers))),
        inputs=sum(shape[1] for shape in inner),
        outputs=sum(shape[0] for shape in inner),
        largest=max(map(math.prod, shapes.values()), default=1),
        side=max((short for _, short, _ in sides), default=1),
        gram=math.fsum(count * short**2 * long for count, short, long in sides),
        cubes=math.fsum(count * short**3 for count, short, _ in sides),
    )


def _sides(shape: tuple[int, ...]) -> tuple[int, int, int]:
    # Experts are stacks of matrices; an axis before the last two counts matrices.
    short, long = sorted(shape[-2:])
    return math.prod(shape[:-2]), short, long


def llama_shape(num_parameters: int) -> ModelShape:
    """Make up the shape of a model of which only the size is known.

    Args:
        num_parameters: Its parameters; at least 1.

    Returns:
        The shape of a Llama of about that size, with exactly that number of parameters.
    """
    heads = min(range(1, _MOST_HEADS), key=lambda heads: abs(_llama_size(heads) - num_parameters))
    width = heads * _HEAD_WIDTH
    inside = 8 * width // 3
    layer = {
        **{f"{name}.weight": (width, width) for name in "qkvo"},
        **{f"{name}.weight": (inside, width) for name in ("gate", "up")},
        "down.weight": (width, inside),
    }
    shapes = {f"layers.{i}.{name}": shape for i in range(heads) for name, shape in layer.items()}
    ends = dict.fromkeys(("embed_tokens.weight", "lm_head.weight"), (_VOCABULARY, width))
    return replace(shape_of(shapes | ends, ends), num_parameters=num_parameters)


def _llama_size(heads: int) -> int:
    width = heads * _HEAD_WIDTH
    return _PER_SQUARE * heads * width**2 + 2 * _VOCABULARY * width
