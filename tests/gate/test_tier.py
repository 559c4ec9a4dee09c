"""Which tier a machine can do, from numbers alone."""

from __future__ import annotations

import math
from dataclasses import replace

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.gate.request import CurvatureMethod, Settings, TierChoice
from sdi_gate.gate.shape import llama_shape, shape_of
from sdi_gate.gate.tier import (
    AUTO_BUDGET_S,
    Machine,
    available_memory_bytes,
    ceiling_of,
    free_on,
    highest_tier,
    this_machine,
)
from sdi_gate.gate.workload import Memory, Workload
from sdi_gate.policy.facts import Tier

LARGE = Machine(memory_bytes=10**15, rate=1e18)
SHAPES = {
    "model.embed_tokens.weight": (100, 8),
    "model.layers.0.self_attn.q_proj.weight": (8, 8),
    "model.layers.0.mlp.down_proj.weight": (8, 24),
    "model.layers.1.mlp.experts.down_proj": (3, 8, 24),
    "model.norm.weight": (8,),
}


def work_of(num_parameters=10**9, size=4, **settings):
    asked = Settings(**settings)
    return Workload(
        shape=llama_shape(num_parameters),
        bytes_per_parameter=size,
        strata=dict.fromkeys("abcdefghi", 111),
        probe_tokens=999 * asked.max_tokens,
        stored_bytes=2 * num_parameters,
        settings=asked,
    )


ONE_BILLION = work_of()
NEEDS = {tier: ONE_BILLION.memory(tier).bytes_in_all for tier in Tier}


# Shapes.


def test_a_shape_is_read_off_the_tensors():
    found = shape_of(SHAPES, {"model.embed_tokens.weight"})
    assert found.num_parameters == 800 + 64 + 192 + 576 + 8
    assert (found.vocabulary_parameters, found.num_tokens, found.width) == (800, 100, 8)
    assert (found.num_layers, found.largest, found.side) == (2, 800, 8)
    assert (found.inputs, found.outputs) == (8 + 24, 8 + 8)
    assert found.gram == 64 * 100 + 512 + 64 * 24 + 3 * 64 * 24
    assert found.cubes == 512 * (1 + 1 + 1 + 3)


def test_where_no_tensor_is_known_to_be_an_embedding_the_largest_matrix_is_taken():
    found = shape_of({"a.weight": (5, 2), "b.weight": (7, 3)}, ())
    assert (found.num_tokens, found.width, found.num_layers) == (7, 3, 1)
    empty = shape_of({}, ())
    assert (empty.num_parameters, empty.largest, empty.side) == (0, 1, 1)


@pytest.mark.parametrize(
    ("billions", "width", "layers"), [(1, 1792, 14), (7, 3968, 31), (70, 8960, 70)]
)
def test_a_size_alone_is_taken_for_a_llama_of_that_size(billions, width, layers):
    found = llama_shape(billions * 10**9)
    assert (found.num_parameters, found.width, found.num_layers) == (
        billions * 10**9,
        width,
        layers,
    )
    named = found.vocabulary_parameters + 12 * layers * width**2
    assert named == pytest.approx(found.num_parameters, rel=0.1)


@given(st.integers(1, 10**12), st.integers(1, 10**12))
def test_a_larger_model_is_never_taken_for_a_narrower_one(one, other):
    small, large = (llama_shape(number) for number in sorted((one, other)))
    assert small.width <= large.width
    assert small.num_layers <= large.num_layers


# Work.


