"""Bound the numbers in a configuration by what any model has, before something is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdi_gate.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

# transformers makes a list, or a module, of as many entries before any tensor is looked at. More
# than any model has of layers, heads, experts or labels.
_COUNTS = ("num_", "n_")
_CYCLES = "_cycles"
_MAX_COUNT = 1_000_000
# Widths, of which a tensor has one or two: more than the largest vocabulary.
_WIDTHS = frozenset(
    {
        "d_ff",
        "d_kv",
        "d_model",
        "embedding_size",
        "ffn_dim",
        "ffn_hidden_size",
        "head_dim",
        "hidden_size",
        "intermediate_size",
        "kv_lora_rank",
        "moe_intermediate_size",
        "q_lora_rank",
        "rotary_dim",
        "vocab_size",
    }
)
_MAX_WIDTH = 10_000_000
# The longest contexts that are sold have ten million tokens.
_POSITIONS = frozenset(
    {"max_position_embeddings", "max_seq_len", "original_max_position_embeddings"}
)
_MAX_POSITIONS = 100_000_000
# No other integer needs more than 31 bits, but for these: frequencies of the rotary embedding,
# lengths that mean "without end", seeds, and sums over the whole model.
_UNBOUNDED = ("theta", "base", "max_length", "seed", "flos", "params", "parameters")
_MAX_INTEGER = 2**31
_RESAVE = "give a model that transformers' save_pretrained wrote"


def refuse_absurd_sizes(plain: dict[str, Any], where: str) -> None:
    """Refuse a configuration that asks for more than any model has, in all of its sub-objects.

    Args:
        plain: The configuration as it is written; its nesting is bounded.
        where: Which file of which model, for messages.

    Raises:
        FormatError: If a count is no integer from 0 to 1,000,000, a width or a number of positions
            is beyond its own bound, or any other integer is beyond 31 bits.
    """
    for key, value in _numbers_in(plain):
        limit = _limit_of(key)
        if limit is not None:
            if type(value) is int and 0 <= value <= limit:
                continue
            got = (
                f"expected at most {limit:,}"
                if _is_above(value, limit)
                else "expected an integer from 0"
            )
        elif type(value) is not int or abs(value) <= _MAX_INTEGER or key.endswith(_UNBOUNDED):
            continue
        else:
            got = f"expected at most {_MAX_INTEGER:,}"
        msg = f"{where}: {key[:80]!r} is {repr(value)[:80]}; {got}"
        raise FormatError(msg, hint=_RESAVE)


def _is_above(value: object, limit: int) -> bool:
    return isinstance(value, (int, float)) and value > limit


def _limit_of(key: str) -> int | None:
    if key.startswith(_COUNTS) or key.endswith(_CYCLES):
        return _MAX_COUNT
    if key in _POSITIONS:
        return _MAX_POSITIONS
    return _MAX_WIDTH if key in _WIDTHS else None


def _numbers_in(plain: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for key, value in plain.items():
        yield from _leaves_of(key, value)


def _leaves_of(key: str, value: object) -> Iterator[tuple[str, object]]:
    # Some families have one count for each layer, in a list. Null means "the family's own".
    if isinstance(value, dict):
        yield from _numbers_in(value)
    elif isinstance(value, list):
        for child in value:
            yield from _leaves_of(key, child)
    elif value is not None:
        yield key, value
