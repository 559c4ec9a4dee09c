"""Tasks of our own items: the harness scores them as a loop without it does."""

from __future__ import annotations

import itertools
import json
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from word_models import (
    continue_greedily,
    draw_text,
    likeliest,
    word_model,
    word_tokenizer,
)

from sdi_gate.errors import FormatError, UsageError
from sdi_gate.study.evaluation.evaluate import evaluate_loaded
from sdi_gate.study.evaluation.items import (
    ChoiceItem,
    GenerationItem,
    choice_task,
    generation_task,
    read_task,
)

MAX_TOKENS = 6


def choice_items(seed=0, *, count=12, num_choices=3, prompted=True):
    generator = torch.Generator().manual_seed(seed)
    return [
        ChoiceItem(
            prompt=draw_text(generator, 3 + number % 5) if prompted else "",
            choices=tuple(f"w{i} {draw_text(generator, 1 + i)}" for i in range(num_choices)),
            answer=number % num_choices,
        )
        for number in range(count)
    ]


def generation_items(model, tokenizer, *, count=8):
    """Return items of which every second expects what the model generates."""
    generator = torch.Generator().manual_seed(1)
    prompts = (draw_text(generator, 2 + number % 4) for number in itertools.count())
    pairs = (
        (prompt, continue_greedily(model, tokenizer, prompt, MAX_TOKENS)) for prompt in prompts
    )
    answered = itertools.islice(((prompt, text) for prompt, text in pairs if text), count)
    return [
        GenerationItem(prompt=prompt, expected=text if number % 2 else f"{text} w0")
        for number, (prompt, text) in enumerate(answered)
    ]


def right_by_hand(model, tokenizer, items):
    return tuple(
        float(likeliest(model, tokenizer, item.prompt, item.choices) == item.answer)
        for item in items
    )


@pytest.mark.parametrize("family", ["llama", "mistral", "phi", "gemma", "qwen2"])
def test_a_choice_is_right_where_the_answer_is_likeliest(family):
    model, tokenizer = word_model(family), word_tokenizer()
    items = choice_items()
    score = evaluate_loaded(model, tokenizer, [choice_task("knowledge", items)])["knowledge"]
    assert score.items == right_by_hand(model, tokenizer, items)
    assert 0 < score.value < 1


def test_a_minimal_pair_is_scored_by_whole_sentences():
    model, tokenizer = word_model(), word_tokenizer()
    items = choice_items(2, count=20, num_choices=2, prompted=False)
    score = evaluate_loaded(model, tokenizer, [choice_task("grammar", items)])["grammar"]
    assert score.items == right_by_hand(model, tokenizer, items)


@pytest.mark.parametrize("family", ["llama", "mistral", "phi", "gemma", "qwen2"])
def test_a_generation_is_right_where_it_is_the_expected_text(family):
    model, tokenizer = word_model(family), word_tokenizer()
    items = generation_items(model, tokenizer)
    task = generation_task("instruction", items, max_gen_toks=MAX_TOKENS)
    score = evaluate_loaded(model, tokenizer, [task], batch_size=3)["instruction"]
    assert score.items == (0.0, 1.0) * 4
    assert score.value == 0.5


def test_a_generation_ends_at_the_tokenizers_eos_where_the_model_names_none():
    model = word_model()
    model.generation_config.eos_token_id = None
    second = continue_greedily(model, word_tokenizer(), "w1 w2", 2).split()[1]
    tokenizer = word_tokenizer(eos=second)
    first = continue_greedily(model, tokenizer, "w1 w2", MAX_TOKENS)
    others = generation_items(model, tokenizer)
    items = [GenerationItem(prompt="w1 w2", expected=f" {first} "), *others]
    task = generation_task("instruction", items, max_gen_toks=MAX_TOKENS)
    score = evaluate_loaded(model, tokenizer, [task])["instruction"]
    assert len(first.split()) == 1
    assert score.items == (1.0, *(0.0, 1.0) * 4)


@pytest.mark.parametrize("template", [None, "<s> $A", "<s> $A </s>", "$A </s>"])
def test_the_score_does_not_depend_on_what_the_tokenizer_adds_to_a_text(template):
    model = word_model()
    plain, adding = word_tokenizer(), word_tokenizer(template=template)
    tasks = [
        choice_task("knowledge", choice_items()),
        generation_task("instruction", generation_items(model, plain), max_gen_toks=MAX_TOKENS),
    ]
    assert evaluate_loaded(model, adding, tasks) == evaluate_loaded(model, plain, tasks)


