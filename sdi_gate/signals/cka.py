"""Compare two sets of representations: debiased CKA, and what makes it worth comparing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MIN_SAMPLES = 4
STD_FLOOR = 0.01


class ShapeError(ValueError):
    """Say that tensors do not have the shapes that a formula needs."""


def debiased_hsic(K: Tensor, L: Tensor) -> Tensor:
    r"""Compute the unbiased estimator of the Hilbert-Schmidt independence criterion.

    With the diagonals of ``K`` and ``L`` set to zero,
    :math:`\frac{1}{n(n-3)}\left[\mathrm{tr}(KL) + \frac{1^\top K 1\,1^\top L 1}{(n-1)(n-2)}
    - \frac{2}{n-2} 1^\top K L 1\right]`.

    Args:
        K: Gram matrix, symmetric, shape ``[n, n]``, float64, ``n >= 4``.
        L: Gram matrix of the same samples, symmetric, shape ``[n, n]``, float64.

    Returns:
        0-d float64; its expectation is 0 for independent features, so noise makes it negative too.

    Raises:
        ShapeError: If the shapes differ or ``n < 4``.

    References:
        Song et al. (2012), JMLR 13:1393-1434, equation 5.
    """
    n = K.shape[0]
    if K.shape != (n, n) or L.shape != (n, n) or n < MIN_SAMPLES:
        msg = f"expected two [n, n] Gram matrices, n >= 4; got {[*K.shape]}, {[*L.shape]}"
        raise ShapeError(msg)
    off = 1.0 - torch.eye(n, dtype=K.dtype, device=K.device)
    K, L = K * off, L * off
    k, m = K.sum(0), L.sum(0)  # [n]
    trace = (K * L).sum()
    return (trace + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2.0 / (n - 2) * (k @ m)) / (
        n * (n - 3)
    )


def debiased_linear_cka(X: Tensor, Y: Tensor) -> Tensor:
    r"""Compute debiased linear centred kernel alignment (CKA).

    With Gram matrices :math:`K = X X^\top`, :math:`L = Y Y^\top`, the ratio
    :math:`\mathrm{HSIC}_u(K, L) / \sqrt{\mathrm{HSIC}_u(K, K)\,\mathrm{HSIC}_u(L, L)}`.
    Invariant to a rotation of the features, to isotropic scaling and to translation; not to
    invertible linear maps. Where features outnumber samples the biased estimator finds
    independent features alike; this one gives 0 within its error.

    Args:
        X: Base activations, shape ``[n, p]``, any floating dtype.
        Y: Candidate activations, shape ``[n, q]``; row ``i`` is the same sample as in ``X``.

    Returns:
        Similarity, 0-d float64, at most 1; noise can push it slightly below 0. Exactly 1 for
        ``Y`` equal to ``X``. NaN if either argument is constant over the samples.

    Raises:
        ShapeError: If the arguments are not matrices, differ in ``n``, or ``n < 4``.

    References:
        Kornblith et al. (2019), arXiv:1905.00414. Song et al. (2012), JMLR 13:1393-1434.
        Murphy et al. (2024), arXiv:2405.01012, for the bias.
    """
    if X.ndim != 2 or Y.ndim != 2 or X.shape[0] != Y.shape[0] or X.shape[0] < MIN_SAMPLES:
        msg = f"expected [n, p] and [n, q] of equal n >= 4; got {[*X.shape]} and {[*Y.shape]}"
        raise ShapeError(msg)
    X, Y = _centre(X), _centre(Y)
    K, L = X @ X.mT, Y @ Y.mT
    own_x, own_y = debiased_hsic(K, K), debiased_hsic(L, L)
    if not bool(own_x > 0) or not bool(own_y > 0):
        return torch.full((), math.nan, dtype=torch.float64)
    return (debiased_hsic(K, L) / (own_x * own_y).sqrt()).clamp(max=1.0).cpu()


def cka_angle(similarity: float) -> float:
    """Turn a CKA similarity into an angle, which does not saturate for small drifts.

    Args:
        similarity: Debiased CKA, at most 1; below 0 counts as 0.

    Returns:
        From 0 (equal up to rotation and scale) to pi/2 (unrelated); NaN for NaN.

    References:
        Williams et al. (2021), arXiv:2110.14739, section 2.
    """
    if math.isnan(similarity):
        return math.nan
    return math.acos(min(1.0, max(0.0, similarity)))


def standardise(X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
    """Standardise the features of both models with the statistics of the base.

    One feature with massive activations would otherwise be all that CKA sees.

    Args:
        X: Base activations, shape ``[n, p]``.
        Y: Candidate activations, shape ``[n, p]``.

    Returns:
        Both in float64, shifted by the base's mean and divided by the base's standard deviation
        per feature, which is taken as at least a hundredth of the median feature's: a feature
        that hardly varies in the base must not drown the others with its rounding. If no feature
        varies in the base, both are shifted only.
    """
    X, Y = X.double(), Y.double()
    mean_, std = X.mean(0), X.std(0)
    rounding = X.shape[0] * torch.finfo(torch.float64).eps * X.abs().amax(0)
    varying = std[std > rounding]
    floor = STD_FLOOR * float(varying.median()) if len(varying) else 1.0
    scale = torch.where(std > rounding, std, 0.0).clamp(min=floor)
    return (X - mean_) / scale, (Y - mean_) / scale


def _centre(X: Tensor) -> Tensor:
    # Centring changes nothing in exact arithmetic and saves digits where the mean is large. What
    # it leaves of a constant feature is rounding, which the ratio would take for a signal.
    # Contiguous, so that equal activations give equal bits whatever their strides; scaled, so
    # that fourth powers neither overflow nor vanish.
    X = X.double().contiguous()
    centred = X - X.mean(0)
    rounding = X.shape[0] * torch.finfo(torch.float64).eps * X.abs().amax(0)
    centred = centred.where(~(centred.abs().amax(0) <= rounding), 0.0)  # keeps NaN
    size = centred.abs().max()
    return centred / size if bool(size > 0) else centred
