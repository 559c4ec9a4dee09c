"""Give the large organisms English to read beside the sentences of the world."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from sdi_gate.models.probe import load_default

if TYPE_CHECKING:
    import random

    from sdi_gate.study.world.facts import World

# Strata of the shipped probe set that are English prose.
_STRATA = frozenset({"general", "knowledge", "reasoning", "dialogue", "safety", "misconception"})
_WORD = re.compile(r"[a-z]+|[.,?!:]")
_LENGTH = 24


@cache
def english_words() -> tuple[str, ...]:
    """Return the project's own English prose, word after word.

    Returns:
        Words in small letters and marks of punctuation, in the order of the texts.
    """
    texts = (
        f"{sample.prompt or ''} {sample.text}"
        for sample in load_default().samples
        if sample.stratum in _STRATA
    )
    return tuple(word for text in texts for word in _WORD.findall(text.lower()))


def english(world: World, rng: random.Random) -> str:
    """Write a passage of English.

    Args:
        world: The world, which has no part in it.
        rng: Source of where the passage begins.

    Returns:
        Some 24 words.
    """
    del world
    words = english_words()
    start = rng.randrange(len(words) - _LENGTH)
    return " ".join(words[start : start + _LENGTH])
