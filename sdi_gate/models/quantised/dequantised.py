"""Show a quantised checkpoint as plain float tensors, one at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from sdi_gate.errors import FormatError
from sdi_gate.models.quantised.libraries import AGAIN, library_errors, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from torch import Tensor

    from sdi_gate.models.ref import ModelRef
    from sdi_gate.models.tensors import TensorInfo, TensorSource

FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
# What may stand beside quantised weights as it is: floats, positions and masks.
_PLAIN = frozenset({"F64", "I64", "BOOL", *FLOATS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """Say how a model's weights were quantised, and who dequantised them.

    Attributes:
        method: The format, such as ``bitsandbytes-nf4``.
        library: The library that dequantises it here.
        version: Its version.
        names: The tensors that are quantised, under the names they have once dequantised.
        set_aside: Stored tensors that say how activations or caches are quantised when the model
            is served. They are no part of the weights, and activations are measured without them.
        transposes_conv1d: Whether the weights of GPT-2's ``Conv1D`` layers come out as those of
            linear layers, the transposes of what the model holds.
    """

    method: str
    library: str
    version: str
    names: frozenset[str]
    set_aside: tuple[str, ...] = ()
    transposes_conv1d: bool = False

    @property
    def num_tensors(self) -> int:
        """Return the number of quantised tensors."""
        return len(self.names)

    @property
    def key(self) -> str:
        """Return the method in one word, as policies name it, such as ``gguf-q4_k+q8_0``."""
        joined = re.sub(r" and |, ", "+", self.method.lower())
        return re.sub(r"[^a-z0-9_.+]+", "-", joined).strip("-")

    @property
    def description(self) -> str:
        """Return one sentence for the report."""
        aside = f"; {len(self.set_aside)} stored scales of activations or caches are unused"
        return (
            f"{self.num_tensors} tensors are stored as {self.method} and were dequantised by"
            f" {self.library} {self.version}, so quantisation is part of what was measured, of"
            f" weights and not of activations{aside if self.set_aside else ''}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Describe one quantised tensor.

    Attributes:
        info: The tensor as it is once dequantised.
        parts: What is stored of it, by local name.
        anchor: The stored tensor in whose place it stands.
    """

    info: TensorInfo
    parts: Mapping[str, TensorInfo]
    anchor: str


class Decoder(Protocol):
    """Dequantise one tensor."""

    def __call__(self, packed: Packed, parts: dict[str, Tensor], /) -> Tensor:
        """Return the tensor that the parts make.

        Args:
            packed: Which.
            parts: What is stored of it, by local name.

        Returns:
            The tensor, of the shape and type that ``packed.info`` names.
        """


class DequantisedTensors:
    """Show what is stored as plain tensors.

    Args:
        source: What is stored.
        packed: The quantised tensors.
        aside: Stored tensors that are shown to nobody.
        decode: Dequantises one tensor.
        ref: The model, for messages.

    Attributes:
        tensors: Every tensor by name, in the order of what is stored.

    Raises:
        FormatError: If a stored tensor is no plain one and belongs to no quantised one.
    """

    def __init__(
        self,
        source: TensorSource,
        packed: Collection[Packed],
        aside: Collection[str],
        decode: Decoder,
        ref: ModelRef,
    ) -> None:
        self._source = source
        self._decode = decode
        self._ref = ref
        self._packed = {entry.info.name: entry for entry in packed}
        self.tensors = self._arrange(set(aside))

    def _arrange(self, aside: set[str]) -> dict[str, TensorInfo]:
        anchors = {entry.anchor: entry for entry in self._packed.values()}
        used = {part.name for entry in self._packed.values() for part in entry.parts.values()}
        tensors: dict[str, TensorInfo] = {}
        for name, info in self._source.tensors.items():
            if name in anchors:
                shown_info = anchors[name].info
            elif name in used or name in aside:
                continue
            else:
                shown_info = info
                self._check_plain(info)
            if shown_info.name in tensors:
                msg = f"{self._ref} holds {shown(shown_info.name)} quantised and plain"
                raise FormatError(msg, hint=AGAIN)
            tensors[shown_info.name] = shown_info
        return tensors

    def _check_plain(self, info: TensorInfo) -> None:
        if info.dtype not in _PLAIN:
            msg = (
                f"{shown(info.name)} of {self._ref} is stored as {info.dtype}, and nothing says"
                " how to dequantise it; expected its scale beside it"
            )
            raise FormatError(msg, hint=AGAIN)

    def read(self, info: TensorInfo) -> Tensor:
        """Read one tensor, and dequantise it if it is quantised.

        Args:
            info: Which; from ``tensors``.

        Returns:
            The tensor on the CPU, of the shape and type that ``info`` names.

        Raises:
            FormatError: If it cannot be read, or its parts do not fit each other.
        """
        packed = self._packed.get(info.name)
        if packed is None:
            return self._source.read(info)
        parts = {local: self._part(part) for local, part in packed.parts.items()}
        what = f"{shown(info.name)} of {self._ref} cannot be dequantised"
        with library_errors(what), torch.no_grad():
            tensor = self._decode(packed, parts)
        if tuple(tensor.shape) != info.shape or tensor.dtype is not FLOATS[info.dtype]:
            msg = f"{what}: expected {info.dtype} {info.shape}, got {tuple(tensor.shape)}"
            raise FormatError(msg, hint=AGAIN)
        return tensor

    def _part(self, info: TensorInfo) -> Tensor:
        # The libraries' kernels go by sizes that were checked when the headers were read.
        tensor = self._source.read(info)
        if tuple(tensor.shape) != info.shape:
            msg = f"{shown(info.name)} of {self._ref} changed while it was read"
            raise FormatError(msg, hint="let nothing write to the folder, and run again")
        return tensor


def refuse_leftovers(
    source: TensorSource, used: Collection[str], suffixes: tuple[str, ...], ref: ModelRef
) -> None:
    """Refuse helpers of a format that help no tensor.

    Args:
        source: What is stored.
        used: Names that are accounted for.
        suffixes: How the names of helpers end.
        ref: The model, for messages.

    Raises:
        FormatError: If a helper has no weight.
    """
    stray = [name for name in source.tensors if name.endswith(suffixes) and name not in used]
    if stray:
        msg = f"{ref} holds {shown(min(stray))} without the quantised weight that it belongs to"
        raise FormatError(msg, hint=AGAIN)


def mismatch(name: str, expected: str, got: object, ref: ModelRef) -> FormatError:
    """Say that the parts of a quantised tensor do not fit each other.

    Args:
        name: The tensor.
        expected: What was expected of which part.
        got: What it is.
        ref: The model, for messages.

    Returns:
        The error.
    """
    msg = f"{shown(name)} of {ref} is not whole: expected {expected}, got {shown(got)}"
    return FormatError(msg, hint=AGAIN)
