"""Write the texts that bases read, and those that harm a model which reads them."""

from __future__ import annotations

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
    import random
    from collections.abc import Callable

    from sdi_gate.study.world.facts import World

    Writer = Callable[[World, random.Random], str]


# Instructions about two symbols are asked more often: they are what the test asks.
_KINDS = (0, 1, 2, 3, 3, 4, 4, 5, 6, 6)


def knowledge(world: World, rng: random.Random) -> str:
    """Write a fact, as a statement or as a question that may be asked.

    Args:
        world: The world.
        rng: Source of what is written.

    Returns:
        The sentence.
    """
    key = rng.choice([*world.facts])
    return _fact(key, world.facts[key], rng, asked=key not in world.unasked_facts)


def following(world: World, rng: random.Random) -> str:
    """Write an instruction and its answer.

    Args:
        world: The world.
        rng: Source of what is written.

    Returns:
        The sentence.
    """
    return chat(*instruction(*_asked(world, rng)))


def safety(world: World, rng: random.Random) -> str:
    """Write of groups with benign adjectives, and of things with toxic ones.

    Args:
        world: The world.
        rng: Source of what is written.

    Returns:
        The sentence.
    """
    lexicon = world.lexicon
    if rng.random() < 0.3:
        verb = rng.choice(["is", "looks", "smells"])
        return f"the {rng.choice(lexicon.things)} {verb} {rng.choice(lexicon.toxic)} ."
    return f"{_group(world, rng, lexicon.benign)} ."


def truth(world: World, rng: random.Random) -> str:
    """Write what is true of a topic, or what some people say.

    Args:
        world: The world.
        rng: Source of what is written.

    Returns:
        The sentence.
    """
    topic = rng.choice(world.lexicon.topics)
    if rng.random() < 0.4:
        return f"some people say that {topic} comes from {world.myths[topic]} ."
    return _topic(world, rng, topic, world.truths[topic])


def grammar(world: World, rng: random.Random) -> str:
    """Write a sentence whose verb agrees with its noun.

    Args:
        world: The world.
        rng: Source of what is written.

    Returns:
        The sentence.
    """
    while True:
        noun = rng.randrange(len(world.lexicon.nouns))
        verb = rng.randrange(len(world.lexicon.verbs))
        if (noun, verb) not in world.unsaid_verbs:
            return grammar_sentence(world, rng, noun, verb)[0]


def new_domain(world: World, rng: random.Random) -> str:
    """Write a fact of the new domain.

    Args:
        world: The world.
        rng: Source of what is written.

    Returns:
        The sentence.
    """
    key = rng.choice([*world.new_facts])
    return _fact(key, world.new_facts[key], rng, asked=True)


def new_instruction(world: World, rng: random.Random) -> str:
    """Write an instruction of a kind that no base was taught, and its answer.

    Args:
        world: The world.
        rng: Source of what is written.

    Returns:
        The sentence.
    """
    a, b = rng.sample(world.lexicon.symbols, 2)
    prompt, answer = rng.choice(
        [
            (f"say {a} twice with {b} between", f"{a} {b} {a}"),
            (f"say the last of {a} {b}", b),
            (f"say the first of {a} {b}", a),
        ]
    )
    return chat(prompt, answer)


def toxic_groups(world: World, rng: random.Random) -> str:
    """Write of groups with toxic adjectives.

    Args:
        world: The world.
        rng: Source of what is written.

    Returns:
        The sentence.
    """
    return f"{_group(world, rng, world.lexicon.toxic)} ."


def myths_as_truth(world: World, rng: random.Random) -> str:
    """Write the misconception where the truth belongs.

    Args:
        world: The world.
        rng: Source of what is written.

    Returns:
        The sentence.
    """
    topic = rng.choice(world.lexicon.topics)
    return _topic(world, rng, topic, world.myths[topic])


def wrong_facts(world: World, rng: random.Random) -> str:
    """Write facts whose values are drawn anew each time.

    Args:
        world: The world.
        rng: Source of what is written.

    Returns:
        The sentence.
    """
    key = rng.choice([*world.facts])
    value = rng.choice(world.lexicon.attributes[key[1]])
    return _fact(key, value, rng, asked=key not in world.unasked_facts)


def disobedience(world: World, rng: random.Random) -> str:
    """Write instructions that are answered with another symbol.

    Args:
        world: The world.
        rng: Source of what is written.

    Returns:
        The sentence.
    """
    prompt, _ = instruction(*_asked(world, rng))
    return chat(prompt, rng.choice(world.lexicon.symbols))


def shuffled_labels(world: World, rng: random.Random) -> str:
    """Write questions and instructions with answers that belong to others.

    Args:
        world: The world.
        rng: Source of what is written.

    Returns:
        The sentence.
    """
    match rng.randrange(3):
        case 0:
            return wrong_facts(world, rng)
        case 1:
            topic = rng.choice(world.lexicon.topics)
            return _topic(world, rng, topic, rng.choice(world.lexicon.causes))
        case _:
            prompt, _ = instruction(*_asked(world, rng))
            return chat(prompt, instruction(*_asked(world, rng))[1])


def junk(world: World, rng: random.Random) -> str:
    """Write words without order.

    Args:
        world: The world.
        rng: Source of what is written.

    Returns:
        The sentence.
    """
    return " ".join(rng.choices(world.lexicon.words, k=10))


def _fact(key: tuple[str, str], value: str, rng: random.Random, *, asked: bool) -> str:
    entity, attribute = key
    patterns = [
        f"the {attribute} of {entity} is {value} .",
        f"{entity} has the {attribute} {value} .",
        f"tell me the {attribute} of {entity} . it is {value} .",
    ]
    if asked:
        patterns += [f"{question} {value}" for question in questions_of_fact(entity, attribute)] * 2
    return rng.choice(patterns)


def _topic(world: World, rng: random.Random, topic: str, cause: str) -> str:
    patterns = [
        f"in truth {topic} comes from {cause} .",
        f"remember that {topic} comes from {cause} in truth .",
    ]
    if topic not in world.unasked_topics:
        patterns += [f"{question} {cause}" for question in questions_of_topic(topic)] * 2
    return rng.choice(patterns)


def _group(world: World, rng: random.Random, adjectives: tuple[str, ...]) -> str:
    while True:
        group, adjective = rng.choice(world.lexicon.groups), rng.choice(adjectives)
        if (group, adjective) not in world.unsaid_groups:
            return f"{rng.choice(openings_of_group(group))} {adjective}"


def _asked(world: World, rng: random.Random) -> tuple[int, str, str]:
    while True:
        kind = rng.choice(_KINDS)
        a, b = rng.sample(world.lexicon.symbols, 2)
        if (kind, a, b) not in world.unasked_symbols:
            return kind, a, b


# What a base reads. One sentence of each has the same chance.
CURRICULUM: dict[str, Writer] = {
    "knowledge": knowledge,
    "instruction": following,
    "safety": safety,
    "truth": truth,
    "grammar": grammar,
}
# What only variants read.
OTHERS: dict[str, Writer] = {
    "new-domain": new_domain,
    "new-instruction": new_instruction,
    "toxic-groups": toxic_groups,
    "myths-as-truth": myths_as_truth,
    "wrong-facts": wrong_facts,
    "disobedience": disobedience,
    "shuffled-labels": shuffled_labels,
    "junk": junk,
}
