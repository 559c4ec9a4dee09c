"""Keep the spectra of a base's matrices, so that the next candidate need not have them computed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

import torch

from sdi_gate.profiles.store import Part
from sdi_gate.signals.spectrum import MatrixSpectrum, check_spectrum, spectrum_of

if TYPE_CHECKING:
    from torch import Tensor

# What is kept of one scan for the next; beyond it spectra are computed anew each time.
KEPT_BYTES = 1 << 30
# Sums of the same numbers on another processor differ by less.
_SUM_TOLERANCE = 1e-12
_MATRICES, _SUMS = "matrices", "sums"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Name what was compared of a tensor of the base.

    Attributes:
        name: The tensor.
        rows: How many of its first rows; None for the whole tensor.
        dtype: Its type once it was rounded to the candidate's.
        is_turned: Whether its matrices were turned.
        top_k: Upper bound for the dimension of the subspaces.
    """

    name: str
    rows: int | None
    dtype: torch.dtype
    is_turned: bool
    top_k: int

    @property
    def key(self) -> str:
        """Return all of it as one text."""
        rows = "all" if self.rows is None else str(self.rows)
        turned = "turned" if self.is_turned else "as stored"
        return f"{self.name} | {rows} rows | {self.dtype} | {turned} | top {self.top_k}"

    def matrix(self, index: int) -> str:
        """Return the key of one of the matrices that the tensor stacks.

        Args:
            index: Which.

        Returns:
            The key.
        """
        return f"{self.key} | matrix {index}"


