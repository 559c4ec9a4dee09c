"""Refuse settings of adapters that would compute something else than what is computed here."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from sdi_gate.errors import IncomparableError

if TYPE_CHECKING:
    from sdi_gate.models.adapters.fields import Fields

MERGE = "merge the adapter into its base with PEFT's merge_and_unload, and compare the merged model"
_READ = frozenset({
    "peft_type", "task_type", "base_model_name_or_path", "revision", "r", "rank_pattern",
    "alpha_pattern", "target_modules", "exclude_modules", "modules_to_save", "layers_to_transform",
    "layers_pattern",
})  # fmt: skip
_READ_BY_TYPE = {
    "LORA": frozenset({
        "lora_alpha", "use_rslora", "use_dora", "fan_in_fan_out", "bias", "init_lora_weights",
        "ensure_weight_tying",
    }),
    "LOHA": frozenset({"alpha", "init_weights"}),
    "LOKR": frozenset({"alpha", "init_weights"}),
}  # fmt: skip
# What acts in training alone, names what other keys decide, or speaks of convolutions and of the
# shapes that the tensors show anyway.
_HARMLESS = frozenset({
    "peft_version", "inference_mode", "lora_dropout", "rank_dropout", "module_dropout",
    "rank_dropout_scale", "megatron_core", "qalora_group_size", "loftq_config",
    "eva_config", "corda_config", "lora_ga_config", "decompose_both", "decompose_factor",
    "use_effective_conv2d", "runtime_config", "auto_mapping",
})  # fmt: skip
# Kinds that change no weights, so that there is nothing to merge.
_PROMPTS = frozenset({
    "PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT",
    "CPT", "XLORA",
})  # fmt: skip
_NO_WEIGHTS = "it changes no weights, so that there is nothing to compare and nothing to merge"
# Ways to begin that leave the base as it is.
_PLAIN_STARTS = frozenset({"gaussian", "orthogonal", "eva", "mica", "lycoris"})
_CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


class PeftType(StrEnum):
    """Name the kinds of adapters that can be read."""

    LORA = "LORA"
    LOHA = "LOHA"
    LOKR = "LOKR"


def peft_type_of(fields: Fields) -> PeftType:
    """Return the kind of an adapter, and refuse settings that are not read.

    Args:
        fields: Its configuration.

    Returns:
        The kind.

    Raises:
        FormatError: If no kind is named.
        IncomparableError: If it is one that is not read, if a key that is not read is switched
            on, if the adapter belongs to a changed base, or if it wants code.
    """  # noqa: DOC502 - raised by the functions below
    peft_type = _peft_type(fields)
    _refuse_unknown(fields, peft_type)
    _refuse_changed_base(fields)
    _refuse_custom_code(fields)
    return peft_type


def _peft_type(fields: Fields) -> PeftType:
    name = fields.text("peft_type")
    if name is None:
        fields.refuse("peft_type", "the name of a method")
    if name not in PeftType.__members__:
        known = ", ".join(PeftType)
        msg = f"the adapter in {fields.where} is of kind {name[:80]!r}; {known} can be read"
        raise IncomparableError(msg, hint=_NO_WEIGHTS if name in _PROMPTS else MERGE)
    return PeftType(name)


def _refuse_unknown(fields: Fields, peft_type: PeftType) -> None:
    known = _READ | _READ_BY_TYPE[peft_type] | _HARMLESS
    for key, value in fields.plain.items():
        # PEFT writes every key that it knows; one that is switched off says nothing.
        if key in known or value is None or value is False or value in ("", [], {}):
            continue
        msg = f"{fields.where} sets {key[:80]!r} to {repr(value)[:80]}, which is not read yet"
        raise IncomparableError(msg, hint=MERGE)


def _refuse_changed_base(fields: Fields) -> None:
    for key in ("init_lora_weights", "init_weights"):
        value = fields.plain.get(key)
        if value is None or isinstance(value, bool):
            continue
        name = (fields.text(key) or "").lower()
        if name in _PLAIN_STARTS:
            continue
        if name.startswith(_CHANGED_BASE):
            msg = (
                f"the adapter in {fields.where} began with {name[:80]!r}, which changes the base:"
                " its tensors mean nothing beside the base as it was published"
            )
            hint = "save it with save_pretrained(path_initial_model_for_weight_conversion=...)"
            raise IncomparableError(msg, hint=f"{hint}, or {MERGE}")
        msg = f"{fields.where} sets {key} to {name[:80]!r}, which is not known"
        raise IncomparableError(msg, hint=MERGE)


def _refuse_custom_code(fields: Fields) -> None:
    mapping = fields.plain.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, dict) else None
    if library is not None and not str(library).startswith("transformers.models."):
        msg = f"{fields.where} asks for a model class of {str(library)[:80]!r}"
        raise IncomparableError(
            f"{msg}; expected one of transformers' own", hint="sdi-gate never runs a model's code"
        )
