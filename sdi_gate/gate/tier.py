"""Decide how much of a scan this machine can do: memory and time, estimated before any loading."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

from sdi_gate.gate.request import TierChoice
from sdi_gate.policy.facts import Tier

if TYPE_CHECKING:
    from sdi_gate.gate.request import Settings

# Assumed rates, on the low side, so that the decision is the same on every run: a CPU core does
# 4e10 operations a second in small matrix products, a GPU 2e13.
_CPU_CORE_RATE = 4e10
_GPU_RATE = 2e13
AUTO_BUDGET_S = 600.0
# Operations per parameter and token: 2 forward, 4 backward, and twice a backward's 4 and a
# forward's 2 for each of three Hessian products (the quadratic form is one of them).
_FORWARD = 2.0
_CURVATURE = 42.0
# Copies of a model's parameters in memory: two models; gradient, signs, product and the scaled
# vector for curvature, and the update.
_PROBE_COPIES = 2.0
_FULL_COPIES = 7.0
# Room for activations, graphs and the interpreter itself.
_OVERHEAD_BYTES = 600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Say what the scan may use.

    Attributes:
        memory_bytes: Memory that is free where the models will lie.
        rate: Operations a second, assumed.
    """

    memory_bytes: int
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Say how large the work is.

    Attributes:
        num_parameters: Parameters of one model.
        bytes_per_parameter: Bytes of one parameter once loaded.
        probe_tokens: Tokens of the whole probe, at most.
        curvature_tokens: Tokens of all curvature draws, at most.
    """

    num_parameters: int
    bytes_per_parameter: int
    probe_tokens: int
    curvature_tokens: int

    def memory_bytes(self, tier: Tier) -> float:
        """Return an estimate of the memory that a tier needs.

        Args:
            tier: Which.

        Returns:
            Bytes; 0 for the weights, whose memory is that of the largest tensor.
        """
        copies = {Tier.WEIGHTS: 0.0, Tier.PROBE: _PROBE_COPIES, Tier.FULL: _FULL_COPIES}[tier]
        size = self.num_parameters * self.bytes_per_parameter
        return copies * size + _OVERHEAD_BYTES if copies else 0.0

    def operations(self, tier: Tier) -> float:
        """Return an estimate of the operations that a tier adds over the weights.

        Args:
            tier: Which.

        Returns:
            Floating-point operations of both models.
        """
        probe = 2 * _FORWARD * self.num_parameters * self.probe_tokens
        curvature = 2 * _CURVATURE * self.num_parameters * self.curvature_tokens
        return {Tier.WEIGHTS: 0.0, Tier.PROBE: probe, Tier.FULL: probe + curvature}[tier]


def this_machine(device: torch.device) -> Machine:
    """Look at the memory and the processors that a scan may use.

    Args:
        device: Where the scan computes.

    Returns:
        The machine.
    """
    if device.type == "cuda":
        return Machine(memory_bytes=torch.cuda.mem_get_info(device)[0], rate=_GPU_RATE)
    return Machine(
        memory_bytes=available_memory_bytes(),
        rate=_CPU_CORE_RATE * torch.get_num_threads(),
    )


def available_memory_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the memory that this process may still take.

    Args:
        cgroup: Where a container's own bounds stand, if there are any.

    Returns:
        Bytes: what is free on the machine or in the container, whichever is less.
    """
    free = psutil.virtual_memory().available
    try:
        bound = int((cgroup / "memory.max").read_text("ascii"))
        used = int((cgroup / "memory.current").read_text("ascii"))
        rows = (cgroup / "memory.stat").read_text("ascii").splitlines()
    except (OSError, ValueError):  # no container, or one without a bound ("max")
        return free
    # Files that were read count as used until their room is needed: the weights were just hashed.
    cached = sum(int(row.split()[1]) for row in rows if row.startswith("inactive_file "))
    return max(0, min(free, bound - used + cached))


def workload(
    num_parameters: int, num_strata: int, num_samples: int, settings: Settings
) -> Workload:
    """Size the work of a scan.

    Args:
        num_parameters: Parameters of one model.
        num_strata: Strata of the probe.
        num_samples: Samples of the probe.
        settings: Lengths and draws.

    Returns:
        The workload, parameters in float32.
    """
    draws = num_strata * settings.curvature_draws * settings.curvature_samples
    return Workload(
        num_parameters=num_parameters,
        bytes_per_parameter=4,
        probe_tokens=num_samples * settings.max_tokens,
        curvature_tokens=draws * settings.curvature_tokens,
    )


def highest_tier(
    choice: TierChoice, work: Workload, machine: Machine, required: Tier | None = None
) -> tuple[Tier, str]:
    """Choose the highest tier, up to the one asked for, that the machine can do.

    A tier that was asked for by name has no time limit; ``auto`` stops at ten minutes, but not
    below the tier that a policy requires.

    Args:
        choice: What was asked for.
        work: How large the work is.
        machine: What there is.
        required: Tier that the policy requires, if there is a policy.

    Returns:
        The tier, and why none higher.
    """
    ceiling = Tier.FULL if choice is TierChoice.AUTO else Tier(choice.value)
    reasons: list[str] = []
    for tier in (tier for tier in (Tier.FULL, Tier.PROBE) if tier <= ceiling):
        need = work.memory_bytes(tier)
        seconds = work.operations(tier) / machine.rate
        bounded = choice is TierChoice.AUTO and (required is None or tier > required)
        if not need <= machine.memory_bytes:
            # How much is free is not said: it changes from run to run, and the result must not.
            need_gb = need / 1e9
            reasons.append(f"tier {tier} needs about {need_gb:.1f} GB of memory, more than is free")
        elif bounded and not seconds <= AUTO_BUDGET_S:
            minutes = f"about {seconds / 60:.0f} minutes here"
            reasons.append(f"tier {tier} would take {minutes}; --tier {tier} asks for it")
        else:
            return tier, "; ".join(reasons) or _why(choice)
    return Tier.WEIGHTS, "; ".join(reasons) or _why(choice)


def _why(choice: TierChoice) -> str:
    if choice is TierChoice.AUTO:
        return "auto takes the highest tier that memory and ten minutes allow"
    return f"tier {choice.value} was asked for"
