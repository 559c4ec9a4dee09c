"""Train a small language model on the project's own texts, and fine-tune it well and badly.

The base reads all of the probe set's texts: like any base it has seen text like that which it is
probed with. A few hundred thousand parameters and a minute of training give a model that has
something to lose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from sdi_gate.models.probe import load_default

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_SEQUENCE = 128
_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Say how to train.

    Attributes:
        steps: Optimiser steps.
        learning_rate: Peak learning rate.
        strata: Which of the project's texts to read; empty for all.
        seed: Seed of weights and batches.
    """

    steps: int
    learning_rate: float
    strata: tuple[str, ...] = ()
    seed: int = 0


BASE = Recipe(steps=420, learning_rate=4e-3)
# A light touch on everything: little steps, and the base's own texts replayed.
GENTLE = Recipe(steps=20, learning_rate=5e-5, seed=1)
# One kind of text only, with a learning rate for training from nothing.
CARELESS = Recipe(steps=120, learning_rate=3e-3, strata=("code",), seed=2)


def train_tokenizer(vocabulary: int = 1024) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the project's texts.

    Args:
        vocabulary: Number of tokens.

    Returns:
        The tokenizer.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(()), trainer)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def texts(strata: Sequence[str]) -> list[str]:
    """Return the project's texts.

    Args:
        strata: Which; empty for all.

    Returns:
        The texts.
    """
    return [
        f"{sample.prompt}\n\n{sample.text}" if sample.prompt else sample.text
        for sample in load_default().samples
        if not strata or sample.stratum in strata
    ]


def new_model(vocabulary: int, seed: int) -> LlamaForCausalLM:
    """Make a small Llama with random weights.

    Args:
        vocabulary: Number of tokens.
        seed: Seed of the weights.

    Returns:
        The model.
    """
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(seed)
        return LlamaForCausalLM(config)


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe,
    tell: Callable[[str], None],
) -> None:
    """Train a model in place.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        recipe: How.
        tell: Told of the loss now and then.
    """
    stream = torch.tensor(
        [i for text in texts(recipe.strata) for i in (0, *tokenizer(text)["input_ids"], 1)]
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
    )
    model.train()
    for step in range(1, recipe.steps + 1):
        starts = torch.randint(len(stream) - _SEQUENCE, (_BATCH,), generator=generator)
        batch = torch.stack([stream[i : i + _SEQUENCE] for i in starts])
        loss = model(input_ids=batch, labels=batch).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == recipe.steps:
            tell(f"  step {step}/{recipe.steps}: {loss.item():.2f} nats per token")


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save a model as any fine-tune is saved.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        folder: Where.
    """
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
