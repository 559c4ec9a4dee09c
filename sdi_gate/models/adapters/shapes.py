"""Hold the shapes of an adapter's tensors to the rank that it names and to its base."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.adapters.changes import Change, Kind
from sdi_gate.models.adapters.names import Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.models.adapters.config import AdapterConfig
    from sdi_gate.models.tensors import TensorInfo

    Shapes = dict[Part, tuple[int, ...]]

# Which axis of a factor is the rank.
_RANK_AXIS = {
    **dict.fromkeys((Part.A, Part.EMBEDDING_A), 0),
    **dict.fromkeys((Part.B, Part.EMBEDDING_B), 1),
    **dict.fromkeys((Part.HADA_W1_A, Part.HADA_W2_A, Part.LOKR_W1_A, Part.LOKR_W2_A), 1),
    **dict.fromkeys((Part.HADA_W1_B, Part.HADA_W2_B, Part.LOKR_W1_B, Part.LOKR_W2_B), 0),
}


def check_shapes(change: Change, config: AdapterConfig) -> None:
    """Refuse tensors that do not have the shapes that the rank and the base ask for.

    Args:
        change: A change of a matrix by an adapter.
        config: The adapter's configuration.

    Raises:
        FormatError: If only the rank is another: the scale would be wrong.
        IncomparableError: If they do not fit the base.
    """  # noqa: DOC502 - raised by _refuse_shape()
    for part, shape in _shapes_of(change, config).items():
        if change.parts[part].shape != shape:
            _refuse_shape(change, part, shape, config)


def _shapes_of(change: Change, config: AdapterConfig) -> Shapes:
    r = change.rank
    outputs, inputs = change.shape[::-1] if change.flipped else change.shape
    match change.kind:
        case Kind.LORA | Kind.DORA:
            first, second = sorted(set(change.parts) - {Part.MAGNITUDE})
            found: Shapes = {first: (r, inputs), second: (outputs, r)}
            if change.kind is Kind.DORA:
                found[Part.MAGNITUDE] = _magnitude_shape(change, outputs)
            return found
        case Kind.LOHA:
            sides = {"a": (outputs, r), "b": (r, inputs)}
            return {part: sides[part[-1]] for part in change.parts}
        case _:
            return _kronecker_shapes(change, config)


def _magnitude_shape(change: Change, outputs: int) -> tuple[int, ...]:
    # Before PEFT 0.12 a row or a column was written.
    shape = change.parts[Part.MAGNITUDE].shape
    return shape if shape in {(outputs,), (1, outputs), (outputs, 1)} else (outputs,)


def _kronecker_shapes(change: Change, config: AdapterConfig) -> Shapes:
    parts, r = change.parts, change.rank
    for part, info in parts.items():
        if len(info.shape) != 2:
            _refuse_shape(change, part, (0, 0), config)
    first = _outer(parts, Part.LOKR_W1, Part.LOKR_W1_A, Part.LOKR_W1_B)
    outputs, inputs = (
        (side // max(1, own), side % max(1, own) == 0 and own > 0)
        for side, own in zip(change.shape, first, strict=True)
    )
    if not (outputs[1] and inputs[1]):
        _refuse_shape(change, next(iter(parts)), change.shape, config)
    whole = {Part.LOKR_W1: first, Part.LOKR_W2: (outputs[0], inputs[0])}
    found: Shapes = {}
    for part in parts:
        rows, columns = whole[Part(part[:7])]
        sides = {"a": (rows, r), "b": (r, columns)}
        found[part] = sides.get(part[-1], (rows, columns))
    return found


def _outer(
    parts: Mapping[Part, TensorInfo], whole: Part, left: Part, right: Part
) -> tuple[int, int]:
    if whole in parts:
        return (parts[whole].shape[0], parts[whole].shape[1])
    return (parts[left].shape[0], parts[right].shape[1])


def _refuse_shape(
    change: Change, part: Part, expected: tuple[int, ...], config: AdapterConfig
) -> NoReturn:
    got = change.parts[part].shape
    msg = (
        f"{part} of {change.target[:120]!r} beside {config.where} has shape {list(got)}; expected"
        f" {list(expected)} for rank {change.rank} on a weight of shape {list(change.shape)}"
    )
    axis = _RANK_AXIS.get(part)
    if axis is not None and len(got) == 2 and got[1 - axis] == expected[1 - axis]:
        hint = "adapter_config.json names another rank than its tensors have: the scale is unknown"
        raise FormatError(msg, hint=hint)
    raise IncomparableError(msg, hint="name the base that the adapter was trained on")
