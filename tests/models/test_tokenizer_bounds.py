"""What a stranger's tokenizer can make of a text is bounded before it is given one."""

from __future__ import annotations

import base64
import json

import pytest
from tiny_models import build_base, build_tokenizer, snapshot
from tokenizers import normalizers

from sdi_gate.errors import FormatError
from sdi_gate.models.tokenizer import encode, load_tokenizer
from sdi_gate.models.tokenizer_bounds import check_built


def replace(pattern, content, kind="String", **more):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content, **more}


def steps(*entries):
    return {"type": "Sequence", "normalizers": list(entries)}


def table(text):
    return {
        "type": "Precompiled",
        "precompiled_charsmap": base64.b64encode(
            (4).to_bytes(4, "little") + bytes(4) + text
        ).decode(),
    }


def template(*entries, ids=(1,)):
    plain = [{"Sequence": {"id": text, "type_id": 0}} for text in entries]
    held = {"<s>": {"id": "<s>", "ids": [*ids], "tokens": ["<s>"] * len(ids)}}
    return {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, *plain],
        "pair": [],
        "special_tokens": held,
    }


@pytest.fixture
def saved(tmp_path):
    def make(**changes):
        folder = build_base(tmp_path / "m")
        path = folder / "tokenizer.json"
        plain = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(plain | changes), encoding="utf-8")
        return snapshot(folder)

    return make


LLAMA = steps({"type": "Prepend", "prepend": "\u2581"}, replace(" ", "\u2581"))
FALLBACK = {
    "type": "Sequence",
    "decoders": [
        replace("\u2581", " "),
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}
ALBERT = steps(
    replace("``", '"'),
    replace("''", '"'),
    {"type": "NFKD"},
    {"type": "StripAccents"},
    {"type": "Lowercase"},
    replace(" {2,}", " ", "Regex"),
)
WORDS = {
    "type": "Sequence",
    "pretokenizers": [
        {
            "type": "Split",
            "pattern": {"Regex": "[0-9]{1,3}"},
            "behavior": "Isolated",
            "invert": False,
        },
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ],
}


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": LLAMA, "decoder": FALLBACK},
        {"normalizer": replace(" ", "\u2581")},
        {"normalizer": ALBERT},
        {"pre_tokenizer": WORDS},
        {"post_processor": template("A")},
        {"normalizer": steps(*[replace("a", "bb")] * 4)},
    ],
    ids=["llama", "gemma", "albert", "split", "template", "sixteen"],
)
def test_the_steps_of_real_tokenizers_pass(saved, changes):
    assert encode(load_tokenizer(saved(**changes)), "the ferry came")


BOMBS = {
    "replacements": ({"normalizer": steps(*[replace("e", "e" * 10)] * 7)}, "10,000,000 times"),
    "one replacement": ({"normalizer": replace("e", "e" * 17)}, "17 times"),
    "of a pattern": ({"normalizer": steps(*[replace("x", "yy", "Regex")] * 10)}, "times as long"),
    "of nothing": ({"normalizer": replace("", "y" * 40)}, "41 times"),
    "untagged": ({"normalizer": {"pattern": {"String": "e"}, "content": "e" * 99}}, "99 times"),
    "in the decoder": ({"decoder": replace("e", "e" * 99)}, "decoder of .* 99 times"),
    "unicode": (
        {"normalizer": steps(*[replace("a", "b"), {"type": "NFKC"}] * 3)},
        "5,832 times",
    ),
    "steps": ({"normalizer": steps(*[{"type": "Strip"}] * 100)}, "101 steps"),
    "prepend": ({"normalizer": {"type": "Prepend", "prepend": "x" * 17}}, "writes 17 characters"),
    "table": ({"normalizer": table(b"a\0" + b"x" * 5_000)}, "5,000 times"),
    "no table": ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "x"}}, "base64"),
    "metaspaces": (
        {"pre_tokenizer": steps(*[{"type": "Metaspace", "replacement": "_"}] * 10)},
        "1,024 times",
    ),
    "ids": ({"post_processor": template("A", ids=[1] * 1001)}, "1,001 'ids'"),
    "entries": ({"post_processor": template(*map(str, range(100)))}, "101 entries"),
    "doubling": ({"post_processor": template("A", "A")}, "writes a text 2 times"),
    "affix": (
        {"model": {"type": "BPE", "vocab": {}, "merges": [], "end_of_word_suffix": "x" * 101}},
        "101 characters",
    ),
    "no text": ({"normalizer": "x" * 10, "post_processor": {"single": "$A $A"}}, "2 times"),
}


@pytest.mark.parametrize(("changes", "match"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_before_the_library_sees_it(saved, monkeypatch, changes, match):
    def never(*_args, **_kwargs):
        raise AssertionError

    pinned = saved(**changes)
    monkeypatch.setattr("sdi_gate.models.tokenizer.AutoTokenizer.from_pretrained", never)
    with pytest.raises(FormatError, match=match) as caught:
        load_tokenizer(pinned)
    assert "save_pretrained" in caught.value.hint


def test_a_tokenizer_built_of_other_files_is_looked_at_once_it_is_built(saved):
    tokenizer = build_tokenizer()
    ref = saved().ref
    check_built(tokenizer, ref)
    check_built(object(), ref)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("e", "e" * 99)
    with pytest.raises(FormatError, match="99 times"):
        check_built(tokenizer, ref)


def test_old_files_without_tokenizer_json_are_built_and_then_looked_at(tmp_path, monkeypatch):
    folder = build_base(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    bomb = build_tokenizer()
    bomb.backend_tokenizer.normalizer = normalizers.Replace("e", "e" * 99)
    name = "sdi_gate.models.tokenizer.AutoTokenizer.from_pretrained"
    monkeypatch.setattr(name, lambda *_args, **_kwargs: bomb)
    with pytest.raises(FormatError, match="99 times"):
        load_tokenizer(snapshot(folder))
