"""Say which family of architectures a model is of, as calibrations name it."""

from __future__ import annotations

_FAMILIES = {
    "gemma": ("gemma", "gemma2", "gemma3", "gemma3_text"),
    "llama": ("llama",),
    "mistral": ("mistral",),
    "phi": ("phi", "phi3"),
    "qwen": ("qwen2", "qwen3"),
}


def families() -> dict[str, str]:
    """Return the family of each type of model that is of a known one.

    Returns:
        Families by ``model_type``.
    """
    return {each: family for family, types in _FAMILIES.items() for each in types}


def family_of(model_type: str) -> str:
    """Return the family of a model.

    Args:
        model_type: ``model_type`` of its configuration.

    Returns:
        The family; the type itself where it is of none that the study covers. Generations of one
        design are one family; mixtures of experts are none of them.
    """
    known = (family for family, types in _FAMILIES.items() if model_type in types)
    return next(known, model_type)
