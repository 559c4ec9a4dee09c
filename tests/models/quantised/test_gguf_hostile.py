"""Hostile and broken GGUF files: refused in a moment, with a bounded memory."""

from __future__ import annotations

import struct
import time
import tracemalloc
from contextlib import suppress

import pytest
from gguf_files import gguf_bytes, gguf_info, gguf_text, llama_to_gguf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from quantised_files import REF

from sdi_gate.errors import FormatError, SdiGateError
from sdi_gate.models.quantised.gguf import GgufTensors, gguf_config
from sdi_gate.models.quantised.gguf_header import Array, read_header

pytest.importorskip("gguf")
HUGE = 2**60
SIZES = {0: (1, 4), 1: (1, 2), 8: (32, 34)}


def value(key, kind, content):
    return gguf_text(key) + struct.pack("<I", kind) + content


def array(key, inner, count, content=b""):
    return value(key, 9, struct.pack("<IQ", inner, count) + content)


def tensors_of(*infos, data=bytes(4096), **rest):
    return gguf_bytes(infos=b"".join(infos), num_tensors=len(infos), data=data, **rest)


FLAWS = {
    "empty": b"",
    "not gguf": b"PK\x03\x04" + bytes(100),
    "only the magic": b"GGUF",
    "version 1": gguf_bytes(num_tensors=1, version=1),
    "big-endian": b"GGUF" + struct.pack(">IQQ", 3, 1, 0),
    "no tensors": gguf_bytes(),
    "2**60 tensors": gguf_bytes(num_tensors=HUGE),
    "2**60 values": gguf_bytes(num_tensors=1, num_values=HUGE),
    "more tensors than the file has": gguf_bytes(num_tensors=9),
    "key of 2**60 bytes": gguf_bytes(values=struct.pack("<Q", HUGE), num_values=1, num_tensors=1),
    "text of 2**60 bytes": tensors_of(
        gguf_info(), values=value("a", 8, struct.pack("<Q", HUGE)), num_values=1
    ),
    "text beyond the end": tensors_of(
        gguf_info(), values=value("a", 8, struct.pack("<Q", 900_000)), num_values=1
    ),
    "text that is not utf-8": tensors_of(
        gguf_info(), values=value("a", 8, gguf_text(b"\xff")), num_values=1
    ),
    "array of 2**60 bytes": tensors_of(gguf_info(), values=array("a", 0, HUGE), num_values=1),
    "array of 2**60 texts": tensors_of(gguf_info(), values=array("a", 8, HUGE), num_values=1),
    "array of texts beyond the end": tensors_of(
        gguf_info(), values=array("a", 8, 2, gguf_text("x") + struct.pack("<Q", HUGE)), num_values=1
    ),
    "array of more texts than there are": tensors_of(
        gguf_info(), values=array("a", 8, 900), num_values=1, data=b""
    ),
    "array beyond the end": tensors_of(gguf_info(), values=array("a", 12, 10**6), num_values=1),
    "array of arrays": tensors_of(gguf_info(), values=array("a", 9, 1), num_values=1),
    "many arrays": tensors_of(
        gguf_info(), values=array("a", 0, 10**6) + array("b", 0, 10**6), num_values=2
    ),
    "value of an unknown type": tensors_of(gguf_info(), values=value("a", 77, b""), num_values=1),
    "key twice": tensors_of(
        gguf_info(), values=2 * value("a", 4, struct.pack("<I", 1)), num_values=2
    ),
    "alignment of 0": tensors_of(
        gguf_info(),
        values=value("general.alignment", 4, struct.pack("<I", 0)),
        num_values=1,
    ),
    "alignment of 3": tensors_of(
        gguf_info(),
        values=value("general.alignment", 4, struct.pack("<I", 3)),
        num_values=1,
    ),
    "alignment of text": tensors_of(
        gguf_info(), values=value("general.alignment", 8, gguf_text("32")), num_values=1
    ),
    "no dimensions": tensors_of(gguf_info(dims=())),
    "five dimensions": tensors_of(gguf_info(dims=(1,) * 5)),
    "2**32-1 dimensions": gguf_bytes(infos=gguf_text("a") + b"\xff" * 4, num_tensors=1),
    "dimension of 2**60": tensors_of(gguf_info(dims=(HUGE,))),
    "product that overflows": tensors_of(gguf_info(dims=(2**32, 2**32))),
    "dimension of 0": tensors_of(gguf_info(dims=(4, 0))),
    "unknown type": tensors_of(gguf_info(kind=999)),
    "half a block": tensors_of(gguf_info(dims=(33,), kind=8)),
    "offset of 2**60": tensors_of(gguf_info(offset=HUGE)),
    "offset out of line": tensors_of(gguf_info(offset=4)),
    "beyond the end": tensors_of(gguf_info(dims=(5000,))),
    "overlap": tensors_of(gguf_info("a", (16,)), gguf_info("b", (4,), offset=32)),
    "name twice": tensors_of(gguf_info("a"), gguf_info("a", offset=32)),
    "name of a thousand bytes": tensors_of(gguf_info("n" * 1000)),
    "cut in the middle": tensors_of(gguf_info())[:40],
}


