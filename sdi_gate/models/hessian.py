r"""Multiply the loss Hessian of a language model by vectors, and sum the products by layer group.

:math:`Hv` is the gradient of :math:`g(\theta)^\top v` with :math:`g` the gradient of the loss
(Pearlmutter 1994, Neural Computation 6(1):147-160): two passes backward through one graph. Of
vectors as large as the model none is made here. :math:`g` is needed as a graph and not as
numbers; :math:`v_i` enters when autograd reaches the place of :math:`g_i`; and :math:`(Hv)_i`
becomes :math:`v_i^\top (Hv)_i` as soon as its last term is there. What autograd itself holds is
the graph of one batch, and sums of :math:`(Hv)_i` that still lack terms: up to one copy of the
parameters that take part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdi_gate.models.activations import logits
from sdi_gate.models.blocks import taking_gradients
from sdi_gate.models.gradients import (
    ByName,
    Direction,
    GradientGraph,
    inner_product,
    take_gradients,
)
from sdi_gate.models.layers import layer_of
from sdi_gate.models.tokens import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdi_gate.models.causal_lm import LoadedModel

# Candidate minus base for each parameter of the base.
Update = Direction
# One tensor per parameter name.
Vector = dict[str, Tensor]
# One number per layer group.
ByLayer = dict[str, float]
# Positions whose distribution is summed in float64 at once.
_LABEL_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvatureProducts:
    """Hold what one batch and one vector of signs tell about a model's curvature.

    Attributes:
        trace: ``v . Hv`` of each layer group: unbiased for the trace of its block; empty where
            only first derivatives were taken.
        weighted_trace: ``u . Hu`` with ``u`` the parameters times ``v``, of each layer group; or
            empty.
        fisher_trace: Squared gradient of sampled labels per token, of each layer group.
        quadratic_form: Half of ``d . Hd`` over all parameters for a given ``d``; None without one.
    """

    trace: ByLayer
    weighted_trace: ByLayer
    fisher_trace: ByLayer
    quadratic_form: float | None = None


def parameters_of(loaded: LoadedModel) -> Vector:
    """Return the parameters of a model by name, each tied one once.

    Args:
        loaded: The model.

    Returns:
        The parameters, set to take gradients.
    """
    named = dict(loaded.model.named_parameters())
    for parameter in named.values():
        parameter.requires_grad_(True)
    return dict(named)


def token_loss(loaded: LoadedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Compute the mean negative log-likelihood of a batch.

    Args:
        loaded: The model.
        batch: The tokens.

    Returns:
        The loss (0-d, nats per token) and the log-probabilities of every real position, shape
        ``[t, v]``; both in float32 at least, with a graph for double backward.
    """
    predicts = batch.mask[:, 1:].bool()
    raw = logits(loaded, batch)[:, :-1][predicts]
    log_p = raw.to(torch.promote_types(raw.dtype, torch.float32)).log_softmax(-1)
    targets = batch.ids[:, 1:][predicts]
    return -log_p.gather(1, targets[:, None]).mean(), log_p


def sample_labels(log_p: Tensor, uniforms: Tensor) -> Tensor:
    """Sample a label for each position by the inverse of the cumulative distribution.

    The same uniform numbers give both models the same luck.

    Args:
        log_p: Log-probabilities, shape ``[t, v]``.
        uniforms: One number in [0, 1) for each position, shape ``[t]``, float64.

    Returns:
        Labels, shape ``[t]``, int64.
    """
    labels = []
    for rows, chances in zip(
        torch.split(log_p.detach(), _LABEL_ROWS), torch.split(uniforms, _LABEL_ROWS), strict=True
    ):
        cumulative = rows.double().exp().cumsum(-1)
        thresholds = (chances.to(cumulative.device) * cumulative[:, -1])[:, None]
        found = torch.searchsorted(cumulative, thresholds, right=True)[:, 0]
        labels.append(found.clamp(max=log_p.shape[1] - 1))
    return torch.cat(labels)


def curvature_products(
    loaded: LoadedModel,
    batch: Batch,
    signs: Direction,
    uniforms: Tensor,
    update: Update | None,
) -> CurvatureProducts:
    """Compute all curvature products of one draw from one forward pass.

    Memory beyond the model: the graph of the batch, a few times that of a training step, and up
    to one copy of the parameters.

    Args:
        loaded: The model, with eager attention.
        batch: The tokens.
        signs: Rademacher signs for each parameter.
        uniforms: Numbers in [0, 1), at least one for each predicted token.
        update: Candidate minus base for each parameter, for the quadratic form; or None. It is
            asked for each parameter twice.

    Returns:
        The products, each summed in float64.
    """
    with taking_gradients(loaded, None) as parameters:
        return _products(loaded, parameters, batch, (signs, uniforms), update)


