"""Turn back the weights that bitsandbytes quantised as those of linear layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor

    from sdi_gate.models.quantised.dequantised import Quantisation
    from sdi_gate.models.tensors import TensorInfo, TensorSource


def turn_conv1d(
    source: TensorSource, quantisation: Quantisation, transposed: Collection[str]
) -> TensorSource:
    """Show the quantised weights of ``Conv1D`` layers as the model holds them.

    transformers puts linear layers in the place of GPT-2's ``Conv1D`` before it quantises with
    bitsandbytes, and stores the transposes. Of square matrices no shape tells.

    Args:
        source: The dequantised tensors, under their stored names.
        quantisation: What is dequantised.
        transposed: The model's own names of ``Conv1D`` weights; stored names may lack the first
            parts of these.

    Returns:
        The source itself if there is nothing to turn.
    """
    if not quantisation.transposes_conv1d:
        return source
    endings = {
        ".".join(parts[start:])
        for parts in (name.split(".") for name in transposed)
        for start in range(len(parts) - 2)
    }
    names = quantisation.names & endings
    return TurnedTensors(source, names) if names else source


class TurnedTensors:
    """Show some matrices transposed.

    Args:
        source: All tensors.
        names: Which of them are turned.

    Attributes:
        tensors: Every tensor by name, in the order of the source.
    """

    def __init__(self, source: TensorSource, names: Collection[str]) -> None:
        self._source = source
        self._names = frozenset(names)
        self.tensors = {name: self._turned(info) for name, info in source.tensors.items()}

    def _turned(self, info: TensorInfo) -> TensorInfo:
        return replace(info, shape=info.shape[::-1]) if info.name in self._names else info

    def read(self, info: TensorInfo) -> Tensor:
        """Read one tensor.

        Args:
            info: Which; from ``tensors``.

        Returns:
            The tensor on the CPU, of the shape that ``info`` names.
        """
        tensor = self._source.read(self._source.tensors[info.name])
        return tensor.T.contiguous() if info.name in self._names else tensor
