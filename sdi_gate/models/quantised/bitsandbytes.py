"""Dequantise what bitsandbytes wrote: 4 bit (nf4, fp4, also nested) and 8 bit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from sdi_gate.errors import FormatError
from sdi_gate.models.quantised.dequantised import (
    FLOATS,
    DequantisedTensors,
    Packed,
    Quantisation,
    mismatch,
    refuse_leftovers,
)
from sdi_gate.models.quantised.libraries import owner, shown, version_of
from sdi_gate.models.quantised.skipped import refuse_skipped
from sdi_gate.models.strict_json import parse_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from sdi_gate.models.ref import ModelRef
    from sdi_gate.models.tensors import TensorInfo, TensorSource

_LIBRARY = "bitsandbytes"
_STATE = ".quant_state.bitsandbytes__"
_HELPERS = (
    ".SCB",
    ".weight_format",
    ".absmax",
    ".quant_map",
    ".nested_absmax",
    ".nested_quant_map",
    f"{_STATE}nf4",
    f"{_STATE}fp4",
)
# The library's kernels index by these without asking how long a tensor is.
_BLOCK_SIZES = frozenset({32, 64, 128, 256, 512, 1024, 2048, 4096})
_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_STORAGE_BYTES = {"U8": 1, "I8": 1, "F16": 2, "BF16": 2, "F32": 4}
_MAX_STATE_BYTES = 4096
_MAX_NDIM = 4
# JSON has numbers of thousands of digits, and Python does not print all their products.
_MAX_SIZE = 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """Hold what the JSON beside a 4-bit weight says, once it was found possible."""

    plain: Mapping[str, object]
    kind: str
    shape: tuple[int, ...]
    dtype: str
    blocksize: int
    nested_blocksize: int | None


def open_bitsandbytes(
    source: TensorSource, config: Mapping[str, object], ref: ModelRef
) -> tuple[DequantisedTensors, Quantisation]:
    """Show a checkpoint of bitsandbytes as plain tensors.

    Args:
        source: What is stored.
        config: The model's ``quantization_config``.
        ref: The model, for messages.

    Returns:
        A source that dequantises one tensor at a time, and what it dequantises.

    Raises:
        FormatError: If parts are missing, left over, or do not fit each other.
        IncomparableError: If bitsandbytes is not installed.
    """  # noqa: DOC502 - raised by what it calls
    functional = owner("bitsandbytes.functional", _LIBRARY, ref)
    four = [_four_bit(source, name, ref) for name in source.tensors if _STATE in name]
    eight = [_eight_bit(source, name, ref) for name in source.tensors if name.endswith(".SCB")]
    packed = [*(entry for entry, _ in four), *eight]
    if not packed:
        msg = f"{ref} says that bitsandbytes quantised it, and holds no quantised tensor"
        raise FormatError(msg, hint="remove 'quantization_config', if the weights are plain")
    texts = [name for name in source.tensors if _STATE in name]
    used = {part.name for entry in packed for part in entry.parts.values()}
    refuse_leftovers(source, {*used, *texts}, _HELPERS, ref)
    refuse_skipped((entry.info.name for entry in packed), source.tensors, config, ref)
    kinds = {state.kind for _, state in four} | ({"int8"} if eight else set())
    states = {entry.info.name: state for entry, state in four}
    decoder = _Decoder(functional, states, ref)
    quantisation = Quantisation(
        method=" and ".join(f"bitsandbytes-{kind}" for kind in sorted(kinds)),
        library=_LIBRARY,
        version=version_of(_LIBRARY),
        names=frozenset(entry.info.name for entry in packed),
        transposes_conv1d=True,
    )
    return DequantisedTensors(source, packed, texts, decoder, ref), quantisation


def _part(source: TensorSource, name: str, weight: str, ref: ModelRef) -> TensorInfo:
    info = source.tensors.get(name)
    if info is None:
        raise mismatch(weight, f"{shown(name)} beside it", "none", ref)
    return info


def _four_bit(source: TensorSource, state_name: str, ref: ModelRef) -> tuple[Packed, _State]:
    weight, _, kind = state_name.partition(_STATE)
    state = _read_state(source, source.tensors[state_name], kind, ref)
    parts = {"weight": _part(source, weight, weight, ref)}
    locals_ = ["absmax", "quant_map"]
    if state.nested_blocksize is not None:
        locals_ += ["nested_absmax", "nested_quant_map"]
    parts |= {local: _part(source, f"{weight}.{local}", weight, ref) for local in locals_}
    _check_sizes(weight, state, parts, ref)
    info = replace(parts["weight"], dtype=state.dtype, shape=state.shape)
    return Packed(info=info, parts=parts, anchor=weight), state


def _read_state(source: TensorSource, info: TensorInfo, kind: str, ref: ModelRef) -> _State:
    if info.dtype != "U8" or len(info.shape) != 1 or info.numel > _MAX_STATE_BYTES:
        raise mismatch(info.name, f"at most {_MAX_STATE_BYTES} bytes of JSON", info.shape, ref)
    content = bytes(source.read(info).tolist())
    plain = parse_object(content, f"{shown(info.name)} of {ref}")
    if kind not in {"nf4", "fp4"} or plain.get("quant_type") != kind:
        raise mismatch(info.name, "'quant_type' nf4 or fp4, as named", plain.get("quant_type"), ref)
    dtype = plain.get("dtype")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise mismatch(info.name, f"'dtype' of {', '.join(_DTYPES)}", dtype, ref)
    return _State(
        plain=plain,
        kind=kind,
        shape=_shape_of(plain, info.name, ref),
        dtype=_DTYPES[dtype],
        blocksize=_block_size_of(plain, "blocksize", info.name, ref),
        nested_blocksize=_nested_of(plain, info.name, ref),
    )


def _shape_of(plain: Mapping[str, object], name: str, ref: ModelRef) -> tuple[int, ...]:
    shape = plain.get("shape")
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= _MAX_NDIM
        or not all(type(size) is int and 0 < size <= _MAX_SIZE for size in shape)
    ):
        raise mismatch(name, f"'shape' of 1 to {_MAX_NDIM} positive sizes", shape, ref)
    return tuple(shape)


def _block_size_of(plain: Mapping[str, object], key: str, name: str, ref: ModelRef) -> int:
    size = plain.get(key)
    if type(size) is not int or size not in _BLOCK_SIZES:
        raise mismatch(name, f"{key!r} of {sorted(_BLOCK_SIZES)}", size, ref)
    return size


def _nested_of(plain: Mapping[str, object], name: str, ref: ModelRef) -> int | None:
    if not any(key.startswith("nested_") for key in plain):
        return None
    offset = plain.get("nested_offset")
    if plain.get("nested_dtype") != "float32" or type(offset) not in {int, float}:
        raise mismatch(name, "'nested_dtype' float32 and a number 'nested_offset'", offset, ref)
    return _block_size_of(plain, "nested_blocksize", name, ref)


def _check_sizes(
    weight: str, state: _State, parts: Mapping[str, TensorInfo], ref: ModelRef
) -> None:
    numel = math.prod(state.shape)
    blocks = -(-numel // state.blocksize)
    nested = state.nested_blocksize
    expected = {
        "absmax": ({"F32"} if nested is None else {"U8"}, blocks),
        "quant_map": ({"F32"}, 16),
        "nested_absmax": ({"F32"}, -(-blocks // (nested or 1))),
        "nested_quant_map": ({"F32"}, 256),
    }
    for local in parts.keys() & expected.keys():
        dtypes, size = expected[local]
        info = parts[local]
        if info.dtype not in dtypes or info.numel != size:
            want = f"{local!r} of {size} {min(dtypes)} for {state.shape}"
            raise mismatch(weight, want, f"{info.shape} {info.dtype}", ref)
    stored = parts["weight"]
    num_bytes = stored.numel * _STORAGE_BYTES.get(stored.dtype, 0)
    # Other types than bytes are containers, whose last element may be padded.
    width = _STORAGE_BYTES.get(stored.dtype, 1)
    if num_bytes != -(-numel // (2 * width)) * width:
        want = f"{-(-numel // 2)} bytes for {state.shape}"
        raise mismatch(weight, want, f"{stored.shape} {stored.dtype}", ref)


def _eight_bit(source: TensorSource, scale_name: str, ref: ModelRef) -> Packed:
    module = scale_name.removesuffix(".SCB")
    weight = _part(source, f"{module}.weight", f"{module}.weight", ref)
    scale = source.tensors[scale_name]
    if weight.dtype != "I8" or len(weight.shape) != 2:
        raise mismatch(weight.name, "a matrix of I8", f"{weight.shape} {weight.dtype}", ref)
    if scale.dtype not in FLOATS or scale.shape != weight.shape[:1]:
        want = f"'SCB' with a float for each of {weight.shape[0]} rows"
        raise mismatch(weight.name, want, f"{scale.shape} {scale.dtype}", ref)
    parts = {"weight": weight, "SCB": scale}
    layout = source.tensors.get(f"{module}.weight_format")
    if layout is not None:
        if layout.numel != 1:
            raise mismatch(weight.name, "one number 'weight_format'", layout.shape, ref)
        parts["weight_format"] = layout
    return Packed(info=replace(weight, dtype="F32"), parts=parts, anchor=weight.name)


class _Decoder:
    """Dequantise one tensor by bitsandbytes."""

    def __init__(self, functional: Any, states: Mapping[str, _State], ref: ModelRef) -> None:  # noqa: ANN401 - a module
        self._functional = functional
        self._states = states
        self._ref = ref

    def __call__(self, packed: Packed, parts: dict[str, Tensor]) -> Tensor:
        state = self._states.get(packed.info.name)
        return self._eight(packed, parts) if state is None else self._four(state, parts)

    def _eight(self, packed: Packed, parts: dict[str, Tensor]) -> Tensor:
        layout = parts.get("weight_format")
        if layout is not None and int(layout.reshape(())) != 0:
            msg = f"{shown(packed.info.name)} of {self._ref} is not stored row by row"
            raise FormatError(msg, hint="re-save the model with a newer bitsandbytes")
        scale = parts["SCB"].float().contiguous()
        tensor: Tensor = self._functional.int8_vectorwise_dequant(parts["weight"], scale)
        return tensor

    def _four(self, state: _State, parts: dict[str, Tensor]) -> Tensor:
        # What was checked, not the file's text again: the library's kernels trust it.
        helpers = {key: parts[key] for key in parts if key != "weight"} | dict(state.plain)
        quant_state = self._functional.QuantState.from_dict(helpers, device=torch.device("cpu"))
        numel, size = math.prod(state.shape), state.blocksize
        data = parts["weight"].contiguous().reshape(-1).view(torch.uint8)[: -(-numel // 2)]
        # A line for each block: the library's kernel for CPUs (0.50.2) takes wrong scales where
        # the rows of a weight are no multiple of its blocks.
        num_blocks = -(-numel // size)
        data = torch.nn.functional.pad(data, (0, num_blocks * size // 2 - data.numel()))
        quant_state.shape = torch.Size((num_blocks, size))
        tensor: Tensor = self._functional.dequantize_4bit(data.reshape(-1, 1), quant_state)
        return tensor.reshape(-1)[:numel].reshape(state.shape)
