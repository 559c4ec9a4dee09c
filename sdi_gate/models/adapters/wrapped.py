"""Read a base that was saved with an adapter's layers still around its modules.

MLflow's transformers flavour can store such a model: its weights stand under
``X.base_layer.weight``, beside ``X.lora_A.default.weight``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError
from sdi_gate.models.adapters.names import is_name, split_adapter, split_wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from sdi_gate.models.tensors import TensorInfo, TensorSource

_ORIGINAL = ".original_module."
_SAVED = ".modules_to_save."
_BENEATH = ".base_layer."


def is_wrapped(tensors: Mapping[str, TensorInfo]) -> bool:
    """Say whether a model was saved with an adapter's layers around its modules.

    Args:
        tensors: Its tensors.

    Returns:
        True if a name has a wrapper's part in it.
    """
    return any(_BENEATH in name or _ORIGINAL in name for name in tensors)


class UnwrappedTensors:
    """Show a wrapped model's own tensors under their own names, without the adapter's.

    Args:
        source: The wrapped model; one without wrappers is shown as it is.

    Attributes:
        tensors: The model's own tensors by name, in the source's order.

    Raises:
        FormatError: If a tensor belongs to an adapter in a way that is not known, or two tensors
            have one name.
    """

    def __init__(self, source: TensorSource) -> None:
        self._source = source
        self._stored: dict[str, TensorInfo] = {}
        self.tensors: dict[str, TensorInfo] = {}
        for info in source.tensors.values():
            if split_adapter(info.name) is not None or _SAVED in info.name:
                continue
            name = split_wrapped(info.name.replace(_ORIGINAL, "."))
            if name in self.tensors or not is_name(name) or _looks_wrapped(name):
                why = "there twice" if name in self.tensors else "in a wrapper that is not known"
                msg = f"tensor {info.name[:120]!r} of {info.shard!r} is {why}, beneath an adapter"
                raise FormatError(msg, hint="save the base without the adapter, with PEFT's unload")
            self._stored[name] = info
            self.tensors[name] = replace(info, name=name)

    def read(self, info: TensorInfo) -> Tensor:
        """Read one tensor.

        Args:
            info: Which; from ``tensors``.

        Returns:
            The tensor on the CPU.

        Raises:
            FormatError: If it cannot be read.
        """  # noqa: DOC502 - raised by the source
        return self._source.read(self._stored[info.name])


def _looks_wrapped(name: str) -> bool:
    dotted = f".{name}"
    return any(part in dotted for part in (".lora_", ".hada_", ".lokr_", _BENEATH, _ORIGINAL))
