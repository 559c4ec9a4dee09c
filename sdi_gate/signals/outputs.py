"""Compare two versions of a weight matrix by what they do to the inputs that the base gives them.

Two metrics replace the plain one of weight space. *Activation-weighted*: a matrix is measured as
its outputs on the probe, so that a change counts by how much of the input it meets. *Loss metric*:
it is measured as its outputs weighted by the loss's gradient there, so that a change counts by how
much the loss depends on it (the Kronecker factors of the Fisher matrix).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from sdi_gate.signals.linalg import (
    chunks,
    factorise,
    gram,
    long_side_vectors,
    singular_values,
    subspace_overlap,
)

if TYPE_CHECKING:
    from torch import Tensor

    from sdi_gate.signals.linalg import Factors, MatrixPair

ACTIVATION_WEIGHTED_DISTANCE = "activation-weighted-distance"
LOSS_METRIC_DISTANCE = "loss-metric-distance"
LOSS_METRIC_ENERGY = "loss-metric-energy"
ACTIVATION_WEIGHTED_SPECTRUM_DISTANCE = "activation-weighted-spectrum-distance"
ACTIVATION_WEIGHTED_SUBSPACE_LOSS = "activation-weighted-subspace-loss"
LOSS_METRIC_SPECTRUM_DISTANCE = "loss-metric-spectrum-distance"

ACTIVATION_WEIGHTED = (
    ACTIVATION_WEIGHTED_DISTANCE,
    ACTIVATION_WEIGHTED_SPECTRUM_DISTANCE,
    ACTIVATION_WEIGHTED_SUBSPACE_LOSS,
)
LOSS_METRIC = (LOSS_METRIC_DISTANCE, LOSS_METRIC_ENERGY, LOSS_METRIC_SPECTRUM_DISTANCE)

# Value of each metric; None where the base's matrix is zero in the metric that is the unit.
OutputValues = dict[str, float | None]


def compare_outputs(
    pair: MatrixPair, inputs: Tensor, gradients: Tensor | None, top_k: int
) -> OutputValues:
    r"""Compare two versions of a matrix in the metric of their outputs and in that of the loss.

    With :math:`C = X^\top X / t` of the inputs and :math:`G = g^\top g / t` of the gradients,
    activation-weighted means :math:`W C^{1/2}` in place of :math:`W`, and the loss metric means
    :math:`G^{1/2} W C^{1/2}`. The energy is :math:`\frac12 \mathrm{tr}(G \Delta C \Delta^\top)`,
    the matrix's part of half of :math:`\Delta^\top F \Delta` with the Fisher matrix's block
    approximated by :math:`C \otimes G` (K-FAC). Neither square root is formed: :math:`W C^{1/2}`
    has the singular values and the left singular vectors of :math:`W X^\top / \sqrt t`.

    Invariant to an invertible linear map of the input space, applied to the inputs and, inverted,
    to both matrices. The loss metric is so to one of the output space, applied to both matrices
    and, inverted, to the gradients; the activation-weighted numbers are to a rotation of it only.
    All but the energy are invariant to the scale of inputs, gradients and both matrices. Not
    invariant to a rotation or scale of one matrix alone. Not symmetric. Equal matrices give
    exactly 0. Both spectrum distances are at most the distance in the same metric (Mirsky).

    Args:
        pair: The two matrices, shape ``[m, n]``.
        inputs: Inputs of the base's matrix at some tokens, shape ``[t, n]``, any floating dtype,
            on the pair's device.
        gradients: Gradient of the summed negative log-likelihood of labels sampled from the base,
            nats, with respect to the matrix's outputs at the same tokens, shape ``[t, m]``; None
            if there is none.
        top_k: Upper bound for the dimension of the subspaces, which is
            ``min(top_k, max(1, p // 4))`` with ``p = min(m, n, t)``.

    Returns:
        Value of each metric in `ACTIVATION_WEIGHTED`, and in `LOSS_METRIC` if there are gradients.
        The energy is in nats per token, the others are dimensionless, all at least 0; the
        subspace loss is at most 1. NaN throughout if an argument holds NaN or infinity. Cost:
        :math:`O(t m n)` and decompositions of order :math:`p`.

    References:
        Martens and Grosse (2015), arXiv:1503.05671, section 3, for the factors. They approximate
        layers without shared weights; one factor over the tokens of a text is the usual extension.
    """
    metrics = ACTIVATION_WEIGHTED if gradients is None else ACTIVATION_WEIGHTED + LOSS_METRIC
    if not _finite(inputs) or not _finite(gradients):
        return dict.fromkeys(metrics, math.nan)
    if torch.equal(pair.base, pair.candidate) and _finite(pair.base):
        return dict.fromkeys(metrics, 0.0)
    Y, moved = _outputs(pair, _condensed(inputs))
    if not _finite(Y) or not _finite(moved):
        return dict.fromkeys(metrics, math.nan)
    dimensions = min(top_k, max(1, min(*pair.base.shape, len(inputs)) // 4))
    values = _activation_weighted(Y, moved, dimensions)
    if gradients is not None:
        R = _condensed(gradients).mT  # [m, r]
        values |= _loss_metric(Y @ R, moved @ R)
    return values


def _finite(X: Tensor | None) -> bool:
    return X is None or bool(torch.isfinite(X).all())


def _condensed(X: Tensor) -> Tensor:
    # At most as many rows as columns, the same second moment R^T R = X^T X / t.
    X = X.to(torch.float64) / math.sqrt(len(X))
    return torch.linalg.qr(X, mode="r").R if X.shape[0] > X.shape[1] else X


def _outputs(pair: MatrixPair, X: Tensor) -> tuple[Tensor, Tensor]:
    base, moved = [], []
    for a, b in zip(
        chunks(pair.base, pair.device), chunks(pair.candidate, pair.device), strict=True
    ):
        base.append(X @ a.mT)
        moved.append(X @ (b - a).mT)
    return torch.cat(base, 1), torch.cat(moved, 1)  # [r, m]


def _activation_weighted(Y: Tensor, moved: Tensor, dimensions: int) -> OutputValues:
    F0, F1 = factorise(gram(Y, Y.device)), factorise(gram(Y + moved, Y.device))
    U0, U1 = (
        _output_side(A, factors, min(dimensions, factors.rank))
        for A, factors in ((Y, F0), (Y + moved, F1))
    )
    empty = F0.rank == 0 and F1.rank == 0
    return {
        ACTIVATION_WEIGHTED_DISTANCE: _ratio(moved, Y),
        ACTIVATION_WEIGHTED_SPECTRUM_DISTANCE: _ratio(F1.s - F0.s, F0.s),
        ACTIVATION_WEIGHTED_SUBSPACE_LOSS: None if empty else 1.0 - subspace_overlap(U0, U1),
    }


def _output_side(Y: Tensor, factors: Factors, k: int) -> Tensor:
    outputs_are_shorter = Y.shape[0] >= Y.shape[1]
    return factors.V[:, :k] if outputs_are_shorter else long_side_vectors(Y, factors, k)


def _loss_metric(A: Tensor, moved: Tensor) -> OutputValues:
    s0, s1 = (singular_values(gram(B, B.device)) for B in (A, A + moved))
    return {
        LOSS_METRIC_DISTANCE: _ratio(moved, A),
        LOSS_METRIC_ENERGY: 0.5 * float(moved.square().sum()),
        LOSS_METRIC_SPECTRUM_DISTANCE: _ratio(s1 - s0, s0),
    }


def _ratio(moved: Tensor, base: Tensor) -> float | None:
    # The matrices differ here: where the base is zero in this metric there is no ratio, and 0
    # would say that nothing moved.
    size = float(torch.linalg.vector_norm(base))
    return float(torch.linalg.vector_norm(moved)) / size if size > 0.0 else None
