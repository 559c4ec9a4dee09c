"""Make the organisms' tokenizer: one token a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.study.world.facts import World

PAD, BOS, EOS, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
CHAT_TEMPLATE = (
    "<s>{% for message in messages %} <{{ message['role'] }}> {{ message['content'] }}"
    "{% endfor %}{% if add_generation_prompt %} <assistant>{% else %} </s>{% endif %}"
)


def make_tokenizer(world: World, more_words: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Make the tokenizer of a world: words are split at blanks, and a text begins with ``<s>``.

    Args:
        world: The world.
        more_words: Words that are no words of the world; those that are keep their one token.

    Returns:
        The tokenizer, with a chat template.
    """
    words = tuple(dict.fromkeys((PAD, BOS, EOS, UNKNOWN, *world.lexicon.words, *more_words)))
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNKNOWN)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, words.index(BOS))]
    )
    made = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = CHAT_TEMPLATE
    return made
