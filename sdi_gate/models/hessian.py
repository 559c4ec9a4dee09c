"""Multiply the loss Hessian of a language model by vectors, and sum the products by layer group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdi_gate.models.activations import logits
from sdi_gate.models.layers import layer_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdi_gate.models.causal_lm import LoadedModel
    from sdi_gate.models.tokens import Batch

# One tensor per parameter name.
Vector = dict[str, Tensor]
# One number per layer group.
ByLayer = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvatureProducts:
    """Hold what one batch and one vector of signs tell about a model's curvature.

    Attributes:
        trace: ``v . Hv`` of each layer group: unbiased for the trace of its block.
        weighted_trace: ``u . Hu`` with ``u`` the parameters times ``v``, of each layer group.
        fisher_trace: Squared gradient of sampled labels per token, of each layer group.
        quadratic_form: Half of ``d . Hd`` over all parameters for a given ``d``; 0 without one.
    """

    trace: ByLayer
    weighted_trace: ByLayer
    fisher_trace: ByLayer
    quadratic_form: float


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
    cumulative = log_p.detach().double().exp().cumsum(-1)
    thresholds = (uniforms.to(cumulative.device) * cumulative[:, -1])[:, None]
    return torch.searchsorted(cumulative, thresholds, right=True)[:, 0].clamp(
        max=log_p.shape[1] - 1
    )


def curvature_products(
    loaded: LoadedModel,
    batch: Batch,
    signs: Vector,
    uniforms: Tensor,
    update: Mapping[str, Tensor] | None,
) -> CurvatureProducts:
    """Compute all curvature products of one draw from one forward pass.

    Args:
        loaded: The model, with eager attention.
        batch: The tokens.
        signs: Rademacher signs for each parameter.
        uniforms: Numbers in [0, 1), at least one for each predicted token.
        update: Candidate minus base for each parameter, for the quadratic form; or None.

    Returns:
        The products, each summed in float64.
    """
    parameters = parameters_of(loaded)
    layers = [layer_of(name) for name in parameters]
    tensors = [*parameters.values()]
    loss, log_p = token_loss(loaded, batch)
    gradient = torch.autograd.grad(
        loss, tensors, create_graph=True, retain_graph=True, materialize_grads=True
    )

    def product(vector: Mapping[str, Tensor], *, last: bool = False) -> ByLayer:
        pushed = [vector[name].to(p) for name, p in parameters.items()]
        pulled = torch.autograd.grad(
            gradient, tensors, pushed, retain_graph=not last, materialize_grads=True
        )
        return _sum_by_layer(layers, pushed, pulled)

    weighted = {name: signs[name].to(p) * p.detach() for name, p in parameters.items()}
    quadratic = 0.5 * sum(product(update).values()) if update is not None else 0.0
    fisher = _fisher(layers, tensors, log_p, uniforms)
    return CurvatureProducts(
        trace=product(signs),
        weighted_trace=product(weighted, last=True),
        fisher_trace=fisher,
        quadratic_form=quadratic,
    )


def _fisher(layers: list[str], tensors: list[Tensor], log_p: Tensor, uniforms: Tensor) -> ByLayer:
    labels = sample_labels(log_p, uniforms[: log_p.shape[0]])
    sampled = -log_p.gather(1, labels[:, None]).sum()
    gradient = torch.autograd.grad(sampled, tensors, retain_graph=True, materialize_grads=True)
    totals = _sum_by_layer(layers, gradient, gradient)
    # The gradients of independently sampled labels are uncorrelated with mean 0, so that the
    # square of their sum is in expectation the sum of their squares: one backward for all tokens.
    return {layer: value / log_p.shape[0] for layer, value in totals.items()}


def _sum_by_layer(layers: list[str], left: Sequence[Tensor], right: Sequence[Tensor]) -> ByLayer:
    products = [
        (a.detach().double() * b.detach().double()).sum() for a, b in zip(left, right, strict=True)
    ]
    totals: ByLayer = {}
    # One copy for all of them: each copy by itself would wait for the device.
    for layer, value in zip(layers, torch.stack(products).tolist(), strict=True):
        totals[layer] = totals.get(layer, 0.0) + value
    return totals
