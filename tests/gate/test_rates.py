"""How fast a machine is, measured by a clock that is not one."""

from __future__ import annotations

import itertools

import pytest
import torch

from sdi_gate.gate import rates
from sdi_gate.gate.rates import Rates, measure_rates

CPU = torch.device("cpu")


def ticking(step):
    """Return a clock that is later by the same step at each look."""
    ticks = itertools.count()
    return lambda: next(ticks) * step


def test_rates_are_operations_and_bytes_over_seconds(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(bytes(20 << 20))
    found = measure_rates(CPU, torch.float32, file, ticking(0.5))
    assert found == Rates(
        products=2 * 512**3 / 0.5,
        exact_products=2 * 512**3 / 0.5,
        eigenvalues=4 / 3 * 512**3 / 0.5,
        reading=(20 << 20) / 0.5,
    )


def test_a_faster_machine_has_larger_rates():
    slow = measure_rates(CPU, torch.float32, None, ticking(2.0))
    fast = measure_rates(CPU, torch.float32, None, ticking(1.0))
    assert fast.products == 2 * slow.products
    assert fast.eigenvalues == 2 * slow.eigenvalues
    assert fast.reading == slow.reading  # nothing was there to be read


def test_a_clock_that_stands_still_ends_no_measurement_in_infinity():
    found = measure_rates(CPU, torch.float32, None, lambda: 0.0)
    assert 0 < found.products < 1e24
    assert 0 < found.eigenvalues < 1e24


def test_short_runs_are_repeated_until_they_can_be_timed(monkeypatch):
    runs = []
    monkeypatch.setattr(torch, "mm", lambda *_: runs.append(1))
    monkeypatch.setattr(torch.linalg, "eigvalsh", lambda _: None)
    found = measure_rates(CPU, torch.float32, None, ticking(0.01))
    assert found.products == pytest.approx(2 * 512**3 / 0.01)
    assert 2 * 15 <= len(runs) <= 2 * 17  # each first run is not timed


@pytest.mark.parametrize("content", [None, b"short"], ids=["absent", "short"])
def test_where_there_is_little_to_read_a_slow_disk_is_assumed(tmp_path, content):
    file = tmp_path / "weights"
    if content is not None:
        file.write_bytes(content)
    assert measure_rates(CPU, torch.float32, file, ticking(1.0)).reading == 2e8


def test_no_more_is_read_than_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(rates, "_READ_BYTES", 16 << 20)
    file = tmp_path / "weights"
    file.write_bytes(bytes(64 << 20))
    assert measure_rates(CPU, torch.float32, file, ticking(1.0)).reading == 16 << 20


def test_a_gpu_has_finished_before_the_clock_is_read(monkeypatch):
    # Simulated: its products are queued, and a clock beside the queue says nothing.
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    gpu = torch.device("cuda")
    assert rates._seconds_of(lambda: None, gpu, ticking(1.0)) == 1.0
    assert waited == [gpu, gpu]


def test_measuring_takes_no_random_number_from_anyone_else():
    before = torch.random.get_rng_state()
    measure_rates(CPU, torch.float32, None, ticking(1.0))
    assert torch.equal(torch.random.get_rng_state(), before)
