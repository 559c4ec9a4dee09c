"""`Checkpoint` on real safetensors files, whole and damaged."""

from __future__ import annotations

import json
import struct
import subprocess
import sys

import pytest
import torch
from checkpoint_files import CONFIG, INDEX, write_json
from safetensors.torch import save_file
from tiny_models import WEIGHTS, build_base, snapshot
from transformers import AutoModelForCausalLM

from sdi_gate.errors import ExitCode, FormatError, IncomparableError
from sdi_gate.models.weights import Checkpoint, weight_files

TWO = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def fill(folder, **files):
    """Write a configuration and files; ``_dot_`` is written for a dot in names."""
    folder.mkdir(exist_ok=True)
    write_json(folder / "config.json", CONFIG)
    for name, tensors in files.items():
        save_file(tensors, folder / f"{name.replace('_dot_', '.')}.safetensors")
    return folder


def sharded(folder, first, second, shards=TWO):
    """Write two shards with an index."""
    folder = fill(folder)
    for shard, tensors in zip(shards, (first, second), strict=True):
        save_file(tensors, folder / shard)
    weight_map = dict.fromkeys(first, shards[0]) | dict.fromkeys(second, shards[1])
    write_json(folder / INDEX, {"weight_map": weight_map})
    return folder


def raw(folder, header, data=b""):
    """Write a safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (fill(folder) / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder


def test_names_types_and_shapes_are_known_without_reading(tmp_path):
    folder = fill(
        tmp_path / "m",
        model={"b.weight": torch.ones(2, 3, dtype=torch.bfloat16), "a.scalar": torch.tensor(4.0)},
    )
    tensors = Checkpoint(snapshot(folder)).tensors
    found = {name: (info.dtype, info.shape, info.numel) for name, info in tensors.items()}
    assert found == {"a.scalar": ("F32", (), 1), "b.weight": ("BF16", (2, 3), 6)}
    assert {info.shard for info in tensors.values()} == {WEIGHTS}


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    ],
    ids=str,
)
def test_a_tensor_is_read_in_its_storage_type_to_the_bit(tmp_path, dtype):
    tensor = torch.arange(6).reshape(2, 3).to(dtype)
    checkpoint = Checkpoint(snapshot(fill(tmp_path / "m", model={"w": tensor})))
    read = checkpoint.read(checkpoint.tensors["w"])
    assert read.dtype is dtype
    assert torch.equal(read, tensor)


def test_a_tensor_outlives_its_file(tmp_path):
    folder = fill(tmp_path / "m", model={"w": torch.arange(1000.0)})
    checkpoint = Checkpoint(snapshot(folder))
    read = checkpoint.read(checkpoint.tensors["w"])
    (folder / WEIGHTS).unlink()
    assert torch.equal(read, torch.arange(1000.0))


def test_shards_give_their_tensors_in_shard_order(tmp_path):
    folder = sharded(tmp_path / "m", {"z": torch.ones(1)}, {"a": torch.zeros(2)})
    checkpoint = Checkpoint(snapshot(folder))
    assert [(info.name, info.shard) for info in checkpoint.tensors.values()] == [
        ("z", TWO[0]),
        ("a", TWO[1]),
    ]
    assert torch.equal(checkpoint.read(checkpoint.tensors["a"]), torch.zeros(2))


def test_a_real_model_saved_in_shards_has_every_parameter(tmp_path):
    folder = build_base(tmp_path / "whole")
    whole = Checkpoint(snapshot(folder))
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    parts = Checkpoint(snapshot(tmp_path / "parts"))
    assert len({info.shard for info in parts.tensors.values()}) > 1
    assert {n: i.shape for n, i in parts.tensors.items()} == {
        n: i.shape for n, i in whole.tensors.items()
    }


# Which files count.


def test_a_single_file_is_preferred_to_an_index_as_transformers_prefers_it(tmp_path):
    folder = build_base(tmp_path / "m")
    ours = Checkpoint(snapshot(folder))
    name = "lm_head.weight"
    save_file({name: torch.zeros(ours.tensors[name].shape)}, folder / TWO[0])
    write_json(folder / INDEX, {"weight_map": {name: TWO[0]}})
    assert weight_files(snapshot(folder)) == (WEIGHTS,)
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    checkpoint = Checkpoint(snapshot(folder))
    assert torch.equal(checkpoint.read(checkpoint.tensors[name]), loaded.lm_head.weight)


def test_without_single_file_and_index_all_files_count(tmp_path):
    folder = fill(tmp_path / "m", b={"x": torch.ones(1)}, a={"y": torch.ones(1)})
    assert weight_files(snapshot(folder)) == ("a.safetensors", "b.safetensors")


def test_a_shard_that_the_index_does_not_name_is_not_read(tmp_path):
    folder = sharded(tmp_path / "m", {"a": torch.ones(1)}, {"b": torch.ones(1)})
    save_file({"a": torch.ones(1)}, folder / "model-00003-of-00003.safetensors")
    assert weight_files(snapshot(folder)) == TWO


def test_an_index_that_names_a_file_which_is_not_pinned_is_refused(tmp_path):
    names = ("model-1.safetensors", "weights.safetensors")
    folder = sharded(tmp_path / "m", {"a": torch.ones(1)}, {"b": torch.ones(1)}, names)
    with pytest.raises(FormatError, match=r"names 'weights\.safetensors'; expected model-"):
        weight_files(snapshot(folder))


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    folder = sharded(tmp_path / "m", {"a": torch.ones(1)}, {"a": torch.ones(1)})
    write_json(folder / INDEX, {"weight_map": {"a": TWO[0], "b": TWO[1]}})
    with pytest.raises(FormatError, match=rf"'a' is in '{TWO[0]}' and again in '{TWO[1]}'"):
        Checkpoint(snapshot(folder))


# What is refused.


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.uint32], ids=str)
def test_a_quantised_type_is_refused(tmp_path, dtype):
    folder = fill(tmp_path / "m", model={"w": torch.ones(4).to(dtype)})
    with pytest.raises(IncomparableError, match=r"'w' in .* is stored as (F8|U32)") as caught:
        Checkpoint(snapshot(folder))
    assert caught.value.exit_code is ExitCode.INCOMPARABLE
    assert "before it is quantised" in caught.value.hint


@pytest.mark.parametrize("kept", [0, 4, 20, -1], ids=lambda kept: f"{kept}-bytes")
def test_a_truncated_file_is_refused(tmp_path, kept):
    folder = fill(tmp_path / "m", model={"w": torch.ones(64)})
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:kept])
    with pytest.raises(FormatError, match=r"'model\.safetensors' of .* is not a whole safetensors"):
        Checkpoint(snapshot(folder))


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header",
    [
        b"\x80\x04garbage",
        b"[]",
        b"{",
        {"w": 3},
        {"w": ENTRY | {"dtype": "F99"}},
        {"w": ENTRY | {"shape": [3]}},
        {"w": ENTRY | {"shape": [-1]}},
        {"w": ENTRY | {"shape": [1 << 40, 1 << 40]}},
        {"w": ENTRY | {"data_offsets": [8, 0]}},
        {"w": ENTRY | {"data_offsets": [0, 16]}},
        {"w": ENTRY, "v": ENTRY},
    ],
    ids=str,
)
def test_a_header_that_is_garbage_is_refused(tmp_path, header):
    folder = raw(tmp_path / "m", header, bytes(8))
    with pytest.raises(FormatError, match="is not a whole safetensors file"):
        Checkpoint(snapshot(folder))


def test_a_header_that_promises_more_than_the_file_has_is_refused(tmp_path):
    (fill(tmp_path / "m") / WEIGHTS).write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    with pytest.raises(FormatError, match="is not a whole safetensors file"):
        Checkpoint(snapshot(tmp_path / "m"))


def test_a_file_that_vanishes_between_two_reads_is_named(tmp_path):
    folder = fill(tmp_path / "m", model={"w": torch.ones(1)})
    checkpoint = Checkpoint(snapshot(folder))
    (folder / WEIGHTS).unlink()
    with pytest.raises(FormatError, match=r"'model\.safetensors' of .* is not a whole") as caught:
        checkpoint.read(checkpoint.tensors["w"])
    assert "download the model again" in caught.value.hint


def test_a_file_that_loses_a_tensor_between_two_reads_is_refused(tmp_path):
    folder = fill(tmp_path / "m", model={"w": torch.ones(1)})
    checkpoint = Checkpoint(snapshot(folder))
    save_file({"v": torch.ones(1)}, folder / WEIGHTS)
    with pytest.raises(FormatError, match="is not a whole safetensors file"):
        checkpoint.read(checkpoint.tensors["w"])


# Memory.

READ_ALL = """
import resource, sys
from tiny_models import snapshot
from sdi_gate.models.weights import Checkpoint
checkpoint = Checkpoint(snapshot(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for info in checkpoint.tensors.values():
    checkpoint.read(info).sum()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_reading_a_model_takes_the_memory_of_its_largest_tensor_not_of_its_file(tmp_path):
    # Mapped pages count as resident for as long as their file stays mapped.
    tensors = {f"w.{i}": torch.ones(1 << 21) for i in range(20)}  # 8 MiB each
    folder = fill(tmp_path / "m", model=tensors)
    paths = [str(tmp_path), *sys.path]
    answer = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", f"import sys; sys.path[:] = {paths!r}\n{READ_ALL}", str(folder)],
        capture_output=True,
        check=True,
        text=True,
    )
    assert int(answer.stdout) < 5 * (8 << 20)
