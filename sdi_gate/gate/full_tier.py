"""Run tier ``full``: curvature draws at the base, the same draws at the candidate, and the shift.

The two models run one after the other. Signs, tokens and labels of a draw come from its own
seed, in the order of the base's parameters, so that the candidate's pass draws them again.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from sdi_gate.gate.curvature_data import BaseCurvature, CandidateCurvature
from sdi_gate.gate.luck import Luck, Shapes, draw_luck, in_advance
from sdi_gate.gate.request import CurvatureMethod
from sdi_gate.models.blocks import layer_blocks
from sdi_gate.models.hessian import (
    block_products,
    curvature_products,
    fisher_products,
    quadratic_form,
)
from sdi_gate.models.layers import depth_of, is_decoder_layer, layer_of
from sdi_gate.models.tokens import Batch, TokenSample, pad
from sdi_gate.signals.curvature import CurvatureDraw, CurvatureKind, Table, curvature_shift

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdi_gate.gate.request import Settings
    from sdi_gate.gate.running import Running
    from sdi_gate.models.hessian import CurvatureProducts, Update
    from sdi_gate.progress import Progress
    from sdi_gate.signals.interface import SignalResult

# Far more than draws of one stratum, so that no two draws share a seed.
SEED_STRIDE = 1_000_003
# Draws whose random numbers are made while a GPU computes, each in a bit for every parameter.
_DRAWS_AHEAD = 4
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draw:
    batch: Batch
    luck: Luck


def base_draws(
    running: Running, update: Update | None, settings: Settings, progress: Progress
) -> BaseCurvature:
    """Make every draw at the base.

    Memory beyond the model, by method: ``joint`` has the second-order graph of one batch, up to a
    copy of the parameters, and the update if the caller holds it; ``blocks`` has the graph of one
    block and what lies above it, and up to a copy of the block; ``fisher`` has the first-order
    graph of one sample and the largest gradient. The first two have a bit for each parameter.

    Args:
        running: The base and the probe.
        update: Candidate minus base for each of the base's parameters, with zeros in rows that
            only one of them has; None if there is no candidate yet. Method ``joint`` asks for it,
            twice in each draw.
        settings: Number, size, method and seed of the draws.
        progress: Told of every draw, in stage ``curvature``, whose first half this is.

    Returns:
        The draws.
    """
    draws = _Draws(running, settings, _shapes_of(running), 0)
    found = [_products(running, draw, settings, update) for draw in draws.one_by_one(progress)]
    return BaseCurvature(
        strata=draws.strata,
        tables=tuple(_table(products) for products in found),
        shapes=draws.shapes,
        quadratic=_together([products.quadratic_form for products in found]),
    )


def quadratic_forms(
    running: Running,
    update: Update | None,
    settings: Settings,
    progress: Progress,
    cached: BaseCurvature,
) -> BaseCurvature | None:
    """Add the quadratic forms of an update to draws that were kept.

    One draw is made whole, and must be that which was kept to the bit. This finds kept draws of
    another model, machine or version. Nobody can know beforehand which draw it is: who forges half
    of them is found out every other time.

    Args:
        running: The base and the probe.
        update: As for `base_draws`.
        settings: Number, size, method and seed of the draws.
        progress: Told of every draw, in stage ``curvature``, whose first half this is.
        cached: The draws that were kept.

    Returns:
        Them with the quadratic forms, or with none if the method has none; None if they are not
        those that `base_draws` would make.
    """
    draws = _Draws(running, settings, _shapes_of(running), 0)
    draws.tell(progress, 0)
    checked = secrets.randbelow(len(draws.plan))
    whole = draws.made(cached)
    again = _products(running, draws.draw(checked), settings, update) if whole else None
    if again is None or _table(again) != cached.tables[checked]:
        _LOGGER.warning("the kept curvature is not that of this base here, and is made anew")
        return None
    forms = [again.quadratic_form]
    if update is not None and settings.curvature_method is CurvatureMethod.JOINT:
        others = [place for place in range(len(draws.plan)) if place != checked]
        for done, place in enumerate(others, start=1):
            draws.tell(progress, done)
            forms.append(quadratic_form(running.loaded, draws.batch(place), update))
        forms.insert(checked, forms.pop(0))
    draws.tell(progress, len(draws.plan))
    return replace(cached, quadratic=_together(forms))


def candidate_draws(
    running: Running, shapes: Shapes, settings: Settings, progress: Progress
) -> CandidateCurvature:
    """Make every draw at the candidate, with the signs, tokens and luck that the base had.

    Args:
        running: The candidate and the probe.
        shapes: Shapes of the base's parameters, in the base's order.
        settings: Number, size, method and seed of the draws.
        progress: Told of every draw, in stage ``curvature``, whose second half this is.

    Returns:
        The draws.
    """
    draws = _Draws(running, settings, shapes, 1)
    found = [_products(running, draw, settings, None) for draw in draws.one_by_one(progress)]
    return CandidateCurvature(
        strata=draws.strata, tables=tuple(_table(products) for products in found)
    )


def shift_of(
    base: BaseCurvature,
    candidate: CandidateCurvature,
    parameters: Sequence[tuple[str, str]],
    settings: Settings,
) -> SignalResult:
    """Compute the curvature shift from both models' draws.

    Args:
        base: The base's draws.
        candidate: The same draws at the candidate.
        parameters: What changes every number that rests on the probe: `Running.parameters`.
        settings: What the draws were made by.

    Returns:
        The signal.

    Raises:
        ValueError: If these are not the same draws.
    """
    if base.strata != candidate.strata:
        msg = f"expected the same draws of both; got {len(base.strata)}, {len(candidate.strata)}"
        raise ValueError(msg)
    forms = base.quadratic or (None,) * len(base.strata)
    draws = [
        CurvatureDraw(stratum=stratum, base=ours, candidate=theirs, update_quadratic_form_nats=form)
        for stratum, ours, theirs, form in zip(
            base.strata, base.tables, candidate.tables, forms, strict=True
        )
    ]
    layers = {layer for _, layer in base.tables[0] if is_decoder_layer(layer)}
    return curvature_shift(draws, sorted(layers, key=depth_of), _parameters(parameters, settings))


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


@dataclass(frozen=True, slots=True)
class _Draws:
    """All draws of one model, in order: stratum by stratum."""

    running: Running
    settings: Settings
    shapes: Shapes  # the base's
    half: int  # 0 at the base, 1 at the candidate

    @property
    def plan(self) -> list[tuple[str, int, int]]:
        strata = dict.fromkeys(self.running.probe.strata)
        draws = range(self.settings.curvature_draws)
        return [(name, index, draw) for index, name in enumerate(strata) for draw in draws]

    @property
    def strata(self) -> tuple[str, ...]:
        return tuple(stratum for stratum, _, _ in self.plan)

    def tell(self, progress: Progress, done: int) -> None:
        whole, detail = len(self.plan), (*self.strata, "")[done]
        progress.advance("curvature", self.half * whole + done, 2 * whole, detail)

    def one_by_one(self, progress: Progress) -> Iterator[_Draw]:
        on_cpu = self.running.device.type == "cpu"
        workers = 0 if on_cpu else min(_DRAWS_AHEAD, torch.get_num_threads())
        for done, draw in enumerate(in_advance(self.draw, len(self.plan), workers)):
            self.tell(progress, done)
            yield draw
        self.tell(progress, len(self.plan))

    def draw(self, place: int) -> _Draw:
        _, stratum, draw = self.plan[place]
        batch = self.batch(place)
        signed = self.settings.curvature_method is not CurvatureMethod.FISHER
        generator = generator_of(self.settings, stratum, draw)
        own = _shapes_of(self.running)
        luck = draw_luck(self.shapes if signed else {}, own, batch.ids.numel(), generator)
        return _Draw(batch=batch, luck=luck)

    def batch(self, place: int) -> Batch:
        stratum, _, draw = self.plan[place]
        own = [sample for sample in self.running.probe.samples if sample.stratum == stratum]
        count, length = self.settings.curvature_samples, self.settings.curvature_tokens
        taken = [own[(draw * count + i) % len(own)] for i in range(count)]
        cut = [TokenSample(stratum=stratum, ids=sample.ids[:length]) for sample in taken]
        return pad(cut, range(len(cut)), self.running.device)

    def made(self, cached: BaseCurvature) -> bool:
        fisher = self.settings.curvature_method is CurvatureMethod.FISHER
        kinds = [CurvatureKind.FISHER_TRACE] if fisher else [*CurvatureKind]
        keys = {(kind, layer_of(name)) for kind in kinds for name in self.shapes}
        same_order = [*cached.shapes.items()] == [*self.shapes.items()]
        same_kinds = all(table.keys() == keys for table in cached.tables)
        return cached.strata == self.strata and same_order and same_kinds


def _shapes_of(running: Running) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in running.loaded.model.named_parameters()}


def _products(
    running: Running, draw: _Draw, settings: Settings, update: Update | None
) -> CurvatureProducts:
    loaded, signs, uniforms = running.loaded, draw.luck.of, draw.luck.uniforms
    if settings.curvature_method is CurvatureMethod.JOINT:
        return curvature_products(loaded, draw.batch, signs, uniforms, update)
    if settings.curvature_method is CurvatureMethod.FISHER:
        return fisher_products(loaded, draw.batch, uniforms)
    blocks = layer_blocks([*_shapes_of(running)], settings.curvature_blocks)
    return block_products(loaded, draw.batch, signs, uniforms, blocks)


def _together(forms: Sequence[float | None]) -> tuple[float, ...] | None:
    known = tuple(form for form in forms if form is not None)
    return known if len(known) == len(forms) else None


def _table(products: CurvatureProducts) -> Table:
    columns = (
        (CurvatureKind.HESSIAN_TRACE, products.trace),
        (CurvatureKind.WEIGHTED_TRACE, products.weighted_trace),
        (CurvatureKind.FISHER_TRACE, products.fisher_trace),
    )
    return {(kind, layer): value for kind, column in columns for layer, value in column.items()}


def _parameters(
    running: Sequence[tuple[str, str]], settings: Settings
) -> tuple[tuple[str, str], ...]:
    of_method = {
        CurvatureMethod.JOINT: (),
        CurvatureMethod.BLOCKS: (("curvature-blocks", str(settings.curvature_blocks)),),
        CurvatureMethod.FISHER: (("curvature-method", "fisher"),),
    }
    return (
        *running,
        ("curvature-draws", str(settings.curvature_draws)),
        ("curvature-samples", str(settings.curvature_samples)),
        ("curvature-tokens", str(settings.curvature_tokens)),
        ("seed", str(settings.seed)),
        *of_method[settings.curvature_method],
    )
