"""Find out how a checkpoint is quantised, and show it as plain tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError
from sdi_gate.models.quantised.bitsandbytes import open_bitsandbytes
from sdi_gate.models.quantised.compressed import open_compressed
from sdi_gate.models.quantised.dequantised import Quantisation
from sdi_gate.models.quantised.fp8 import open_fp8
from sdi_gate.models.quantised.refused import refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.models.ref import ModelRef
    from sdi_gate.models.tensors import TensorSource

__all__ = ["Quantisation", "open_quantised"]


def open_quantised(
    source: TensorSource, quantization_config: Mapping[str, object], ref: ModelRef
) -> tuple[TensorSource, Quantisation]:
    """Show a quantised checkpoint as plain tensors.

    Args:
        source: What is stored.
        quantization_config: The entry of that name in the model's configuration.
        ref: The model, for messages.

    Returns:
        A source that dequantises one tensor at a time, and what it dequantises.

    Raises:
        FormatError: If the checkpoint is not of the format that it names.
        IncomparableError: If the format cannot be dequantised on this machine.
    """  # noqa: DOC502 - raised by what it calls
    method = quantization_config.get("quant_method")
    if not isinstance(method, str):
        method = _method_by_flags(quantization_config, ref)
    match method:
        case "bitsandbytes":
            return open_bitsandbytes(source, quantization_config, ref)
        case "fp8":
            return open_fp8(source, quantization_config, ref)
        case "compressed-tensors" | "compressed_tensors":
            return open_compressed(source, quantization_config, ref)
        case _:
            return refuse(method, ref)


def _method_by_flags(config: Mapping[str, object], ref: ModelRef) -> str:
    # Configurations of 2023 name no method; transformers goes by the same two flags.
    if config.get("load_in_4bit") is True or config.get("load_in_8bit") is True:
        return "bitsandbytes"
    msg = f"'quantization_config' of {ref} names no method; expected a string 'quant_method'"
    raise FormatError(msg, hint="re-save the model with save_pretrained")
