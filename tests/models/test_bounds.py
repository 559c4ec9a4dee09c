"""What a block may make: so many modules, so much memory."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from sdi_gate.models.bounds import TooManyModulesError, bounded_memory, bounded_modules


def test_modules_and_parameters_count_and_the_first_too_many_ends_the_block():
    with bounded_modules(8):
        nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))  # 2 modules, 4 parameters
    with pytest.raises(TooManyModulesError, match="more than 5 "), bounded_modules(5):
        nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    with pytest.raises(TooManyModulesError, match="more than 100 "), bounded_modules(100):
        nn.ModuleList(nn.Linear(1, 1) for _ in range(10**9))


def test_the_bound_ends_with_its_block():
    with pytest.raises(TooManyModulesError, match="more than 0 "), bounded_modules(0):
        nn.Linear(1, 1)
    nn.Linear(1, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound mapped memory")
def test_memory_beyond_the_bound_cannot_be_had_and_can_be_afterwards():
    with bounded_memory(1 << 28):
        assert torch.zeros(1 << 20).sum() == 0
        with pytest.raises(RuntimeError, match="memory"):
            torch.zeros(1 << 29)
    assert len(torch.empty(1 << 27)) == 1 << 27