def test_a_tokenizer_without_bos_adds_nothing():
    model, tokenizer = word_model(), word_tokenizer()
    items = choice_items()
    with_bos = [
        ChoiceItem(prompt=f"<s> {item.prompt}", choices=item.choices, answer=item.answer)
        for item in items
    ]
    expected = evaluate_loaded(model, tokenizer, [choice_task("knowledge", items)])
    tokenizer.bos_token = None
    task = choice_task("knowledge", with_bos)
    assert evaluate_loaded(model, tokenizer, [task]) == expected


def test_a_prompt_that_has_its_bos_gets_no_second():
    model, tokenizer = word_model(), word_tokenizer()
    items = choice_items()
    with_bos = [
        ChoiceItem(prompt=f"<s> {item.prompt}", choices=item.choices, answer=item.answer)
        for item in items
    ]
    scores = [
        evaluate_loaded(model, tokenizer, [choice_task("knowledge", these)])
        for these in (items, with_bos)
    ]
    assert scores[0] == scores[1]


@given(right=st.lists(st.booleans(), min_size=2, max_size=12))
def test_value_and_standard_error_are_those_of_a_mean(right):
    model, tokenizer = word_model(), word_tokenizer()
    items = choice_items(count=len(right), num_choices=2)
    found = [likeliest(model, tokenizer, item.prompt, item.choices) for item in items]
    aimed = [
        ChoiceItem(prompt=item.prompt, choices=item.choices, answer=best if hit else 1 - best)
        for item, best, hit in zip(items, found, right, strict=True)
    ]
    score = evaluate_loaded(model, tokenizer, [choice_task("truth", aimed)])["truth"]
    share = sum(right) / len(right)
    assert score.n == len(right)
    assert score.items == tuple(map(float, right))
    assert score.value == pytest.approx(share)
    assert score.stderr == pytest.approx((share * (1 - share) / (len(right) - 1)) ** 0.5)


def test_the_same_tasks_give_the_same_scores_again_in_any_order_and_batch_size():
    model, tokenizer = word_model(), word_tokenizer()
    tasks = [
        choice_task("knowledge", choice_items(count=9)),
        choice_task("grammar", choice_items(2, num_choices=2, prompted=False)),
        generation_task("instruction", generation_items(model, tokenizer), max_gen_toks=MAX_TOKENS),
    ]
    first = evaluate_loaded(model, tokenizer, tasks)
    assert evaluate_loaded(model, tokenizer, tasks) == first
    assert evaluate_loaded(model, tokenizer, tasks[::-1], batch_size=2) == first
    for task in tasks:
        alone = evaluate_loaded(model, tokenizer, [task])
        assert alone == {task.axis: first[task.axis]}


def test_a_limit_takes_the_first_items():
    model, tokenizer = word_model(), word_tokenizer()
    task = choice_task("knowledge", choice_items())
    whole = evaluate_loaded(model, tokenizer, [task])["knowledge"]
    part = evaluate_loaded(model, tokenizer, [task], limit=5)["knowledge"]
    assert part.items == whole.items[:5]
    assert part.n == 5


def test_one_item_has_no_standard_error():
    task = choice_task("knowledge", choice_items())
    with pytest.raises(UsageError, match="no standard error over 1 items"):
        evaluate_loaded(word_model(), word_tokenizer(), [task], limit=1)


def test_two_tasks_of_one_axis_are_refused():
    task = choice_task("knowledge", choice_items())
    with pytest.raises(UsageError, match="two tasks of one axis"):
        evaluate_loaded(word_model(), word_tokenizer(), [task, task])


def test_a_model_whose_likelihoods_are_not_numbers_has_no_score():
    model = word_model()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    task = choice_task("knowledge", choice_items())
    with pytest.raises(FormatError, match="36 of 36 texts no finite likelihood"):
        evaluate_loaded(model, word_tokenizer(), [task])