def test_the_work_is_that_of_the_whole_probe_and_all_draws():
    settings = Settings(max_tokens=10, curvature_draws=2, curvature_samples=3, curvature_tokens=5)
    work = replace(
        ONE_BILLION,
        shape=shape_of({"a": (7,)}, ()),
        strata=dict.fromkeys("abcd", 25),
        probe_tokens=1000,
        settings=settings,
    )
    assert (work.num_samples, work.curvature_tokens, work.output_tokens) == (100, 120, 512)
    assert work.operations(Tier.WEIGHTS) == 0
    assert work.operations(Tier.PROBE) == 2 * 2 * 7 * 1000
    assert work.operations(Tier.FULL) == 2 * 2 * 7 * 1000 + 2 * 42 * 7 * 120
    fisher = replace(work, settings=replace(settings, curvature_method=CurvatureMethod.FISHER))
    assert fisher.curvature_operations() == 2 * 6 * 7 * 120


@pytest.mark.parametrize("blocks", [2, 8, 64])
def test_blocks_take_no_less_time_than_all_parameters_at_once_but_for_the_update(blocks):
    by_blocks = work_of(curvature_method=CurvatureMethod.BLOCKS, curvature_blocks=blocks)
    update = 12 / 42  # the product that blocks do without
    assert by_blocks.curvature_operations() > (1 - update) * ONE_BILLION.curvature_operations()


def test_memory_is_that_of_one_model_and_of_what_is_kept_beside_it():
    probe, full = ONE_BILLION.memory(Tier.PROBE), ONE_BILLION.memory(Tier.FULL)
    assert 4e9 + 6e8 < probe.model_bytes < 6e9
    assert probe.model_bytes + 2 * 4e9 < full.model_bytes < 20e9  # the update, halves of products
    assert probe.host_bytes < full.host_bytes < 6e9
    assert ONE_BILLION.memory(Tier.WEIGHTS).bytes_in_all < probe.bytes_in_all


def test_each_way_to_measure_curvature_takes_less_memory_than_the_one_before():
    methods = [
        work_of(curvature_method=method, curvature_blocks=blocks).memory(Tier.FULL).model_bytes
        for method, blocks in (("joint", 8), ("blocks", 8), ("blocks", 16), ("fisher", 8))
    ]
    assert methods == sorted(methods, reverse=True)
    assert len(set(methods)) == 4


@given(
    st.integers(10**6, 10**12),
    st.integers(10**6, 10**12),
    st.sampled_from(Tier),
    st.sampled_from(CurvatureMethod),
)
def test_a_larger_model_never_takes_less(one, other, tier, method):
    small, large = (work_of(number, curvature_method=method) for number in sorted((one, other)))
    assert small.memory(tier).model_bytes <= large.memory(tier).model_bytes
    assert small.operations(tier) <= large.operations(tier)


# Machines.


def test_a_gpu_needs_memory_of_its_own_and_the_host_some_beside_it():
    need = Memory(model_bytes=10, host_bytes=5)
    cases = {(10, 5): True, (9, 5): False, (10, 4): False, (100, 4): False}
    for (device, host), fits in cases.items():
        assert Machine(memory_bytes=device, host_bytes=host, rate=1).holds(need) is fits
    assert Machine(memory_bytes=15, rate=1).holds(need)
    assert not Machine(memory_bytes=14, rate=1).holds(need)


def test_memory_that_is_not_a_number_is_not_taken_for_enough():
    assert not LARGE.holds(Memory(model_bytes=math.nan, host_bytes=0))
    gpu = Machine(memory_bytes=10**15, host_bytes=10**15, rate=1)
    assert not gpu.holds(Memory(model_bytes=0, host_bytes=math.nan))


@pytest.mark.parametrize("choice", list(TierChoice))
def test_a_machine_that_can_do_everything_does_what_was_asked_for(choice):
    tier, reason = highest_tier(choice, ONE_BILLION, LARGE)
    assert tier is ceiling_of(choice)
    assert tier is (Tier.FULL if choice is TierChoice.AUTO else Tier(choice.value))
    expected = (
        "auto takes the highest tier" if choice is TierChoice.AUTO else f"tier {choice} was asked"
    )
    assert reason.startswith(expected)


