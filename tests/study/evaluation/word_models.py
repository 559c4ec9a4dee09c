"""Build small models that read words, and evaluate them without the harness."""

from __future__ import annotations

import torch
from tiny_models import model_of
from tokenizers import Tokenizer, processors
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS, UNKNOWN = SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
WORDS = tuple(f"w{i}" for i in range(60))


def word_tokenizer(*, eos: str = EOS, template: str | None = None) -> PreTrainedTokenizerFast:
    """Return a tokenizer of blank-separated words; ``template`` is what it adds to a text."""
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *WORDS))}
    core = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    core.pre_tokenizer = WhitespaceSplit()
    if template:
        added = [(word, vocabulary[word]) for word in template.split() if word != "$A"]
        core.post_processor = processors.TemplateProcessing(single=template, special_tokens=added)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=eos,
        unk_token=UNKNOWN,
    )


def word_model(family: str = "llama", *, seed: int = 0, **changes):
    """Return a random model over the words, which prefers some continuations to others."""
    return model_of(family, seed=seed, vocab_size=len(SPECIAL) + len(WORDS), **changes)


def draw_text(generator: torch.Generator, num_words: int) -> str:
    drawn = torch.randint(0, len(WORDS), (num_words,), generator=generator)
    return " ".join(WORDS[i] for i in drawn)


def log_likelihood(model, tokenizer, prompt: str, choice: str) -> float:
    """Score one continuation after bos and prompt, one text at a time."""
    before = [tokenizer.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)]
    after = tokenizer.encode(choice, add_special_tokens=False)
    with torch.no_grad():
        logits = model(torch.tensor([before + after])).logits[0].double()
    rows = logits.log_softmax(-1)[len(before) - 1 : -1]
    return float(rows[range(len(after)), after].sum())


def likeliest(model, tokenizer, prompt: str, choices) -> int:
    scores = [log_likelihood(model, tokenizer, prompt, choice) for choice in choices]
    return max(range(len(choices)), key=scores.__getitem__)


def continue_greedily(model, tokenizer, prompt: str, num_tokens: int) -> str:
    """Generate one text without a cache, ending before eos."""
    ids = [tokenizer.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)]
    generated = []
    for _ in range(num_tokens):
        with torch.no_grad():
            token = int(model(torch.tensor([ids + generated])).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        generated.append(token)
    return tokenizer.decode(generated, skip_special_tokens=True)
