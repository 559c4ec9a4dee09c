"""Hold an adapter's tensors to its configuration and its base, module by module."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.adapters.changes import Change, Kind
from sdi_gate.models.adapters.names import Part
from sdi_gate.models.adapters.rules import is_embedding
from sdi_gate.models.adapters.settings import MERGE, PeftType
from sdi_gate.models.adapters.shapes import check_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.models.adapters.config import AdapterConfig
    from sdi_gate.models.tensors import TensorInfo

_AGAIN = "save the adapter again with PEFT's save_pretrained"
_LINEAR = frozenset({Part.A, Part.B})
_EMBEDDING = frozenset({Part.EMBEDDING_A, Part.EMBEDDING_B})
_LOHA = frozenset({Part.HADA_W1_A, Part.HADA_W1_B, Part.HADA_W2_A, Part.HADA_W2_B})
_LOKR = tuple(
    frozenset({*first, *second})
    for first in ((Part.LOKR_W1,), (Part.LOKR_W1_A, Part.LOKR_W1_B))
    for second in ((Part.LOKR_W2,), (Part.LOKR_W2_A, Part.LOKR_W2_B))
)
_CONVOLUTION = frozenset({Part.HADA_T1, Part.HADA_T2, Part.LOKR_T2})


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """Say what the base of an adapter is made of.

    Attributes:
        tensors: Its tensors by canonical name.
        tied: Names of parameters that are another one's, to the other's name.
        transposed: Weights that are stored as ``[in, out]``.
        vocabulary: Tensors whose first axis is the vocabulary.
    """

    tensors: Mapping[str, TensorInfo]
    tied: Mapping[str, str] = field(default_factory=dict)
    transposed: frozenset[str] = frozenset()
    vocabulary: frozenset[str] = frozenset()

    def start_of(self, target: str) -> TensorInfo | None:
        """Return the tensor that a parameter of the model is.

        Args:
            target: Name of a parameter, tied or not.

        Returns:
            The tensor; None if the model has no such parameter.
        """
        return self.tensors.get(self.tied.get(target, target))


def adapted_change(
    module: str,
    parts: Mapping[Part, TensorInfo],
    beneath: TensorInfo | None,
    config: AdapterConfig,
    base: BaseModel,
) -> Change:
    """Say what the adapter of one module does.

    Args:
        module: Name of the module.
        parts: The adapter's tensors for it.
        beneath: The adapter's own copy of the module's weight.
        config: The adapter's configuration.
        base: The base.

    Returns:
        The change of the module's weight.

    Raises:
        FormatError: If tensors are missing, or contradict each other or the configuration.
        IncomparableError: If the base has no such module, or one of another shape.
    """  # noqa: DOC502 - raised by the functions below
    target = f"{module}.weight"
    start = base.start_of(target)
    if start is None:
        _refuse_target(target, config)
    kind = _kind_of(module, parts, config)
    rank = config.rank_of(module)
    change = Change(
        target=target,
        kind=kind,
        shape=start.shape if beneath is None else beneath.shape,
        start=start.name,
        beneath=beneath,
        parts=parts,
        scale=config.scale_of(module, rank),
        rank=rank,
        flipped=Part.EMBEDDING_A in parts or target in base.transposed,
    )
    _check_place(change, start, config, base)
    check_shapes(change, config)
    return change


def whole_change(
    target: str,
    info: TensorInfo,
    original: TensorInfo | None,
    config: AdapterConfig,
    base: BaseModel,
) -> Change:
    """Say that a tensor of the adapter takes the place of one of the base's.

    Args:
        target: Name of the base's tensor.
        info: The adapter's.
        original: The adapter's copy of what was there before, if it differs from the base's.
        config: The adapter's configuration.
        base: The base.

    Returns:
        The change.

    Raises:
        IncomparableError: If the base has no such tensor, or one of another shape; the vocabulary
            may have been resized.
    """  # noqa: DOC502 - raised by the functions below
    start = base.start_of(target)
    if start is None:
        _refuse_target(target, config)
    for own in (info,) if original is None else (info, original):
        _check_rows(target, own, start, config, base)
    return Change(target=target, kind=Kind.WHOLE, shape=info.shape, whole=info, beneath=original)


def _check_rows(
    target: str, info: TensorInfo, start: TensorInfo, config: AdapterConfig, base: BaseModel
) -> None:
    # Only a vocabulary may be longer or shorter than the base's.
    of_vocabulary = bool({target, start.name} & base.vocabulary)
    first = 1 if of_vocabulary and len(info.shape) > 0 else 0
    same_axes = len(info.shape) == len(start.shape)
    if not same_axes or info.shape[first:] != start.shape[first:]:
        msg = (
            f"{config.where} has {target[:120]!r} of shape {list(info.shape)}, and its base"
            f" of shape {list(start.shape)}"
        )
        raise IncomparableError(msg, hint="name the base that the adapter was trained on")


def _refuse_target(target: str, config: AdapterConfig) -> NoReturn:
    msg = f"{config.where} changes {target[:120]!r}, which its base does not have"
    hint = "name the base that the adapter was trained on, under the layout it was trained in"
    raise IncomparableError(msg, hint=f"{hint}; or {MERGE}")


def _kind_of(module: str, parts: Mapping[Part, TensorInfo], config: AdapterConfig) -> Kind:
    names = frozenset(parts)
    if names & _CONVOLUTION:
        msg = f"{config.where} adapts the convolution {module[:120]!r}; expected matrices"
        raise IncomparableError(msg, hint=MERGE)
    kind = _method_of(names, config)
    if kind is not None:
        return kind
    method = "DoRA" if config.use_dora else config.peft_type
    msg = (
        f"{config.where} says {method}, and its tensors for {module[:120]!r} are"
        f" {', '.join(sorted(names))}: some are missing, or of another method"
    )
    raise FormatError(msg, hint=_AGAIN)


def _method_of(names: frozenset[Part], config: AdapterConfig) -> Kind | None:
    match config.peft_type:
        case PeftType.LORA:
            known = names - {Part.MAGNITUDE} in (_LINEAR, _EMBEDDING)
            fits = known and config.use_dora == (Part.MAGNITUDE in names)
            kind = Kind.DORA if config.use_dora else Kind.LORA
        case PeftType.LOHA:
            fits, kind = names == _LOHA, Kind.LOHA
        case _:
            fits, kind = names in _LOKR, Kind.LOKR
    return kind if fits else None


def _check_place(change: Change, start: TensorInfo, config: AdapterConfig, base: BaseModel) -> None:
    if change.beneath is not None:
        _check_rows(change.target, change.beneath, start, config, base)
    is_stored_transposed = {change.target, change.start} & base.transposed
    is_linear_only = change.kind in {Kind.LOHA, Kind.LOKR}
    as_embedding = Part.EMBEDDING_A in change.parts
    wrong_place = (is_stored_transposed and is_linear_only) or (
        as_embedding and base.vocabulary and change.target not in base.vocabulary
    )
    # PEFT asks the module which parts it has, ignores others, and makes up what is missing.
    wrong_parts = as_embedding != is_embedding(change.target, config, base)
    if len(start.shape) != 2 or wrong_place or wrong_parts:
        msg = (
            f"{config.where} puts {change.kind} on {change.target[:120]!r} of shape"
            f" {list(start.shape)}, which PEFT does not"
        )
        raise IncomparableError(msg, hint=MERGE)
