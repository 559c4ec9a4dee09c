"""Count the singular vectors of a candidate that resemble none of its base."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sdi_gate.signals.christoffel import Measures, largest_masses
from sdi_gate.signals.linalg import factorise, gram, long_side_vectors, tall_chunks

if TYPE_CHECKING:
    from torch import Tensor

    from sdi_gate.signals.linalg import Factors, MatrixPair
    from sdi_gate.signals.spectrum import MatrixSpectrum

INTRUDER_COSINE = 0.6
_LEAST_MASS = INTRUDER_COSINE**2
# What rounding may add to a squared cosine, far above it.
_SLACK = 1e-9
# Products with the base's Gram matrix before its full decomposition is made, which costs as much
# as some two hundred of them.
_STEPS = (24, 64)


def count_intruder_dimensions(
    pair: MatrixPair, F0: MatrixSpectrum, F1: MatrixSpectrum, k: int
) -> int:
    r"""Count the candidate's top left singular vectors that resemble none of the base's.

    A vector is an intruder if the absolute cosine with every left singular vector of the base
    that carries weight is below 0.6. Where the base's spectrum decays it fires only for large
    low-rank updates; where singular values lie close together (random initialisation), an
    isotropic update of a tenth mixes neighbours enough to fire as well.

    Only the base's first vectors :math:`u_i` are known. A vector :math:`x` that none of them
    meets is still no intruder if one of the others does. It is one if
    :math:`1 - \sum \cos^2(x, u_i)` over the known leaves less than 0.36, or if a bound for each
    of the others stays below that (see `largest_masses`). Where neither says so, all vectors of
    the base are computed. The count is the same on every way.

    Args:
        pair: The two matrices.
        F0: Spectrum of the base.
        F1: Spectrum of the candidate.
        k: How many of the candidate's vectors to look at; at most its rank.

    Returns:
        From 0 to ``k``. Memory: where known vectors do not decide, one Gram matrix; where the
        bound does not either, its full decomposition.

    References:
        Shuttleworth et al. (2024), arXiv:2410.21228, section 3.
    """
    if F0.rank == 0 or k == 0:
        return k
    X = _projections(pair, F1, k)  # [p, k]
    known = min(F0.rank, F0.V.shape[1])
    cosines = _cosines(pair, F0, X, known)
    rest = 1.0 - cosines.square().sum(0)
    unmet = cosines.abs().amax(0) < INTRUDER_COSINE
    unsure = unmet & ~(rest < _LEAST_MASS - _SLACK)
    if known == F0.rank or not bool(unsure.any()):
        return int(unmet.sum())
    return int(unmet.sum()) - _count_met(pair, F0, X[:, unsure], rest[unsure])


def _projections(pair: MatrixPair, F1: MatrixSpectrum, k: int) -> Tensor:
    if not _left_is_long(pair):
        return F1.V[:, :k]
    U = long_side_vectors(pair.candidate, F1, k)  # [q, k]
    total = torch.zeros_like(F1.V[:, :k])
    start = 0
    for piece in tall_chunks(pair.base, pair.device):
        total.addmm_(piece.mT, U[start : start + len(piece)])
        start += len(piece)
    return total


def _left_is_long(pair: MatrixPair) -> bool:
    return pair.base.shape[0] >= pair.base.shape[1]


def _cosines(pair: MatrixPair, F: Factors, X: Tensor, known: int) -> Tensor:
    cosines = F.V[:, :known].mT @ X
    return cosines / F.s[:known, None] if _left_is_long(pair) else cosines


def _count_met(pair: MatrixPair, F0: MatrixSpectrum, X: Tensor, rest: Tensor) -> int:
    # How many of these vectors some unknown vector of the base meets.
    G = gram(pair.base, pair.device)
    known = F0.V.shape[1]
    V = F0.V
    measures = Measures(X=X - V @ (V.mT @ X), mass=rest, on_long_side=_left_is_long(pair))
    others = F0.s[known : F0.rank].square()
    for steps in _STEPS:
        if bool((largest_masses(G, others, measures, steps) < _LEAST_MASS - _SLACK).all()):
            return 0
    F = factorise(G)
    return int((_cosines(pair, F, X, F0.rank).abs().amax(0) >= INTRUDER_COSINE).sum())
