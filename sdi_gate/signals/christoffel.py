r"""Bound how much of a vector any single eigenvector of a symmetric matrix can hold.

A vector :math:`x` and a symmetric matrix give a measure: the mass :math:`(v_i^\top x)^2` at each
eigenvalue :math:`\lambda_i`. Some products with the matrix (Lanczos) give nodes and weights of
Gauss's quadrature for that measure, and by the inequalities of Chebyshev, Markov and Stieltjes
the mass strictly between two nodes is at most the sum of the weights from the one to the other,
both counted. Where the mass is spread, the weights sink like one over the number of products;
where one eigenvector holds much, a weight stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

# The longer side's recurrence is cut where a pivot is this small against what it is left of:
# what follows would be exact only to eps over it.
_LEAST_PIVOT = 1e-6
_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    r"""Hold what a matrix is to be measured by, vector by vector.

    Attributes:
        X: Vectors as columns, shape ``[p, u]``, float64, none of them 0; either the vectors
            themselves or, where those lie on the longer side, :math:`A^\top x`.
        mass: Squared length of each vector, shape ``[u]``, float64, above 0.
        on_long_side: Whether ``X`` is :math:`A^\top x`.
    """

    X: Tensor
    mass: Tensor
    on_long_side: bool


def largest_masses(G: Tensor, eigenvalues: Tensor, start: Measures, steps: int) -> Tensor:
    r"""Bound the largest mass that any of some eigenvectors can hold, for each vector.

    At each eigenvalue the weights of two nodes below and two above are summed, so that rounding
    of the eigenvalue against a node beside it does no harm. On the longer side the eigenvectors
    are :math:`u_i = A v_i / \sqrt{\lambda_i}` and there are two bounds of :math:`(u_i^\top x)^2`,
    of which the smaller counts at each eigenvalue. One is the bound for
    :math:`(v_i^\top A^\top x)^2` over :math:`\lambda_i`; it does not see what of ``x`` lies
    outside the range of ``A``, but is weak for small eigenvalues. The other is of the measure of
    ``x`` under :math:`A A^\top`, which follows from the first as Golub and Kahan's
    bidiagonal matrix is turned round.

    Args:
        G: Gram matrix :math:`A^\top A`, shape ``[p, p]``, float64.
        eigenvalues: Those asked for, all above 0, shape ``[e]``, float64.
        start: The vectors.
        steps: How many products with the matrix, at least 1.

    Returns:
        Shape ``[u]``, float64: an upper bound for each vector, to rounding. Where a vector is
        exhausted early, further products change nothing. Cost ``steps`` products of ``G`` with
        ``u`` vectors; memory ``steps`` times ``X``.

    References:
        Akhiezer (1965), The Classical Moment Problem, section 2.5. Golub and Meurant (2010),
        Matrices, Moments and Quadrature, chapters 4 and 6.
    """
    total = start.X.square().sum(0)
    alphas, betas = _lanczos(G, start.X, steps)
    bound = total[:, None] * _masses_near(eigenvalues, alphas, betas)  # [u, e]
    if start.on_long_side:
        alphas, betas = _long_side(alphas, betas, total / start.mass)
        other = start.mass[:, None] * _masses_near(eigenvalues, alphas, betas)
        bound = torch.minimum(bound / eigenvalues, other)
    return bound.amax(1)


def _lanczos(G: Tensor, X: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    # One recurrence for each column, all columns in one product; each column is made orthogonal
    # to all of its own former ones, so that no node comes twice.
    p, u = X.shape
    K = X.new_empty(u, steps + 1, p)  # former vectors of each column lie together
    K[:, 0] = (X / X.norm(dim=0)).mT
    alphas, betas = [], []
    for j in range(steps):
        Z = K[:, j] @ G  # [u, p]; G is symmetric
        alphas.append((Z * K[:, j]).sum(1))
        former = K[:, : j + 1]
        for _ in range(2):
            Z = Z - ((former @ Z[:, :, None]).mT @ former)[:, 0]
        betas.append(torch.linalg.vector_norm(Z, dim=1))
        K[:, j + 1] = Z / betas[-1].clamp(min=_TINY)[:, None]
    return torch.stack(alphas), torch.stack(betas)  # [steps, u]


def _long_side(alphas: Tensor, betas: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    # With B bidiagonal, diagonal a and b beside it: alphas = a^2 + b^2 and betas = a' b are those
    # of B^T B, and those of B B^T are wanted. The first a^2 is the mean of the measure.
    squares, before, goes_on = mean, torch.zeros_like(mean), torch.ones_like(mean).bool()
    diagonal, beside = [], []
    for alpha, beta in zip(alphas, betas, strict=True):
        diagonal.append(squares + before)
        before = alpha - squares
        goes_on = goes_on & (before > _LEAST_PIVOT * alpha)
        before = torch.where(goes_on, before, 0.0)
        beside.append((squares * before).sqrt())
        squares = torch.where(goes_on, beta.square() / before.clamp(min=_TINY), 0.0)
    return torch.stack(diagonal), torch.stack(beside)


def _masses_near(points: Tensor, alphas: Tensor, betas: Tensor) -> Tensor:
    beside = betas[:-1].mT
    T = torch.diag_embed(alphas.mT) + torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
    nodes, vectors = torch.linalg.eigh(T)  # [u, steps], [u, steps, steps]
    weights = torch.nn.functional.pad(vectors[:, 0].square(), (2, 2))
    sums = weights.unfold(1, 4, 1).sum(2)  # [u, steps + 1]
    places = torch.searchsorted(nodes, points.expand(len(nodes), -1).contiguous())
    return sums.gather(1, places)  # [u, e]
