"""Read candidate minus base, parameter by parameter, while only the base is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from sdi_gate.gate.weights_tier import Weights
    from sdi_gate.models.causal_lm import LoadingChanges


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldUpdate:
    """Give the update of a parameter of the loaded base, reading the candidate's from disk once.

    The whole update is kept where the base lies: each draw needs all of it, and reading it again
    for each would take longer than the draw.

    Attributes:
        weights: Both models, open.
        changes: What is done to the candidate's weights when they are loaded.
    """

    weights: Weights
    changes: LoadingChanges
    _held: dict[str, Tensor | None] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, name: str, parameter: Tensor) -> Tensor | None:
        """Return candidate minus base.

        Args:
            name: Name of the parameter in the loaded base.
            parameter: The parameter, any shape.

        Returns:
            The update in the parameter's shape, type and place, subtracted in float32 at least;
            0 in rows that the candidate has not, and nothing for rows that the base has not:
            there is no moving along those. None if the candidate has no such tensor.
        """
        if name not in self._held:
            self._held[name] = self._read(name, parameter)
        return self._held[name]

    def _read(self, name: str, parameter: Tensor) -> Tensor | None:
        candidate = self.weights.candidate
        tensors = candidate.tensors
        info = tensors.get(name) or tensors.get(candidate.names.tied.get(name, name))
        if info is None:
            return None
        theirs = candidate.source.read(info)
        rounded_to = self.changes.rounding.get(info.name)
        theirs = theirs if rounded_to is None else theirs.to(rounded_to)
        # Through the type that the models run in: a difference that does not run is none.
        theirs = theirs.to(parameter.dtype)
        wide = torch.promote_types(parameter.dtype, torch.float32)
        theirs = theirs.to(device=parameter.device, dtype=wide)
        ours = parameter.detach().to(wide)
        if theirs.shape == ours.shape:
            return (theirs - ours).to(parameter.dtype)
        update = torch.zeros_like(ours)
        shared = min(len(ours), len(theirs))
        update[:shared] = theirs[:shared] - ours[:shared]
        return update.to(parameter.dtype)
