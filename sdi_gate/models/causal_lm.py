"""Load a causal language model for measuring, and find its decoder layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torch import nn
from transformers import AutoModelForCausalLM

from sdi_gate.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Collection

    import torch
    from transformers import PreTrainedModel

    from sdi_gate.models.snapshot import ModelSnapshot

# What transformers raises on a checkpoint that does not fit its configuration.
_LOAD_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    RuntimeError,
    ZeroDivisionError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """Hold a model that is ready to be measured.

    Attributes:
        model: In evaluation mode, with eager attention: the fused kernels have no second
            derivative (pytorch issues 116350 and 181177).
        layers: The decoder layers, from input to output.
        max_positions: Longest sequence the model takes, if its configuration says so.
    """

    model: PreTrainedModel
    layers: tuple[nn.Module, ...]
    max_positions: int | None


def load_model(snapshot: ModelSnapshot, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """Load a model from its folder, running no code of the model's and unpickling nothing.

    Args:
        snapshot: The model.
        device: Where it shall lie.
        dtype: Type of its parameters.

    Returns:
        The model.

    Raises:
        FormatError: If transformers cannot load it, or a weight that it needs is missing and
            would have been made up.
    """
    try:
        # The stubs do not know that output_loading_info makes this a pair.
        pair: tuple[PreTrainedModel, dict[str, Collection[str]]] = cast(
            "Any",
            AutoModelForCausalLM.from_pretrained(
                snapshot.folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                attn_implementation="eager",
                dtype=dtype,
                output_loading_info=True,
            ),
        )
    except _LOAD_ERRORS as exc:
        msg = f"transformers cannot load {snapshot.ref}: {type(exc).__name__}: {exc}"
        raise FormatError(msg[:600], hint="--tier weights compares it without loading it") from exc
    model, info = pair
    missing = sorted(info["missing_keys"])
    if missing:
        msg = (
            f"{snapshot.ref} lacks {len(missing)} weights of its architecture, {missing[0]!r} first"
        )
        raise FormatError(msg, hint="copy or download the model again, every file of it")
    nn.Module.to(model, device)
    model.eval()  # type: ignore[no-untyped-call]
    positions = getattr(model.config, "max_position_embeddings", None)
    return LoadedModel(
        model=model,
        layers=decoder_layers(model),
        max_positions=positions if isinstance(positions, int) and positions > 0 else None,
    )


def decoder_layers(model: nn.Module) -> tuple[nn.Module, ...]:
    """Find the decoder layers of a model by its structure, not by its family's name.

    Args:
        model: Any model.

    Returns:
        The children of the longest list of modules of one class that is not inside another such
        list; empty if there is none.
    """
    found: tuple[nn.Module, ...] = ()
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            children = tuple(module)
            one_class = len({type(child) for child in children}) == 1
            # Strictly longer: an outer list comes before the experts inside its first layer.
            if one_class and len(children) > len(found) and not _inside(module, found):
                found = children
    return found


def _inside(module: nn.Module, layers: tuple[nn.Module, ...]) -> bool:
    return any(module is child for layer in layers for child in layer.modules())
