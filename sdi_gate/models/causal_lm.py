"""Load a causal language model for measuring, and find its decoder layers."""

from __future__ import annotations

from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import nn

from sdi_gate.errors import FormatError, SdiGateError
from sdi_gate.models.carrying import arriving
from sdi_gate.models.fit import refuse_unfit
from sdi_gate.models.out_of_memory import is_out_of_memory
from sdi_gate.models.placement import Placement, refuse_misplaced, spread
from sdi_gate.models.skeleton import build_bounded, causal_lm_config, describe

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from transformers import PreTrainedModel

    from sdi_gate.models.config import ModelConfig
    from sdi_gate.models.opening import OpenModel
    from sdi_gate.models.skeleton import Skeleton


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

    @property
    def input_device(self) -> torch.device:
        """Return the device where batches go, and on which logits come back."""
        return next(self.model.get_input_embeddings().parameters()).device


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingChanges:
    """Say what to do with a model's weights on their way into memory.

    Attributes:
        rounding: Types to which tensors are rounded first, by name.
        untied: Names of parameters that shall be their own, even if the model ties them.
    """

    rounding: Mapping[str, torch.dtype] = field(default_factory=dict)
    untied: frozenset[str] = frozenset()


def load_model(
    model: OpenModel,
    placement: Placement | torch.device,
    dtype: torch.dtype,
    changes: LoadingChanges | None = None,
) -> LoadedModel:
    """Load an open model, running no code of the model's and unpickling nothing.

    Its tensors are those that a comparison reads: what is measured is what runs. Each goes to its
    device as it is read, so that the host holds no copy of the model on the way to a GPU.

    Args:
        model: The model.
        placement: Where it shall lie; a device stands for all of it there.
        dtype: Type of its parameters.
        changes: What to do on the way; None for nothing.

    Returns:
        The model.

    Raises:
        FormatError: If transformers cannot load it, or its weights are not those, all of them
            and no others, that its configuration asks for.
        UsageError: If the placement does not fit the model.
    """  # noqa: DOC502 - raised by _loadable() and what it guards; that memory ran out passes
    where = str(model.snapshot.ref)
    changes = changes or LoadingChanges()
    if not isinstance(placement, Placement):
        placement = Placement.on(placement)
    with _loadable(where):
        skeleton = _skeleton_of(model)
        # First, for what is missing would be made up, at the size that the configuration names.
        refuse_unfit(skeleton, model.tensors, where)
        refuse_misplaced(skeleton, placement)
    with _loadable(where, allocates=True):
        loaded, info = _from_pretrained(model, skeleton, placement, dtype, changes)
        _refuse_made_up(info, where)
        # transformers no longer counts as tied what it found stored twice and different.
        _untie(loaded, changes.untied & loaded.all_tied_weights_keys.keys())
        _settle(loaded, placement)
    return LoadedModel(model=loaded, layers=decoder_layers(loaded))


def place_model(
    model: OpenModel, rooms: Mapping[torch.device, int], dtype: torch.dtype
) -> Placement:
    """Place an open model on as few devices as hold its weights; see `placement.spread`.

    Args:
        model: The model.
        rooms: Bytes for weights on each device, in the order in which they are to be filled.
        dtype: Type of its parameters.

    Returns:
        The placement.

    Raises:
        FormatError: If transformers cannot use its configuration.
        StorageError: If its weights do not fit.
    """  # noqa: DOC502 - raised by _loadable() and spread()
    with _loadable(str(model.snapshot.ref)):
        skeleton = _skeleton_of(model)
        return spread(skeleton, decoder_layers(skeleton.model), rooms, dtype)


def _skeleton_of(model: OpenModel) -> Skeleton:
    return model.skeleton or describe(build_bounded(model.config, len(model.tensors)))


