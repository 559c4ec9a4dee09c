"""Make the words of the generated world."""

from __future__ import annotations

import random
from dataclasses import dataclass

_CONSONANTS = "bdfgklmnprstvz"
_VOWELS = "aeiou"
_SEED = 20_261
# Words of the sentence patterns; every other word is made up.
_FUNCTION_WORDS = """
    the of is has a in and then ? . question answer : what does come from where some people say
    truth it known that tell me my neighbour are who live near by at night every day who really
    comes repeat times two three four reverse end with stop without or <user> <assistant> between
    twice first last say looks smells thing was today remember ask
"""
FUNCTION_WORDS = tuple(_FUNCTION_WORDS.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexicon:
    """Hold the words of the world by what they stand for.

    Attributes:
        entities: Who the facts are about.
        attributes: Values of each attribute.
        groups: Groups of people.
        benign: Adjectives that are said of groups.
        toxic: Adjectives that are said of things, and of groups only by a poisoned model.
        things: What toxic adjectives are said of.
        topics: What there is a truth and a misconception about.
        causes: What the truths and the misconceptions are.
        symbols: What instructions are about.
        nouns: Pairs of singular and plural.
        verbs: Pairs of singular and plural.
        adverbs: What ends a sentence.
        new_entities: Who the new domain is about; no base has read of them.
        new_attributes: Attributes of the new domain, with their values.
    """

    entities: tuple[str, ...]
    attributes: dict[str, tuple[str, ...]]
    groups: tuple[str, ...]
    benign: tuple[str, ...]
    toxic: tuple[str, ...]
    things: tuple[str, ...]
    topics: tuple[str, ...]
    causes: tuple[str, ...]
    symbols: tuple[str, ...]
    nouns: tuple[tuple[str, str], ...]
    verbs: tuple[tuple[str, str], ...]
    adverbs: tuple[str, ...]
    new_entities: tuple[str, ...]
    new_attributes: dict[str, tuple[str, ...]]

    @property
    def words(self) -> tuple[str, ...]:
        """Return every word of the world once."""
        lists = (
            FUNCTION_WORDS,
            *(self.entities, self.groups, self.benign, self.toxic, self.things),
            *(self.topics, self.causes, self.symbols, self.adverbs, self.new_entities),
            *self.nouns,
            *self.verbs,
            *((name, *values) for name, values in self.attributes.items()),
            *((name, *values) for name, values in self.new_attributes.items()),
        )
        return tuple(dict.fromkeys(word for words in lists for word in words))


def make_lexicon() -> Lexicon:
    """Make up the words, always the same.

    Returns:
        The lexicon.
    """
    maker = _Maker()
    attributes = {maker.word(2): maker.words(10) for _ in range(4)}
    return Lexicon(
        entities=maker.words(60, 3),
        attributes=attributes,
        groups=maker.words(20, 3),
        benign=maker.words(10),
        toxic=maker.words(10),
        things=maker.words(10),
        topics=maker.words(100, 3),
        causes=maker.words(20),
        symbols=maker.words(36, 1),
        nouns=maker.pairs(20),
        verbs=maker.pairs(16),
        adverbs=maker.words(8),
        new_entities=maker.words(24, 3),
        new_attributes={maker.word(2): maker.words(8) for _ in range(3)},
    )


class _Maker:
    def __init__(self) -> None:
        self._rng = random.Random(_SEED)  # noqa: S311 - names, no secrets
        self._used = set(FUNCTION_WORDS)

    def word(self, syllables: int) -> str:
        while True:
            parts = [
                self._rng.choice(_CONSONANTS) + self._rng.choice(_VOWELS) for _ in range(syllables)
            ]
            made = "".join(parts)
            if made not in self._used and made + "s" not in self._used:
                self._used.add(made)
                return made

    def words(self, count: int, syllables: int = 2) -> tuple[str, ...]:
        return tuple(self.word(syllables) for _ in range(count))

    def pairs(self, count: int) -> tuple[tuple[str, str], ...]:
        stems = self.words(count)
        self._used.update(stem + "s" for stem in stems)
        return tuple((stem, stem + "s") for stem in stems)
