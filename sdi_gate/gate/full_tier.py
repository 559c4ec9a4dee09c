"""Run tier ``full``: paired curvature draws at both models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sdi_gate.models.hessian import CurvatureProducts, curvature_products, parameters_of
from sdi_gate.models.layers import depth_of, is_decoder_layer
from sdi_gate.models.tokens import TokenSample, pad
from sdi_gate.signals.curvature import (
    CurvatureDraw,
    CurvatureKind,
    curvature_shift,
    rademacher,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sdi_gate.gate.probe_tier import Models
    from sdi_gate.gate.request import Settings
    from sdi_gate.models.hessian import Vector
    from sdi_gate.models.tokens import Batch
    from sdi_gate.progress import Progress
    from sdi_gate.signals.interface import SignalResult

# Far more than draws of one stratum, so that no two draws share a seed.
SEED_STRIDE = 1_000_003


def measure_curvature(models: Models, settings: Settings, progress: Progress) -> SignalResult:
    """Measure the curvature shift from the same vectors, tokens and labels at both models.

    Args:
        models: Both models and the probe.
        settings: Number and size of the draws, and the seed.
        progress: Told of every draw, in stage ``curvature``.

    Returns:
        The signal.
    """
    base, candidate = parameters_of(models.base), parameters_of(models.candidate)
    update = {name: _update(base[name], candidate[name]) for name in base}
    plan = [
        (stratum, index, draw)
        for index, stratum in enumerate(dict.fromkeys(models.probe.strata))
        for draw in range(settings.curvature_draws)
    ]
    draws: list[CurvatureDraw] = []
    for done, (stratum, index, draw) in enumerate(plan):
        progress.advance("curvature", done, len(plan), stratum)
        generator = generator_of(settings, index, draw)
        batch = _draw_batch(models, stratum, draw, settings)
        draws.append(_paired_draw(models, stratum, batch, update, generator))
    progress.advance("curvature", len(plan), len(plan))
    layers = sorted({layer for _, layer in draws[0].base if is_decoder_layer(layer)}, key=depth_of)
    return curvature_shift(draws, layers, _parameters(models, settings))


def _update(base: Tensor, candidate: Tensor) -> Tensor:
    if base.shape == candidate.shape:
        return (candidate - base).detach()
    # In the rows that both have: there is no moving along a row that the base has not.
    update = torch.zeros_like(base)
    shared = min(len(base), len(candidate))
    update[:shared] = candidate[:shared].detach() - base[:shared].detach()
    return update.detach()


def _signs_like(signs: Tensor, parameter: Tensor, generator: torch.Generator) -> Tensor:
    # The rows that both have get the same signs, and added ones their own.
    if signs.shape == parameter.shape:
        return signs
    added = rademacher((max(0, len(parameter) - len(signs)), *signs.shape[1:]), generator)
    return torch.cat([signs[: len(parameter)], added])


def generator_of(settings: Settings, stratum: int, draw: int) -> torch.Generator:
    """Return the source of randomness of one draw.

    Args:
        settings: The seed.
        stratum: Which stratum, counted from 0.
        draw: Which draw, counted from 0; below `SEED_STRIDE`.

    Returns:
        A generator on the CPU that no other draw shares.
    """
    seed = settings.seed * SEED_STRIDE**2 + stratum * SEED_STRIDE + draw
    return torch.Generator().manual_seed(seed % 2**63)


def _parameters(models: Models, settings: Settings) -> tuple[tuple[str, str], ...]:
    return (
        *models.parameters,
        ("curvature-draws", str(settings.curvature_draws)),
        ("curvature-samples", str(settings.curvature_samples)),
        ("curvature-tokens", str(settings.curvature_tokens)),
        ("seed", str(settings.seed)),
    )


def _draw_batch(models: Models, stratum: str, draw: int, settings: Settings) -> Batch:
    own = [sample for sample in models.probe.samples if sample.stratum == stratum]
    start = draw * settings.curvature_samples
    chosen = [
        _cut(own[(start + i) % len(own)], settings.curvature_tokens)
        for i in range(settings.curvature_samples)
    ]
    return pad(chosen, range(len(chosen)), models.device)


def _cut(sample: TokenSample, num_tokens: int) -> TokenSample:
    return TokenSample(stratum=sample.stratum, ids=sample.ids[:num_tokens])


def _paired_draw(
    models: Models, stratum: str, batch: Batch, update: Vector, generator: torch.Generator
) -> CurvatureDraw:
    parameters = parameters_of(models.base)
    signs = {name: rademacher(p.shape, generator) for name, p in parameters.items()}
    uniforms = torch.rand(batch.ids.numel(), generator=generator, dtype=torch.float64)
    base = curvature_products(models.base, batch, signs, uniforms, update)
    theirs = {
        name: _signs_like(signs[name], p, generator)
        for name, p in parameters_of(models.candidate).items()
    }
    candidate = curvature_products(models.candidate, batch, theirs, uniforms, None)
    return CurvatureDraw(
        stratum=stratum,
        base=_table(base),
        candidate=_table(candidate),
        update_quadratic_form_nats=base.quadratic_form,
    )


def _table(products: CurvatureProducts) -> dict[tuple[CurvatureKind, str], float]:
    columns: Sequence[tuple[CurvatureKind, dict[str, float]]] = (
        (CurvatureKind.HESSIAN_TRACE, products.trace),
        (CurvatureKind.WEIGHTED_TRACE, products.weighted_trace),
        (CurvatureKind.FISHER_TRACE, products.fisher_trace),
    )
    return {(kind, layer): value for kind, column in columns for layer, value in column.items()}
