"""Load a causal language model for measuring, and find its decoder layers."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from sdi_gate.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import torch
    from transformers import PreTrainedModel

    from sdi_gate.models.snapshot import ModelSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """Hold a model that is ready to be measured.

    Attributes:
        model: In evaluation mode, with eager attention: the fused kernels have no second
            derivative (pytorch issues 116350 and 181177).
        layers: The decoder layers, from input to output.
    """

    model: PreTrainedModel
    layers: tuple[nn.Module, ...]


def load_model(snapshot: ModelSnapshot, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """Load a model from its folder, running no code of the model's and unpickling nothing.

    Args:
        snapshot: The model.
        device: Where it shall lie.
        dtype: Type of its parameters.

    Returns:
        The model.

    Raises:
        FormatError: If transformers cannot load it, or its weights are not those, all of them
            and no others, that its configuration asks for.
    """
    with _loadable(snapshot):
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
    model, info = pair
    # A weight that is missing would have been made up, and one that is left over was measured
    # and is not run: either way the model that runs is not the one in the files.
    for verb, key in (("lacks", "missing_keys"), ("holds and does not use", "unexpected_keys")):
        if names := sorted(info[key]):
            msg = f"{snapshot.ref} {verb} {len(names)} weights, {names[0]!r} first: its weights do"
            hint = "copy or download the model again; --tier weights compares it without loading it"
            raise FormatError(f"{msg} not fit its config.json", hint=hint)
    nn.Module.to(model, device)
    model.eval()  # type: ignore[no-untyped-call]
    return LoadedModel(model=model, layers=decoder_layers(model))


def max_positions(snapshot: ModelSnapshot) -> int | None:
    """Return the longest sequence that a model takes, without loading it.

    Args:
        snapshot: The model.

    Returns:
        Tokens, or None if its configuration does not say.

    Raises:
        FormatError: If transformers cannot use the configuration.
    """  # noqa: DOC502 - raised by _loadable()
    with _loadable(snapshot):
        config = AutoConfig.from_pretrained(
            snapshot.folder, local_files_only=True, trust_remote_code=False
        )
    positions = getattr(config, "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else None


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


@contextmanager
def _loadable(snapshot: ModelSnapshot) -> Iterator[None]:
    # A checkpoint that does not fit its configuration can fail anywhere in transformers.
    try:
        yield
    except Exception as exc:
        msg = f"transformers cannot load {snapshot.ref}: {type(exc).__name__}: {exc}"
        raise FormatError(msg[:600], hint="--tier weights compares it without loading it") from exc


def _inside(module: nn.Module, layers: tuple[nn.Module, ...]) -> bool:
    return any(module is child for layer in layers for child in layer.modules())
