"""Which tier a machine can do, from numbers alone."""

from __future__ import annotations

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.gate.request import Settings, TierChoice
from sdi_gate.gate.tier import (
    AUTO_BUDGET_S,
    Machine,
    Workload,
    available_memory_bytes,
    highest_tier,
    this_machine,
    workload,
)
from sdi_gate.policy.facts import Tier

LARGE = Machine(memory_bytes=10**15, rate=1e18)
ONE_BILLION = workload(10**9, 9, 1000, Settings())


def test_the_work_is_that_of_the_whole_probe_and_all_draws():
    settings = Settings(max_tokens=10, curvature_draws=2, curvature_samples=3, curvature_tokens=5)
    work = workload(7, 4, 100, settings)
    assert work == Workload(
        num_parameters=7, bytes_per_parameter=4, probe_tokens=1000, curvature_tokens=4 * 2 * 3 * 5
    )
    assert work.operations(Tier.WEIGHTS) == 0
    assert work.operations(Tier.PROBE) == 2 * 2 * 7 * 1000
    assert work.operations(Tier.FULL) == 2 * 2 * 7 * 1000 + 2 * 42 * 7 * 120


def test_memory_is_that_of_two_models_and_of_seven_copies():
    assert ONE_BILLION.memory_bytes(Tier.WEIGHTS) == 0
    assert ONE_BILLION.memory_bytes(Tier.PROBE) == 2 * 4e9 + 6e8
    assert ONE_BILLION.memory_bytes(Tier.FULL) == 7 * 4e9 + 6e8


@pytest.mark.parametrize("choice", list(TierChoice))
def test_a_machine_that_can_do_everything_does_what_was_asked_for(choice):
    tier, reason = highest_tier(choice, ONE_BILLION, LARGE)
    assert tier is (Tier.FULL if choice is TierChoice.AUTO else Tier(choice.value))
    expected = (
        "auto takes the highest tier" if choice is TierChoice.AUTO else f"tier {choice} was asked"
    )
    assert reason.startswith(expected)


@pytest.mark.parametrize(
    ("choice", "gigabytes", "tier", "said"),
    [
        ("full", 20, Tier.PROBE, "tier full needs about 28.6 GB of memory, more than is free"),
        ("auto", 20, Tier.PROBE, "tier full needs about 28.6 GB"),
        ("full", 5, Tier.WEIGHTS, "tier probe needs about 8.6 GB of memory, more than is free"),
        ("probe", 5, Tier.WEIGHTS, "tier probe needs about 8.6 GB"),
        ("probe", 20, Tier.PROBE, "tier probe was asked for"),
        ("weights", 0, Tier.WEIGHTS, "tier weights was asked for"),
    ],
)
def test_memory_lowers_the_tier_whatever_was_asked_for(choice, gigabytes, tier, said):
    machine = Machine(memory_bytes=gigabytes * 10**9, rate=1e18)
    found, reason = highest_tier(TierChoice(choice), ONE_BILLION, machine)
    assert found is tier
    assert said in reason


@pytest.mark.parametrize("seconds_left", [1.0, -1.0], ids=["fits", "does-not"])
@pytest.mark.parametrize("tier", [Tier.PROBE, Tier.FULL])
def test_auto_stops_at_ten_minutes(tier, seconds_left):
    rate = ONE_BILLION.operations(tier) / (AUTO_BUDGET_S - seconds_left)
    machine = Machine(memory_bytes=10**15, rate=rate)
    found, reason = highest_tier(TierChoice.AUTO, ONE_BILLION, machine)
    lower = {Tier.FULL: Tier.PROBE, Tier.PROBE: Tier.WEIGHTS}[tier]
    assert found is (tier if seconds_left > 0 else lower)
    assert (f"tier {tier} would take about 10 minutes here" in reason) == (seconds_left < 0)
    asked, _ = highest_tier(TierChoice(tier.value), ONE_BILLION, machine)
    assert asked is tier


def test_auto_says_all_reasons():
    machine = Machine(memory_bytes=20 * 10**9, rate=1.0)
    tier, reason = highest_tier(TierChoice.AUTO, ONE_BILLION, machine)
    assert tier is Tier.WEIGHTS
    assert "more than is free; tier probe would take" in reason


@given(
    st.sampled_from(TierChoice),
    st.integers(0, 10**12),
    st.integers(0, 10**15),
    st.floats(1, 1e20),
)
def test_no_tier_above_the_one_asked_for_ever_runs(choice, parameters, memory_bytes, rate):
    work = workload(parameters, 9, 1000, Settings())
    tier, reason = highest_tier(choice, work, Machine(memory_bytes=memory_bytes, rate=rate))
    assert reason
    assert choice is TierChoice.AUTO or tier <= Tier(choice.value)
    assert work.memory_bytes(tier) <= memory_bytes or tier is Tier.WEIGHTS


def test_not_a_number_of_operations_is_not_taken_for_few():
    machine = Machine(memory_bytes=10**15, rate=float("nan"))
    assert highest_tier(TierChoice.AUTO, ONE_BILLION, machine)[0] is Tier.WEIGHTS


# This machine.


def test_this_machine_has_memory_and_a_rate_by_its_threads():
    found = this_machine(torch.device("cpu"))
    assert 0 < found.memory_bytes <= psutil.virtual_memory().total
    assert found.rate == 4e10 * torch.get_num_threads()


def test_a_gpu_is_asked_for_its_own_memory(monkeypatch):
    # Simulated: most machines that run the tests have no GPU.
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (70 * 10**9, 80 * 10**9))
    assert this_machine(torch.device("cuda")) == Machine(memory_bytes=70 * 10**9, rate=2e13)


def container(folder, limit, used, stat="anon 5\ninactive_file 300\nactive_file 7\n"):
    files = {"memory.max": limit, "memory.current": used, "memory.stat": stat}
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n", encoding="ascii")
    return folder


def test_a_containers_bound_counts_and_files_that_were_read_do_not(tmp_path):
    assert available_memory_bytes(container(tmp_path, 1000, 900)) == 400
    assert available_memory_bytes(container(tmp_path, 1000, 900, stat="anon 5")) == 100
    assert available_memory_bytes(container(tmp_path, 1000, 2000)) == 0


@pytest.mark.parametrize(("limit", "used"), [("max", 5), (2**62, 0), ("", 0)])
def test_a_container_without_a_bound_has_the_machines_memory(tmp_path, monkeypatch, limit, used):
    class Memory:
        available = 12345

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    assert available_memory_bytes(container(tmp_path, limit, used)) == 12345
    assert available_memory_bytes(tmp_path / "none") == 12345
