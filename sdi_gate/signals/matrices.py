"""Compare two versions of one weight matrix: their spectra and their top singular subspaces."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from sdi_gate.signals.intruders import INTRUDER_COSINE, count_intruder_dimensions
from sdi_gate.signals.linalg import (
    long_side_vectors,
    singular_values,
    singular_values_of_product,
    squares_of_product,
    subspace_overlap,
    tall_chunks,
)
from sdi_gate.signals.spectrum import TOP_K, dimensions, spectrum_of
from sdi_gate.signals.symmetric import is_finite_gram, sum_of_grams

if TYPE_CHECKING:
    from torch import Tensor

    from sdi_gate.signals.linalg import MatrixPair
    from sdi_gate.signals.spectrum import MatrixSpectrum

__all__ = ["INTRUDER_COSINE", "TOP_K"]  # others read them here


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


_EQUAL = MatrixComparison(
    spectrum_distance=0.0,
    subspace_loss=0.0,
    intruder_dimensions=0,
    stable_rank_shift=0.0,
    effective_rank_shift=0.0,
    update_signal_share=0.0,
    update_stable_rank=0.0,
)
_BOTH_ZERO = replace(_EQUAL, stable_rank_shift=None, effective_rank_shift=None)
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


def gram_of_update(pair: MatrixPair) -> Tensor:
    r"""Compute the Gram matrix of candidate minus base, subtracting in float64.

    Args:
        pair: The two matrices.

    Returns:
        :math:`\Delta^\top \Delta` over the shorter side, shape ``[p, p]``, float64.
    """
    both = zip(
        tall_chunks(pair.base, pair.device), tall_chunks(pair.candidate, pair.device), strict=True
    )
    return sum_of_grams((b - a for a, b in both), min(pair.base.shape), pair.device)


def compare_matrices(
    pair: MatrixPair, top_k: int = TOP_K, base: MatrixSpectrum | None = None
) -> MatrixComparison:
    """Compare the spectra and the top singular subspaces of two versions of a matrix.

    The subspaces have ``min(top_k, max(1, p // 4))`` dimensions, ``p`` being the shorter side:
    with all dimensions any two subspaces are equal.

    Args:
        pair: The two matrices, neither side of length 0.
        top_k: Upper bound for the dimension of the subspaces.
        base: `spectrum_of` the pair's base with the same ``top_k``, if it is known; the numbers
            are the same to the bit with and without it.

    Returns:
        The comparison. Equal matrices give exactly 0 in every number. If a matrix holds NaN or
        infinity, every real number is NaN and `spectral_divergence` is inconclusive.
        Cost: three Gram matrices and their eigenvalues, :math:`O(q p^2 + p^3)`, one after the
        other; two where the pair holds its update as a product of thin matrices, and one less
        where the base is known. Memory four ``[p, p]`` float64 matrices, two ``[q, k]`` ones and
        a chunk; more only where `count_intruder_dimensions` needs all vectors of the base.
    """
    if _are_equal(pair):
        return _EQUAL if bool(pair.base.any()) else _BOTH_ZERO
    s_update = _update_spectrum(pair)
    if s_update is None:
        return _NOT_FINITE
    F0 = spectrum_of(pair.base, pair.device, top_k) if base is None else base.to(pair.device)
    F1 = spectrum_of(pair.candidate, pair.device, top_k)
    if F0 is None or F1 is None:
        return _NOT_FINITE
    k = dimensions(len(F0.s), top_k)
    return MatrixComparison(
        spectrum_distance=spectrum_distance(F0.s, F1.s),
        subspace_loss=_subspace_loss(pair, F0, F1, k),
        intruder_dimensions=count_intruder_dimensions(pair, F0, F1, min(k, F1.rank)),
        stable_rank_shift=_log_ratio(stable_rank(F1.s), stable_rank(F0.s)),
        effective_rank_shift=_log_ratio(effective_rank(F1.s), effective_rank(F0.s)),
        update_signal_share=signal_energy_share(s_update, len(F0.s) / max(pair.base.shape)),
        update_stable_rank=stable_rank(s_update),
    )


def _are_equal(pair: MatrixPair) -> bool:
    if pair.base.dtype != pair.candidate.dtype or not torch.equal(pair.base, pair.candidate):
        return False
    # Infinities are equal to themselves, and an update can be lost where it was added in few bits.
    unmoved = pair.update is None or squares_of_product(pair.update, pair.device) == 0.0
    return unmoved and bool(torch.isfinite(pair.base).all())


def _subspace_loss(pair: MatrixPair, F0: MatrixSpectrum, F1: MatrixSpectrum, k: int) -> float:
    k0, k1 = min(k, F0.rank), min(k, F1.rank)
    short = subspace_overlap(F0.V[:, :k0], F1.V[:, :k1])
    U0, U1 = long_side_vectors(pair.base, F0, k0), long_side_vectors(pair.candidate, F1, k1)
    return 1.0 - (short + subspace_overlap(U0, U1)) / 2


def _update_spectrum(pair: MatrixPair) -> Tensor | None:
    if pair.update is not None:
        s = singular_values_of_product(pair.update, pair.device)
        return s if bool(torch.isfinite(s).all()) else None
    G = gram_of_update(pair)
    return singular_values(G) if is_finite_gram(G) else None


def _log_ratio(new: float, old: float) -> float | None:
    return math.log(new / old) if new > 0.0 and old > 0.0 else None
