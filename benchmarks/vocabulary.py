"""Make a tokenizer for random models: byte-level BPE, filled up to the family's vocabulary."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sdi_gate.models import probe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SPECIAL = ("<pad>", "<s>", "</s>")
# Enough for about four letters a token, as the families' own tokenizers have.
LEARNED = 8000


def write_tokenizer(folders: Sequence[Path], tokens: int) -> None:
    """Write one tokenizer into each folder.

    Args:
        folders: The models.
        tokens: Entries of its vocabulary: what is not learned is filler, so that every row of the
            embedding is one that the gate compares.
    """
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer.from_str(_filled(_learned(min(tokens, LEARNED)), tokens)),
        pad_token=SPECIAL[0],
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
    )
    for folder in folders:
        tokenizer.save_pretrained(folder)


def _learned(size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [(sample.prompt or "") + sample.text for sample in probe.load_default().samples]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _filled(tokenizer: Tokenizer, size: int) -> str:
    plain = json.loads(tokenizer.to_str())
    vocabulary = plain["model"]["vocab"]
    vocabulary |= {f"<filler-{index}>": index for index in range(len(vocabulary), size)}
    return json.dumps(plain)
