"""All singular values of a weight matrix, and the singular vectors of the largest of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdi_gate.signals.linalg import (
    Factors,
    factorise,
    gram,
    numerical_rank,
    singular_values,
    tall_chunks,
)
from sdi_gate.signals.subspace import top_eigenvectors
from sdi_gate.signals.symmetric import is_finite_gram

if TYPE_CHECKING:
    from torch import Tensor

TOP_K = 16
# Vectors that are kept beyond those compared, where they cost nothing: with them most of a
# candidate's vectors are found again in the base even where neighbours have changed places.
_SPARE_VECTORS = 8
# Below so many times the wanted vectors, or below this side, all vectors cost less than all values
# and the first vectors. The flatter the spectrum, the less is saved; the larger the matrix, the
# more.
_LEAST_MULTIPLE = 32
_LEAST_SIDE = 768
# How far a spectrum from elsewhere may be from the matrix: the energy and the squared lengths are
# exact to about eps * p of the largest square, which is 1e-12 for p = 4096.
_AGREEMENT = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixSpectrum(Factors):
    """Hold what of one weight matrix is needed to compare it with others.

    `Factors` with as many vectors as `dimensions` says, and up to eight more that were found with
    them. Their signs are arbitrary.
    """

    def to(self, device: torch.device) -> MatrixSpectrum:
        """Return the same spectrum on a device.

        Args:
            device: Where the tensors shall lie.

        Returns:
            The spectrum; its tensors are copied only if they lie elsewhere.
        """
        return MatrixSpectrum(s=self.s.to(device), V=self.V.to(device), rank=self.rank)


def dimensions(p: int, top_k: int) -> int:
    """Return of how many dimensions the top subspaces are that are compared.

    Args:
        p: Shorter side, at least 1.
        top_k: Upper bound.

    Returns:
        ``min(top_k, max(1, p // 4))``: with all dimensions any two subspaces are equal.
    """
    return min(top_k, max(1, p // 4))


def spectrum_of(W: Tensor, device: torch.device, top_k: int = TOP_K) -> MatrixSpectrum | None:
    """Compute all singular values of a matrix and its top singular vectors.

    Equal matrices give equal bits on one thread, whatever their strides and types. All values
    come from the eigenvalues of the Gram matrix; the vectors from a filtered Krylov space (see
    `top_eigenvectors`), or from the full decomposition where that is cheaper or the space is not
    enough.

    Args:
        W: Shape ``[m, n]``, neither of them 0, any floating dtype.
        device: Where to compute.
        top_k: Upper bound for the dimension of the subspaces that will be compared.

    Returns:
        The spectrum on the device, or None if the matrix holds NaN or infinity. Memory: the Gram
        matrix, twice that for its eigenvalues (four times for all vectors), and a chunk.
    """
    G = gram(W, device)
    if not is_finite_gram(G):
        return None
    k = dimensions(len(G), top_k)
    if len(G) < max(_LEAST_SIDE, _LEAST_MULTIPLE * k):
        return _first(factorise(G), k + _SPARE_VECTORS)
    s = singular_values(G)
    V = top_eigenvectors(G, s.square(), k, _SPARE_VECTORS)
    if V is None:
        return _first(factorise(G), k + _SPARE_VECTORS)
    return MatrixSpectrum(s=s, V=_laid_out(V), rank=numerical_rank(s))


def check_spectrum(W: Tensor, spectrum: MatrixSpectrum, top_k: int = TOP_K) -> bool:
    """Say whether a spectrum from elsewhere can be that of a matrix.

    Seen at the cost of one product of the matrix with the kept vectors: another matrix, another
    ``top_k``, damaged or exchanged numbers. Not seen: values below the kept ones that were moved
    so that their order and the sum of their squares stayed; against that stands the digest of
    whatever file holds the spectrum.

    Args:
        W: Shape ``[m, n]``, neither of them 0, any floating dtype.
        spectrum: What was stored, on the device that computes.
        top_k: The bound that the spectrum should have been made with.

    Returns:
        True if shapes, types and rank are as `spectrum_of` makes them, the values descend to no
        less than 0, the vectors are orthonormal, the squares sum to the matrix's, and each vector
        is stretched by its value; to 1e-9 in squares, relative to the sum or the largest one.
    """
    s, V = spectrum.s, spectrum.V
    p = min(W.shape)
    k = dimensions(p, top_k)
    if s.shape != (p,) or V.dim() != 2 or len(V) != p:
        return False
    if not k <= V.shape[1] <= min(p, k + _SPARE_VECTORS):
        return False
    if any(each.dtype != torch.float64 for each in (s, V)):
        return False
    if not bool((s[:-1] >= s[1:]).all()) or not float(s[-1]) >= 0.0:
        return False
    return spectrum.rank == numerical_rank(s) and _agrees(W, s, V)


def _agrees(W: Tensor, s: Tensor, V: Tensor) -> bool:
    total, stretched = 0.0, torch.zeros_like(s[: V.shape[1]])
    for piece in tall_chunks(W, s.device):
        total += float(piece.square().sum())
        stretched += (piece @ V).square().sum(0)
    energy = abs(float(s.square().sum()) - total)
    lengths = float((stretched - s[: V.shape[1]].square()).abs().max())
    turned = float((V.mT @ V - torch.eye(V.shape[1], dtype=V.dtype, device=V.device)).abs().max())
    return (
        energy <= _AGREEMENT * total
        and lengths <= _AGREEMENT * float(s[0]) ** 2
        and turned <= _AGREEMENT
    )


def _first(factors: Factors, kept: int) -> MatrixSpectrum:
    return MatrixSpectrum(s=factors.s, V=_laid_out(factors.V[:, :kept]), rank=factors.rank)


def _laid_out(V: Tensor) -> Tensor:
    # As it will be when it comes from a file, row after row: the last bit of a product can depend
    # on that. A copy, so that nothing larger stays alive behind it.
    return V.clone(memory_format=torch.contiguous_format)
