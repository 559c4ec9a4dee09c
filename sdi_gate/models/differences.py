"""Find what two models say differently about how to run the same weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

from sdi_gate.models.inspection import read_json
from sdi_gate.models.skeleton import causal_lm_config
from sdi_gate.models.snapshot import SnapshotKind

if TYPE_CHECKING:
    from sdi_gate.models.config import ModelConfig
    from sdi_gate.models.opening import OpenModel
    from sdi_gate.models.snapshot import ModelSnapshot

_GENERATION_CONFIG = "generation_config.json"
# What a forward pass over given tokens does not depend on, or what the shapes of tensors show.
_HARMLESS = frozenset(
    {
        "_name_or_path",
        "architectures",
        "attention_dropout",
        "attn_pdrop",
        "embd_pdrop",
        "hidden_dropout",
        "id2label",
        "initializer_range",
        "label2id",
        "output_attentions",
        "output_hidden_states",
        "pretraining_tp",
        "problem_type",
        "quantization_config",
        "resid_pdrop",
        "return_dict",
        "transformers_version",
        "use_cache",
        "vocab_size",
    }
)
# What decides how a model generates, and which no forward pass over given tokens shows.
_GENERATION = frozenset({"bos_token_id", "eos_token_id", "pad_token_id"})
_DTYPE = frozenset({"dtype", "torch_dtype"})
_PLAIN_DTYPES = frozenset({"float64", "float32", "float16", "bfloat16"})
# How to compute attention: settings that transformers takes out of the configuration it shows,
# and that the probe does not obey, for it needs second derivatives.
_IMPLEMENTATION = frozenset(
    {"attn_implementation", "_attn_implementation", "experts_implementation"}
)
# What acts on every token, so that the probe's short texts show it. All else that differs may act
# on longer texts only, or not at all while the probe runs.
_SEEN = re.compile(
    r"(?!rope).*(?:act|activation|act_fn|activation_function|eps|epsilon|scale|scaling|scalar"
    r"|multiplier|softcapping|bias)|num_(?:attention|key_value)_heads|n_head|head_dim|hidden_size"
    r"|intermediate_size|tie_word_embeddings|num_experts_per_tok|norm_topk_prob"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Name what differs.

    Attributes:
        settings: Settings that can change what the model computes from the same weights, sorted.
        generation: Settings that change how it generates, sorted.
    """

    settings: tuple[str, ...] = ()
    generation: tuple[str, ...] = ()

    @property
    def unseen(self) -> tuple[str, ...]:
        """Return the settings that the probe cannot judge, for its texts are short."""
        return tuple(key for key in self.settings if _SEEN.fullmatch(key) is None)


def find_differences(base: OpenModel, candidate: OpenModel) -> Differences:
    """Compare two configurations.

    Weights alone do not show another base of the rotary embedding, another norm's epsilon or
    another activation function.

    Args:
        base: The base.
        candidate: The candidate.

    Returns:
        What differs. Settings that one configuration leaves out count as their defaults, where
        transformers knows the family; a flag that is off counts as one that is left out.
    """
    raw = (dict(base.config.plain), dict(candidate.config.plain))
    ours, theirs = _normalised(base.config), _normalised(candidate.config)
    if ours is None or theirs is None:
        ours, theirs = dict(raw[0]), dict(raw[1])
    for settings, plain in zip((ours, theirs), raw, strict=True):
        settings.update({key: plain[key] for key in _IMPLEMENTATION & plain.keys()})
        _drop_idle(settings)
    found = _differing(ours, theirs) - _HARMLESS
    if all(str(settings.get(key)) in _PLAIN_DTYPES for settings in raw for key in _dtype(settings)):
        found -= _DTYPE
    generation = _generation(base.snapshot, candidate.snapshot)
    # Where there is no file of generation settings, transformers takes these from config.json.
    inside = (_differing(*raw) & _generation_settings()) - ours.keys() - theirs.keys()
    named = {f"{_GENERATION_CONFIG} {key}" for key in generation}
    return Differences(
        settings=tuple(sorted(found - _GENERATION)),
        generation=tuple(sorted((found & _GENERATION) | inside | named)),
    )


def _generation_settings() -> frozenset[str]:
    known: dict[str, Any] = GenerationConfig().to_dict()  # type: ignore[no-untyped-call]
    return frozenset(known) - {"transformers_version", "_from_model_config"}


def _generation(base: ModelSnapshot, candidate: ModelSnapshot) -> set[str]:
    theirs = _plain(candidate, _GENERATION_CONFIG)
    if candidate.kind is not SnapshotKind.FULL and not theirs:
        return set()  # an adapter generates as its base does
    return _differing(_plain(base, _GENERATION_CONFIG), theirs)


def _dtype(settings: dict[str, Any]) -> frozenset[str]:
    return frozenset(key for key in _DTYPE if settings.get(key) is not None)


def _drop_idle(settings: dict[str, Any]) -> None:
    # Which layers would have the window that there is none of. Whether there is one is what the
    # family's own configuration makes of it: not all heed `use_sliding_window`.
    if "sliding_window" in settings and settings["sliding_window"] is None:
        settings.pop("max_window_layers", None)


def _differing(ours: dict[str, Any], theirs: dict[str, Any]) -> set[str]:
    return {
        key
        for key in ours.keys() | theirs.keys()
        if _value(ours, key) != _value(theirs, key)
        and key not in {"transformers_version", "_from_model_config"}
    }


def _value(settings: dict[str, Any], key: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    value = settings.get(key)
    return None if value is False else _in_float32(value)


def _in_float32(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    # Models run in float32, and GGUF stores its settings so: 1e-5 and its float32 are one number.
    match value:
        case float():
            return torch.tensor(value, dtype=torch.float32).item()
        case dict():
            return {key: _in_float32(entry) for key, entry in value.items()}
        case list():
            return [_in_float32(entry) for entry in value]
        case _:
            return value


def _plain(snapshot: ModelSnapshot, name: str) -> dict[str, Any]:
    if not any(file.name == name for file in snapshot.files):
        return {}
    return read_json(snapshot.folder, name, snapshot.ref)


def _normalised(config: ModelConfig) -> dict[str, Any] | None:
    try:
        settings: dict[str, Any] = causal_lm_config(config).to_dict()
    except Exception:  # noqa: BLE001 - a hostile configuration can fail anywhere in transformers
        return None
    return settings
