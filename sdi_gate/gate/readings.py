"""Hold what tier ``probe`` needs of a base while its candidate runs, and keep it in a profile."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from sdi_gate.profiles.parts import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.models.tokens import TokenizedProbe

_LAYER = "layers."
_OUTPUT = "output"
_STATES = "states"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseReadings:
    """Hold what a base shows on the probe set.

    Memory: states take a row for every token but the last of each sample; pooled activations one
    row for each sample and layer.

    Attributes:
        layers: Pooled activations after each decoder layer, shape ``[n, p]``, float32.
        output: Likewise of what the head reads; None if that could not be read.
        states: What the head reads at every position that predicts a token, sample after sample,
            shape ``[t, p]``, in the compute dtype; None if the model does not come apart.
        counts: Number of predictions of each sample.
        deterministic: Whether the base gave the same numbers twice.
    """

    layers: tuple[Tensor, ...]
    output: Tensor | None
    states: Tensor | None
    counts: tuple[int, ...]
    deterministic: bool

    @property
    def is_worth_keeping(self) -> bool:
        """Say whether another scan could use these numbers: the same each time, and finite."""
        return self.deterministic and all(
            bool(torch.isfinite(tensor).all()) for tensor in self._tensors.values()
        )

    @property
    def _tensors(self) -> dict[str, Tensor]:
        found = {f"{_LAYER}{index}": tensor for index, tensor in enumerate(self.layers)}
        if self.output is not None:
            found[_OUTPUT] = self.output
        if self.states is not None:
            found[_STATES] = self.states
        return found

    def states_of(self, samples: Sequence[int]) -> Tensor:
        """Return the states of some samples.

        Args:
            samples: Which, as positions in the probe.

        Returns:
            Shape ``[t, p]``, sample after sample.

        Raises:
            ValueError: If the model did not come apart.
        """
        if self.states is None:
            msg = "expected the readings of a model that comes apart"
            raise ValueError(msg)
        rows = torch.split(self.states, list(self.counts))
        return torch.cat([rows[i] for i in samples])

    def to_part(self) -> Part:
        """Return the readings as a part of a profile.

        Returns:
            The part; `from_part` makes equal readings of it.
        """
        return Part(tensors=self._tensors)

    @classmethod
    def from_part(cls, part: Part | None, probe: TokenizedProbe) -> Self | None:
        """Return readings from a part of a profile.

        Args:
            part: The part, or None. Its numbers are no more to be trusted than any file: run
                `spot_check` on what comes of it.
            probe: The probe as the base reads it.

        Returns:
            The readings; None if there is no part, or it does not fit the probe.
        """
        if part is None:
            return None
        tensors = dict(part.tensors)
        count = sum(name.startswith(_LAYER) for name in tensors)
        layers = [tensors.pop(f"{_LAYER}{index}", None) for index in range(count)]
        output, states = tensors.pop(_OUTPUT, None), tensors.pop(_STATES, None)
        counts = num_predictions(probe)
        pooled = [X for X in layers if X is not None and _is_matrix(X, len(counts), torch.float32)]
        if (
            tensors
            or len(pooled) < count
            or not (output is None or _is_matrix(output, len(counts), torch.float32))
            or not (states is None or _is_matrix(states, sum(counts)))
        ):
            return None
        return cls(
            layers=tuple(pooled), output=output, states=states, counts=counts, deterministic=True
        )


def _is_matrix(X: Tensor, rows: int, dtype: torch.dtype | None = None) -> bool:  # noqa: N803
    return X.ndim == 2 and len(X) == rows and X.dtype == (dtype or X.dtype)


def num_predictions(probe: TokenizedProbe) -> tuple[int, ...]:
    """Return how many tokens of each sample are predicted.

    Args:
        probe: The probe.

    Returns:
        One number for each sample: all of its tokens but the first.
    """
    return tuple(len(sample.ids) - 1 for sample in probe.samples)


def tokens_digest(probe: TokenizedProbe) -> str:
    """Return a digest of the probe as a tokenizer read it, for the key of a profile's part.

    Args:
        probe: The probe.

    Returns:
        ``sha256:`` and 64 hex digits.
    """
    plain = json.dumps([[sample.stratum, sample.ids] for sample in probe.samples])
    return f"sha256:{hashlib.sha256(plain.encode()).hexdigest()}"
