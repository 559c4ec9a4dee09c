"""Make a variant of an organism by its recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sdi_gate.errors import UsageError
from sdi_gate.models.causal_lm import decoder_layers
from sdi_gate.study.organisms.recipes import Ablate, Noise, Prune, Quantise, Train
from sdi_gate.study.organisms.training import Training, train

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from sdi_gate.study.organisms.recipes import Recipe
    from sdi_gate.study.world.facts import World


def apply_recipe(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, world: World, recipe: Recipe
) -> None:
    """Change a model in place.

    Args:
        model: A base.
        tokenizer: Its tokenizer.
        world: What it read of.
        recipe: What to do.

    Raises:
        UsageError: If the recipe names a layer that is not there.
    """  # noqa: DOC502 - raised by _ablate()
    if isinstance(recipe, Train):
        _train(model, tokenizer, world, recipe)
        return
    with torch.no_grad():
        match recipe:
            case Noise():
                _add_noise(model, recipe)
            case Prune(share=share):
                for matrix in _matrices(model):
                    matrix.copy_(pruned(matrix, share))
            case Quantise(bits=bits):
                for matrix in _matrices(model):
                    matrix.copy_(quantised(matrix, bits))
            case Ablate():
                _ablate(model, recipe)


def pruned(matrix: Tensor, share: float) -> Tensor:
    """Return a matrix without its smallest weights.

    Args:
        matrix: Any shape.
        share: Share of the weights to set to 0, rounded down to whole weights.

    Returns:
        The matrix with at least that many zeros.
    """
    count = int(matrix.numel() * share)
    if count == 0:
        return matrix.clone()
    bound = matrix.abs().flatten().kthvalue(count).values
    return torch.where(matrix.abs() <= bound, 0.0, matrix)


def quantised(matrix: Tensor, bits: int) -> Tensor:
    """Return a matrix whose rows are rounded to a symmetric grid.

    Args:
        matrix: Shape ``[m, n]``.
        bits: Bits of a weight: ``2 ** bits - 1`` values around 0.

    Returns:
        The matrix in its own type.
    """
    top = 2 ** (bits - 1) - 1
    step = matrix.abs().amax(1, keepdim=True).clamp(min=torch.finfo(matrix.dtype).tiny) / top
    rounded: Tensor = (matrix / step).round() * step
    return rounded


class _LowRank(nn.Module):
    def __init__(self, matrix: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = matrix.shape
        start = torch.randn(rank, columns, generator=generator) * columns**-0.5
        self.down = nn.Parameter(start.to(matrix))
        self.up = nn.Parameter(torch.zeros(rows, rank).to(matrix))

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix + self.up @ self.down


def _train(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, world: World, recipe: Train
) -> None:
    training = Training(
        texts=recipe.texts,
        steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        batch=recipe.batch,
        seed=recipe.seed,
    )
    if not recipe.lora_rank:
        train(model, tokenizer, world, training)
        return
    # The update B A of Hu et al. (2021), arXiv:2106.09685, merged at the end.
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(recipe.seed)
    linears = [*_linears(model)]
    for linear in linears:
        low_rank = _LowRank(linear.weight, recipe.lora_rank, generator)
        parametrize.register_parametrization(linear, "weight", low_rank)
    train(model, tokenizer, world, training)
    for linear in linears:
        parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)
    model.requires_grad_(True)


def _add_noise(model: PreTrainedModel, recipe: Noise) -> None:
    generator = torch.Generator().manual_seed(recipe.seed)
    for matrix in _matrices(model):
        noise = torch.randn(matrix.shape, generator=generator).to(matrix)
        matrix.add_(noise * (recipe.relative * matrix.norm() / noise.norm()))


def _ablate(model: PreTrainedModel, recipe: Ablate) -> None:
    layers = decoder_layers(model)
    if recipe.layer >= len(layers):
        msg = f"cannot ablate layer {recipe.layer}: the model has {len(layers)}"
        raise UsageError(msg)
    last = {"attention": "o_proj", "mlp": "down_proj"}[recipe.part]
    for name, module in layers[recipe.layer].named_modules():
        if name.endswith(last) and isinstance(module, nn.Linear):
            module.weight.mul_(recipe.keep)


def _linears(model: PreTrainedModel) -> Iterator[nn.Linear]:
    for layer in decoder_layers(model):
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                yield module


def _matrices(model: PreTrainedModel) -> Iterator[Tensor]:
    for linear in _linears(model):
        yield linear.weight