def test_evaluating_leaves_model_tokenizer_and_random_numbers_as_they_were():
    model, tokenizer = word_model(), word_tokenizer()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tasks = [
        choice_task("knowledge", choice_items()),
        generation_task("instruction", generation_items(model, tokenizer)),
    ]
    model.train()
    before = (random.getstate(), torch.get_rng_state().tolist(), tokenizer.padding_side)
    evaluate_loaded(model, tokenizer, tasks)
    assert model.training
    assert (random.getstate(), torch.get_rng_state().tolist(), tokenizer.padding_side) == before
    assert all(torch.equal(weights[name], now) for name, now in model.state_dict().items())


def test_a_text_longer_than_the_context_is_reported(caplog):
    generator = torch.Generator().manual_seed(0)
    long = ChoiceItem(prompt=draw_text(generator, 80), choices=("w1", "w2"), answer=0)
    task = choice_task("knowledge", [long, *choice_items(count=3, num_choices=2)])
    evaluate_loaded(word_model(), word_tokenizer(), [task])
    assert "2 of 8 texts are longer than the 64 tokens" in caplog.text


def test_a_generation_longer_than_the_context_is_cut_and_reported(caplog):
    items = [GenerationItem(prompt="w1", expected="w1"), GenerationItem(prompt="w2", expected="w1")]
    task = generation_task("instruction", items, max_gen_toks=64)
    evaluate_loaded(word_model(), word_tokenizer(), [task])
    assert "2 generations were to be longer than the 64 tokens" in caplog.text


def test_items_of_a_file_make_the_same_task(tmp_path):
    model, tokenizer = word_model(), word_tokenizer()
    choices, texts = choice_items(), generation_items(model, tokenizer)
    rows = {
        "knowledge": [
            {"prompt": i.prompt, "choices": i.choices, "answer": i.answer} for i in choices
        ],
        "instruction": [{"prompt": i.prompt, "expected": i.expected} for i in texts],
    }
    for axis, these in rows.items():
        lines = "".join(json.dumps(row) + "\n" for row in these)
        (tmp_path / f"{axis}.jsonl").write_text(lines, encoding="utf-8")
    made = [choice_task("knowledge", choices), generation_task("instruction", texts)]
    read = [read_task(axis, tmp_path / f"{axis}.jsonl") for axis in rows]
    assert evaluate_loaded(model, tokenizer, read) == evaluate_loaded(model, tokenizer, made)


GOOD_CHOICE = '{"prompt": "a", "choices": ["b", "c"], "answer": 0}\n'
GOOD_TEXT = '{"prompt": "a", "expected": "b"}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "0 items; expected at least 2"),
        (GOOD_CHOICE, "1 items; expected at least 2"),
        (GOOD_CHOICE + "no JSON\n", "t.jsonl:2: not a line of JSON"),
        (GOOD_CHOICE + GOOD_TEXT, "mixes items"),
        (GOOD_CHOICE + "[]\n", "t.jsonl:2: not an item"),
        ('{"prompt": "a", "expected": "b", "more": 1}\n', "t.jsonl:1: not an item"),
        ('{"prompt": "a", "choices": ["b", 1], "answer": 0}\n', "t.jsonl:1: not an item"),
        ('{"prompt": "a", "choices": ["b", "c"], "answer": true}\n', "t.jsonl:1: not an item"),
        ('{"prompt": "a", "choices": ["b"], "answer": 0}\n', "item 1: needs two choices"),
        ('{"prompt": "a", "choices": ["b", " "], "answer": 0}\n', "none of them empty"),
        ('{"prompt": "a", "choices": ["b", "b"], "answer": 0}\n', "the same choice twice"),
        ('{"prompt": "a", "choices": ["b", "c"], "answer": 2}\n', "answer 2 is none of 2"),
        ('{"prompt": "a", "choices": ["b", "c"], "answer": -1}\n', "answer -1 is none of 2"),
        (GOOD_CHOICE + '{"prompt": "", "choices": ["b", "c"], "answer": 0}\n', "some have none"),
        ('{"prompt": " ", "expected": "b"}\n', "item 1: needs a prompt and an expected text"),
        ('{"prompt": "a", "expected": ""}\n', "item 1: needs a prompt and an expected text"),
    ],
)
def test_a_file_that_is_no_list_of_items_is_refused(tmp_path, content, message):
    path = tmp_path / "t.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        read_task("knowledge", path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read the items in .*absent\.jsonl"):
        read_task("knowledge", tmp_path / "absent.jsonl")
