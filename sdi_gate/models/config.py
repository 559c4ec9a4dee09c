"""Read what a model's configuration says about it, as far as a comparison needs it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.inspection import CONFIG

if TYPE_CHECKING:
    from sdi_gate.models.snapshot import ModelSnapshot

# More than any model has of layers, heads, experts, positions of these names or labels.
_MAX_COUNT = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Hold the parts of ``config.json`` that a comparison needs.

    Attributes:
        model_type: Family, such as ``llama``.
        architecture: Class, such as ``LlamaForCausalLM``; None if none is named.
    """

    model_type: str
    architecture: str | None

    @property
    def name(self) -> str:
        """Return the class, or the family where no class is named."""
        return self.architecture or self.model_type

    def is_same_kind(self, other: ModelConfig) -> bool:
        """Say whether two models are of one kind.

        Args:
            other: The other model's configuration.

        Returns:
            True if the families agree, and the classes where both are named.
        """
        classes = {self.architecture, other.architecture} - {None}
        return self.model_type == other.model_type and len(classes) <= 1


def read_config(snapshot: ModelSnapshot) -> ModelConfig:
    """Read the configuration of a snapshot.

    Args:
        snapshot: A model whose source has checked that its configuration is a JSON object.

    Returns:
        The configuration.

    Raises:
        FormatError: If the model's type is not named, or the weights are under other names.
        IncomparableError: If the model is quantised.
    """
    plain = json.loads((snapshot.folder / CONFIG).read_bytes())
    model_type = plain.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        msg = f"{CONFIG} of {snapshot.ref} does not name a 'model_type'; got {model_type!r}"
        raise FormatError(msg, hint="give a model that transformers' save_pretrained wrote")
    _refuse_absurd_counts(plain, snapshot)
    if plain.get("transformers_weights"):
        # transformers would load these, and we would have measured others.
        msg = f"{CONFIG} of {snapshot.ref} names its weights itself ('transformers_weights')"
        raise FormatError(msg, hint="re-save the model with save_pretrained")
    if plain.get("quantization_config"):
        msg = f"{snapshot.ref} is quantised ('quantization_config' in {CONFIG}); expected weights"
        raise IncomparableError(msg, hint="compare the model before it is quantised")
    named = plain.get("architectures")
    first = named[0] if isinstance(named, list) and named else None
    return ModelConfig(
        model_type=model_type, architecture=first if isinstance(first, str) else None
    )


def _refuse_absurd_counts(plain: dict[str, object], snapshot: ModelSnapshot) -> None:
    # transformers makes a list, or a module, of as many entries before any tensor is looked at.
    for key, value in plain.items():
        if key.startswith(("num_", "n_")) and isinstance(value, int) and value > _MAX_COUNT:
            msg = f"{CONFIG} of {snapshot.ref}: {key!r} is {value}; expected at most {_MAX_COUNT:,}"
            raise FormatError(msg, hint="give a model that transformers' save_pretrained wrote")


def check_same_architecture(base: ModelSnapshot, candidate: ModelSnapshot) -> ModelConfig:
    """Refuse two models of different kinds.

    Args:
        base: The base.
        candidate: The candidate.

    Returns:
        The base's configuration.

    Raises:
        IncomparableError: If family or class differ.
    """
    ours, theirs = read_config(base), read_config(candidate)
    if not ours.is_same_kind(theirs):
        msg = (
            f"different architectures: {base.ref} is {ours.name} ({ours.model_type}),"
            f" {candidate.ref} is {theirs.name} ({theirs.model_type})"
        )
        raise IncomparableError(msg, hint="a candidate is compared with the base it was made from")
    return ours
