r"""Find the top eigenvectors of a symmetric matrix whose eigenvalues are known.

All eigenvalues of a Gram matrix cost a third of its full decomposition or less. Of the vectors
only the first few are wanted, and they come from a block Krylov space of a Chebyshev polynomial
of the matrix (Zhou and Saad 2007; Saad 2011, section 7.4; Zhou et al. 2006 for the filter in
iteration). The known eigenvalues give the filter its interval and its degree, and they say at
the end whether the vectors found are really those of the top: a value that were missed, of a
multiplicity for instance, would show. What does not pass is not returned.

The start is drawn from a generator of its own with a fixed seed: equal matrices give equal bits.
Nothing is kept between calls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch

if TYPE_CHECKING:
    from torch import Tensor

_EPS = torch.finfo(torch.float64).eps
_SEED = 0
# Columns of a step. One product with eight columns costs hardly more than with one, as the matrix
# is read from memory once; more columns make the space larger than its polynomials need.
_WIDTH = 8
# The interval of the filter begins so many values below the last wanted one, and a step shall
# enlarge that one by cosh(4) against the interval: set by trial, for flat spectra, which need most
# steps; decaying ones hardly mind.
_GAP = 16
_GROWTH = 4.0
# Bounds of the degree, and of how far the filter may part the wanted ones: the digits between
# the largest and the last of them are lost to rounding.
_LARGEST_DEGREE = 40
_LEAST_GROWTH = 0.01
_ALIKE = 1e-8
_LARGEST_RATIO = 30.0
# When to look whether the space is large enough: at four times the wanted, then in such ratios.
_FIRST_LOOK = 4
_NEXT_LOOK = 1.15


@dataclass(frozen=True, slots=True, kw_only=True)
class ChebyshevFilter:
    """Hold a Chebyshev polynomial that is small on an interval of eigenvalues and grows above it.

    Attributes:
        degree: At least 1.
        centre: Middle of the interval.
        radius: Half of its length, above 0.
    """

    degree: int
    centre: float
    radius: float

    @classmethod
    def above(cls, eigenvalues: Tensor, wanted: int) -> Self:
        """Choose the filter for the first of known eigenvalues.

        Args:
            eigenvalues: Descending, shape ``[p]``, float64, the first above 0.
            wanted: How many of the first are wanted, below ``p``.

        Returns:
            A filter whose interval begins some values below the last wanted one.
        """
        last = min(wanted + _GAP, len(eigenvalues) - 1)
        high, low, top = (float(eigenvalues[i]) for i in (last, -1, 0))
        centre, radius = (high + low) / 2, (high - low) / 2
        if not radius > _ALIKE * top:  # all the unwanted ones are alike
            return cls(degree=1, centre=0.0, radius=top)
        growth, most = (
            math.acosh(max(1.0, (float(eigenvalues[i]) - centre) / radius)) for i in (wanted - 1, 0)
        )
        if not growth > _LEAST_GROWTH:  # the last wanted one is among them: no degree parts it
            return cls(degree=1, centre=0.0, radius=top)
        parting = math.log(_LARGEST_RATIO) / max(most - growth, _EPS)
        degree = min(_LARGEST_DEGREE, round(_GROWTH / growth), int(parting))
        return cls(degree=max(1, degree), centre=centre, radius=radius)

    def __call__(self, G: Tensor, X: Tensor) -> Tensor:
        r"""Multiply by :math:`T_d((G - c I) / r)`.

        Args:
            G: Symmetric, shape ``[p, p]``.
            X: Shape ``[p, w]``.

        Returns:
            Shape ``[p, w]``. Cost: ``degree`` products.
        """
        c, r = self.centre, self.radius
        Y = torch.addmm(X, G, X, beta=-c / r, alpha=1 / r)
        for _ in range(self.degree - 1):
            Z = torch.addmm(X, G, Y, beta=-1.0, alpha=2 / r).sub_(Y, alpha=2 * c / r)
            X, Y = Y, Z
        return Y


class _KrylovSpace:
    """Orthonormal columns, and what the filter is between them: block tridiagonal."""

    def __init__(self, G: Tensor, f: ChebyshevFilter, most: int) -> None:
        self.G, self.f, self.most = G, f, most
        self.size = _WIDTH
        self.columns = G.new_empty(most + _WIDTH, len(G)).mT  # one column lies together
        self.projected = torch.zeros(most + _WIDTH, most + _WIDTH, dtype=torch.float64)
        generator = torch.Generator().manual_seed(_SEED)
        start = torch.randn(len(G), _WIDTH, generator=generator, dtype=torch.float64)
        self.columns[:, :_WIDTH] = torch.linalg.qr(start.to(G.device)).Q
        self.coupling = torch.empty(0)

    def multiply(self) -> Tensor:
        """Project the filter of the last block.

        Returns:
            The block that would come next.
        """
        Q, last = self.columns[:, : self.size], slice(self.size - _WIDTH, self.size)
        Z = self.f(self.G, Q[:, last])
        length = float(Z.norm(dim=0).max())
        C = Q.mT @ Z
        self.projected[last, last] = C[last].cpu()
        block: Tensor
        block, R = torch.linalg.qr(Z - Q @ C)
        if not float(R.diagonal().abs().min()) > 0.02 * length:  # little was left: project again
            block, again = torch.linalg.qr(block - Q @ (Q.mT @ block))
            R = again @ R
        self.coupling = R.cpu()
        return block

    def extend(self, block: Tensor) -> None:
        """Take a block into the space.

        Args:
            block: What `multiply` returned.
        """
        last, new = self.size - _WIDTH, self.size + _WIDTH
        self.columns[:, self.size : new] = block
        self.projected[self.size : new, last : self.size] = self.coupling
        self.projected[last : self.size, self.size : new] = self.coupling.mT
        self.size = new

    def ritz_vectors(self, wanted: int, spare: int) -> Tensor | None:
        """Look for the first vectors.

        Args:
            wanted: How many.
            spare: How many more, if they are there already.

        Returns:
            Them, or None if the wanted ones are not yet eigenvectors of the filter to rounding.
        """
        H = self.projected[: self.size, : self.size]
        values, vectors = torch.linalg.eigh((H + H.mT) / 2)
        S = vectors.flip(1)[:, : wanted + spare]
        bound = 4 * _EPS * float(values.abs().max())
        there = (self.coupling @ S[-_WIDTH:]).norm(dim=0) <= bound
        count = int(there.long().cumprod(0).sum())
        if count < wanted:
            return None
        V: Tensor = self.columns[:, : self.size] @ S[:, :count].to(self.G.device)
        return V


def top_eigenvectors(G: Tensor, eigenvalues: Tensor, wanted: int, spare: int = 0) -> Tensor | None:
    r"""Compute the eigenvectors of the largest eigenvalues of a symmetric matrix.

    Args:
        G: Symmetric positive semidefinite, shape ``[p, p]``, float64, finite.
        eigenvalues: All of them, descending, shape ``[p]``, float64.
        wanted: How many vectors, below ``p / 4``.
        spare: How many more are welcome if they cost nothing.

    Returns:
        Orthonormal columns, shape ``[p, b]``, float64, in the order of the eigenvalues, ``b`` from
        ``wanted`` to ``wanted + spare``; their signs are arbitrary. None if a space of ``p / 4``
        dimensions does not hold the wanted ones (flat spectra of small matrices), or if not every
        one passes: the residual :math:`\|G v - \theta v\|`, the distance of :math:`\theta` from
        the known eigenvalue, both relative to the largest, and the distance from orthonormality
        are at most ``16 * eps * sqrt(p)``. Cost: at most ``p / 4`` products of the filter's degree
        with the matrix, often some 150; memory a quarter of the matrix.

    References:
        Zhou and Saad (2007), doi:10.1137/050630404, algorithm 3.1; we keep the whole space and
        never restart. Saad (2011), Numerical Methods for Large Eigenvalue Problems, section 7.4.
        Zhou, Saad, Tiago and Chelikowsky (2006), doi:10.1016/j.jcp.2006.03.017.
    """
    if not float(eigenvalues[0]) > 0.0:
        return None
    space = _KrylovSpace(G, ChebyshevFilter.above(eigenvalues, wanted), len(G) // 4)
    look = _FIRST_LOOK * wanted
    while True:
        block = space.multiply()
        full = space.size + _WIDTH > space.most
        if full or space.size >= look:
            V = space.ritz_vectors(wanted, spare)
            if V is not None:
                return _verified(G, V, eigenvalues)
            look = int(_NEXT_LOOK * space.size)
        if full:
            return None
        space.extend(block)


def _verified(G: Tensor, V: Tensor, eigenvalues: Tensor) -> Tensor | None:
    # Rayleigh and Ritz on the matrix itself, whose eigenvectors the filter shares.
    W = G @ V
    H = V.mT @ W
    values, S = torch.linalg.eigh((H + H.mT) / 2)
    values, S = values.flip(0), S.flip(1)
    V, W = V @ S, W @ S
    top = eigenvalues[0]
    unit = torch.eye(V.shape[1], dtype=V.dtype, device=V.device)
    wrong = (
        (W - V * values).norm(dim=0).max() / top,
        (values - eigenvalues[: len(values)]).abs().max() / top,
        (V.mT @ V - unit).abs().max(),
    )
    bound = 16 * _EPS * math.sqrt(len(V))
    return V if all(float(each) <= bound for each in wrong) else None
