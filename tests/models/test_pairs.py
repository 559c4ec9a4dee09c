"""Which tensors two models share is known without reading, and never supposed."""

from __future__ import annotations

import pytest
import torch
from checkpoint_files import CONFIG, INDEX, write_json
from safetensors.torch import save_file
from tiny_models import WEIGHTS, snapshot

from sdi_gate.gate.models import open_pair
from sdi_gate.models.pairs import is_same, read_pair, read_stored
from sdi_gate.models.weights import Checkpoint, Placed

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def write(folder, *shards):
    folder.mkdir()
    write_json(folder / "config.json", CONFIG)
    names = [WEIGHTS] if len(shards) == 1 else SHARDS
    for name, tensors in zip(names, shards, strict=True):
        save_file(tensors, folder / name)
    if len(shards) > 1:
        where = {tensor: n for n, tensors in zip(names, shards, strict=True) for tensor in tensors}
        write_json(folder / INDEX, {"weight_map": where})
    return folder


def same_names(base, candidate):
    weights = open_pair(snapshot(base), snapshot(candidate))
    return {
        pair.name
        for pair in weights.alignment.paired
        if is_same(weights.base, weights.candidate, pair)
    }


A, B = {"model.layers.0.a": normal(3, 4)}, {"model.layers.0.b": normal(4)}
OTHER = {"model.layers.0.b": normal(4, seed=1)}


def test_equal_files_hold_the_same_tensors(tmp_path):
    assert same_names(write(tmp_path / "x", A | B), write(tmp_path / "y", A | B)) == {*A, *B}


def test_of_shards_the_equal_ones_alone_count(tmp_path):
    assert same_names(write(tmp_path / "x", A, B), write(tmp_path / "y", A, OTHER)) == {*A}


def test_equal_tensors_in_files_that_differ_are_not_known_to_be_the_same(tmp_path):
    base, candidate = write(tmp_path / "x", A | B), write(tmp_path / "y", A | OTHER)
    assert same_names(base, candidate) == set()


def test_the_same_shard_in_another_file_counts(tmp_path):
    base, candidate = write(tmp_path / "x", A, B), write(tmp_path / "y", B, A)
    assert same_names(base, candidate) == {*A, *B}


def test_what_is_the_same_is_read_once_and_is_one_tensor(tmp_path):
    folder = write(tmp_path / "x", A | B)
    weights = open_pair(snapshot(folder), snapshot(folder))
    for pair in weights.alignment.paired:
        stored = read_stored(weights.base, weights.candidate, pair)
        assert stored.candidate is stored.base
        assert stored.size_bytes == stored.base.nbytes
        values = read_pair(weights.base, weights.candidate, pair)
        assert values.candidate is values.base
        assert values.is_equal


@pytest.mark.parametrize(("seed", "equal"), [(0, True), (1, False)])
def test_equal_numbers_are_seen_wherever_they_lie(tmp_path, seed, equal):
    moved = {"model.layers.0.a": normal(3, 4, seed=seed)}
    base, candidate = write(tmp_path / "x", A | B), write(tmp_path / "y", moved | OTHER)
    weights = open_pair(snapshot(base), snapshot(candidate))
    pair = next(p for p in weights.alignment.paired if p.name in A)
    values = read_pair(weights.base, weights.candidate, pair)
    assert values.is_equal is equal
    assert not values.has_collapsed


def test_numbers_that_rounding_makes_equal_are_equal(tmp_path):
    coarse = {name: tensor.bfloat16() for name, tensor in A.items()}
    weights = open_pair(snapshot(write(tmp_path / "x", A)), snapshot(write(tmp_path / "y", coarse)))
    values = read_pair(weights.base, weights.candidate, weights.alignment.paired[0])
    assert values.is_equal
    assert values.rounded == "base"


def test_a_place_is_a_digest_and_where_the_bytes_begin(tmp_path):
    checkpoint = Checkpoint(snapshot(write(tmp_path / "x", A | B)))
    assert isinstance(checkpoint, Placed)
    first, second = (checkpoint.place_of(info) for info in checkpoint.tensors.values())
    assert first.sha256 == second.sha256 == snapshot(tmp_path / "x").files[-1].sha256
    assert {first.shape, second.shape} == {(3, 4), (4,)}
    assert abs(first.begin - second.begin) in {48, 16}
