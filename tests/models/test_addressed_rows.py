"""How many rows of an embedding some token addresses, as the tokenizers' files say."""

from __future__ import annotations

import json

import pytest
from checkpoint_files import write_checkpoint, write_json
from tiny_models import VOCABULARY, build_base, build_tokenizer, snapshot, tiny_probe

from sdi_gate.models.tokenizer import compare_tokenizers, load_tokenizer, num_addressed


@pytest.fixture
def model(tmp_path):
    def make(name, tokenizer, config=None):
        folder = write_checkpoint(tmp_path / name)
        write_json(folder / "tokenizer.json", tokenizer)
        write_json(folder / "tokenizer_config.json", config or {})
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


def test_an_id_that_no_tensor_can_have_does_not_count(model):
    odd = [{"id": value} for value in (-4, True, 2**40, "12", 3.5)]
    assert num_addressed(model("odd", {**BYTE_PAIRS, "added_tokens": odd})) == 7
    below = {"model": {"vocab": {"a": -1}}}
    assert num_addressed(model("below", below)) is None


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
