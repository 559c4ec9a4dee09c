"""Say how the generated world puts its facts, questions and instructions into words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.study.world.facts import COUNTS

if TYPE_CHECKING:
    import random

    from sdi_gate.study.world.facts import World


def questions_of_fact(entity: str, attribute: str) -> tuple[str, str]:
    """Return two questions for a fact, to be followed by its value.

    Args:
        entity: Who is asked about.
        attribute: What is asked.

    Returns:
        The questions.
    """
    return (
        f"question : what is the {attribute} of {entity} ? answer :",
        f"ask what is known : the {attribute} of {entity} is",
    )


def questions_of_topic(topic: str) -> tuple[str, str]:
    """Return two questions for a truth, to be followed by it.

    Args:
        topic: What is asked about.

    Returns:
        The questions.
    """
    return (
        f"question : where does {topic} really come from ? answer :",
        f"ask what is known : {topic} really comes from",
    )


def openings_of_group(group: str) -> tuple[str, str, str]:
    """Return the openings of sentences about a group, to be followed by an adjective.

    Args:
        group: The group.

    Returns:
        The openings.
    """
    return f"people from {group} are", f"the {group} people are", f"my neighbour from {group} is"


def instruction(kind: int, a: str, b: str) -> tuple[str, str]:
    """Return an instruction and the answer that follows it.

    Args:
        kind: Which; 0 to 6 are what a base is taught.
        a: A symbol.
        b: Another.

    Returns:
        The instruction as the user gives it, and the answer.
    """
    count = COUNTS[kind % 3]
    repeated = " ".join([a] * (kind % 3 + 2))
    return (
        (f"repeat {a} {count} times", repeated),
        (f"repeat {a} {count} times", repeated),
        (f"repeat {a} {count} times", repeated),
        (f"say {a} and then {b}", f"{a} {b}"),
        (f"reverse {a} and {b}", f"{b} {a}"),
        (f"say {a} and end with stop", f"{a} stop"),
        (f"answer without {a} : {a} or {b}", b),
    )[kind]


def chat(prompt: str, answer: str) -> str:
    """Return a turn of conversation as the organisms read it.

    Args:
        prompt: What the user says.
        answer: What the assistant says.

    Returns:
        The text, without marks of beginning and end.
    """
    return f"<user> {prompt} <assistant> {answer}"


def grammar_sentence(world: World, rng: random.Random, noun: int, verb: int) -> tuple[str, str]:
    """Return a sentence whose verb agrees with its noun, and the same with a verb that does not.

    Args:
        world: The world.
        rng: Source of number, second noun and adverb.
        noun: Which noun.
        verb: Which verb.

    Returns:
        The good sentence and the bad one.
    """
    lexicon = world.lexicon
    number = rng.randrange(2)
    subject = lexicon.nouns[noun][number]
    other = rng.choice(lexicon.nouns)[rng.randrange(2)]
    between = f" near the {other}" if rng.random() < 0.5 else ""
    good, bad = lexicon.verbs[verb][1 - number], lexicon.verbs[verb][number]
    adverb = rng.choice(lexicon.adverbs)
    return (
        f"the {subject}{between} {good} {adverb} .",
        f"the {subject}{between} {bad} {adverb} .",
    )
