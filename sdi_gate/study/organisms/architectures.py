"""Build the organisms: the five families' own architectures, small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from sdi_gate.errors import UsageError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

FAMILIES = {
    "llama": "llama",
    "mistral": "mistral",
    "phi": "phi3",
    "gemma": "gemma2",
    "qwen": "qwen3",
}
# Hidden size, layers, attention heads, inner size.
LARGE = "l"
SIZES = {
    "s": (80, 3, 4, 208),
    "m": (128, 3, 4, 320),
    # Only for a large GPU: some 30 million parameters.
    LARGE: (512, 10, 8, 1408),
}
MAX_POSITIONS = 128


def architecture(family: str, size: str, vocabulary: int) -> PretrainedConfig:
    """Return the configuration of an organism.

    Args:
        family: One of `FAMILIES`.
        size: One of `SIZES`.
        vocabulary: Number of tokens.

    Returns:
        The configuration of the family's architecture, with what makes the family itself:
        grouped queries, sliding windows, fused projections, soft caps, normalised queries.

    Raises:
        UsageError: If there is no such family or size.
    """
    if family not in FAMILIES or size not in SIZES:
        msg = f"no organism {family}-{size}: expected one of {[*FAMILIES]} and {[*SIZES]}"
        raise UsageError(msg)
    hidden, layers, heads, inner = SIZES[size]
    plain: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "max_position_embeddings": MAX_POSITIONS,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": True,
    }
    if family in {"gemma", "qwen"}:
        plain["head_dim"] = hidden // heads
    if family == "gemma":
        plain |= {"query_pre_attn_scalar": hidden // heads, "sliding_window": 32}
    if family == "mistral":
        plain["sliding_window"] = 32
    if family == "phi":
        plain["original_max_position_embeddings"] = MAX_POSITIONS
    return CONFIG_MAPPING[FAMILIES[family]](**plain)


def new_model(family: str, size: str, vocabulary: int, seed: int) -> PreTrainedModel:
    """Build an organism with random weights.

    Args:
        family: One of `FAMILIES`.
        size: One of `SIZES`.
        vocabulary: Number of tokens.
        seed: Seed of the weights.

    Returns:
        The model.

    Raises:
        UsageError: If there is no such family or size.
    """  # noqa: DOC502 - raised by architecture()
    config = architecture(family, size, vocabulary)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, attn_implementation="eager"
        )
    return model
