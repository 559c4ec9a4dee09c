"""Read what a model's configuration says about it, as far as a comparison needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.inspection import read_json
from sdi_gate.models.listing import CONFIG
from sdi_gate.models.sizes import refuse_absurd_sizes

if TYPE_CHECKING:
    from sdi_gate.models.ref import ModelRef
    from sdi_gate.models.snapshot import ModelSnapshot

_QUANTIZATION = "quantization_config"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Hold the parts of ``config.json`` that a comparison needs.

    Attributes:
        model_type: Family, such as ``llama``.
        architecture: Class, such as ``LlamaForCausalLM``; None if none is named.
        quantization: What ``quantization_config`` says; None if it is not there.
        plain: The whole configuration as it is written.
        where: The model it is of, for messages.
    """

    model_type: str
    architecture: str | None
    quantization: dict[str, Any] | None = field(default=None, hash=False)
    plain: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    where: str = field(default="", compare=False)

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
        FormatError: If the file cannot be read, or says what `parse_config` refuses.
    """  # noqa: DOC502 - raised by the functions called
    return parse_config(read_json(snapshot.folder, CONFIG, snapshot.ref), snapshot.ref)


def parse_config(plain: dict[str, Any], ref: ModelRef) -> ModelConfig:
    """Read a configuration that is an object already.

    Args:
        plain: What ``config.json`` says, or would say.
        ref: The model, for messages.

    Returns:
        The configuration.

    Raises:
        FormatError: If the model's type is not named, a size is absurd, the quantisation is no
            object, or the weights are under other names.
    """
    model_type = plain.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        got = repr(model_type)[:80]
        msg = f"{CONFIG} of {ref} does not name a 'model_type'; got {got}"
        raise FormatError(msg, hint="give a model that transformers' save_pretrained wrote")
    refuse_absurd_sizes(plain, f"{CONFIG} of {ref}")
    if plain.get("transformers_weights"):
        # transformers would load these, and we would have measured others.
        msg = f"{CONFIG} of {ref} names its weights itself ('transformers_weights')"
        raise FormatError(msg, hint="re-save the model with save_pretrained")
    quantization = plain.get(_QUANTIZATION)
    if quantization is not None and not isinstance(quantization, dict):
        got = type(quantization).__name__
        msg = f"{_QUANTIZATION!r} in {CONFIG} of {ref} is no object; got {got}"
        raise FormatError(msg, hint="re-save the model with save_pretrained")
    named = plain.get("architectures")
    first = named[0] if isinstance(named, list) and named else None
    return ModelConfig(
        model_type=model_type,
        architecture=first if isinstance(first, str) else None,
        quantization=quantization,
        plain=plain,
        where=str(ref),
    )


def check_same_architecture(base: ModelConfig, candidate: ModelConfig) -> None:
    """Refuse two models of different kinds.

    Args:
        base: The base's configuration.
        candidate: The candidate's.

    Raises:
        IncomparableError: If family or class differ.
    """
    if not base.is_same_kind(candidate):
        msg = (
            f"different architectures: {base.where} is {base.name} ({base.model_type}),"
            f" {candidate.where} is {candidate.name} ({candidate.model_type})"
        )
        raise IncomparableError(msg, hint="a candidate is compared with the base it was made from")
