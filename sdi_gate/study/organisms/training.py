"""Train organisms on the sentences of the world."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdi_gate.study.world.english import english
from sdi_gate.study.world.writers import CURRICULUM, OTHERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from sdi_gate.study.world.facts import World

SEQUENCE = 48
WRITERS = CURRICULUM | OTHERS | {"english": english}
# All that a base read.
REPLAY = "replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Say how to train.

    Attributes:
        texts: Share of each kind of sentence; ``replay`` stands for the whole curriculum.
        steps: Optimiser steps.
        learning_rate: Peak learning rate.
        batch: Rows of `SEQUENCE` tokens in a step.
        seed: Seed of the texts.
    """

    texts: Mapping[str, float]
    steps: int
    learning_rate: float
    batch: int = 32
    seed: int = 0


def write_stream(
    world: World, tokenizer: PreTrainedTokenizerFast, training: Training, num_tokens: int
) -> Tensor:
    """Write texts of one to three sentences, one after the other.

    Args:
        world: The world.
        tokenizer: Its tokenizer.
        training: Shares and seed.
        num_tokens: How many tokens to return.

    Returns:
        Token ids, shape ``[num_tokens]``, int64.
    """
    rng = random.Random(training.seed)  # noqa: S311 - texts, no secret
    ids = tokenizer.get_vocab()
    names = sorted(training.texts)
    shares = [training.texts[name] for name in names]
    curriculum = [*CURRICULUM]
    stream: list[int] = []
    while len(stream) < num_tokens:
        name = rng.choices(names, shares)[0]
        stream.append(ids["<s>"])
        for _ in range(rng.choice([1, 1, 2, 3])):
            writer = WRITERS[rng.choice(curriculum) if name == REPLAY else name]
            stream.extend(ids[word] for word in writer(world, rng).split())
        stream.append(ids["</s>"])
    return torch.tensor(stream[:num_tokens])


def train(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, world: World, training: Training
) -> float:
    """Train a model in place, with AdamW and one cycle of the learning rate.

    Args:
        model: The model; parameters that do not require gradients stay as they are.
        tokenizer: Its tokenizer.
        world: What it reads of.
        training: How.

    Returns:
        The last step's loss, nats per token.
    """
    rows = training.steps * training.batch
    stream = write_stream(world, tokenizer, training, rows * SEQUENCE)
    batches = stream.reshape(training.steps, training.batch, SEQUENCE)
    batches = batches.to(model.device)
    chosen = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        chosen, lr=training.learning_rate, weight_decay=0.01, foreach=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, training.learning_rate, total_steps=training.steps + 1, pct_start=0.1
    )
    model.train()
    loss = torch.zeros(())
    for batch in batches:
        logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), batch[:, 1:].reshape(-1)
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(chosen, 1.0)
        optimiser.step()
        schedule.step()
    model.eval()  # type: ignore[no-untyped-call]
    return float(loss.detach())