def block_products(
    loaded: LoadedModel,
    batch: Batch,
    signs: Direction,
    uniforms: Tensor,
    blocks: Sequence[Sequence[str]],
) -> CurvatureProducts:
    r"""Compute curvature products of one block of parameters after the other.

    For each block :math:`v_b^\top H_{bb} v_b`, which is unbiased for :math:`\mathrm{tr} H_{bb}`
    like the share of a joint product, and has less noise, for what couples the blocks stays out
    of it. The graph of a block holds what lies above it alone. A forward pass for each block.

    Args:
        loaded: The model, with eager attention.
        batch: The tokens.
        signs: Rademacher signs for each parameter.
        uniforms: Numbers in [0, 1), at least one for each predicted token.
        blocks: Names of the parameters of each block; no layer group in two blocks.

    Returns:
        The products by layer group, without a quadratic form, which needs all blocks at once.
    """
    found = CurvatureProducts(trace={}, weighted_trace={}, fisher_trace={})
    for block in blocks:
        with taking_gradients(loaded, {*block}) as parameters:
            part = _products(loaded, parameters, batch, (signs, uniforms), None)
        found.trace.update(part.trace)
        found.weighted_trace.update(part.weighted_trace)
        found.fisher_trace.update(part.fisher_trace)
    return found


def fisher_products(loaded: LoadedModel, batch: Batch, uniforms: Tensor) -> CurvatureProducts:
    r"""Compute the Fisher trace alone, from first derivatives, sample by sample.

    :math:`\frac1T \sum_s \lVert \nabla_\theta \sum_{t \in s} \log p(y_t) \rVert^2` with sampled
    labels :math:`y_t`. Labels of different tokens are independent and every expected score is 0,
    so that this is unbiased however tokens are grouped. No second graph, and one sample's
    activations at a time.

    Args:
        loaded: The model.
        batch: The tokens.
        uniforms: Numbers in [0, 1), at least one for each predicted token.

    Returns:
        The products, of which only the Fisher trace is there; NaN if the batch predicts nothing.
    """
    start, totals = 0, dict[str, float]()
    with taking_gradients(loaded, None) as parameters:
        for sample in _samples(batch):
            _, log_p = token_loss(loaded, sample)
            luck = uniforms[start : start + len(log_p)]
            for name, value in _squared_scores(parameters, log_p, luck).items():
                totals[name] = totals.get(name, 0.0) + value
            start += len(log_p)
    per_token = {n: v / start if start else float("nan") for n, v in _by_layer(totals).items()}
    return CurvatureProducts(trace={}, weighted_trace={}, fisher_trace=per_token)


def quadratic_form(loaded: LoadedModel, batch: Batch, update: Update) -> float:
    r"""Compute :math:`\frac12 \Delta^\top H \Delta` of one batch.

    Args:
        loaded: The model, with eager attention.
        batch: The tokens.
        update: Candidate minus base for each parameter; asked for each twice.

    Returns:
        Nats per token, over all parameters.
    """
    with taking_gradients(loaded, None) as parameters:
        loss, _ = token_loss(loaded, batch)
        return _half_form(GradientGraph(parameters, loss), update, last=True)


def _samples(batch: Batch) -> Iterator[Batch]:
    for row, index in enumerate(batch.indices):
        count = int(batch.mask[row].sum())
        here = slice(row, row + 1), slice(count)
        yield Batch(indices=(index,), ids=batch.ids[here], mask=batch.mask[here])


def _products(
    loaded: LoadedModel,
    parameters: Vector,
    batch: Batch,
    luck: tuple[Direction, Tensor],
    update: Update | None,
) -> CurvatureProducts:
    signs, uniforms = luck
    loss, log_p = token_loss(loaded, batch)
    graph = GradientGraph(parameters, loss)
    quadratic = _half_form(graph, update) if update is not None else None
    scores = _squared_scores(parameters, log_p, uniforms[: len(log_p)], keep=True)
    # The gradients of independently sampled labels are uncorrelated with mean 0, so that the
    # square of their sum is in expectation the sum of their squares: one backward for all tokens.
    fisher = {layer: value / len(log_p) for layer, value in _by_layer(scores).items()}

    def weighted(name: str, parameter: Tensor) -> Tensor | None:
        sign = signs(name, parameter)
        return None if sign is None else sign * parameter

    return CurvatureProducts(
        trace=_by_layer(graph.form(signs)),
        weighted_trace=_by_layer(graph.form(weighted, last=True)),
        fisher_trace=fisher,
        quadratic_form=quadratic,
    )


def _half_form(graph: GradientGraph, update: Update, *, last: bool = False) -> float:
    return 0.5 * sum(_by_layer(graph.form(update, last=last)).values())


def _squared_scores(
    parameters: Vector, log_p: Tensor, uniforms: Tensor, *, keep: bool = False
) -> ByName:
    labels = sample_labels(log_p, uniforms)
    squares: dict[str, Tensor] = {}

    def take(name: str, gradient: Tensor) -> None:
        squares[name] = inner_product(gradient, gradient)

    take_gradients(parameters, -log_p.gather(1, labels[:, None]).sum(), take, retain_graph=keep)
    return {name: float(squares[name]) if name in squares else 0.0 for name in parameters}


def _by_layer(values: ByName) -> ByLayer:
    totals: ByLayer = {}
    for name, value in values.items():
        layer = layer_of(name)
        totals[layer] = totals.get(layer, 0.0) + value
    return totals
