"""Dequantise fine-grained FP8: a scale for each block of a weight, or one for all of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.quantised.dequantised import (
    DequantisedTensors,
    Packed,
    Quantisation,
    mismatch,
    refuse_leftovers,
)
from sdi_gate.models.quantised.libraries import REMEDY, owner, shown, version_of
from sdi_gate.models.quantised.set_aside import check_set_aside
from sdi_gate.models.quantised.skipped import refuse_skipped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from sdi_gate.models.ref import ModelRef
    from sdi_gate.models.tensors import TensorInfo, TensorSource

_LIBRARY = "transformers"
_SCALE = "_scale_inv"
_ACTIVATIONS = (".activation_scale", ".input_scale", "_activation_scale")
_DEFAULT_BLOCK = (128, 128)
# JSON has numbers of thousands of digits; nothing is allocated by these.
_MAX_BLOCK = 2**40
# With a scale for every number, the numbers themselves are free.
_MIN_BLOCK = 16
# Scales that are powers of two hold a result within bfloat16, as transformers returns it.
_RESULTS = {"F32": "F32", "F16": "F16", "BF16": "BF16", "U8": "BF16", "F8_E8M0": "BF16"}


def open_fp8(
    source: TensorSource, config: Mapping[str, object], ref: ModelRef
) -> tuple[DequantisedTensors, Quantisation]:
    """Show a checkpoint in fine-grained FP8 as plain tensors.

    Args:
        source: What is stored.
        config: The model's ``quantization_config``.
        ref: The model, for messages.

    Returns:
        A source that dequantises one tensor at a time, and what it dequantises.

    Raises:
        FormatError: If parts are missing, left over, or do not fit each other.
        IncomparableError: If weights are packed in another type than FP8.
    """  # noqa: DOC502 - raised by what it calls
    block = _block_of(config, ref)
    operation = _operation(ref)
    packed = [
        _pair(source, info, block, ref)
        for name, info in source.tensors.items()
        if name.endswith(_SCALE)
    ]
    if not packed:
        msg = f"{ref} says that its weights are FP8, and holds no scale of any"
        raise FormatError(msg, hint="remove 'quantization_config', if the weights are plain")
    aside = tuple(name for name in source.tensors if name.endswith(_ACTIVATIONS))
    used = {part.name for entry in packed for part in entry.parts.values()}
    refuse_leftovers(source, {*used, *aside}, (_SCALE, *_ACTIVATIONS), ref)
    refuse_skipped((entry.info.name for entry in packed), source.tensors, config, ref)
    check_set_aside(source, aside, ref)
    quantisation = Quantisation(
        method="fp8-tensor" if block is None else f"fp8-block {block[0]} by {block[1]}",
        library=_LIBRARY,
        version=version_of(_LIBRARY),
        names=frozenset(entry.info.name for entry in packed),
        set_aside=aside,
    )
    return DequantisedTensors(source, packed, aside, _Decoder(operation, block), ref), quantisation


def _operation(ref: ModelRef) -> Any:  # noqa: ANN401 - the library's own
    module = owner("transformers.integrations.finegrained_fp8", _LIBRARY, ref)
    operation = getattr(module, "Fp8Dequantize", None)
    if operation is None:
        msg = f"{ref} is quantised to FP8, which the installed transformers cannot dequantise"
        raise IncomparableError(msg, hint=f"pip install 'transformers>=5.20'; or {REMEDY}")
    # It asks its quantiser nothing while it dequantises.
    return operation(None)


def _block_of(config: Mapping[str, object], ref: ModelRef) -> tuple[int, int] | None:
    block = config.get("weight_block_size", list(_DEFAULT_BLOCK))
    if block is None:
        return None
    match block:
        case [int(rows), int(columns)] if (
            # One row is what the microscaling formats have.
            (rows == 1 or _MIN_BLOCK <= rows <= _MAX_BLOCK) and _MIN_BLOCK <= columns <= _MAX_BLOCK
        ):
            return int(rows), columns
        case _:
            want = f"two sizes from {_MIN_BLOCK} or null as 'weight_block_size'"
            raise mismatch("quantization_config", want, block, ref)


def _pair(
    source: TensorSource, scale: TensorInfo, block: tuple[int, int] | None, ref: ModelRef
) -> Packed:
    name = scale.name.removesuffix(_SCALE)
    weight = source.tensors.get(name)
    if weight is None:
        raise mismatch(scale.name, f"{shown(name)} beside it", "none", ref)
    if weight.dtype != "F8_E4M3":
        msg = f"{shown(name)} of {ref} has an FP8 scale and is stored as {weight.dtype}"
        raise IncomparableError(f"{msg}; expected F8_E4M3", hint=REMEDY)
    if scale.dtype not in _RESULTS or len(weight.shape) < 2:
        want = f"a matrix with scales of {', '.join(_RESULTS)}"
        raise mismatch(name, want, f"{weight.shape} with {scale.dtype}", ref)
    _check_grid(weight, scale, block, ref)
    info = replace(weight, dtype=_RESULTS[scale.dtype])
    return Packed(info=info, parts={"weight": weight, "scale": scale}, anchor=name)


def _check_grid(
    weight: TensorInfo, scale: TensorInfo, block: tuple[int, int] | None, ref: ModelRef
) -> None:
    *stack, rows, columns = weight.shape
    if block is None:
        # Experts that are stacked have one scale each.
        allowed = {(), (1,), (*stack, 1, 1)}
    else:
        allowed = {(*stack, -(-rows // block[0]), -(-columns // block[1]))}
    if scale.shape not in allowed:
        raise mismatch(weight.name, f"scales of shape {max(allowed)}", scale.shape, ref)


@dataclass(frozen=True, slots=True)
class _Decoder:
    """Dequantise one weight by transformers."""

    operation: Any
    block: tuple[int, int] | None

    def __call__(self, _packed: Packed, parts: dict[str, Tensor]) -> Tensor:
        weight, scale = parts["weight"], parts["scale"]
        rows, columns = weight.shape[-2:]
        if self.block is not None:
            # transformers takes the size of a block from the grid of scales: right only where
            # every block is full, and wrong without a word where 192 rows make two blocks of 128.
            weight = _padded(weight, self.block)
        elif scale.ndim < 2:
            scale = scale.reshape(1, 1)
            scale = scale.expand(*weight.shape[:-2], 1, 1)
        made = self.operation.convert({"weight": weight, "weight_scale_inv": scale.contiguous()})
        tensor: Tensor = made["weight"][..., :rows, :columns]
        return tensor.contiguous()


def _padded(weight: Tensor, block: tuple[int, int]) -> Tensor:
    rows, columns = weight.shape[-2:]
    # A block that is larger than the weight is cut to it: nobody's number makes us allocate.
    height, width = min(block[0], rows), min(block[1], columns)
    missing = (-rows % height, -columns % width)
    if missing == (0, 0):
        return weight
    # FP8 knows no padding; its bytes do, and the byte 0 is the number 0.
    data = torch.nn.functional.pad(weight.view(torch.uint8), (0, missing[1], 0, missing[0]))
    return data.view(weight.dtype)
