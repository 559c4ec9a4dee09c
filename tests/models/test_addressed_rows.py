"""How many rows of an embedding some token addresses, as the tokenizers' files say."""

from __future__ import annotations

import json

import pytest
from checkpoint_files import write_checkpoint, write_json
from tiny_models import VOCABULARY, build_base, build_tokenizer, snapshot, tiny_probe

from sdi_gate.models.addressed import num_addressed
from sdi_gate.models.tokenizer import compare_tokenizers, load_tokenizer


@pytest.fixture
def model(tmp_path):
    def make(name, tokenizer, config=None, **others):
        folder = write_checkpoint(tmp_path / name)
        write_json(folder / "tokenizer.json", tokenizer)
        plain = {"tokenizer_class": "TokenizersBackend"}
        write_json(folder / "tokenizer_config.json", plain | (config or {}))
        for file, content in others.items():
            write_json(folder / f"{file}.json", content)
        return snapshot(folder)

    return make


BYTE_PAIRS = {"model": {"vocab": {"a": 0, "b": 6, "c": 3}}}
PIECES = {"model": {"vocab": [["a", 0.0], ["b", -1.0]]}}


def test_a_trained_tokenizer_addresses_every_row_of_its_model(tmp_path):
    assert num_addressed(snapshot(build_base(tmp_path / "m"))) == VOCABULARY


def test_the_largest_id_counts_whichever_way_a_vocabulary_is_written(model):
    assert num_addressed(model("pairs", BYTE_PAIRS)) == 7
    assert num_addressed(model("pieces", PIECES)) == 2


def test_added_tokens_count_wherever_they_are_named(model):
    added = {**BYTE_PAIRS, "added_tokens": [{"id": 9}]}
    assert num_addressed(model("added", added)) == 10
    decoder = {"added_tokens_decoder": {"11": {}, "twelve": {}, "9" * 5000: {}}}
    assert num_addressed(model("decoder", BYTE_PAIRS, decoder)) == 12


def test_a_token_whose_id_no_tensor_can_have_gets_the_next_one(model):
    odd = [{"id": value} for value in (-4, True, 2**40, "12", 3.5)]
    assert num_addressed(model("odd", {**BYTE_PAIRS, "added_tokens": odd})) == 7 + 5


@pytest.mark.parametrize("number", [-1, 2**40, "0", None, True], ids=str)
def test_a_vocabulary_with_an_impossible_id_leaves_every_row_in(model, number):
    assert num_addressed(model("odd", {"model": {"vocab": {"a": number}}})) is None


NAMED = {"additional_special_tokens": ["<x>", {"content": "<y>"}], "image_token": "<z>"}


@pytest.mark.parametrize(
    ("config", "others", "more"),
    [
        ({"extra_special_tokens": ["<x>", "<y>", "<x>"]}, {}, 2),
        ({"extra_special_tokens": {"image_token": "<x>"}}, {}, 1),
        ({"model_specific_special_tokens": {"image_token": "<x>"}}, {}, 1),
        ({"additional_special_tokens": ["<x>"], "mask_token": {"content": "<y>"}}, {}, 2),
        (NAMED, {"special_tokens_map": NAMED}, 3),
        ({}, {"special_tokens_map": {"mask_token": "<x>"}}, 1),
        ({}, {"added_tokens": {"<x>": 7, "<y>": 8}}, 2),
        ({"mask_token": "<x>"}, {"added_tokens": {"<x>": 7}}, 1),
        ({"mask_token": "a", "pad_token": None, "add_bos_token": True}, {}, 0),
        ({"mask_token": "<x>"}, {"added_tokens": {"<y>": 20}}, 15),
    ],
    ids=str,
)
def test_special_tokens_count_whichever_file_names_them(model, config, others, more):
    assert num_addressed(model("m", BYTE_PAIRS, config, **others)) == 7 + more


def test_a_token_that_claims_the_id_of_another_gets_a_row_of_its_own(model):
    added = [{"id": 0, "content": f"<{place}>"} for place in range(4)]
    assert num_addressed(model("m", {**BYTE_PAIRS, "added_tokens": added})) == 7 + 4


