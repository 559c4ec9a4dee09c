"""`read_header` on files that no library wrote, and held against the library on those it takes."""

from __future__ import annotations

import json
import time

import pytest
import torch
from checkpoint_files import write_raw
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from sdi_gate.errors import FormatError
from sdi_gate.models.header import BITS, read_header

ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
NEXT = ENTRY | {"data_offsets": [8, 16]}
EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


def header_of(folder, header, data=b""):
    path = folder / "x.safetensors"
    write_raw(path, header, data)
    return read_header(path, "'x.safetensors' of m")


def test_tensors_are_described_in_the_order_of_their_names(tmp_path):
    tensors = {"b": torch.ones(2, 3).bfloat16(), "a": torch.tensor(1.0), "c": torch.empty(0, 4)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    found = read_header(tmp_path / "x.safetensors", "x")
    assert [(t.info.name, t.info.dtype, t.info.shape, t.end - t.begin) for t in found] == [
        ("a", "F32", (), 4),
        ("b", "BF16", (2, 3), 12),
        ("c", "F32", (0, 4), 0),
    ]
    assert {stored.info.shard for stored in found} == {"x.safetensors"}
    content = (tmp_path / "x.safetensors").read_bytes()
    assert content[found[0].begin : found[0].end] == b"\x00\x00\x80\x3f"


def test_a_file_without_tensors_is_sound(tmp_path):
    assert header_of(tmp_path, {}) == ()


def test_a_pointer_of_git_lfs_is_named_as_one(tmp_path):
    path = tmp_path / "model-00001-of-00002.safetensors"
    path.write_text(
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{'4d7a2146' * 8}\nsize 4976698672\n",
        encoding="ascii",
    )
    with pytest.raises(FormatError, match=r"^'x' of m is a Git LFS pointer, not") as caught:
        read_header(path, "'x' of m")
    assert caught.value.hint == "check out with lfs: true, or run git lfs pull"


def test_padding_behind_the_header_is_sound(tmp_path):
    (stored,) = header_of(tmp_path, json.dumps({"w": ENTRY}).encode() + b"   ", bytes(8))
    assert stored.end - stored.begin == 8


FLAWS = {
    "a-list": (b"[]", "is not JSON: Expecting value"),
    "garbage": (b"\x80\x04garbage", "the header of .* is not JSON"),
    "cut": (b"{", "the header of .* is not JSON"),
    "space-first": (b' {"w": 1}', "the header of .* is not JSON"),
    "utf-16": ("{}".encode("utf-16"), "the header of .* is not JSON"),
    "twice": (b'{"w": 1, "w": 1}', "key 'w' stands in one object twice"),
    "deep": (b'{"w": ' + b"[" * 70 + b"]" * 70 + b"}", "nested deeper than 64 levels"),
    "nan": (b'{"w": NaN}', "NaN is no JSON number"),
    "no-object": ({"w": 3}, "tensor 'w' .* is described by int; expected dtype, shape and"),
    "no-keys": ({"w": {}}, "tensor 'w' .* is described by dict; expected dtype, shape and"),
    "one-key-more": (
        {"w": ENTRY | {"x": 1}},
        "is described by 'data_offsets', 'dtype', 'shape', 'x'",
    ),
    "one-key-less": ({"w": {"dtype": "F32"}}, "is described by 'dtype'; expected"),
    "unknown-type": ({"w": ENTRY | {"dtype": "F99"}}, "stored as 'F99', a type that safetensors"),
    "type-no-text": ({"w": ENTRY | {"dtype": ["F32"]}}, r"stored as \"\['F32'\]\", a type that"),
    "negative-size": ({"w": ENTRY | {"shape": [-1]}}, r"has the shape \[-1\]; expected a list"),
    "truth-for-a-size": ({"w": ENTRY | {"shape": [True]}}, r"has the shape \[True\]; expected a"),
    "float-for-a-size": ({"w": ENTRY | {"shape": [2.0]}}, r"has the shape \[2\.0\]; expected a"),
    "no-shape": ({"w": ENTRY | {"shape": 2}}, "has the shape 2; expected a list"),
    "many-axes": ({"w": ENTRY | {"shape": [1] * 17}}, "has 17 axes; expected at most 16"),
    "overflow": ({"w": ENTRY | {"shape": [1 << 40] * 2}}, "has a shape that overflows"),
    "huge-size": ({"w": ENTRY | {"shape": [1 << 63]}}, "has a shape that overflows"),
    "overflow-of-nothing": (
        {"w": EMPTY | {"shape": [0, 1 << 62, 4]}},
        "has a shape that overflows",
    ),
    "offsets-swapped": (
        {"w": ENTRY | {"data_offsets": [8, 0]}},
        r"data_offsets \[8, 0\]; expected",
    ),
    "offset-below": ({"w": ENTRY | {"data_offsets": [-8, 0]}}, r"data_offsets \[-8, 0\]; expected"),
    "three-offsets": ({"w": ENTRY | {"data_offsets": [0, 8, 8]}}, r"data_offsets \[0, 8, 8\]"),
    "truth-for-an-offset": ({"w": ENTRY | {"data_offsets": [False, 8]}}, "data_offsets .False, 8"),
    "too-large": ({"w": ENTRY | {"shape": [3]}}, "3 elements of F32, which take 12 bytes; .* 8"),
    "half-bytes": (
        {"w": {"dtype": "F4", "shape": [1], "data_offsets": [0, 0]}},
        "has 1 elements of F4",
    ),
    "beyond-the-end": (
        {"w": ENTRY, "v": NEXT},
        "is not a whole .* tensor 'v' ends at byte 16 of the data, and 8 bytes are there",
    ),
    "same-place": (
        {"w": ENTRY, "v": ENTRY},
        "overlaps another: it begins at byte 0, before byte 8",
    ),
    "hole-first": (
        {"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        "holds 4 bytes of data that no tensor describes",
    ),
    "hole-last": (
        {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
        "holds 4 bytes of data that no tensor describes",
    ),
    "nothing-described": ({}, "holds 8 bytes of data that no tensor describes"),
    "metadata-list": ({"__metadata__": [], "w": ENTRY}, "'__metadata__' that is not an object of"),
    "metadata-number": ({"__metadata__": {"a": 1}, "w": ENTRY}, "'__metadata__' that is not an"),
    "metadata-null": ({"__metadata__": None, "w": ENTRY}, "'__metadata__' that is not an object"),
    "no-name": ({"": ENTRY}, "name that is not safe to use: ''"),
    "long-name": ({"w" * 501: ENTRY}, "name that is not safe to use: 'w{80}';"),
    "line-break": ({"a\nb": ENTRY}, r"name that is not safe to use: 'a\\nb'"),
    "surrogate": (b'{"\\ud800": 1}', r"name that is not safe to use: '\\ud800'"),
}


@pytest.mark.parametrize(("header", "text"), FLAWS.values(), ids=FLAWS)
def test_every_flaw_has_its_own_sentence(tmp_path, header, text):
    with pytest.raises(FormatError, match=text) as caught:
        header_of(tmp_path, header, bytes(8))
    assert "'x.safetensors' of m" in caught.value.message
    assert len(caught.value.message) < 400
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "expected at least 8 bytes, got 0"),
        (b"1234567", "expected at least 8 bytes, got 7"),
        (bytes(8), "is not JSON"),
        ((3).to_bytes(8, "little") + b"{}", "a header of 3 bytes, and 2 bytes follow"),
        ((100_000_001).to_bytes(8, "little"), "100,000,001 bytes; expected at most 100,000,000"),
        (b"\xff" * 8, "announces a header of 18,446,744,073,709,551,615 bytes"),
    ],
    ids=["empty", "seven", "no-header", "cut", "over-the-bound", "largest"],
)
def test_a_file_too_short_for_its_header_is_refused(tmp_path, content, text):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(FormatError, match=text):
        read_header(tmp_path / "x", "'x.safetensors' of m")


