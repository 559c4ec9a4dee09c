"""What was read goes to a GPU whole, if that leaves room: shown with a device that is made up."""

from __future__ import annotations

import pytest
import torch
from tiny_models import CPU

from sdi_gate.gate import upload
from sdi_gate.gate.upload import pinned, uploaded
from sdi_gate.models.pairs import StoredPair

GPU = torch.device("cuda")


class Fake:
    """Stand for a tensor, and remember what became of it."""

    def __init__(self, steps=(), nbytes=100):
        self.steps, self.nbytes = steps, nbytes

    def pin_memory(self):
        return Fake((*self.steps, "pinned"))

    def to(self, device, *, non_blocking):
        return Fake((*self.steps, str(device), non_blocking))


def stored(*, same=False):
    base = Fake()
    return StoredPair(base=base, candidate=base if same else Fake())


@pytest.fixture
def gpu(monkeypatch):
    """Return a function that says how much memory the GPU has left."""

    def free(count):
        monkeypatch.setattr(upload, "free_on", lambda _: count)

    return free


def test_the_cpu_computes_with_what_was_read():
    pair = stored()
    assert pinned(pair, CPU) is pair
    assert uploaded(pair, CPU) is pair


@pytest.mark.parametrize("same", [False, True], ids=["two tensors", "one tensor"])
def test_a_gpu_fetches_by_itself_and_fetches_one_tensor_once(gpu, same):
    gpu(800)
    found = uploaded(pinned(stored(same=same), GPU), GPU)
    assert found.base.steps == found.candidate.steps == ("pinned", "cuda", True)
    assert (found.base is found.candidate) is same


def test_tensors_of_more_than_a_quarter_of_what_is_free_stay_and_go_over_in_chunks(gpu):
    pair = stored()
    gpu(799)
    assert uploaded(pair, GPU) is pair
    gpu(800)
    assert uploaded(pair, GPU) is not pair


def test_where_nothing_can_be_pinned_the_tensors_stay_as_they_are(monkeypatch):
    def refuse(_):
        message = "CUDA error: out of memory"
        raise RuntimeError(message)

    monkeypatch.setattr(Fake, "pin_memory", refuse)
    pair = stored()
    assert pinned(pair, GPU) is pair