@pytest.mark.parametrize(
    "change",
    [
        {"extra_special_tokens": ["<x>", "<y>"]},
        {"additional_special_tokens": ["<x>"]},
        {"mask_token": "<x>", "image_token": "<y>", "cls_token": "<s>"},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["tokenizer_config", "special_tokens_map", "added_tokens"])
def test_no_token_of_a_loaded_tokenizer_lies_beyond_the_count(tmp_path, name, change):
    folder = build_base(tmp_path / "m")
    path = folder / f"{name}.json"
    plain = json.loads(path.read_text()) if path.exists() else {}
    write_json(path, {"<x>": 300, "<y>": 301} if name == "added_tokens" else plain | change)
    pinned = snapshot(folder)
    assert max(load_tokenizer(pinned).get_vocab().values()) < num_addressed(pinned)


def test_a_class_with_tokens_of_its_own_leaves_room_for_them(model):
    assert num_addressed(model("m", BYTE_PAIRS, {"tokenizer_class": "LlamaTokenizer"})) > 7 + 7


def test_tokens_that_are_added_by_number_leave_every_row_in(model):
    assert num_addressed(model("m", BYTE_PAIRS, {"extra_ids": 3})) is None


@pytest.mark.parametrize("name", ["added_tokens", "special_tokens_map", "tokenizer_config"])
def test_one_unreadable_file_of_either_model_leaves_every_row_in(model, name):
    good, bad = model("good", BYTE_PAIRS), model("bad", BYTE_PAIRS, added_tokens={})
    path = bad.folder / f"{name}.json"
    path.write_text('{"a": 1, "a": 2}', encoding="utf-8")
    pinned = snapshot(bad.folder) if name != "tokenizer_config" else bad
    assert num_addressed(pinned) is None
    assert num_addressed(good, pinned) is None


def test_a_candidate_without_a_tokenizer_counts_as_its_base_and_with_an_old_one_every_row(model):
    base, other = model("base", BYTE_PAIRS), model("other", BYTE_PAIRS)
    (other.folder / "tokenizer.json").unlink()
    assert num_addressed(base, snapshot(other.folder)) == 7
    (other.folder / "vocab.json").write_text("{}", encoding="utf-8")
    assert num_addressed(base, snapshot(other.folder)) is None


def test_a_candidate_can_add_rows_and_take_none_away(model):
    base, more, less = model("base", BYTE_PAIRS), model("more", PIECES), model("less", PIECES)
    assert num_addressed(base, less) == 7
    assert num_addressed(more, base) == 7


@pytest.mark.parametrize("plain", [{}, {"model": 3}, {"model": {"vocab": "a"}}], ids=str)
def test_a_tokenizer_that_does_not_say_leaves_every_row_in(model, plain):
    assert num_addressed(model("odd", plain)) is None
    assert num_addressed(model("base", plain), model("candidate", BYTE_PAIRS)) is None


def test_a_file_that_is_no_json_leaves_every_row_in(tmp_path):
    folder = write_checkpoint(tmp_path / "m")
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    assert num_addressed(snapshot(folder)) is None


def test_tokens_that_were_added_are_said_and_do_not_part_two_tokenizers():
    base, more = build_tokenizer(), build_tokenizer()
    more.add_tokens(["<new>"])
    found = compare_tokenizers(base, more, tiny_probe())
    assert found.same is True
    assert "adds 1 tokens" in found.detail
    assert "added tokens" in found.notice
    assert compare_tokenizers(more, base, tiny_probe()).same is False


def test_an_added_token_that_the_probe_meets_parts_them():
    base, more = build_tokenizer(), build_tokenizer()
    more.add_tokens(["ferry", "the", "rain"])
    found = compare_tokenizers(base, more, tiny_probe())
    assert found.same is False
    assert "give other tokens" in found.detail


def test_a_vocabulary_with_the_same_words_under_other_numbers_is_another_one(tmp_path):
    folder = build_base(tmp_path / "swapped")
    plain = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = plain["model"]["vocab"]
    first, second = [key for key in vocabulary if len(key) == 1][:2]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    write_json(folder / "tokenizer.json", plain)
    swapped = load_tokenizer(snapshot(folder))
    assert compare_tokenizers(build_tokenizer(), swapped, tiny_probe()).same is False