def test_a_header_of_holes_is_not_read(tmp_path):
    with (tmp_path / "x").open("wb") as file:
        file.write((99_999_999).to_bytes(8, "little"))
        file.truncate(1 << 40)
    started = time.monotonic()
    with pytest.raises(FormatError, match="is not JSON"):
        read_header(tmp_path / "x", "m")
    assert time.monotonic() - started < 0.1


def test_a_hundred_thousand_tensors_are_read_in_seconds(tmp_path):
    header = {
        f"model.layers.{i}.mlp.up_proj.weight": {
            "dtype": "F32",
            "shape": [1, 1],
            "data_offsets": [4 * i, 4 * i + 4],
        }
        for i in range(100_000)
    }
    started = time.process_time()
    assert len(header_of(tmp_path, header, bytes(400_000))) == 100_000
    assert time.process_time() - started < 10


# Held against the library: what we take, it takes, and both read the same.

_PLACES = st.integers(0, 5)
_ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*BITS, "F99"]),
        "shape": st.lists(st.integers(-1, 3), max_size=3),
        "data_offsets": st.tuples(_PLACES, _PLACES).map(lambda pair: [4 * place for place in pair]),
    }
)


@given(st.dictionaries(st.text(max_size=3), _ENTRIES, max_size=3), st.integers(0, 5))
def test_what_is_accepted_the_library_accepts_too(tmp_path_factory, header, quads):
    path = tmp_path_factory.getbasetemp() / "law.safetensors"
    write_raw(path, header, bytes(4 * quads))
    try:
        found = read_header(path, "law")
    except FormatError:
        return
    with safe_open(path, framework="pt") as file:
        ours = {stored.info.name: (stored.info.dtype, stored.info.shape) for stored in found}
        theirs = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        assert ours == {
            name: (entry.get_dtype(), tuple(entry.get_shape())) for name, entry in theirs.items()
        }


@given(
    st.lists(st.tuples(st.sampled_from([*BITS]), st.lists(st.integers(0, 4), max_size=3))),
    st.randoms(use_true_random=False),
)
def test_every_sound_header_is_accepted(tmp_path_factory, described, random):
    header, end = {}, 0
    for number, (dtype, shape) in enumerate(described):
        bits = BITS[dtype] * int(torch.tensor(shape).prod()) if shape else BITS[dtype]
        if bits % 8:
            continue
        header[f"w{number}"] = {"dtype": dtype, "shape": shape}
        header[f"w{number}"]["data_offsets"] = [end, end := end + bits // 8]
    names = list(header)
    random.shuffle(names)
    path = tmp_path_factory.getbasetemp() / "sound.safetensors"
    write_raw(path, {name: header[name] for name in names}, bytes(end))
    assert {stored.info.name for stored in read_header(path, "law")} == set(names)


@given(st.binary(max_size=200), st.booleans())
def test_whatever_the_bytes_what_is_accepted_the_library_accepts(tmp_path_factory, content, framed):
    path = tmp_path_factory.getbasetemp() / "bytes.safetensors"
    path.write_bytes(len(content).to_bytes(8, "little") + content if framed else content)
    try:
        read_header(path, "law")
    except FormatError:
        return
    # Raises if the library does not take it.
    with safe_open(path, framework="pt") as file:
        assert file.keys() is not None
