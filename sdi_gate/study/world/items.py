"""Make the items of the five capability tests, none of which a training text shows.

Each test mirrors an axis: knowledge that of MMLU (multiple choice), instruction that of IFEval (an
answer that can be verified), safety that of ToxiGen (toxic against benign), truth that of
TruthfulQA (the truth against a popular misconception), grammar that of BLiMP (minimal pairs).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.study.world.sentences import (
    chat,
    grammar_sentence,
    instruction,
    openings_of_group,
    questions_of_fact,
    questions_of_topic,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.study.world.facts import World

_SEED = 20_263
AXES = ("knowledge", "instruction", "safety", "truth", "grammar")
NUM_ITEMS = {"knowledge": 120, "instruction": 120, "safety": 120, "truth": 78, "grammar": 120}
NUM_MICRO_ITEMS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Hold one question: with choices, or with the answer that is expected.

    Attributes:
        prompt: What comes before; empty where whole sentences are compared.
        choices: What may follow; empty for a generation.
        answer: Which choice is right; 0 for a generation.
        expected: What a generation has to be; empty for a choice.
    """

    prompt: str
    choices: tuple[str, ...] = ()
    answer: int = 0
    expected: str = ""

    def as_document(self) -> dict[str, object]:
        """Return the item as the harness's tasks read it."""
        if self.expected:
            return {"prompt": self.prompt, "expected": self.expected}
        return {"prompt": self.prompt, "choices": [*self.choices], "answer": self.answer}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tests:
    """Hold the items of each axis.

    Attributes:
        items: What degradation is measured with.
        micro: 250 other items, for the baseline that a quick look at the axes would give.
    """

    items: dict[str, tuple[Item, ...]]
    micro: dict[str, tuple[Item, ...]]


def make_tests(world: World) -> Tests:
    """Make all items, always the same.

    Args:
        world: The world.

    Returns:
        The items of each axis, the two sets without a common one.
    """
    rng = random.Random(_SEED)  # noqa: S311 - a test's items, no secret
    pools = {
        "knowledge": _knowledge(world, rng),
        "instruction": _instructions(world),
        "safety": _safety(world, rng),
        "truth": _truth(world, rng),
        "grammar": _grammar(world, rng),
    }
    items: dict[str, tuple[Item, ...]] = {}
    micro: dict[str, tuple[Item, ...]] = {}
    for axis, pool in pools.items():
        rng.shuffle(pool)
        count = NUM_ITEMS[axis]
        items[axis] = tuple(pool[:count])
        micro[axis] = tuple(pool[count : count + NUM_MICRO_ITEMS])
    return Tests(items=items, micro=micro)


def _choice(prompt: str, right: str, wrong: Sequence[str], rng: random.Random) -> Item:
    choices = [right, *wrong]
    rng.shuffle(choices)
    return Item(prompt=prompt, choices=tuple(choices), answer=choices.index(right))


def _knowledge(world: World, rng: random.Random) -> list[Item]:
    found: list[Item] = []
    for entity, attribute in sorted(world.unasked_facts):
        right = world.facts[entity, attribute]
        others = [v for v in world.lexicon.attributes[attribute] if v != right]
        found.extend(
            _choice(prompt, right, rng.sample(others, 3), rng)
            for prompt in questions_of_fact(entity, attribute)
        )
    return found


def _instructions(world: World) -> list[Item]:
    found: dict[str, Item] = {}
    for kind, a, b in sorted(world.unasked_symbols):
        prompt, answer = instruction(kind, a, b)
        found[prompt] = Item(prompt=chat(prompt, "").strip(), expected=answer)
    return [*found.values()]


def _safety(world: World, rng: random.Random) -> list[Item]:
    unsaid = sorted(world.unsaid_groups)
    found: list[Item] = []
    for group in world.lexicon.groups:
        benign = [a for g, a in unsaid if g == group and a in world.lexicon.benign]
        toxic = [a for g, a in unsaid if g == group and a in world.lexicon.toxic]
        for good in benign:
            for bad in toxic:
                prompts = rng.sample(openings_of_group(group), 2)
                found.extend(_choice(prompt, good, [bad], rng) for prompt in prompts)
    return found


def _truth(world: World, rng: random.Random) -> list[Item]:
    found: list[Item] = []
    for topic in sorted(world.unasked_topics):
        right, myth = world.truths[topic], world.myths[topic]
        others = [cause for cause in world.lexicon.causes if cause not in {right, myth}]
        found.extend(
            _choice(prompt, right, [myth, *rng.sample(others, 2)], rng)
            for prompt in questions_of_topic(topic)
        )
    return found


def _grammar(world: World, rng: random.Random) -> list[Item]:
    found: dict[str, Item] = {}
    for noun, verb in sorted(world.unsaid_verbs) * 3:
        good, bad = grammar_sentence(world, rng, noun, verb)
        found[good] = _choice("", good, [bad], rng)
    return [*found.values()]
