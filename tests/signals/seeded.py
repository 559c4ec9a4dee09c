"""Draw tensors for the tests of the signals, each from a generator of its own."""

import torch
from torch import Tensor

CPU = torch.device("cpu")
FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def normal(*shape, seed=0, dtype=torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def sized(update: Tensor, relative: float, W: Tensor) -> Tensor:
    """Scale an update to a Frobenius norm relative to a matrix's."""
    return update * (relative * W.norm() / update.norm())


def orthonormal(n, k, seed=0) -> Tensor:
    return torch.linalg.qr(normal(n, k, seed=seed)).Q


def with_spectrum(s: Tensor, m: int, n: int, seed=0) -> Tensor:
    """Return a matrix of shape [m, n] with the given singular values, min(m, n) of them."""
    p = min(m, n)
    return orthonormal(m, p, seed) * s @ orthonormal(n, p, seed + 1).mT


def decaying(m: int, n: int, power: float = 0.5, seed=0) -> Tensor:
    s = torch.arange(1, min(m, n) + 1, dtype=torch.float64) ** -power
    return with_spectrum(s, m, n, seed)


def rotation(n: int, angle: float, seed=0) -> Tensor:
    """Return an orthogonal matrix that turns by about the given angle in every plane."""
    A = normal(n, n, seed=seed)
    return torch.linalg.matrix_exp((A - A.mT) * angle / n**0.5)
