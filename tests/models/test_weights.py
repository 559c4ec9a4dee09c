"""`Checkpoint` on real safetensors files, whole and damaged."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from checkpoint_files import CONFIG, INDEX, pinned, write_adapter, write_json, write_raw
from safetensors.torch import save_file
from tiny_models import WEIGHTS, build_base
from transformers import AutoModelForCausalLM

from sdi_gate.errors import (
    AccessError,
    ExitCode,
    FormatError,
    IncomparableError,
    IntegrityError,
    StorageError,
)
from sdi_gate.models.inspection import verify_unchanged
from sdi_gate.models.weights import Checkpoint, refuse_quantised_types, weight_files

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
    write_raw(fill(folder) / WEIGHTS, header, data)
    return folder


def test_names_types_and_shapes_are_known_without_reading(tmp_path):
    folder = fill(
        tmp_path / "m",
        model={"b.weight": torch.ones(2, 3, dtype=torch.bfloat16), "a.scalar": torch.tensor(4.0)},
    )
    tensors = Checkpoint(pinned(folder)).tensors
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
        torch.uint16,
        torch.uint32,
        torch.uint64,
        torch.complex64,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
        torch.float8_e4m3fnuz,
        torch.float8_e5m2fnuz,
        torch.float8_e8m0fnu,
    ],
    ids=str,
)
def test_a_tensor_is_read_in_its_storage_type_to_the_bit(tmp_path, dtype):
    tensor = torch.arange(6).reshape(2, 3).to(dtype)
    checkpoint = Checkpoint(pinned(fill(tmp_path / "m", model={"w": tensor})))
    read = checkpoint.read(checkpoint.tensors["w"])
    assert read.dtype is dtype
    assert read.shape == tensor.shape
    assert torch.equal(read.view(torch.uint8), tensor.view(torch.uint8))


def test_a_tensor_outlives_its_file(tmp_path):
    folder = fill(tmp_path / "m", model={"w": torch.arange(1000.0)})
    checkpoint = Checkpoint(pinned(folder))
    read = checkpoint.read(checkpoint.tensors["w"])
    (folder / WEIGHTS).unlink()
    assert torch.equal(read, torch.arange(1000.0))


def test_shards_give_their_tensors_in_shard_order(tmp_path):
    folder = sharded(tmp_path / "m", {"z": torch.ones(1)}, {"a": torch.zeros(2)})
    checkpoint = Checkpoint(pinned(folder))
    assert [(info.name, info.shard) for info in checkpoint.tensors.values()] == [
        ("z", TWO[0]),
        ("a", TWO[1]),
    ]
    assert torch.equal(checkpoint.read(checkpoint.tensors["a"]), torch.zeros(2))


def test_a_real_model_saved_in_shards_has_every_parameter(tmp_path):
    folder = build_base(tmp_path / "whole")
    whole = Checkpoint(pinned(folder))
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    parts = Checkpoint(pinned(tmp_path / "parts"))
    assert len({info.shard for info in parts.tensors.values()}) > 1
    assert {n: i.shape for n, i in parts.tensors.items()} == {
        n: i.shape for n, i in whole.tensors.items()
    }


# Which files count.


def test_a_single_file_is_preferred_to_an_index_as_transformers_prefers_it(tmp_path):
    folder = build_base(tmp_path / "m")
    ours = Checkpoint(pinned(folder))
    name = "lm_head.weight"
    save_file({name: torch.zeros(ours.tensors[name].shape)}, folder / TWO[0])
    write_json(folder / INDEX, {"weight_map": {name: TWO[0]}})
    assert weight_files(pinned(folder)) == (WEIGHTS,)
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    checkpoint = Checkpoint(pinned(folder))
    assert torch.equal(checkpoint.read(checkpoint.tensors[name]), loaded.lm_head.weight)


def test_without_single_file_and_index_all_files_count(tmp_path):
    folder = fill(tmp_path / "m", b={"x": torch.ones(1)}, a={"y": torch.ones(1)})
    assert weight_files(pinned(folder)) == ("a.safetensors", "b.safetensors")


def test_a_shard_that_the_index_does_not_name_is_not_read(tmp_path):
    folder = sharded(tmp_path / "m", {"a": torch.ones(1)}, {"b": torch.ones(1)})
    save_file({"a": torch.ones(1)}, folder / "model-00003-of-00003.safetensors")
    assert weight_files(pinned(folder)) == TWO


def test_an_index_that_names_a_file_which_is_not_pinned_is_refused(tmp_path):
    names = ("model-1.safetensors", "weights.safetensors")
    folder = sharded(tmp_path / "m", {"a": torch.ones(1)}, {"b": torch.ones(1)}, names)
    with pytest.raises(FormatError, match=r"names 'weights\.safetensors'; expected model-"):
        weight_files(pinned(folder))


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    folder = sharded(tmp_path / "m", {"a": torch.ones(1)}, {"a": torch.ones(1)})
    write_json(folder / INDEX, {"weight_map": {"a": TWO[0], "b": TWO[1]}})
    with pytest.raises(FormatError, match=rf"'a' is in '{TWO[0]}' and again in '{TWO[1]}'"):
        Checkpoint(pinned(folder))


def test_an_adapter_is_a_checkpoint_of_its_one_file(tmp_path):
    snapshot = pinned(write_adapter(tmp_path / "m"))
    assert weight_files(snapshot) == ("adapter_model.safetensors",)
    checkpoint = Checkpoint(snapshot)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    assert checkpoint.read(checkpoint.tensors[name]).shape == (2, 4)


# What is refused.


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.uint32], ids=str)
def test_a_quantised_type_is_refused_where_no_quantisation_is_declared(tmp_path, dtype):
    snapshot = pinned(
        fill(tmp_path / "m", model={"v": torch.ones(1), "w": torch.ones(4).to(dtype)})
    )
    with pytest.raises(IncomparableError, match=r"'w' in .* is stored as (F8|U32)") as caught:
        refuse_quantised_types(Checkpoint(snapshot), snapshot.ref)
    assert caught.value.exit_code is ExitCode.INCOMPARABLE
    assert "before it is quantised" in caught.value.hint


def test_plain_types_are_not_refused(tmp_path):
    snapshot = pinned(fill(tmp_path / "m", model={"v": torch.ones(1), "w": torch.ones(1).bool()}))
    assert refuse_quantised_types(Checkpoint(snapshot), snapshot.ref) is None


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3", "F6_E3M2"])
def test_a_type_whose_elements_share_bytes_is_named_when_it_is_read(tmp_path, dtype):
    size = 4 if dtype == "F4" else 6
    entry = {"dtype": dtype, "shape": [8], "data_offsets": [0, size]}
    checkpoint = Checkpoint(pinned(raw(tmp_path / "m", {"w": entry}, bytes(size))))
    assert checkpoint.tensors["w"].shape == (8,)
    with pytest.raises(FormatError, match=f"'w' in .* is stored as {dtype}, which torch cannot"):
        checkpoint.read(checkpoint.tensors["w"])


def test_an_index_that_names_the_wrong_shard_is_refused(tmp_path):
    folder = sharded(tmp_path / "m", {"a": torch.ones(1)}, {"b": torch.ones(1)})
    write_json(folder / INDEX, {"weight_map": {"a": TWO[1], "b": TWO[0]}})
    with pytest.raises(FormatError, match=rf"maps tensor 'a' to '{TWO[1]}'; it is in '{TWO[0]}'"):
        pinned(folder)


def test_an_index_that_names_a_tensor_which_is_not_there_is_refused(tmp_path):
    folder = sharded(tmp_path / "m", {"a": torch.ones(1)}, {"b": torch.ones(1)})
    write_json(folder / INDEX, {"weight_map": {"a": TWO[0], "b": TWO[1], "c": TWO[1]}})
    with pytest.raises(FormatError, match=rf"maps tensor 'c' to '{TWO[1]}'; it is in 'no shard'"):
        pinned(folder)


def test_an_index_that_leaves_a_tensor_out_is_refused(tmp_path):
    folder = sharded(tmp_path / "m", {"a": torch.ones(1)}, {"b": torch.ones(1), "c": torch.ones(1)})
    write_json(folder / INDEX, {"weight_map": {"a": TWO[0], "b": TWO[1]}})
    with pytest.raises(FormatError, match=rf"does not map tensor 'c', which is in '{TWO[1]}'"):
        pinned(folder)


def test_an_index_beside_a_single_file_is_not_asked(tmp_path):
    folder = fill(tmp_path / "m", model={"w": torch.ones(1)})
    write_json(folder / INDEX, {"weight_map": {"other": WEIGHTS}})
    assert [*Checkpoint(pinned(folder)).tensors] == ["w"]


def test_a_file_that_vanishes_between_two_reads_is_named(tmp_path):
    folder = fill(tmp_path / "m", model={"w": torch.ones(1)})
    checkpoint = Checkpoint(pinned(folder))
    (folder / WEIGHTS).unlink()
    with pytest.raises(AccessError, match=r"model\.safetensors' of .*: No such file"):
        checkpoint.read(checkpoint.tensors["w"])


def test_a_file_that_changes_between_two_reads_is_not_read_any_more(tmp_path):
    folder = fill(tmp_path / "m", model={"w": torch.ones(1)})
    snapshot = pinned(folder)
    checkpoint = Checkpoint(snapshot)
    save_file({"w": torch.zeros(1)}, folder / WEIGHTS)
    with pytest.raises(IntegrityError, match=r"'model\.safetensors' of .* changed while it was"):
        checkpoint.read(checkpoint.tensors["w"])
    with pytest.raises(IntegrityError, match=r"'model\.safetensors' of .* changed while it was"):
        verify_unchanged(snapshot)


def test_a_file_that_ends_early_while_it_is_read_has_changed(tmp_path, monkeypatch):
    folder = fill(tmp_path / "m", model={"w": torch.ones(64)})
    checkpoint = Checkpoint(pinned(folder))
    monkeypatch.setattr("sdi_gate.models.weights.stamp_of_open", lambda _file: same)
    same = checkpoint._stamps[WEIGHTS]
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="changed while it was measured"):
        checkpoint.read(checkpoint.tensors["w"])


def test_a_tensor_that_no_memory_holds_is_named(tmp_path, monkeypatch):
    checkpoint = Checkpoint(pinned(fill(tmp_path / "m", model={"w": torch.ones(1 << 18)})))

    def refuse(*_shape, **_options):
        raise RuntimeError("not enough memory")

    monkeypatch.setattr(torch, "empty", refuse)
    with pytest.raises(StorageError, match=r"no memory for tensor 'w' in .*: needed 1\.0 MiB"):
        checkpoint.read(checkpoint.tensors["w"])


def test_an_empty_tensor_has_its_shape_and_type(tmp_path):
    folder = fill(tmp_path / "m", model={"w": torch.empty(3, 0, dtype=torch.bfloat16)})
    checkpoint = Checkpoint(pinned(folder))
    read = checkpoint.read(checkpoint.tensors["w"])
    assert (read.shape, read.dtype) == ((3, 0), torch.bfloat16)


def test_data_behind_a_header_of_odd_length_is_read_to_the_bit(tmp_path):
    header = b'{"w":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}} '
    data = torch.tensor([1.5, -2.0], dtype=torch.float64)
    for padding in range(8):
        folder = raw(tmp_path / f"{padding}", header + b" " * padding, data.numpy().tobytes())
        checkpoint = Checkpoint(pinned(folder))
        assert torch.equal(checkpoint.read(checkpoint.tensors["w"]), data)


# Memory.

READ_ALL = """
import resource, sys
from checkpoint_files import pinned
from sdi_gate.models.weights import Checkpoint
checkpoint = Checkpoint(pinned(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for info in checkpoint.tensors.values():
    checkpoint.read(info).sum()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_reading_a_model_takes_the_memory_of_its_largest_tensor_not_of_its_file(tmp_path):
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
