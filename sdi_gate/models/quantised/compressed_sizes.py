"""Hold the parts of a weight that compressed-tensors wrote against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.errors import IncomparableError
from sdi_gate.models.quantised.dequantised import mismatch
from sdi_gate.models.quantised.libraries import REMEDY, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.models.quantised.compressed_scheme import Scheme
    from sdi_gate.models.ref import ModelRef
    from sdi_gate.models.tensors import TensorInfo, TensorSource

_WORD_BITS = 32
_ZERO_POINT = "weight_zero_point"


def logical_shape(
    source: TensorSource, parts: Mapping[str, TensorInfo], scheme: Scheme, ref: ModelRef
) -> tuple[int, ...]:
    """Return the shape that a weight has once it is dequantised.

    Args:
        source: What is stored.
        parts: What is stored of the weight, by local name.
        scheme: How it is quantised.
        ref: The model, for messages.

    Returns:
        Rows and columns. Nothing is read where they follow from what is stored: groups say how
        many columns there are, and a mixture of experts has a hundred thousand weights.

    Raises:
        FormatError: If the parts say no shape.
        IncomparableError: If the weight is no matrix.
    """  # noqa: DOC501, DOC502 - `mismatch` makes a FormatError
    main = parts["weight_packed" if scheme.is_packed else "weight"]
    stored = "I32" if scheme.is_packed else scheme.stored
    if len(main.shape) != 2:
        msg = f"{shown(main.name)} of {ref} is quantised, and has {len(main.shape)} dimensions"
        raise IncomparableError(f"{msg}; expected a matrix", hint=REMEDY)
    if main.dtype != stored or main.numel == 0:
        raise mismatch(main.name, f"a matrix of {stored}", f"{main.shape} {main.dtype}", ref)
    if not scheme.is_packed:
        return main.shape
    scale = parts["weight_scale"]
    if scheme.strategy == "group" and len(scale.shape) == 2:
        return main.shape[0], scale.shape[1] * scheme.group_size
    return _claimed_shape(source, parts.get("weight_shape"), main, ref)


def _claimed_shape(
    source: TensorSource, info: TensorInfo | None, main: TensorInfo, ref: ModelRef
) -> tuple[int, ...]:
    if info is None or info.shape != (2,) or info.dtype not in {"I64", "I32"}:
        got = None if info is None else f"{info.shape} {info.dtype}"
        raise mismatch(main.name, "two whole numbers 'weight_shape'", got, ref)
    rows, columns = source.read(info).tolist()
    return int(rows), int(columns)


def check_sizes(
    shape: tuple[int, ...], parts: Mapping[str, TensorInfo], scheme: Scheme, ref: ModelRef
) -> None:
    """Refuse a weight whose parts do not fit each other.

    Args:
        shape: Rows and columns of the weight once it is dequantised.
        parts: What is stored of it, by local name.
        scheme: How it is quantised.
        ref: The model, for messages.

    Raises:
        FormatError: If a part has another size than the rest of them say.
    """  # noqa: DOC501, DOC502 - `mismatch` makes a FormatError
    rows, columns = shape
    main = parts["weight_packed" if scheme.is_packed else "weight"]
    if scheme.is_packed and main.shape != (rows, _words(columns, scheme)):
        want = f"{(rows, _words(columns, scheme))} numbers for {shape}"
        raise mismatch(main.name, want, main.shape, ref)
    allowed = _grids(rows, columns, scheme)
    scale = parts["weight_scale"]
    if scale.shape not in allowed:
        raise mismatch(main.name, f"scales of shape {max(allowed)}", scale.shape, ref)
    _check_zero_point(main, parts, scheme, ref)


def _words(numbers: int, scheme: Scheme) -> int:
    return -(-numbers * scheme.num_bits // _WORD_BITS)


def _grids(rows: int, columns: int, scheme: Scheme) -> set[tuple[int, ...]]:
    match scheme.strategy:
        case "tensor":
            return {(), (1,), (1, 1)}
        case "channel":
            return {(rows, 1)}
        case "group":
            # Groups that do not fill the columns give a number that no grid of scales has.
            full = columns % scheme.group_size == 0
            return {(rows, columns // scheme.group_size if full else -1)}
        case _:
            height, width = scheme.block
            return {(-(-rows // height), -(-columns // width))}


def _check_zero_point(
    main: TensorInfo, parts: Mapping[str, TensorInfo], scheme: Scheme, ref: ModelRef
) -> None:
    zero, scale = parts.get(_ZERO_POINT), parts["weight_scale"]
    if zero is None:
        if not scheme.symmetric:
            raise mismatch(main.name, f"{_ZERO_POINT!r} beside it", "none", ref)
        return
    expected = scale.shape
    if scheme.is_packed and not scheme.symmetric and scheme.strategy in {"group", "channel"}:
        expected = (_words(main.shape[0], scheme), scale.shape[-1])
    if zero.shape != expected:
        raise mismatch(main.name, f"{_ZERO_POINT!r} of shape {expected}", zero.shape, ref)
