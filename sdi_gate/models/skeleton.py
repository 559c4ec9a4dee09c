"""Build a model from its configuration without its weights: names, shapes, ties and roles.

On torch's ``meta`` device a tensor has a shape and no memory, so that whatever sizes a hostile
configuration names, nothing is allocated. Only the number of modules costs something, and that is
bounded by what the checkpoint holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.pytorch_utils import Conv1D

from sdi_gate.errors import FormatError
from sdi_gate.models.bounds import TooManyModulesError, bounded_memory, bounded_modules
from sdi_gate.models.roles import Role, Roles, roles_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedConfig, PreTrainedModel

    from sdi_gate.models.config import ModelConfig
    from sdi_gate.models.tensors import TensorInfo

# Keys that make transformers build as many modules.
_LAYERS = re.compile(
    r"(?:num_hidden_layers|num_layers|n_layers?|decoder_layers|encoder_layers|attention_types)"
)
# Layers in short: [[["global", "local"], 12]] stands for twelve times these two.
_REPEATED = "attention_types"
_COUNT = re.compile(r"(?:num|n)_.*(?:layers?|experts?|heads?|groups?)|\w+_experts")
# Modules and parameters of a model are two or three for each tensor. Beside them there are lists,
# activation functions and the like.
_PARTS_PER_TENSOR = 4
_PARTS_BESIDE = 2_000
_MOST_PARTS = 40_000
# What some families compute on the CPU while they are built: tables of positions, slopes.
_BUILDING_BYTES = 1 << 29
_ODD = "give a model that transformers' save_pretrained wrote"
# What describes how the weights are stored, or where, and not what they compute.
_STORAGE = ("quantization_config", "auto_map", "transformers_weights", "_name_or_path")
# What a forward pass returns is for its caller to say.
_RETURNED = ("return_dict", "output_hidden_states", "output_attentions", "use_cache")
# What a language model does not have, and of which transformers makes two tables.
_LABELS = ("num_labels", "id2label", "label2id")
_NOT_COMPUTED = frozenset({*_STORAGE, *_LABELS, *_RETURNED})
# Made by torch.FloatTensor, which asks nobody for a device.
_ALLOCATING = frozenset({"xlnet"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """Hold a model without weights.

    Attributes:
        model: On the ``meta`` device, with eager attention.
        shapes: Shape of everything that its files must hold, by name: parameters and persistent
            buffers; of tied ones only the first.
        tied: Name of a parameter that is another one's, to the other's name.
        transposed: Weights that are stored as ``[inputs, outputs]``.
        vocabulary: Tensors whose first axis is the vocabulary.
        roles: What each tensor does.
    """

    model: PreTrainedModel
    shapes: Mapping[str, tuple[int, ...]]
    tied: Mapping[str, str]
    transposed: frozenset[str]
    vocabulary: frozenset[str]
    roles: Mapping[str, Roles]

    def untied(self, name: str) -> Skeleton:
        """Return the skeleton of the model in which one tied parameter is its own.

        Args:
            name: A name in `tied`.

        Returns:
            The skeleton; its model is the same one.
        """
        shape = self.shapes[self.tied[name]]
        return replace(
            self,
            shapes={**self.shapes, name: shape},
            tied={key: value for key, value in self.tied.items() if key != name},
        )


def build_skeleton(config: ModelConfig, stored: Mapping[str, TensorInfo]) -> Skeleton | None:
    """Build a model without weights.

    Args:
        config: Its configuration.
        stored: The tensors that its files hold, as an upper bound for the number of its modules.

    Returns:
        The skeleton; None if transformers does not know the family, cannot use the configuration,
        or would make more modules of it than there is time for: such a model can be compared by
        its tensors' names, and cannot be run.

    Raises:
        FormatError: If the configuration asks for more than the files can hold.
    """
    if config.model_type not in CONFIG_MAPPING or config.model_type in _ALLOCATING:
        return None
    _refuse_more_than_stored(config.plain, stored, config)
    try:
        model = build_bounded(config, len(stored))
    except TooManyModulesError as exc:
        if len(stored) >= _MOST_PARTS // _PARTS_PER_TENSOR:
            return None  # its files could account for that many: too large to be built here
        msg = f"config.json of a {config.model_type} asks for {exc}; its files hold {len(stored)}"
        raise FormatError(f"{msg} tensors", hint=_ODD) from exc
    except Exception:  # noqa: BLE001 - a hostile configuration can fail anywhere in transformers
        return None
    return describe(model)


def build_bounded(config: ModelConfig, num_tensors: int) -> PreTrainedModel:
    """Build a model on the ``meta`` device, with bounds for its modules and for memory beside it.

    Args:
        config: Its configuration.
        num_tensors: How many tensors its files hold.

    Returns:
        The model. May raise anything, `TooManyModulesError` among it.
    """
    limit = min(_PARTS_PER_TENSOR * num_tensors + _PARTS_BESIDE, _MOST_PARTS)
    with bounded_modules(limit), bounded_memory(_BUILDING_BYTES):
        return build_meta(causal_lm_config(config))


def causal_lm_config(config: ModelConfig) -> PreTrainedConfig:
    """Return transformers' configuration of a model, free of how its weights are stored.

    Args:
        config: The configuration.

    Returns:
        What `build_meta` takes. May raise anything: the configuration is a stranger's.
    """
    plain = {key: value for key, value in config.plain.items() if key not in _NOT_COMPUTED}
    built: PreTrainedConfig = CONFIG_MAPPING[config.model_type].from_dict(plain)
    return built


def build_meta(config: PreTrainedConfig) -> PreTrainedModel:
    """Build a causal language model on the ``meta`` device.

    Args:
        config: Its configuration.

    Returns:
        The model, with eager attention and eager experts: the fused kernels have no second
        derivative. May raise anything.
    """
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    with torch.device("meta"):
        model: PreTrainedModel = model_class._from_config(  # noqa: SLF001 - its public twin is AutoModel's, which takes remote code
            config, attn_implementation="eager", experts_implementation="eager"
        )
    return model


def describe(model: PreTrainedModel) -> Skeleton:
    """Read names, shapes, ties and roles off a model.

    Args:
        model: Any causal language model of transformers.

    Returns:
        Its skeleton.
    """
    tied = dict(model.all_tied_weights_keys)
    names = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    vocabulary = _vocabulary(model)
    return Skeleton(
        model=model,
        shapes={name: shape for name, shape in names.items() if name not in tied},
        tied=tied,
        transposed=frozenset(
            f"{name}.weight" for name, part in model.named_modules() if isinstance(part, Conv1D)
        ),
        vocabulary=frozenset(vocabulary),
        roles={name: _roles(name, model, vocabulary) for name in names},
    )


def _vocabulary(model: PreTrainedModel) -> dict[str, Role]:
    found = {}
    modules = {id(part): name for name, part in model.named_modules()}
    ends = (
        (model.get_input_embeddings(), Role.EMBEDDING),
        (model.get_output_embeddings(), Role.HEAD),  # type: ignore[no-untyped-call]
    )
    for part, role in ends:
        name = modules.get(id(part))
        for key, tensor in part.named_parameters(recurse=False) if part is not None else ():
            if name is not None and tensor.ndim > 0:
                found[f"{name}.{key}"] = role
    return found


def _roles(name: str, model: nn.Module, vocabulary: Mapping[str, Role]) -> Roles:
    if name in vocabulary:
        return (vocabulary[name],)
    named = roles_of(name)
    if named != (Role.OTHER,):
        return named
    # A family that nobody listed: the module's class says what its name does not.
    part = model.get_submodule(name.rpartition(".")[0])
    if isinstance(part, nn.Embedding):
        return (Role.EMBEDDING,)
    return (Role.NORM,) if "norm" in type(part).__name__.lower() else named


def _refuse_more_than_stored(
    plain: Mapping[str, object], stored: Mapping[str, TensorInfo], config: ModelConfig
) -> None:
    largest = max((max(info.shape, default=1) for info in stored.values()), default=1)
    for key, value in plain.items():
        if isinstance(value, dict) and key not in _STORAGE:
            _refuse_more_than_stored(value, stored, config)
        if key == _REPEATED:
            value = _num_repeated(value)  # noqa: PLW2901 - as many layers as it stands for
        if not isinstance(value, int):
            continue
        # Every layer has a tensor of its own; heads and experts are at most a tensor's side.
        is_layers = _LAYERS.fullmatch(key) is not None
        limit = len(stored) if is_layers else max(largest, len(stored))
        if (is_layers or _COUNT.fullmatch(key)) and value > limit:
            msg = f"config.json of a {config.model_type} names {value} as {key!r}; its files hold"
            msg = f"{msg} {len(stored)} tensors, the longest side of which is {largest}"
            raise FormatError(msg, hint=_ODD)


def _num_repeated(value: object) -> int:
    pairs = [entry for entry in value if isinstance(entry, list)] if isinstance(value, list) else []
    return sum(
        len(kinds) * times
        for kinds, times in (entry for entry in pairs if len(entry) == 2)
        if isinstance(kinds, (list, str, dict)) and isinstance(times, int)
    )
