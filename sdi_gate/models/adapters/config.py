"""Read what ``adapter_config.json`` says."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from sdi_gate.errors import IncomparableError, UsageError
from sdi_gate.models.adapters.fields import Fields
from sdi_gate.models.adapters.patterns import Name, Pattern, PatternError, compile_pattern
from sdi_gate.models.adapters.settings import MERGE, PeftType, peft_type_of
from sdi_gate.models.inspection import read_json
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.models.snapshot import ADAPTER_CONFIG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.models.snapshot import ModelSnapshot

# PEFT's defaults where a file does not name them (peft 0.21, tuners/*/config.py).
_DEFAULT_RANK = 8
_DEFAULT_ALPHA = 8.0

# Every module is held against every expression. An adapter can name each of a thousand modules;
# true expressions, which take longer, are few.
_MAX_PATTERN_CHARACTERS = 50_000
_MAX_EXPRESSION_CHARACTERS = 5_000
_NAME_BASE = "name the base with --base"
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """Hold what an adapter's configuration says.

    Attributes:
        where: Which file of which model, for messages.
        peft_type: Kind of adapter.
        task_type: Task, as PEFT names it; None if it is not said.
        base_model_name_or_path: Base model as it was trained on; None if it is not said.
        revision: Revision of the base; None for the default branch.
        r: Rank where ``rank_pattern`` says nothing.
        alpha: Numerator of the scale where ``alpha_pattern`` says nothing.
        rank_pattern: Ranks by regular expressions over module names; the first match counts.
        alpha_pattern: Numerators likewise.
        use_rslora: Divide by the root of the rank.
        use_dora: Norms of the weights are separate parameters.
        fan_in_fan_out: Whether weights are said to be stored as ``[in, out]``. PEFT overrules it
            by the module's class, and so do we.
        bias: Which biases were trained: none, all or lora_only.
        target_modules: Names or ends of names of adapted modules, or a regular expression.
        exclude_modules: Those that are left out, named likewise.
        layers_to_transform: Numbers of the layers that are adapted; None or empty for all.
        layers_pattern: What stands before the number of a layer; empty if the first number is it.
        modules_to_save: Ends of names of modules that were trained as a whole.
        ensure_weight_tying: Tied embeddings stay tied.
    """

    where: str
    peft_type: PeftType
    task_type: str | None
    base_model_name_or_path: str | None
    revision: str | None
    r: int
    alpha: float
    rank_pattern: tuple[tuple[Pattern, int], ...]
    alpha_pattern: tuple[tuple[Pattern, float], ...]
    use_rslora: bool
    use_dora: bool
    fan_in_fan_out: bool
    bias: str
    target_modules: tuple[str, ...] | str | None
    exclude_modules: tuple[str, ...] | str | None
    layers_to_transform: frozenset[int] | None
    layers_pattern: tuple[str, ...]
    modules_to_save: frozenset[str]
    ensure_weight_tying: bool

    def rank_of(self, module: str) -> int:
        """Return the rank of a module's adapter.

        Args:
            module: Module name.

        Returns:
            At least 1.
        """
        name = Name(module)
        return next((r for key, r in self.rank_pattern if key.matches_end(name)), self.r)

    def scale_of(self, module: str, rank: int) -> float:
        """Return the factor before a module's update.

        Args:
            module: Module name.
            rank: The rank of its adapter, as `rank_of` says.

        Returns:
            Alpha over the rank, or over its root.
        """
        name = Name(module)
        alpha = next((a for key, a in self.alpha_pattern if key.matches_end(name)), self.alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def read_adapter_config(snapshot: ModelSnapshot) -> AdapterConfig:
    """Read the configuration of an adapter.

    Args:
        snapshot: Its files.

    Returns:
        The configuration.

    Raises:
        FormatError: If it is missing, too large, no JSON, or a value is not of its type.
        IncomparableError: If the adapter is of a kind that is not read, or has a setting that
            would compute something else.
    """  # noqa: DOC502 - raised by the functions called
    plain = read_json(snapshot.folder, ADAPTER_CONFIG, snapshot.ref)
    return parse_adapter_config(plain, f"{ADAPTER_CONFIG} of {snapshot.ref}")


def parse_adapter_config(plain: Mapping[str, Any], where: str) -> AdapterConfig:
    """Read an adapter's configuration.

    Args:
        plain: What the file says.
        where: Which file of which model, for messages.

    Returns:
        The configuration.

    Raises:
        FormatError: If a value is not of its type.
        IncomparableError: If the adapter is of a kind that is not read, or has a setting that
            would compute something else.
    """  # noqa: DOC502 - raised by the functions below
    fields = Fields(plain=plain, where=where)
    peft_type = peft_type_of(fields)
    return AdapterConfig(
        where=where,
        peft_type=peft_type,
        task_type=fields.text("task_type"),
        base_model_name_or_path=fields.text("base_model_name_or_path"),
        revision=fields.text("revision"),
        r=fields.rank("r", _DEFAULT_RANK),
        alpha=fields.number(_alpha_key(peft_type), _DEFAULT_ALPHA),
        rank_pattern=_compiled(fields.ranks("rank_pattern"), "rank_pattern", where),
        alpha_pattern=_compiled(fields.numbers("alpha_pattern"), "alpha_pattern", where),
        use_rslora=fields.flag("use_rslora"),
        use_dora=fields.flag("use_dora"),
        fan_in_fan_out=fields.flag("fan_in_fan_out"),
        bias=_bias(fields),
        target_modules=fields.names_or_pattern("target_modules"),
        exclude_modules=fields.names_or_pattern("exclude_modules"),
        layers_to_transform=fields.indices("layers_to_transform"),
        layers_pattern=_layers_pattern(fields),
        modules_to_save=frozenset(fields.names("modules_to_save") or ()),
        ensure_weight_tying=fields.flag("ensure_weight_tying"),
    )


def base_reference(config: AdapterConfig) -> ModelRef:
    """Return the base that an adapter names.

    Args:
        config: The adapter's configuration.

    Returns:
        A reference to the Hub.

    Raises:
        UsageError: If it names none, or a folder: a candidate does not choose what is read on
            this machine.
    """
    name = config.base_model_name_or_path
    if not name:
        msg = f"{config.where} names no base model"
        raise UsageError(msg, hint=_NAME_BASE)
    revision = f"@{config.revision}" if config.revision else ""
    try:
        ref = ModelRef.parse(f"{Scheme.HUB}:{name}{revision}")
    except UsageError as exc:
        msg = (
            f"{config.where} names the base {name[:80]!r}, which is no repository of the Hub;"
            " a folder that a candidate names is never followed"
        )
        raise UsageError(msg, hint=_NAME_BASE) from exc
    # A name with an @ in it would name a revision of its own.
    if ref.location != name or "/" not in name:
        msg = f"{config.where} names the base {name[:80]!r}; expected org/name"
        raise UsageError(msg, hint=_NAME_BASE)
    return replace(ref, revision=config.revision or None)


def _alpha_key(peft_type: PeftType) -> str:
    return "lora_alpha" if peft_type is PeftType.LORA else "alpha"


def _layers_pattern(fields: Fields) -> tuple[str, ...]:
    pattern = fields.names_or_pattern("layers_pattern") or ()
    return (pattern,) if isinstance(pattern, str) else pattern


def _bias(fields: Fields) -> str:
    bias = fields.text("bias") or "none"
    if bias not in {"none", "all", "lora_only"}:
        fields.refuse("bias", "none, all or lora_only")
    return bias


def _compiled(
    pattern: Mapping[str, Number], key: str, where: str
) -> tuple[tuple[Pattern, Number], ...]:
    found = []
    for name, value in pattern.items():
        try:
            found.append((compile_pattern(name), value))
        except PatternError as exc:
            msg = f"{key} in {where} has the expression {name[:80]!r}: {exc}"
            hint = "write module names there, without look-around, counts or nested repetition"
            raise IncomparableError(msg, hint=hint) from exc
    _check_length([each for each, _ in found], key, where)
    return tuple(found)


def _check_length(patterns: list[Pattern], key: str, where: str) -> None:
    expressions = [pattern for pattern in patterns if not pattern.is_literal]
    for limit, what, counted in (
        (_MAX_PATTERN_CHARACTERS, "names", patterns),
        (_MAX_EXPRESSION_CHARACTERS, "expressions", expressions),
    ):
        if sum(len(pattern.text) for pattern in counted) > limit:
            msg = f"{key} in {where} has more than {limit:,} characters of {what}"
            raise IncomparableError(msg, hint=MERGE)
