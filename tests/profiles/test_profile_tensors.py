"""The safetensors that are written, against the library that defines the format."""

import hashlib
import io
import json
import struct

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from stored_parts import DTYPES, a_part, bits_of

from sdi_gate.errors import FormatError, StorageError
from sdi_gate.profiles import tensors as tensors_module
from sdi_gate.profiles.tensors import read_tensors, size_of, write_tensors

NAMES = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=8)
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


class Sluggish(io.BytesIO):
    """A file that takes and gives three bytes at a time."""

    def write(self, content):
        return super().write(bytes(content[:3]))

    def readinto(self, buffer):
        return super().readinto(buffer[:3])


@st.composite
def tensors(draw):
    """Draw a tensor of any bits that are finite."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(SHAPES)
    numel = torch.empty(shape).numel()
    if dtype is torch.bool:
        bits = draw(st.lists(st.booleans(), min_size=numel, max_size=numel))
        return torch.tensor(bits, dtype=torch.bool).reshape(shape)
    size_bytes = numel * dtype.itemsize
    content = draw(st.binary(min_size=size_bytes, max_size=size_bytes))
    plain = torch.tensor(list(content), dtype=torch.uint8).view(dtype).reshape(shape)
    if not dtype.is_floating_point:
        return plain
    return torch.where(torch.isfinite(plain), plain, torch.zeros((), dtype=dtype))


def written(named):
    file = io.BytesIO()
    sha256, size_bytes = write_tensors(file, named)
    content = file.getvalue()
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert size_bytes == len(content)
    return content


def read(content, size_bytes=None):
    size = len(content) if size_bytes is None else size_bytes
    return read_tensors(io.BytesIO(content), size, "'x'")


def forged(header, data=b""):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def as_written(header, data=b""):
    """A header in the form that is asked for, whatever it says."""
    content = json.dumps(header, separators=(",", ":")).encode()
    return forged(content + b" " * (-len(content) % 8), data)


@given(st.dictionaries(NAMES, tensors(), max_size=4))
def test_what_is_written_is_read_again_to_the_bit(named):
    content = written(named)
    found, sha256 = read(content)
    assert {name: bits_of(t) for name, t in found.items()} == {
        name: bits_of(t) for name, t in named.items()
    }
    assert list(found) == sorted(named)
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert size_of(named) == sum(t.numel() * t.itemsize for t in named.values())


@given(st.dictionaries(NAMES, tensors(), max_size=4))
def test_the_library_reads_the_same(named):
    found = safetensors.torch.load(written(named))
    assert {name: bits_of(t) for name, t in found.items()} == {
        name: bits_of(t) for name, t in named.items()
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0, 2), ()], ids=str)
def test_tensors_without_elements_or_axes_keep_type_and_shape(dtype, shape):
    tensor = torch.zeros(shape, dtype=dtype)
    assert bits_of(read(written({"t": tensor}))[0]["t"]) == bits_of(tensor)


def test_views_and_parameters_are_kept_as_what_they_show():
    whole = torch.arange(12.0).reshape(3, 4)
    named = {"turned": whole.T, "column": whole[:, 1], "parameter": torch.nn.Parameter(whole)}
    found, _ = read(written(named))
    assert all(torch.equal(found[name], tensor) for name, tensor in named.items())
    assert not found["parameter"].requires_grad


def test_files_that_take_and_give_little_at_a_time_hold_the_same():
    file = Sluggish()
    write_tensors(file, a_part().tensors)
    content = file.getvalue()
    assert content == written(a_part().tensors)
    found, _ = read_tensors(Sluggish(content), len(content), "'x'")
    assert found.keys() == a_part().tensors.keys()


def test_a_tensor_of_several_pieces_is_written_and_read_whole(monkeypatch):
    monkeypatch.setattr(tensors_module, "_CHUNK_BYTES", 7)
    tensor = torch.arange(100)
    assert torch.equal(read(written({"t": tensor}))[0]["t"], tensor)


def test_every_tensor_has_memory_of_its_own():
    found, _ = read(written(a_part().tensors))
    found["layer.0/s"].zero_()
    assert found["layer.0/V"].bool().all()


@pytest.mark.parametrize("dtype", DTYPES[:4], ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("place", [0, 17, 32], ids=str)
def test_one_value_that_is_not_finite_is_refused(dtype, value, place):
    tensor = torch.ones(33, dtype=dtype)
    content = bytearray(written({"t": tensor}))
    tensor[place] = value
    with pytest.raises(FormatError, match="values that are not finite"):
        written({"t": tensor})
    content[-33 * dtype.itemsize :] = bits_of(tensor)[2]
    with pytest.raises(FormatError, match="values that are not finite"):
        read(bytes(content))


def test_a_truth_that_is_neither_0_nor_1_is_refused():
    content = bytearray(written({"t": torch.tensor([True, False])}))
    content[-1] = 2
    with pytest.raises(FormatError, match="truths that are neither 0 nor 1"):
        read(bytes(content))


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("t", torch.zeros(1, dtype=torch.uint8)),
        ("t", torch.zeros(1, dtype=torch.complex64)),
        ("", torch.zeros(1)),
        ("line\nbreak", torch.zeros(1)),
        ("n" * 1001, torch.zeros(1)),
        ("__metadata__", torch.zeros(1)),
        ("t", torch.zeros((1,) * 17)),
    ],
    ids=["uint8", "complex", "no name", "newline", "long name", "metadata", "17 axes"],
)
def test_what_could_not_be_read_again_is_not_written(name, tensor):
    with pytest.raises(FormatError, match="cannot be kept"):
        written({name: tensor})


@pytest.mark.parametrize("end", range(0, 200, 3))
def test_a_file_that_is_cut_short_is_refused(end):
    content = written(a_part().tensors)
    assert end < len(content)
    with pytest.raises(FormatError, match=r"cut short|announces a header|has \d+ bytes"):
        read(content[:end])
    # The file could be cut after its size was asked for, too.
    with pytest.raises(FormatError, match="cut short"):
        read(content[:end], len(content))


HUGE = 2**62
HEADERS = {
    "a length that no file has": struct.pack("<Q", 2**64 - 1) + b"{}",
    "a length beyond the file": struct.pack("<Q", 1 << 24) + b"{}",
    "a length beyond the bound": struct.pack("<Q", (1 << 25) + 8) + b" " * ((1 << 25) + 8),
    "no JSON": forged(b"{'a': 1}"),
    "no object": forged(b"[]      "),
    "a number": forged(b"17      "),
    "entries that are no objects": forged(b'{"t":17}'),
    "a nested header": forged(b"[" * 100_000),
    "millions of parts": forged(b"[" + b"[]," * 2_000_000 + b"[]]"),
    "another indent": forged({"t": entry()}, bytes(4)),
    "UTF-16": forged(json.dumps({"t": entry()}).encode("utf-16")),
    "one name twice": forged(b'{"t":1,"t":2}   '),
    "metadata": as_written({"__metadata__": {"a": "b"}, "t": entry()}, bytes(4)),
    "an unknown type": as_written({"t": entry("F8_E4M3", (4,))}, bytes(4)),
    "a type that is a list": as_written({"t": entry([], (4,))}, bytes(4)),
    "bytes before": as_written({"t": entry(offsets=(4, 8))}, bytes(8)),
    "bytes after": as_written({"t": entry()}, bytes(5)),
    "an overlap": as_written({"a": entry(), "b": entry()}, bytes(4)),
    "another order": as_written({"b": entry(), "a": entry(offsets=(4, 8))}, bytes(8)),
    "too few bytes": as_written({"t": entry(offsets=(0, 3))}, bytes(3)),
    "a negative size": as_written({"t": entry(shape=(-1, -1))}, bytes(4)),
    "a fraction": as_written({"t": entry(shape=(1.0,))}, bytes(4)),
    "a truth for a size": as_written({"t": entry(shape=(True,))}, bytes(4)),
    "a text for a shape": as_written(
        {"t": {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]}}, bytes(4)
    ),
    "one more key": as_written({"t": entry() | {"more": 1}}, bytes(4)),
    "one key less": as_written({"t": {"dtype": "F32", "shape": [1]}}, bytes(4)),
    "an empty name": as_written({"": entry()}, bytes(4)),
    "many axes": as_written({"t": entry(shape=(1,) * 17)}, bytes(4)),
    "zeros that overflow": as_written({"t": entry(shape=(0, HUGE, 2), offsets=(0, 0))}),
    "more than there is": as_written({"t": entry(shape=(HUGE,), offsets=(0, 4 * HUGE))}),
    "not the float": as_written({"t": entry(offsets=(0, 4))}, bytes(4)).replace(
        b"[0,4]", b"[0,4.]"
    ),
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_a_header_that_is_not_ours_is_refused_before_any_tensor_has_memory(content, monkeypatch):
    monkeypatch.setattr(torch, "empty", None)
    refused = r"not JSON as|not one that sdi-gate writes|announces a header|has [\d,]+ bytes; its"
    with pytest.raises(FormatError, match=refused):
        read(content)


def test_the_forged_headers_would_be_read_if_they_were_right():
    found, _ = read(as_written({"t": entry()}, bytes(4)))
    assert torch.equal(found["t"], torch.zeros(1))
    shape = (0, HUGE)
    assert read(as_written({"t": entry(shape=shape, offsets=(0, 0))}))[0]["t"].shape == shape


def test_a_lack_of_memory_is_said(monkeypatch):
    def refuse(*_args, **_options):
        msg = "DefaultCPUAllocator: can't allocate memory"
        raise RuntimeError(msg)

    content = written({"t": torch.zeros(3)})
    monkeypatch.setattr(torch, "empty", refuse)
    with pytest.raises(StorageError, match=r"no memory for tensor 't' in 'x': needed 0\.0 MiB"):
        read(content)
