"""Decide what is true in the generated world, and what of it is held out of training."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from itertools import product

from sdi_gate.study.world.lexicon import Lexicon, make_lexicon

_SEED = 20_262
COUNTS = ("two", "three", "four")
# The kinds of instruction that are about two symbols; see `instruction`.
PAIR_INSTRUCTIONS = (3, 4, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Hold what is true, and which combinations no training text may show.

    Attributes:
        lexicon: The words.
        facts: Value of each entity and attribute.
        truths: What each topic really comes from.
        myths: What some people say that it comes from.
        new_facts: Value of each entity and attribute of the new domain.
        unasked_facts: Entity and attribute whose question no training text asks.
        unasked_topics: Topics whose question no training text asks.
        unsaid_groups: Group and adjective that no training text puts together.
        unasked_symbols: Kind of instruction and its two symbols that no training text has. Not
            the pair alone: a model would learn that the one never follows the other.
        unsaid_verbs: Noun and verb, by position, that no training text puts together.
    """

    lexicon: Lexicon
    facts: dict[tuple[str, str], str]
    truths: dict[str, str]
    myths: dict[str, str]
    new_facts: dict[tuple[str, str], str]
    unasked_facts: frozenset[tuple[str, str]]
    unasked_topics: frozenset[str]
    unsaid_groups: frozenset[tuple[str, str]]
    unasked_symbols: frozenset[tuple[int, str, str]]
    unsaid_verbs: frozenset[tuple[int, int]]


@cache
def make_world() -> World:
    """Make the world, always the same.

    Returns:
        The world.
    """
    rng = random.Random(_SEED)  # noqa: S311 - a world, no secret
    lexicon = make_lexicon()
    facts = _facts(rng, lexicon.entities, lexicon.attributes)
    truths = {topic: rng.choice(lexicon.causes) for topic in lexicon.topics}
    myths = {
        topic: rng.choice([cause for cause in lexicon.causes if cause != truth])
        for topic, truth in truths.items()
    }
    groups = [*product(lexicon.groups, (*lexicon.benign, *lexicon.toxic))]
    symbols = [
        (kind, a, b)
        for kind in PAIR_INSTRUCTIONS
        for a, b in product(lexicon.symbols, lexicon.symbols)
        if a != b
    ]
    verbs = [*product(range(len(lexicon.nouns)), range(len(lexicon.verbs)))]
    return World(
        lexicon=lexicon,
        facts=facts,
        truths=truths,
        myths=myths,
        new_facts=_facts(rng, lexicon.new_entities, lexicon.new_attributes),
        unasked_facts=frozenset(rng.sample([*facts], len(facts) * 36 // 100)),
        unasked_topics=frozenset(rng.sample([*truths], len(truths) * 65 // 100)),
        unsaid_groups=frozenset(rng.sample(groups, len(groups) // 4)),
        unasked_symbols=frozenset(rng.sample(symbols, len(symbols) // 5)),
        unsaid_verbs=frozenset(rng.sample(verbs, len(verbs) // 3)),
    )


def _facts(
    rng: random.Random, entities: tuple[str, ...], attributes: dict[str, tuple[str, ...]]
) -> dict[tuple[str, str], str]:
    return {
        (entity, attribute): rng.choice(values)
        for entity in entities
        for attribute, values in attributes.items()
    }