@pytest.mark.parametrize("flaw", FLAWS.values(), ids=FLAWS)
def test_a_flawed_file_is_refused_in_a_moment(tmp_path, flaw):
    path = tmp_path / "m.gguf"
    path.write_bytes(flaw)
    started = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=r"'m\.gguf' of file:/models/quantised"):
            read_header(path, SIZES, REF)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - started < 5
    assert peak < 20_000_000


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(FormatError, match="cannot be read"):
            read_header(path, SIZES, REF)


def test_two_million_empty_texts_are_stepped_over_and_more_are_refused(tmp_path):
    path = tmp_path / "m.gguf"
    for count, refused in ((2_000_000, False), (2_000_001, True)):
        texts = array("a", 8, count, bytes(8 * count))
        path.write_bytes(tensors_of(gguf_info(), values=texts, num_values=1))
        started = time.perf_counter()
        if refused:
            with pytest.raises(FormatError, match="more than 2,000,000 elements"):
                read_header(path, SIZES, REF)
        else:
            assert read_header(path, SIZES, REF).values["a"] == Array(count=count)
        assert time.perf_counter() - started < 5


def test_a_long_vocabulary_is_not_handed_to_the_reader_of_gguf(tmp_path):
    path = tmp_path / "m.gguf"

    def add_merges(writer):
        writer.add_array("tokenizer.ggml.merges", [f"a{i} b" for i in range(200_000)])

    llama_to_gguf(path, alter=add_merges)
    started = time.perf_counter()
    assert gguf_config(path, REF)["vocab_size"] == 300
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "architecture", [None, "clip", "", "bert\x1b[2J", 7], ids=["none", "clip", "empty", "esc", "7"]
)
def test_an_architecture_that_transformers_does_not_know_is_refused(tmp_path, architecture):
    values = b""
    if isinstance(architecture, str):
        values = value("general.architecture", 8, gguf_text(architecture))
    elif architecture is not None:
        values = value("general.architecture", 4, struct.pack("<I", architecture))
    path = tmp_path / "m.gguf"
    path.write_bytes(tensors_of(gguf_info(), values=values, num_values=int(bool(values))))
    with pytest.raises(SdiGateError, match="of the architecture") as caught:
        GgufTensors(path, REF)
    assert "\x1b" not in caught.value.message


@pytest.mark.parametrize("key", ["embedding_length", "attention.head_count", "feed_forward_length"])
@pytest.mark.parametrize("number", [0, 1, 2**26, 2**32 - 1])
def test_sizes_that_the_tensors_do_not_have_are_refused(tmp_path, key, number):
    path = tmp_path / "m.gguf"

    def lie(writer):
        for values in writer.kv_data:
            values[f"llama.{key}"].value = number

    llama_to_gguf(path, alter=lie)
    started = time.perf_counter()
    try:
        tensors = GgufTensors(path, REF)
        for info in tensors.tensors.values():
            tensors.read(info)
    except SdiGateError:
        pass
    else:
        # The number of heads is in no shape of queries: only that of keys holds it.
        assert key == "attention.head_count"
    assert time.perf_counter() - started < 5


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "whole.gguf"
    llama_to_gguf(path, "Q8_0")
    return path.read_bytes()


@given(place=st.integers(0, 14_000), byte=st.integers(0, 255), cut=st.none() | st.integers(0, 99))
@example(place=0, byte=0, cut=0)
@settings(max_examples=150)
def test_whatever_byte_of_a_header_is_changed_nothing_but_our_errors_come(
    whole, tmp_path_factory, place, byte, cut
):
    content = bytearray(whole)
    content[place] = byte
    if cut is not None:
        del content[len(content) * cut // 100 :]
    path = tmp_path_factory.mktemp("fuzz") / "m.gguf"
    path.write_bytes(content)
    started = time.perf_counter()
    with suppress(SdiGateError):
        GgufTensors(path, REF)
    assert time.perf_counter() - started < 5