@pytest.mark.parametrize(
    ("choice", "enough_for", "tier", "said"),
    [
        ("full", Tier.PROBE, Tier.PROBE, "tier full needs about {full:.1f} GB of memory, more"),
        ("auto", Tier.PROBE, Tier.PROBE, "tier full needs about {full:.1f} GB"),
        ("full", Tier.WEIGHTS, Tier.WEIGHTS, "tier probe needs about {probe:.1f} GB of memory"),
        ("probe", Tier.WEIGHTS, Tier.WEIGHTS, "tier probe needs about {probe:.1f} GB"),
        ("probe", Tier.PROBE, Tier.PROBE, "tier probe was asked for"),
        ("weights", Tier.WEIGHTS, Tier.WEIGHTS, "tier weights was asked for"),
    ],
)
def test_memory_lowers_the_tier_whatever_was_asked_for(choice, enough_for, tier, said):
    machine = Machine(memory_bytes=math.ceil(NEEDS[enough_for]), rate=1e18)
    found, reason = highest_tier(TierChoice(choice), ONE_BILLION, machine)
    assert found is tier
    assert said.format(full=NEEDS[Tier.FULL] / 1e9, probe=NEEDS[Tier.PROBE] / 1e9) in reason


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


@pytest.mark.parametrize("required", [Tier.PROBE, Tier.FULL])
def test_auto_does_not_give_up_for_time_what_a_policy_requires(required):
    machine = Machine(memory_bytes=10**15, rate=1.0)
    assert highest_tier(TierChoice.AUTO, ONE_BILLION, machine, required)[0] is required


def test_auto_says_all_reasons():
    machine = Machine(memory_bytes=math.ceil(NEEDS[Tier.PROBE]), rate=1.0)
    tier, reason = highest_tier(TierChoice.AUTO, ONE_BILLION, machine)
    assert tier is Tier.WEIGHTS
    assert "more than is free; tier probe would take" in reason


@given(
    st.sampled_from(TierChoice),
    st.integers(1, 10**12),
    st.integers(0, 10**15),
    st.floats(1, 1e20),
)
def test_no_tier_above_the_one_asked_for_ever_runs(choice, parameters, memory_bytes, rate):
    work = work_of(parameters)
    machine = Machine(memory_bytes=memory_bytes, rate=rate)
    tier, reason = highest_tier(choice, work, machine)
    assert reason
    assert tier <= ceiling_of(choice)
    assert machine.holds(work.memory(tier)) or tier is Tier.WEIGHTS


def test_not_a_number_of_operations_is_not_taken_for_few():
    machine = Machine(memory_bytes=10**15, rate=float("nan"))
    assert highest_tier(TierChoice.AUTO, ONE_BILLION, machine)[0] is Tier.WEIGHTS


# This machine.


def test_this_machine_has_memory_and_a_rate_by_its_threads():
    found = this_machine(torch.device("cpu"))
    assert 0 < found.memory_bytes <= psutil.virtual_memory().total
    assert found.rate == 4e10 * torch.get_num_threads()
    assert found.host_bytes is None


def test_gpus_are_asked_for_their_own_memory_and_the_host_for_its_own(monkeypatch):
    # Simulated: most machines that run the tests have no GPU.
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (70 * 10**9, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 10**9)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda _device: 1.0)
    one = this_machine(torch.device("cuda"))
    two = this_machine(torch.device("cuda", 0), torch.device("cuda", 1))
    assert (one.memory_bytes, one.rate) == (70 * 10**9, 2e13)
    assert (two.memory_bytes, two.rate) == (140 * 10**9, 2e13)
    assert 0 < one.host_bytes <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("fraction", "free"), [(1.0, 70), (0.5, 39), (0.25, 19), (0.01, 0)], ids=str
)
def test_a_bound_on_the_process_bounds_what_is_free_on_a_gpu(monkeypatch, fraction, free):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (70 * 10**9, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 10**9)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda _device: fraction)
    assert free_on(torch.device("cuda")) == free * 10**9


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
