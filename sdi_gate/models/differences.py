"""Find what two configurations say differently: the same weights can compute something else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig

from sdi_gate.models.inspection import CONFIG

if TYPE_CHECKING:
    from sdi_gate.models.snapshot import ModelSnapshot

# What a forward pass over given tokens does not depend on, or what the shapes of tensors show.
_HARMLESS = frozenset(
    {
        "_name_or_path",
        "architectures",
        "attention_dropout",
        "attn_implementation",
        "attn_pdrop",
        "bos_token_id",
        "dtype",
        "embd_pdrop",
        "eos_token_id",
        "hidden_dropout",
        "id2label",
        "initializer_range",
        "label2id",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "pretraining_tp",
        "problem_type",
        "resid_pdrop",
        "return_dict",
        "torch_dtype",
        "transformers_version",
        "use_cache",
        "vocab_size",
    }
)
# What transformers raises on a configuration that it cannot make sense of.
_LOAD_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError)


def config_differences(base: ModelSnapshot, candidate: ModelSnapshot) -> tuple[str, ...]:
    """Name the settings that differ and can change what a model computes from the same weights.

    Weights alone do not show another base of the rotary embedding, another norm's epsilon or
    another activation function.

    Args:
        base: The base.
        candidate: The candidate.

    Returns:
        Names of settings, sorted. Settings that one configuration leaves out count as their
        defaults, where transformers knows the family.
    """
    ours, theirs = _normalised(base), _normalised(candidate)
    if ours is None or theirs is None:
        ours, theirs = _plain(base), _plain(candidate)
    missing = object()
    return tuple(
        key
        for key in sorted((ours.keys() | theirs.keys()) - _HARMLESS)
        if ours.get(key, missing) != theirs.get(key, missing)
    )


def _plain(snapshot: ModelSnapshot) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads((snapshot.folder / CONFIG).read_bytes())
    return plain


def _normalised(snapshot: ModelSnapshot) -> dict[str, Any] | None:
    try:
        config = AutoConfig.from_pretrained(
            snapshot.folder, local_files_only=True, trust_remote_code=False
        )
    except _LOAD_ERRORS:
        return None
    settings: dict[str, Any] = config.to_dict()
    return settings
