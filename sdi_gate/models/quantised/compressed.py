"""Dequantise what compressed-tensors wrote: FP8, integers of 8 bits, packed integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sdi_gate.errors import FormatError
from sdi_gate.models.quantised.compressed_scheme import Scheme, read_scheme
from sdi_gate.models.quantised.compressed_sizes import check_sizes, logical_shape
from sdi_gate.models.quantised.dequantised import (
    FLOATS,
    DequantisedTensors,
    Packed,
    Quantisation,
    mismatch,
    refuse_leftovers,
)
from sdi_gate.models.quantised.libraries import shown, version_of
from sdi_gate.models.quantised.set_aside import check_set_aside
from sdi_gate.models.quantised.skipped import refuse_ignored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from sdi_gate.models.ref import ModelRef
    from sdi_gate.models.tensors import TensorSource

_LIBRARY = "compressed-tensors"
_PACKED = ".weight_packed"
_SCALE = ".weight_scale"
_OPTIONAL = ("weight_zero_point", "weight_shape")
_HELPERS = (_PACKED, _SCALE, ".weight_zero_point", ".weight_shape", ".weight_g_idx")
_ACTIVATIONS = tuple(
    f".{part}_{kind}"
    for part in ("input", "output", "q", "k", "v")
    for kind in ("scale", "zero_point", "global_scale")
)


def open_compressed(
    source: TensorSource, config: Mapping[str, object], ref: ModelRef
) -> tuple[DequantisedTensors, Quantisation]:
    """Show a checkpoint of compressed-tensors as plain tensors.

    Args:
        source: What is stored.
        config: The model's ``quantization_config``.
        ref: The model, for messages.

    Returns:
        A source that dequantises one tensor at a time, and what it dequantises.

    Raises:
        FormatError: If parts are missing, left over, or do not fit each other.
        IncomparableError: If the library is not installed, or the format is one that it cannot
            undo here.
    """  # noqa: DOC502 - raised by what it calls
    scheme = read_scheme(config, ref)
    packed = [
        _module(source, name.removesuffix(_SCALE), scheme, ref)
        for name in source.tensors
        if name.endswith(_SCALE)
    ]
    if not packed:
        msg = f"{ref} says that compressed-tensors wrote it, and holds no scale of a weight"
        raise FormatError(msg, hint="remove 'quantization_config', if the weights are plain")
    aside = tuple(name for name in source.tensors if name.endswith(_ACTIVATIONS))
    used = {part.name for entry in packed for part in entry.parts.values()}
    refuse_leftovers(source, used, _HELPERS, ref)
    refuse_ignored((entry.info.name for entry in packed), config, ref)
    check_set_aside(source, aside, ref)
    quantisation = Quantisation(
        method=f"compressed-tensors ({scheme.format})",
        library=_LIBRARY,
        version=version_of(_LIBRARY),
        names=frozenset(entry.info.name for entry in packed),
        set_aside=aside,
    )
    return DequantisedTensors(source, packed, aside, _Decoder(scheme, ref), ref), quantisation


def _module(source: TensorSource, module: str, scheme: Scheme, ref: ModelRef) -> Packed:
    main = "weight_packed" if scheme.is_packed else "weight"
    weight = source.tensors.get(f"{module}.{main}")
    if weight is None:
        raise mismatch(f"{module}{_SCALE}", f"{shown(f'{module}.{main}')} beside it", "none", ref)
    parts = {main: weight, "weight_scale": source.tensors[f"{module}{_SCALE}"]}
    for local in _OPTIONAL:
        info = source.tensors.get(f"{module}.{local}")
        if info is not None:
            parts[local] = info
    scale = parts["weight_scale"]
    if scale.dtype not in FLOATS or scale.numel == 0:
        want = f"a scale of {', '.join(FLOATS)}"
        raise mismatch(weight.name, want, f"{scale.shape} {scale.dtype}", ref)
    shape = logical_shape(source, parts, scheme, ref)
    check_sizes(shape, parts, scheme, ref)
    info = replace(weight, name=f"{module}.weight", dtype=scale.dtype, shape=shape)
    return Packed(info=info, parts=parts, anchor=weight.name)


@dataclass(frozen=True, slots=True)
class _Decoder:
    """Dequantise one weight by compressed-tensors."""

    scheme: Scheme
    ref: ModelRef

    def __call__(self, packed: Packed, parts: dict[str, Tensor]) -> Tensor:
        claimed = parts.get("weight_shape")
        if claimed is not None and tuple(claimed.tolist()) != packed.info.shape:
            want = f"'weight_shape' {packed.info.shape}"
            raise mismatch(packed.info.name, want, claimed.tolist(), self.ref)
        made: Any = self.scheme.compressor.decompress(parts, self.scheme.arguments)
        tensor: Tensor = made["weight"]
        return tensor
