"""Stages, environment and skipped signals."""

from __future__ import annotations

import dataclasses
import sys

import pytest
import torch
from tiny_models import CPU, request_of

from sdi_gate.gate import stages as staging
from sdi_gate.gate.environment import describe_environment, device_name
from sdi_gate.gate.request import TierChoice
from sdi_gate.gate.result import TierDecision
from sdi_gate.gate.skipped import skipped_signals
from sdi_gate.gate.stages import Stages, peak_host_bytes
from sdi_gate.policy.facts import Tier
from sdi_gate.signals import behaviour, curvature, representation
from sdi_gate.signals.interface import Outcome, SignalId, SignalName, not_measured

CUDA = torch.device("cuda")


class FakeGpu:
    """Stand in for a GPU, which most machines that run the tests do not have."""

    def __init__(self, monkeypatch):
        self.calls = []
        for name, answer in (
            ("reset_peak_memory_stats", None),
            ("synchronize", None),
            ("max_memory_allocated", 123),
            ("get_device_name", "NVIDIA H100"),
        ):
            monkeypatch.setattr(torch.cuda, name, self.answer(name, answer))

    def answer(self, name, answer):
        def call(device):
            assert device == CUDA
            self.calls.append(name)
            return answer

        return call


def test_stages_are_timed_by_the_clock_that_was_given():
    times = iter([1.0, 4.0, 10.0, 10.5])
    stages = Stages(CPU, lambda: next(times))
    with stages.stage("one"):
        pass
    with stages.stage("two"):
        pass
    assert [(cost.stage, cost.seconds) for cost in stages.costs] == [("one", 3.0), ("two", 0.5)]
    assert all(cost.peak_device_bytes is None for cost in stages.costs)


def test_a_stage_that_failed_has_no_cost():
    stages = Stages(CPU, lambda: 0.0)

    def fail():
        with stages.stage("one"):
            msg = "no"
            raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="no"):
        fail()
    assert stages.costs == ()


def test_on_a_gpu_each_stage_has_a_peak_of_its_own_and_waits_for_its_work(monkeypatch):
    gpu = FakeGpu(monkeypatch)
    stages = Stages(CUDA, lambda: gpu.calls.append("clock") or 0.0)
    with stages.stage("one"):
        gpu.calls.append("work")
    assert stages.costs[0].peak_device_bytes == 123
    order = ["reset_peak_memory_stats", "clock", "work", "synchronize", "clock"]
    assert gpu.calls == [*order, "max_memory_allocated"]


def test_the_peak_only_rises():
    before = peak_host_bytes()
    block = torch.ones(30_000_000)
    assert peak_host_bytes() >= before >= 10_000_000
    assert block.numel() * 4 < peak_host_bytes()


def test_on_macos_the_peak_is_counted_in_bytes(monkeypatch):
    linux = peak_host_bytes() if sys.platform != "darwin" else peak_host_bytes() * 1024
    monkeypatch.setattr(staging.sys, "platform", "darwin")
    assert peak_host_bytes() * 1024 == pytest.approx(linux, rel=0.05)


def test_devices_are_named_for_a_reader(monkeypatch):
    FakeGpu(monkeypatch)
    assert device_name(CPU) == "cpu"
    assert device_name(CUDA) == "cuda (NVIDIA H100)"


def test_the_environment_is_the_same_twice(tmp_path):
    request = request_of(tmp_path, tmp_path, seed=3)
    first, second = (describe_environment(request, torch.bfloat16) for _ in range(2))
    assert first == second
    assert first.compute_dtype == "bfloat16"
    assert first.seed == 3


# Skipped signals.


def decision(ran, reason="why"):
    return TierDecision(requested=TierChoice.AUTO, ran=ran, reason=reason)


def result_of(name):
    return not_measured(SignalId(name=name, version=1), "m", "r")


ABOVE = [SignalName.REPRESENTATION_DRIFT, SignalName.BEHAVIOUR, SignalName.CURVATURE_SHIFT]
MODULES = dict(zip(ABOVE, (representation, behaviour, curvature), strict=True))


@pytest.mark.parametrize("ran", list(Tier))
@pytest.mark.parametrize("count", range(4))
def test_every_signal_that_was_not_attempted_has_a_reason(ran, count):
    found = skipped_signals([result_of(name) for name in ABOVE[:count]], decision(ran))
    assert [result.name for result in found] == ABOVE[count:]
    for result in found:
        assert result.outcome is Outcome.NOT_MEASURED
        assert result.estimate is None
        assert result.metric == MODULES[result.name].METRIC
        assert result.id.version == MODULES[result.name].VERSION
        if ran is Tier.FULL:
            assert result.reason == "the forward passes gave no usable numbers"
        else:
            assert result.reason == f"tier {ran} does not include it (why)"


def test_a_request_is_a_value(tmp_path):
    one, other = (request_of(tmp_path, tmp_path) for _ in range(2))
    assert one == other
    assert one != dataclasses.replace(one, tier=TierChoice.AUTO)
