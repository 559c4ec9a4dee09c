"""Compare two versions of one weight matrix: their spectra and their top singular subspaces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdi_gate.signals.linalg import (
    Factors,
    MatrixPair,
    factorise,
    gram,
    gram_of_update,
    long_side_vectors,
    singular_values,
    singular_values_of_product,
    subspace_overlap,
    tall,
    transposed_product,
)

if TYPE_CHECKING:
    from torch import Tensor

TOP_K = 16
INTRUDER_COSINE = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixComparison:
    """Hold what changed between two versions of one weight matrix.

    Attributes:
        spectrum_distance: Wasserstein-1 distance of the spectra over the base's root mean square
            singular value; at least 0, at most the relative Frobenius distance (Mirsky).
        subspace_loss: One minus the mean overlap of the top left and right subspaces; 0 to 1.
        intruder_dimensions: How many of the candidate's top left singular vectors are far from
            every left singular vector of the base.
        stable_rank_shift: Log ratio of the stable ranks; None if a matrix is zero.
        effective_rank_shift: Log ratio of the entropy ranks; None if a matrix is zero.
        update_signal_share: Share of the update's energy above the Gavish-Donoho threshold;
            0 to 1, 0 if there is no update.
        update_stable_rank: Stable rank of the update; 0 if there is no update.
    """

    spectrum_distance: float
    subspace_loss: float
    intruder_dimensions: int
    stable_rank_shift: float | None
    effective_rank_shift: float | None
    update_signal_share: float
    update_stable_rank: float

    @property
    def divergence(self) -> float:
        """Return the matrix's contribution to the headline: the mean of its two terms."""
        return (self.spectrum_distance + self.subspace_loss) / 2


_NOT_FINITE = MatrixComparison(
    spectrum_distance=math.nan,
    subspace_loss=math.nan,
    intruder_dimensions=0,
    stable_rank_shift=math.nan,
    effective_rank_shift=math.nan,
    update_signal_share=math.nan,
    update_stable_rank=math.nan,
)


def spectrum_distance(s0: Tensor, s1: Tensor) -> float:
    r"""Compute the Wasserstein-1 distance between two spectra, in units of the base's.

    Defined as :math:`\frac1p \sum_i |s^1_i - s^0_i| \big/ \sqrt{\frac1p \sum_i (s^0_i)^2}` with
    both spectra sorted. Blind to any rotation of singular vectors. By Mirsky's inequality at most
    :math:`\|\Delta\|_F / \|W^0\|_F`.

    Args:
        s0: Base singular values, descending, shape ``[p]``, float64.
        s1: Candidate singular values, descending, shape ``[p]``, float64.

    Returns:
        At least 0; 1 if the base is all zeros and the candidate is not.
    """
    scale = float(s0.square().mean().sqrt())
    moved = float((s1 - s0).abs().mean())
    if moved == 0.0:
        return 0.0
    return moved / scale if scale > 0.0 else 1.0


def stable_rank(s: Tensor) -> float:
    r"""Compute :math:`\|W\|_F^2 / \|W\|_2^2` from singular values.

    Args:
        s: Singular values, descending, shape ``[p]``, float64.

    Returns:
        From 1 to ``p``; 0 for a zero matrix.
    """
    top = float(s[0])
    return float((s / top).square().sum()) if top > 0.0 else 0.0


def effective_rank(s: Tensor) -> float:
    r"""Compute the exponential of the entropy of the normalised singular values.

    Args:
        s: Singular values, descending, shape ``[p]``, float64.

    Returns:
        From 1 to ``p``; 0 for a zero matrix.

    References:
        Roy and Vetterli (2007), EUSIPCO, definition 1.
    """
    if not float(s[0]) > 0.0:
        return 0.0
    p = s / s.sum()
    return math.exp(-float((p[p > 0] * p[p > 0].log()).sum()))


def signal_energy_share(s: Tensor, aspect_ratio: float) -> float:
    r"""Compute the share of energy above the optimal hard threshold for singular values.

    The threshold is :math:`\omega(\beta)` times the median singular value, with the cubic
    approximation of :math:`\omega` for an unknown noise level. The median stands for the noise
    only where there are some tens of values; a single value is never above itself.

    Args:
        s: Singular values of an update, descending, shape ``[p]``, float64.
        aspect_ratio: Shorter over longer side, in (0, 1].

    Returns:
        From 0 (all noise-like) to 1 (all above the threshold); 0 if all values are 0.

    References:
        Gavish and Donoho (2014), arXiv:1305.5870, equation 5.
    """
    energy = s.square()
    total = float(energy.sum())
    if total == 0.0:
        return 0.0
    b = aspect_ratio
    omega = 0.56 * b**3 - 0.95 * b**2 + 1.82 * b + 1.43
    return min(1.0, float(energy[s > omega * float(s.median())].sum()) / total)