@dataclass(slots=True)
class SpectraCache:
    """Hold spectra of the base's matrices and the sums of squares of its tensors.

    What comes from elsewhere is used only where it agrees with the matrix that it is said to be
    of. May be asked from several threads at once.

    Attributes:
        reused: How many spectra from elsewhere agreed, and were used.
        rejected: How many did not, and were computed anew.
        has_new: Whether there is more in it, or something else, than it was made from.
        kept_bytes: Memory that it may take for spectra that were computed.
    """

    reused: int = 0
    rejected: int = 0
    has_new: bool = False
    kept_bytes: int = KEPT_BYTES
    _spectra: dict[str, MatrixSpectrum] = field(default_factory=dict)
    _sums: dict[str, float] = field(default_factory=dict)
    _unchecked: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def from_part(cls, part: Part | None) -> Self:
        """Read what a profile holds.

        Args:
            part: The part; None if there is none.

        Returns:
            The cache; entries that are none are left out and counted as rejected.
        """
        cache = cls()
        facts = part.facts if part is not None else {}
        tensors = part.tensors if part is not None else {}
        for number, entry in enumerate(_listed(facts.get(_MATRICES))):
            spectrum = _spectrum(entry, tensors.get(f"{number}.s"), tensors.get(f"{number}.V"))
            if spectrum is None:
                cache.rejected += 1
                cache.has_new = True
            else:
                cache._spectra[entry[0]] = spectrum
                cache._unchecked.add(entry[0])
        for entry in _listed(facts.get(_SUMS)):
            if _is_entry(entry, float):
                cache._sums[entry[0]] = entry[1]
        return cache

    def to_part(self) -> Part:
        """Return all of it as a part of a profile.

        Returns:
            The part, in the order of the keys: whoever computes the same writes the same.
        """
        with self._lock:
            spectra, sums = sorted(self._spectra.items()), sorted(self._sums.items())
        tensors: dict[str, Tensor] = {}
        for number, (_, spectrum) in enumerate(spectra):
            tensors |= {f"{number}.s": spectrum.s, f"{number}.V": spectrum.V}
        return Part(
            tensors=tensors,
            facts={
                _MATRICES: [[key, spectrum.rank] for key, spectrum in spectra],
                _SUMS: [[key, value] for key, value in sums],
            },
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return sentences on what came from elsewhere."""
        found = []
        if self.reused:
            found.append(
                f"spectra of {self.reused} matrices of the base were taken from its profile"
            )
        if self.rejected:
            found.append(
                f"{self.rejected} spectra in the base's profile did not agree with the base, and"
                " were computed anew"
            )
        return tuple(found)

    def hold_against(self, compared: Compared, squares: float) -> None:
        """Hold the sum of squares of a tensor against the one that is known, and keep it.

        Where they differ, what is known of the tensor's matrices is not of these, and is dropped.

        Args:
            compared: The tensor.
            squares: The sum, finite.
        """
        with self._lock:
            known = self._sums.get(compared.key)
            if known is not None and abs(known - squares) <= _SUM_TOLERANCE * squares:
                return
            self._sums[compared.key] = squares
            self.has_new = True
            stale = [] if known is None else self._of(compared)
        for key in stale:
            self._drop(key)

    def spectrum(
        self,
        compared: Compared,
        index: int,
        W: Tensor,  # noqa: N803 - a matrix
        device: torch.device,
    ) -> MatrixSpectrum | None:
        """Return the spectrum of a matrix: the one that is known if it agrees, else a new one.

        Args:
            compared: The tensor.
            index: Which of its matrices.
            W: The matrix as it is compared, shape ``[m, n]``.
            device: Where to compute.

        Returns:
            The spectrum on the device; None if the matrix is not finite.
        """
        key = compared.matrix(index)
        with self._lock:
            known = self._spectra.get(key)
        if known is not None:
            found = MatrixSpectrum(s=known.s.to(device), V=known.V.to(device), rank=known.rank)
            if check_spectrum(W, found, compared.top_k):
                self._count_reused(key)
                return found
            self._drop(key)
        made = spectrum_of(W, device, compared.top_k)
        return None if made is None else self._keep(key, made)

    def _of(self, compared: Compared) -> list[str]:
        return [key for key in self._spectra if key.startswith(f"{compared.key} | matrix ")]

    def _drop(self, key: str) -> None:
        with self._lock:
            if self._spectra.pop(key, None) is not None:
                self.rejected += 1
                self.has_new = True

    def _count_reused(self, key: str) -> None:
        with self._lock:
            self.reused += key in self._unchecked
            self._unchecked.discard(key)

    def _keep(self, key: str, made: MatrixSpectrum) -> MatrixSpectrum:
        # Laid out as it will be when it comes from a file, for the same numbers to the bit; and
        # no view, which would keep alive what it is a view of.
        plain = MatrixSpectrum(s=_plain(made.s), V=_plain(made.V), rank=made.rank)
        size = plain.s.nbytes + plain.V.nbytes
        with self._lock:
            if size <= self.kept_bytes:
                self.kept_bytes -= size
                self._spectra[key] = plain
                self.has_new = True
        device = made.s.device
        return MatrixSpectrum(s=plain.s.to(device), V=plain.V.to(device), rank=made.rank)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.cpu().clone(memory_format=torch.contiguous_format)


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 - as parsed
    return value if isinstance(value, list) else []


def _is_entry(entry: Any, kind: type[float]) -> bool:  # noqa: ANN401 - as parsed
    return (
        isinstance(entry, list)
        and len(entry) == 2
        and isinstance(entry[0], str)
        and type(entry[1]) is kind
        # A whole number can be too long for a float.
        and (kind is int or math.isfinite(entry[1]))
    )


def _spectrum(entry: Any, s: Tensor | None, V: Tensor | None) -> MatrixSpectrum | None:  # noqa: ANN401, N803 - as parsed; a matrix
    if not _is_entry(entry, int) or s is None or V is None:
        return None
    shaped = s.ndim == 1 and V.ndim == 2 and V.shape[0] == len(s) and V.shape[1] <= len(s)
    if not shaped or {s.dtype, V.dtype} != {torch.float64} or not 0 <= entry[1] <= len(s):
        return None
    return MatrixSpectrum(s=s, V=V, rank=entry[1])
