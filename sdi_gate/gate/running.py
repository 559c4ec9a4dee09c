"""Hold one loaded model beside the probe that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from sdi_gate.models.causal_lm import LoadedModel
    from sdi_gate.models.tokens import TokenizedProbe


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Hold one model, loaded, and the probe as it reads it.

    Base and candidate run one after the other: what is needed of the base while the candidate
    runs is kept by itself, and is small where the base comes apart into decoder and head.

    Attributes:
        loaded: The model.
        probe: The probe set as tokens.
        probe_digest: Digest of the probe set.
        device: Where batches go.
    """

    loaded: LoadedModel
    probe: TokenizedProbe
    probe_digest: str
    device: torch.device

    @property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Return what changes every number that rests on the probe, for a signal's id."""
        dtype = str(next(self.loaded.model.parameters()).dtype).removeprefix("torch.")
        return (
            ("compute-dtype", dtype),
            ("max-tokens", str(self.probe.max_tokens)),
            ("probe", self.probe_digest),
        )
