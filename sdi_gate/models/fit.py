"""Hold the weights of a model against what its configuration asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.models.skeleton import Skeleton
    from sdi_gate.models.tensors import TensorInfo

# What is computed at loading and is not in the files: rotary frequencies, masks, slopes.
_MAX_BUFFER_ELEMENTS = 1 << 26


def does_fit(skeleton: Skeleton | None, stored: Mapping[str, TensorInfo]) -> bool:
    """Say whether weights are those, all of them and no others, that a configuration asks for.

    Args:
        skeleton: The model that the configuration describes; None if it describes none.
        stored: The tensors there are, under the skeleton's names.

    Returns:
        True if names and shapes agree.
    """
    if skeleton is None:
        return False
    return {**skeleton.shapes} == {name: info.shape for name, info in stored.items()}


def refuse_unfit(skeleton: Skeleton, stored: Mapping[str, TensorInfo], where: str) -> None:
    """Refuse weights that are not those, all of them and no others, that a configuration asks for.

    A weight that is missing would be made up, at the size that the configuration names, and one
    that is left over was measured and is not run.

    Args:
        skeleton: The model that the configuration describes.
        stored: The tensors there are, under the skeleton's names.
        where: The model, for messages.

    Raises:
        FormatError: If a weight is missing, left over or of another shape, or if the model asks
            for more memory beside its weights than any needs.
    """
    hint = "copy or download the model again; --tier weights compares it without loading it"
    missing = [name for name in skeleton.shapes if name not in stored]
    extra = [name for name in stored if name not in skeleton.shapes]
    for verb, names in (("lacks", missing), ("holds and does not use", extra)):
        if names:
            first = min(names)[:120]
            msg = f"{where} {verb} {len(names)} weights, {first!r} first: its weights do not fit"
            raise FormatError(f"{msg} its config.json", hint=hint)
    for name, shape in skeleton.shapes.items():
        if shape != stored[name].shape:
            msg = (
                f"transformers cannot load {where}: {name!r} has shape"
                f" {list(stored[name].shape)}, and config.json asks for {list(shape)}"
            )
            raise FormatError(msg, hint=hint)
    buffers = sum(buffer.numel() for buffer in skeleton.model.buffers())
    if buffers > _MAX_BUFFER_ELEMENTS:
        msg = f"config.json of {where} asks for buffers of {buffers:,} numbers beside its weights"
        raise FormatError(f"{msg}; expected at most {_MAX_BUFFER_ELEMENTS:,}", hint=hint)
