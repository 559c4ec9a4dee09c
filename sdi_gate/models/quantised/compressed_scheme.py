"""Read how compressed-tensors quantised a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from sdi_gate.errors import IncomparableError
from sdi_gate.models.quantised.dequantised import mismatch
from sdi_gate.models.quantised.libraries import REMEDY, library_errors, owner, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.models.ref import ModelRef

_LIBRARY = "compressed-tensors"
_PACKED = "pack-quantized"
_FORMATS = frozenset({_PACKED, "int-quantized", "float-quantized", "naive-quantized"})
_STRATEGIES = frozenset({"tensor", "channel", "group", "block"})
# The library pads a weight to whole blocks: the number is the file's, and so must not be large.
_MAX_BLOCK = 1024
_MAX_GROUP = 2**31
_CONFIG = "quantization_config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """Hold how the weights of a model are quantised.

    Attributes:
        format: What the library calls the format.
        strategy: Which weights share a scale: tensor, channel, group or block.
        num_bits: Bits of a weight.
        stored: Storage type of a weight that is not packed.
        symmetric: Whether there are no zero points.
        group_size: Weights in a group; 0 without groups.
        block: Rows and columns of a block; zeros without blocks.
        compressor: The library's class that undoes the format.
        arguments: What that class wants to know.
    """

    format: str
    strategy: str
    num_bits: int
    stored: str
    symmetric: bool
    group_size: int
    block: tuple[int, int]
    compressor: Any
    arguments: Any

    @property
    def is_packed(self) -> bool:
        """Return whether several weights share a number."""
        return self.format == _PACKED


def read_scheme(config: Mapping[str, object], ref: ModelRef) -> Scheme:
    """Read how a model's weights are quantised.

    Args:
        config: The model's ``quantization_config``.
        ref: The model, for messages.

    Returns:
        The scheme, which is the same for every quantised weight.

    Raises:
        FormatError: If the configuration is no such.
        IncomparableError: If the library is not installed, or cannot undo the format here.
    """  # noqa: DOC502 - raised by what it calls
    _refuse_transformed(config, ref)
    group = _only_group(config, ref)
    name = group.get("format") or config.get("format")
    if not isinstance(name, str) or name not in _FORMATS:
        _refuse(f"in the format {shown(name)}", ref)
    compressors = owner("compressed_tensors.compressors", _LIBRARY, ref)
    schemes = owner("compressed_tensors.quantization", _LIBRARY, ref)
    with library_errors(f"{shown('config_groups')} of {ref} cannot be read"):
        arguments = schemes.QuantizationScheme.model_validate({**group, "format": name})
    weights = arguments.weights
    strategy = str(getattr(weights.strategy, "value", weights.strategy))
    if strategy not in _STRATEGIES:
        _refuse(f"with a scale for each {shown(strategy)}", ref)
    kind = str(getattr(weights.type, "value", weights.type))
    return Scheme(
        format=name,
        strategy=strategy,
        num_bits=_bits_of(weights.num_bits, kind, name, ref),
        stored="I8" if kind == "int" else "F8_E4M3",
        symmetric=bool(weights.symmetric),
        group_size=_group_size_of(weights.group_size, strategy, ref),
        block=_block_of(weights.block_structure, strategy, ref),
        compressor=compressors.BaseCompressor.get_value_from_registry(name),
        arguments=arguments,
    )


def _refuse(how: str, ref: ModelRef) -> NoReturn:
    msg = f"{ref} is quantised by compressed-tensors {how}, which sdi-gate cannot dequantise"
    raise IncomparableError(msg, hint=REMEDY)


def _refuse_transformed(config: Mapping[str, object], ref: ModelRef) -> None:
    sparsity = config.get("sparsity_config")
    if isinstance(sparsity, dict) and sparsity.get("format", "dense") != "dense":
        _refuse(f"sparsely ({shown(sparsity.get('format'))})", ref)
    if config.get("transform_config"):
        # Rotations are undone by modules that the plain model does not have.
        _refuse("after a rotation of its weights", ref)


def _only_group(config: Mapping[str, object], ref: ModelRef) -> Mapping[str, object]:
    groups = config.get("config_groups")
    if not isinstance(groups, dict) or not all(isinstance(g, dict) for g in groups.values()):
        raise mismatch(_CONFIG, "an object 'config_groups' of objects", groups, ref)
    with_weights = [group for group in groups.values() if group.get("weights")]
    if not with_weights:
        _refuse("without its weights", ref)
    first: Mapping[str, object] = with_weights[0]
    if any(
        (group.get("weights"), group.get("format")) != (first.get("weights"), first.get("format"))
        for group in with_weights
    ):
        # Which module has which is said by patterns of the file's own, matched by module types.
        _refuse("by more than one scheme", ref)
    return first


def _bits_of(num_bits: object, kind: str, name: str, ref: ModelRef) -> int:
    allowed = range(1, 9) if kind == "int" else range(8, 9)
    if not isinstance(num_bits, int) or num_bits not in allowed or kind not in {"int", "float"}:
        _refuse(f"as {shown(kind)} of {shown(num_bits)} bits", ref)
    if name == _PACKED and kind != "int":
        _refuse(f"as packed {shown(kind)}", ref)
    return num_bits


def _group_size_of(size: object, strategy: str, ref: ModelRef) -> int:
    if strategy != "group":
        return 0
    if not isinstance(size, int) or not 0 < size <= _MAX_GROUP:
        raise mismatch(_CONFIG, "a positive 'group_size'", size, ref)
    return size


def _block_of(block: object, strategy: str, ref: ModelRef) -> tuple[int, int]:
    if strategy != "block":
        return 0, 0
    match block:
        case [int(rows), int(columns)] if 0 < rows <= _MAX_BLOCK and 0 < columns <= _MAX_BLOCK:
            return rows, columns
        case _:
            want = f"two sizes of at most {_MAX_BLOCK} as 'block_structure'"
            raise mismatch(_CONFIG, want, block, ref)
