"""Bringing a model's tensors to their devices, and what happens where there is no memory."""

from __future__ import annotations

import gc
import itertools
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Lock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import CPU, build_base, load, rewrite, snapshot
from transformers import LlamaForCausalLM

from sdi_gate.errors import FormatError
from sdi_gate.models.carrying import Admission, Arriving, arriving
from sdi_gate.models.causal_lm import load_model
from sdi_gate.models.opening import open_model
from sdi_gate.models.placement import Placement
from sdi_gate.models.weights import Checkpoint

GPU = torch.device("cuda", 0)


@given(sizes=st.lists(st.integers(0, 20), max_size=30))
def test_never_is_more_in_flight_than_the_bound_but_for_one_by_itself(sizes):
    admission, lock, held, seen = Admission(10), Lock(), [], []

    def carry(size):
        with admission.holding(size):
            with lock:
                held.append(size)
                seen.append((len(held), sum(held)))
            with lock:
                held.remove(size)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(carry, sizes))
    assert len(seen) == len(sizes)
    assert all(count == 1 or total <= 10 for count, total in seen)
    admission.close()
    with pytest.raises(RuntimeError, match="no longer being loaded"), admission.holding(0):
        pass


def test_a_tensor_is_sent_on_before_the_next_one_is_read(tmp_path, monkeypatch):
    opened = open_model(snapshot(build_base(tmp_path / "m")))
    named, _ = arriving(opened, Placement.on(GPU), {"lm_head.weight": torch.float16})
    events, to = [], torch.Tensor.to
    read = Checkpoint.read

    def reading(self, info):
        events.append(("read", info.name))
        return read(self, info)

    def sending(tensor, target):
        events.append(("to", target))
        return tensor.clone() if isinstance(target, torch.device) else to(tensor, target)

    monkeypatch.setattr(Checkpoint, "read", reading)
    monkeypatch.setattr(torch.Tensor, "to", sending)
    assert named["model.norm.weight"][...].dtype == torch.float32
    assert named["lm_head.weight"][...].dtype == torch.float16
    assert events == [
        ("read", "model.norm.weight"),
        ("to", GPU),
        ("read", "lm_head.weight"),
        ("to", torch.float16),
        ("to", GPU),
    ]


def failing(monkeypatch, error, after=5):
    """Let the sixth tensor fail to arrive."""
    arrived, get = itertools.count(), Arriving.__getitem__

    def getitem(self, index):
        if next(arrived) >= after:
            raise error
        return get(self, index)

    monkeypatch.setattr(Arriving, "__getitem__", getitem)


def test_a_device_that_is_full_is_no_fault_of_the_checkpoint(tmp_path, monkeypatch):
    folder = build_base(tmp_path / "m")
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    failing(monkeypatch, error)
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate") as caught:
        load(folder)
    assert caught.value is error
    monkeypatch.undo()
    assert len(load(folder).layers) == 2


def test_a_device_that_is_full_at_the_end_is_told_as_it_is(tmp_path, monkeypatch):
    folder = build_base(tmp_path / "m")

    def move(_model, _device):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch.nn.Module, "to", move)
    with pytest.raises(torch.OutOfMemoryError):
        load(folder)


def test_what_was_loaded_is_let_go_while_the_error_is_still_held(tmp_path, monkeypatch):
    folder, built, init = build_base(tmp_path / "m"), [], LlamaForCausalLM.__init__

    def building(self, *args, **options):
        init(self, *args, **options)
        built.append(weakref.ref(self))

    opened = open_model(snapshot(folder))
    monkeypatch.setattr(LlamaForCausalLM, "__init__", building)
    failing(monkeypatch, torch.OutOfMemoryError("full"))
    try:
        load_model(opened, CPU, torch.float32)
    except torch.OutOfMemoryError:
        gc.collect()
        assert [ref() for ref in built] == [None]
        assert sys.exception() is not None
    assert len(built) == 1


def test_no_thread_reads_on_when_loading_has_failed(tmp_path, monkeypatch):
    opened = open_model(snapshot(build_base(tmp_path / "m")))
    inside, read, lock = [0], Checkpoint.read, Lock()

    def reading(self, info):
        with lock:
            inside[0] += 1
        try:
            if info.name == "model.norm.weight":
                raise torch.OutOfMemoryError
            return read(self, info)
        finally:
            with lock:
                inside[0] -= 1

    monkeypatch.setattr(Checkpoint, "read", reading)
    with pytest.raises(torch.OutOfMemoryError):
        load_model(opened, CPU, torch.float32)
    assert inside == [0]


@pytest.mark.parametrize(
    "error",
    [MemoryError("none left"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 8")],
    ids=["python", "torch"],
)
def test_a_host_without_memory_is_no_fault_of_the_checkpoint(tmp_path, monkeypatch, error):
    folder = build_base(tmp_path / "m")
    failing(monkeypatch, error)
    with pytest.raises(type(error), match=r"none left|allocate memory") as caught:
        load(folder)
    assert caught.value is error


def test_a_configuration_that_takes_all_memory_is_the_checkpoints_fault(tmp_path, monkeypatch):
    opened = open_model(snapshot(build_base(tmp_path / "m")))

    def build(_config, _count):
        raise MemoryError

    monkeypatch.setattr("sdi_gate.models.causal_lm.build_bounded", build)
    with pytest.raises(FormatError, match="transformers cannot load"):
        load_model(replace(opened, skeleton=None), CPU, torch.float32)


def test_any_other_failure_is_the_checkpoints(tmp_path, monkeypatch):
    folder = build_base(tmp_path / "m")
    failing(monkeypatch, RuntimeError("odd"))
    with pytest.raises(FormatError, match=r"transformers cannot load .*RuntimeError: odd"):
        load(folder)


def test_a_tensor_is_read_once(tmp_path, monkeypatch):
    opened = open_model(snapshot(build_base(tmp_path / "m", tie_word_embeddings=True)))
    names, read = [], Checkpoint.read

    def reading(self, info):
        names.append(info.name)
        return read(self, info)

    monkeypatch.setattr(Checkpoint, "read", reading)
    load_model(opened, CPU, torch.float32)
    assert sorted(names) == sorted(opened.tensors)


def test_a_weight_that_transformers_made_up_is_refused(tmp_path, monkeypatch):
    folder = build_base(tmp_path / "m")
    rewrite(folder, lambda tensors: tensors.pop("model.norm.weight"))
    # Both looks at the names: what is made up is told by transformers itself.
    monkeypatch.setattr("sdi_gate.models.causal_lm.refuse_unfit", lambda *_: None)
    with pytest.raises(FormatError, match=r"lacks 1 weights, 'model\.norm\.weight' first"):
        load(folder)
