"""Compute singular values and subspaces of weight matrices by their Gram matrix, in float64.

Precision contract: a Gram matrix squares the condition number, so in float64 a singular value
``s`` carries an absolute error of at most about ``s_max * sqrt(eps * p)``, ``p`` being the shorter
side (1e-7 of the largest one for ``p = 64``, 1e-6 for ``p = 4096``), and values above that floor
one of about ``s_max**2 * eps * p / s``. Everything here that is weighted by ``s`` or ``s**2``
is exact to many more digits than weights stored in 8 or 11 bits of mantissa carry.

What needs it: singular values, and with them ranks, medians and distances of spectra, lose half of
their digits in the square: in float32 they are noise below 3e-4 of the largest. Top subspaces have
the Gram matrix's error over a gap of its spectrum, often 1e-4 of the largest value: 1e-12 here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdi_gate.signals.symmetric import sum_of_grams

if TYPE_CHECKING:
    from collections.abc import Iterator

# Elements promoted to float64 at one time: 16 MiB. Larger blocks go back to the system each time.
_CHUNK_ELEMENTS = 1 << 21


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """Hold a matrix as a product of two thin ones: ``left @ right``.

    Attributes:
        left: Shape ``[m, r]``, float64; ``r`` may be 0, and may exceed ``m`` and ``n``.
        right: Shape ``[r, n]``, float64.
    """

    left: Tensor
    right: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixPair:
    """Hold the same weight matrix of base and candidate.

    Attributes:
        base: Shape ``[m, n]``, any floating dtype.
        candidate: Shape ``[m, n]``, any floating dtype.
        device: Where to compute; chunks are moved there as they are needed.
        update: Candidate minus base, if an adapter says so; else it is subtracted.
    """

    base: Tensor
    candidate: Tensor
    device: torch.device
    update: LowRank | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """Hold the spectrum of a matrix and singular vectors of its shorter side.

    Attributes:
        s: Singular values, descending, shape ``[p]``, float64, ``p = min(m, n)``.
        V: The vectors that belong to the first values as columns, shape ``[p, b]``, float64; all
            ``p`` of them from `factorise`.
        rank: Number of singular values above the numerical floor.
    """

    s: Tensor
    V: Tensor
    rank: int


def chunks(W: Tensor, device: torch.device) -> Iterator[Tensor]:
    """Yield a tensor in float64 pieces along its first axis.

    Args:
        W: Any shape with at least one axis, any real dtype.
        device: Where the pieces shall lie.

    Yields:
        Contiguous float64 tensors of shape ``[c, ...]`` that stacked give ``W``, whatever its
        strides, so that equal tensors give equal bits; none if ``W`` is empty.
    """
    row = max(1, W.numel() // max(1, W.shape[0]))
    step = max(1, _CHUNK_ELEMENTS // row)
    for start in range(0, W.shape[0], step):
        yield _promoted(W[start : start + step], device)


def _promoted(piece: Tensor, device: torch.device) -> Tensor:
    return piece.to(
        device=device, dtype=torch.float64, memory_format=torch.contiguous_format
    ).contiguous()


def is_finite(W: Tensor) -> bool:
    """Say whether every number of a tensor is finite.

    Args:
        W: Any shape, any real dtype.

    Returns:
        False if there is a NaN or an infinity.
    """
    return all(bool(torch.isfinite(chunk).all()) for chunk in chunks(W.reshape(-1), W.device))


def tall(W: Tensor) -> Tensor:
    """Return the matrix or its transpose, whichever has at least as many rows as columns.

    Args:
        W: Shape ``[m, n]``.

    Returns:
        A view of shape ``[q, p]`` with ``q = max(m, n)`` and ``p = min(m, n)``.
    """
    return W if W.shape[0] >= W.shape[1] else W.mT


def tall_chunks(W: Tensor, device: torch.device) -> Iterator[Tensor]:
    """Yield `tall` of a matrix in float64 pieces along its longer side.

    Args:
        W: Shape ``[m, n]``, any real dtype.
        device: Where the pieces shall lie.

    Yields:
        Float64 tensors of shape ``[c, p]`` whose order in memory follows from the shape of ``W``
        alone: a wide matrix is cut as it lies, and its pieces are views that are turned.
    """
    if W.shape[0] >= W.shape[1]:
        yield from chunks(W, device)
        return
    step = max(1, _CHUNK_ELEMENTS // max(1, W.shape[0]))
    for start in range(0, W.shape[1], step):
        yield _promoted(W[:, start : start + step], device).mT


def gram(W: Tensor, device: torch.device) -> Tensor:
    r"""Compute the Gram matrix of the shorter side, in float64, without copying the matrix.

    Args:
        W: Shape ``[m, n]``, any floating dtype.
        device: Where to compute.

    Returns:
        :math:`A^\top A` of shape ``[p, p]``, float64, exactly symmetric, where ``A`` is `tall` of
        ``W``. Memory: the result and a chunk.
    """
    return sum_of_grams(tall_chunks(W, device), min(W.shape), device)


def singular_values(G: Tensor) -> Tensor:
    """Return the singular values that belong to a Gram matrix.

    Args:
        G: Gram matrix, shape ``[p, p]``, float64, finite.

    Returns:
        Shape ``[p]``, float64, descending; negative eigenvalues, which only rounding makes, are 0.
    """
    eigenvalues: Tensor = torch.linalg.eigvalsh(G)
    return eigenvalues.flip(0).clamp(min=0).sqrt()


def product_core(product: LowRank, device: torch.device) -> Tensor:
    r"""Shrink a product of thin matrices to a small matrix of the same singular values.

    With thin QR decompositions :math:`B = Q_B R_B` and :math:`A^\top = Q_A R_A` of the factors,
    :math:`B A = Q_B (R_B R_A^\top) Q_A^\top`. Cost :math:`O((m + n) r^2)`; nothing of the
    product's size exists.

    Args:
        product: The factors, shapes ``[m, r]`` and ``[r, n]``.
        device: Where to compute.

    Returns:
        :math:`R_B R_A^\top`, shape ``[min(m, r), min(n, r)]``, float64; exactly 0 if a factor is
        and the other is finite, all NaN if a factor is not finite.
    """
    left = product.left.to(device=device, dtype=torch.float64)
    right = product.right.to(device=device, dtype=torch.float64)
    core = torch.linalg.qr(left, mode="r").R @ torch.linalg.qr(right.mT, mode="r").R.mT
    # LAPACK's reflectors can lose a NaN: the R of a column that holds one may be a number.
    return core if is_finite(left) and is_finite(right) else torch.full_like(core, torch.nan)


def singular_values_of_product(product: LowRank, device: torch.device) -> Tensor:
    """Return the singular values of a product of thin matrices, without forming it.

    Exact to about ``eps`` times the product of the factors' norms, where the way over the Gram
    matrix of the product is exact to the root of that. Invariant to ``(left @ M, M^-1 @ right)``.

    Args:
        product: The factors, shapes ``[m, r]`` and ``[r, n]``, neither ``m`` nor ``n`` 0.
        device: Where to compute.

    Returns:
        Shape ``[min(m, n)]``, float64, descending, padded with zeros; all NaN if the factors or
        their product are not finite.
    """
    core = product_core(product, device)
    p = min(product.left.shape[0], product.right.shape[1])
    s = torch.zeros(p, dtype=torch.float64, device=device)
    if not bool(torch.isfinite(core).all()):
        return s.fill_(torch.nan)
    if core.numel():
        values = torch.linalg.svdvals(core)[:p]
        s[: len(values)] = values
    return s


def squares_of_product(product: LowRank, device: torch.device) -> float:
    r"""Sum the squares of a product of thin matrices, without forming it.

    Equal to :math:`\mathrm{tr}((B^\top B)(A A^\top))`, and taken as
    :math:`\|R_B R_A^\top\|_F^2` (see `product_core`): where the factors are large and their
    product is small, the trace loses twice as many digits.

    Args:
        product: The factors, shapes ``[m, r]`` and ``[r, n]``.
        device: Where to compute.

    Returns:
        At least 0; exactly 0 if a factor is; NaN or infinite if a factor is not finite.
    """
    return float(product_core(product, device).square().sum())


def factorise(G: Tensor) -> Factors:
    """Return the spectrum and the shorter side's singular vectors that belong to a Gram matrix.

    Args:
        G: Gram matrix, shape ``[p, p]``, float64, finite.

    Returns:
        The factors. The signs of the vectors are arbitrary.
    """
    eigenvalues, vectors = torch.linalg.eigh(G)
    s = eigenvalues.flip(0).clamp(min=0).sqrt()
    return Factors(s=s, V=vectors.flip(1), rank=numerical_rank(s))


def numerical_rank(s: Tensor) -> int:
    """Count the singular values that are more than rounding of a Gram matrix.

    Args:
        s: Singular values, descending, shape ``[p]``, float64.

    Returns:
        How many lie above ``s[0] * sqrt(eps * p)``.
    """
    floor = float(s[0]) * (torch.finfo(torch.float64).eps * len(s)) ** 0.5
    return int((s > floor).sum())


def long_side_vectors(W: Tensor, factors: Factors, k: int) -> Tensor:
    """Return the top singular vectors of the longer side.

    Args:
        W: The matrix that was factorised, shape ``[m, n]``.
        factors: Its factors, or as many of them as are needed.
        k: How many vectors; at most the rank.

    Returns:
        Orthonormal columns, shape ``[q, k]``, float64.
    """
    scaled = factors.V[:, :k] / factors.s[:k]  # [p, k]
    return torch.cat([chunk @ scaled for chunk in tall_chunks(W, scaled.device)])


def subspace_overlap(Q: Tensor, R: Tensor) -> float:
    r"""Compute how far two subspaces overlap: the mean squared cosine of their principal angles.

    Defined as :math:`\|Q^\top R\|_F^2 / (\|Q^\top Q\|_F \, \|R^\top R\|_F)`, which for
    orthonormal columns of equal number ``k`` is :math:`\|Q^\top R\|_F^2 / k`. Written so, equal
    arguments give exactly 1. Invariant to a rotation of the columns within each subspace. Unlike
    the largest angle it hardly moves where single directions of a subspace swap with their
    neighbours outside (Davis and Kahan 1970 need a gap for that one); where all singular values
    are alike, top subspaces mean nothing and neither does their overlap.

    Args:
        Q: Columns that span one subspace, shape ``[n, j]``; ``j`` may be 0.
        R: Columns that span the other, shape ``[n, k]``; ``k`` may be 0.

    Returns:
        From 0 (orthogonal) to 1 (equal); 1 if both are empty and 0 if only one is; NaN if an
        argument is not finite. Subspaces of unequal dimension never reach 1.
    """
    if Q.shape[1] == 0 or R.shape[1] == 0:
        return float(Q.shape[1] == R.shape[1])
    cross = (Q.mT @ R).square().sum()
    scale = ((Q.mT @ Q).square().sum() * (R.mT @ R).square().sum()).sqrt()
    return float((cross / scale).clamp(max=1.0))
