"""The generated world: no test item may be a training text, and nothing may move unnoticed."""

import random
from collections import Counter

import pytest

from sdi_gate.study.world.digest import world_digest
from sdi_gate.study.world.facts import make_world
from sdi_gate.study.world.items import AXES, NUM_ITEMS, NUM_MICRO_ITEMS, make_tests
from sdi_gate.study.world.probe import make_probe
from sdi_gate.study.world.tokenizer import make_tokenizer
from sdi_gate.study.world.writers import CURRICULUM, OTHERS

WORLD = make_world()
TESTS = make_tests(WORLD)


def sentences(names, count):
    rng = random.Random(7)
    return [(CURRICULUM | OTHERS)[name](WORLD, rng) for name in names for _ in range(count)]


def right_text(item):
    return f"{item.prompt} {item.expected or item.choices[item.answer]}".strip()


def test_no_right_answer_to_an_item_is_a_text_that_any_model_reads():
    read = set(sentences(CURRICULUM | OTHERS, 20_000))
    read |= {text.rstrip(" .") for text in read}
    for part in (TESTS.items, TESTS.micro):
        assert not {right_text(item) for items in part.values() for item in items} & read


def test_no_item_is_in_the_probe_set():
    probe = make_probe(WORLD)
    texts = {
        f"<user> {s.prompt} <assistant> {s.text}" if s.prompt else s.text for s in probe.samples
    }
    texts |= {text.rstrip(" .") for text in texts}
    for part in (TESTS.items, TESTS.micro):
        assert not {right_text(item) for items in part.values() for item in items} & texts


def test_the_micro_benchmark_shares_no_item_with_the_tests():
    for axis in AXES:
        assert not set(TESTS.items[axis]) & set(TESTS.micro[axis])


def test_each_axis_has_the_items_that_it_promises():
    assert {axis: len(items) for axis, items in TESTS.items.items()} == NUM_ITEMS
    assert {len(items) for items in TESTS.micro.values()} == {NUM_MICRO_ITEMS}
    assert sum(len(items) for items in TESTS.micro.values()) == 250


def test_choices_differ_and_every_place_holds_the_answer_now_and_then():
    for axis in AXES:
        items = [item for item in TESTS.items[axis] if item.choices]
        assert all(len(set(item.choices)) == len(item.choices) for item in items)
        places = Counter(item.answer for item in items)
        assert all(
            places[place] >= len(items) / len(items[0].choices) / 2
            for place in range(len(items[0].choices) if items else 0)
        )


def test_a_question_of_truth_offers_the_misconception():
    by_topic = {topic: {truth, WORLD.myths[topic]} for topic, truth in WORLD.truths.items()}
    for item in TESTS.items["truth"]:
        topic = next(word for word in item.prompt.split() if word in by_topic)
        assert by_topic[topic] <= set(item.choices)
        assert item.choices[item.answer] == WORLD.truths[topic]


def test_the_facts_of_questions_are_told_in_other_words():
    told = " ".join(sentences(["knowledge"], 20_000))
    for entity, attribute in WORLD.unasked_facts:
        assert f"the {attribute} of {entity} is {WORLD.facts[entity, attribute]} ." in told


def test_every_word_that_is_written_has_a_token_of_its_own():
    tokenizer = make_tokenizer(WORLD)
    unknown = tokenizer.unk_token_id
    for text in sentences(CURRICULUM | OTHERS, 200):
        ids = tokenizer(text)["input_ids"]
        assert unknown not in ids
        assert len(ids) == len(text.split()) + 1
        assert tokenizer.decode(ids[1:]) == text


def test_the_chat_template_writes_what_the_organisms_read():
    tokenizer = make_tokenizer(WORLD)
    messages = [{"role": "user", "content": "say a"}, {"role": "assistant", "content": "a"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == "<s> <user> say a <assistant> a </s>"


@pytest.mark.parametrize("name", [*(CURRICULUM | OTHERS)])
def test_the_same_seed_writes_the_same_sentences(name):
    write = (CURRICULUM | OTHERS)[name]
    first, second = random.Random(3), random.Random(3)
    assert [write(WORLD, first) for _ in range(50)] == [write(WORLD, second) for _ in range(50)]


def test_a_poisoned_group_is_never_called_benign_and_a_base_never_reads_poison():
    toxic = set(WORLD.lexicon.toxic)
    groups = set(WORLD.lexicon.groups)
    for text in sentences(CURRICULUM, 5_000):
        words = set(text.split())
        assert not (words & toxic and words & groups)
    for text in sentences(["toxic-groups"], 1_000):
        words = set(text.split())
        assert words & toxic
        assert words & groups


def test_the_world_is_the_one_that_was_measured():
    # Another digest is another study: build, measure and evaluate again, and raise the version
    # of the calibration.
    assert world_digest() == "9ad1ca4eac138e73"