def count_intruder_dimensions(pair: MatrixPair, F0: Factors, F1: Factors, k: int) -> int:
    """Count the candidate's top left singular vectors that resemble none of the base's.

    A vector is an intruder if the absolute cosine with every left singular vector of the base
    that carries weight is below 0.6. Where the base's spectrum decays it fires only for large
    low-rank updates; where singular values lie close together (random initialisation), an
    isotropic update of a tenth mixes neighbours enough to fire as well.

    Args:
        pair: The two matrices.
        F0: Factors of the base.
        F1: Factors of the candidate.
        k: How many of the candidate's vectors to look at; at most its rank.

    Returns:
        From 0 to ``k``.

    References:
        Shuttleworth et al. (2024), arXiv:2410.21228, section 3.
    """
    left_is_long = pair.base.shape[0] >= pair.base.shape[1]
    V0 = F0.V[:, : F0.rank]
    if left_is_long:
        U1 = long_side_vectors(pair.candidate, F1, k)  # [q, k]
        A = tall(pair.base)
        projected = transposed_product(A, U1)  # [p, k]
        cosines = (V0.mT @ projected) / F0.s[: F0.rank, None]
    else:
        cosines = V0.mT @ F1.V[:, :k]
    if F0.rank == 0:
        return k
    return int((cosines.abs().amax(0) < INTRUDER_COSINE).sum())


def compare_matrices(pair: MatrixPair, top_k: int = TOP_K) -> MatrixComparison:
    """Compare the spectra and the top singular subspaces of two versions of a matrix.

    The subspaces have ``min(top_k, max(1, p // 4))`` dimensions, ``p`` being the shorter side:
    with all dimensions any two subspaces are equal.

    Args:
        pair: The two matrices, neither side of length 0.
        top_k: Upper bound for the dimension of the subspaces.

    Returns:
        The comparison. Equal matrices give exactly 0 in every number. If a matrix holds NaN or
        infinity, every real number is NaN and `spectral_divergence` is inconclusive.
        Cost: three Gram matrices and their eigenvalues, :math:`O(q p^2 + p^3)`; memory five
        ``[p, p]`` float64 matrices, one ``[q, p]`` one, and a chunk. Where the pair holds its
        update as a product of thin matrices, two Gram matrices and :math:`O(q r^2)`.
    """
    G0, G1 = gram(pair.base, pair.device), gram(pair.candidate, pair.device)
    s_update = _update_spectrum(pair)
    if s_update is None or not all(_is_finite_gram(G) for G in (G0, G1)):
        return _NOT_FINITE
    F0, F1 = factorise(G0), factorise(G1)
    p, q = len(F0.s), max(pair.base.shape)
    k = min(top_k, max(1, p // 4))
    k0, k1 = min(k, F0.rank), min(k, F1.rank)
    short = subspace_overlap(F0.V[:, :k0], F1.V[:, :k1])
    long = subspace_overlap(
        long_side_vectors(pair.base, F0, k0), long_side_vectors(pair.candidate, F1, k1)
    )
    return MatrixComparison(
        spectrum_distance=spectrum_distance(F0.s, F1.s),
        subspace_loss=1.0 - (short + long) / 2,
        intruder_dimensions=count_intruder_dimensions(pair, F0, F1, k1),
        stable_rank_shift=_log_ratio(stable_rank(F1.s), stable_rank(F0.s)),
        effective_rank_shift=_log_ratio(effective_rank(F1.s), effective_rank(F0.s)),
        update_signal_share=signal_energy_share(s_update, p / q),
        update_stable_rank=stable_rank(s_update),
    )


def _update_spectrum(pair: MatrixPair) -> Tensor | None:
    if pair.update is not None:
        s = singular_values_of_product(pair.update, pair.device)
        return s if bool(torch.isfinite(s).all()) else None
    G = gram_of_update(pair)
    return singular_values(G) if _is_finite_gram(G) else None


def _is_finite_gram(G: Tensor) -> bool:
    return bool(torch.isfinite(G.diagonal()).all())


def _log_ratio(new: float, old: float) -> float | None:
    return math.log(new / old) if new > 0.0 and old > 0.0 else None
