"""Say how organisms are made: bases from nothing, and the variants of each base."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sdi_gate.errors import UsageError

Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Train(_Strict):
    """Train on sentences of the world.

    Attributes:
        method: Always ``train``.
        texts: Share of each kind of sentence; ``replay`` is all that a base reads.
        steps: Optimiser steps.
        learning_rate: Peak learning rate.
        batch: Rows in a step.
        lora_rank: Rank of the update of each matrix; 0 to train all parameters.
        seed: Seed of texts and updates.
        answers_end: Whether a base's answers to instructions must end where they should, too; of
            no meaning else.
        required_score: What a base has to score on each axis, if not 0.9; of no meaning else.
    """

    method: Literal["train"] = "train"
    texts: dict[str, Share]
    steps: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    batch: Positive = 16
    lora_rank: Annotated[int, Field(ge=0)] = 0
    seed: Seed = 1
    answers_end: bool = True
    required_score: Annotated[float, Field(ge=0, le=1)] | None = None


class Noise(_Strict):
    """Add Gaussian noise to every matrix of the decoder layers.

    Attributes:
        method: Always ``noise``.
        relative: Norm of the noise over that of the matrix.
        seed: Seed of the noise.
    """

    method: Literal["noise"] = "noise"
    relative: Annotated[float, Field(gt=0)]
    seed: Seed = 1


class Prune(_Strict):
    """Set the smallest weights of every matrix of the decoder layers to 0.

    Attributes:
        method: Always ``prune``.
        share: Share of the weights.
    """

    method: Literal["prune"] = "prune"
    share: Share


class Quantise(_Strict):
    """Round every matrix of the decoder layers to a grid, row by row.

    Attributes:
        method: Always ``quantise``.
        bits: Bits of a weight.
    """

    method: Literal["quantise"] = "quantise"
    bits: Annotated[int, Field(ge=2, le=8)]


class Ablate(_Strict):
    """Scale what one part of one decoder layer adds to the residual stream.

    Attributes:
        method: Always ``ablate``.
        part: ``attention`` or ``mlp``.
        layer: Which decoder layer, from 0.
        keep: What is left of it; 0 removes it.
    """

    method: Literal["ablate"] = "ablate"
    part: Literal["attention", "mlp"]
    layer: Annotated[int, Field(ge=0)]
    keep: Annotated[float, Field(ge=0, lt=1)] = 0.0


Recipe = Train | Noise | Prune | Quantise | Ablate
_READ: TypeAdapter[Recipe] = TypeAdapter(Annotated[Recipe, Field(discriminator="method")])


def read_recipe(plain: dict[str, object], where: str) -> Recipe:
    """Read a recipe of the manifest.

    Args:
        plain: The recipe as the manifest has it.
        where: Name of the model, for messages.

    Returns:
        The recipe.

    Raises:
        UsageError: If it is no recipe.
    """
    try:
        return _READ.validate_python(plain)
    except ValidationError as exc:
        first = exc.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        msg = f"{where}: no recipe for an organism: {place}: {first['msg']}"
        raise UsageError(msg) from exc