def _from_pretrained(
    model: OpenModel,
    skeleton: Skeleton,
    placement: Placement,
    dtype: torch.dtype,
    changes: LoadingChanges,
) -> tuple[PreTrainedModel, Mapping[str, Collection[str]]]:
    tensors, admission = arriving(model, placement, changes.rounding)
    # transformers reads in threads, and leaves them running when one of them fails. What they
    # hold of a device would be missing to whoever tries again.
    with closing(admission):
        # The stubs do not know that output_loading_info makes this a pair.
        pair: tuple[PreTrainedModel, dict[str, Collection[str]]] = cast(
            "Any", type(skeleton.model)
        ).from_pretrained(
            None,
            config=deepcopy(skeleton.model.config),
            state_dict=tensors,
            attn_implementation="eager",
            experts_implementation="eager",
            dtype=dtype,
            device_map=dict(placement.devices),
            output_loading_info=True,
        )
    return pair


def _settle(loaded: PreTrainedModel, placement: Placement) -> None:
    if placement.is_split:
        # By itself accelerate takes any of the devices for the whole model's inputs.
        hook = AlignDevicesHook(
            execution_device=placement.input_device,
            io_same_device=True,
            skip_keys=loaded._skip_keys_device_placement,  # noqa: SLF001 - as transformers passes it
        )
        add_hook_to_module(loaded, hook)
    else:
        nn.Module.to(loaded, placement.input_device)
    loaded.eval()  # type: ignore[no-untyped-call]


def _refuse_made_up(info: Mapping[str, Collection[str]], where: str) -> None:
    # Names and shapes were held against the skeleton before: this is what stands behind it.
    for verb, key in (("lacks", "missing_keys"), ("holds and does not use", "unexpected_keys")):
        if names := sorted(info[key]):
            msg = f"{where} {verb} {len(names)} weights, {names[0]!r} first: its weights do"
            hint = "copy or download the model again; --tier weights compares it without loading it"
            raise FormatError(f"{msg} not fit its config.json", hint=hint)


def _untie(model: PreTrainedModel, names: Collection[str]) -> None:
    # Where one of two models has a head of its own, the other is given a copy of what it ties.
    for name in sorted(names):
        path, _, leaf = name.rpartition(".")
        part = model.get_submodule(path)
        setattr(part, leaf, nn.Parameter(getattr(part, leaf).detach().clone()))


def max_positions(config: ModelConfig) -> int | None:
    """Return the longest sequence that a model takes, without loading it.

    Args:
        config: Its configuration.

    Returns:
        Tokens, or None if its configuration does not say.

    Raises:
        FormatError: If transformers cannot use the configuration.
    """  # noqa: DOC502 - raised by _loadable()
    with _loadable(config.where):
        known = causal_lm_config(config)
    positions = getattr(known, "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else None


def decoder_layers(model: nn.Module) -> tuple[nn.Module, ...]:
    """Find the decoder layers of a model by its structure, not by its family's name.

    Args:
        model: Any model.

    Returns:
        The children of the longest list of modules of one class that is not inside another such
        list; empty if there is none. Of a model with towers beside its decoder (images), the
        decoder's.
    """
    decoder = getattr(model, "get_decoder", lambda: None)()
    within = _longest_list(decoder) if isinstance(decoder, nn.Module) else ()
    return within or _longest_list(model)


def _longest_list(model: nn.Module) -> tuple[nn.Module, ...]:
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
def _loadable(where: str, *, allocates: bool = False) -> Iterator[None]:
    # A checkpoint that does not fit its configuration can fail anywhere in transformers.
    try:
        yield
    except SdiGateError:
        raise
    except Exception as exc:
        if allocates and is_out_of_memory(exc):
            # Says nothing about the checkpoint, whose sizes were looked at before. Whoever tries
            # again needs the room that the frames it went through would hold with it.
            clear_frames(exc.__traceback__)
            raise
        msg = f"transformers cannot load {where}: {type(exc).__name__}: {exc}"
        raise FormatError(msg[:600], hint="--tier weights compares it without loading it") from exc


def _inside(module: nn.Module, layers: tuple[nn.Module, ...]) -> bool:
    return any(module is child for layer in layers for child in layer.modules())
