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
    from sdi_gate.gate.workload import Memory, Workload

# Assumed rates, on the low side, so that the decision is the same on every run: a CPU core does
# 4e10 operations a second in small matrix products, a GPU 2e13.
_CPU_CORE_RATE = 4e10
_GPU_RATE = 2e13
AUTO_BUDGET_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Say what the scan may use.

    Attributes:
        memory_bytes: Memory that is free where the models will lie.
        rate: Operations a second, assumed.
        host_bytes: Memory that is free on the host beside a GPU; None without one, where all of
            it is the same memory.
    """

    memory_bytes: int
    rate: float
    host_bytes: int | None = None

    def holds(self, memory: Memory) -> bool:
        """Say whether there is enough memory.

        Args:
            memory: How much is needed.

        Returns:
            True if it is free, on the GPU and on the host.
        """
        if self.host_bytes is None:
            return memory.bytes_in_all <= self.memory_bytes
        return memory.model_bytes <= self.memory_bytes and memory.host_bytes <= self.host_bytes


def this_machine(*devices: torch.device) -> Machine:
    """Look at the memory and the processors that a scan may use.

    Args:
        devices: Where the scan computes: the CPU, a GPU, or several over which a model is spread.

    Returns:
        The machine. The rate is that of one device, for layers run one after the other.
    """
    gpus = [device for device in devices if device.type == "cuda"]
    if gpus:
        return Machine(
            memory_bytes=sum(map(free_on, gpus)),
            rate=_GPU_RATE,
            host_bytes=available_memory_bytes(),
        )
    return Machine(
        memory_bytes=available_memory_bytes(),
        rate=_CPU_CORE_RATE * torch.get_num_threads(),
    )


def free_on(gpu: torch.device) -> int:
    """Return the memory that this process may still take on a GPU.

    Args:
        gpu: Which.

    Returns:
        Bytes: what is free there, or what the bound that was set for this process leaves,
        whichever is less.
    """
    free, total = torch.cuda.mem_get_info(gpu)
    bound = torch.cuda.get_per_process_memory_fraction(gpu) * total
    return max(0, min(free, int(bound) - torch.cuda.memory_reserved(gpu)))


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


def highest_tier(
    choice: TierChoice, work: Workload, machine: Machine, required: Tier | None = None
) -> tuple[Tier, str]:
    """Choose the highest tier, up to the one asked for, that the machine can do whole.

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
    ceiling = ceiling_of(choice)
    reasons: list[str] = []
    for tier in (tier for tier in (Tier.FULL, Tier.PROBE) if tier <= ceiling):
        need = work.memory(tier)
        bounded = choice is TierChoice.AUTO and (required is None or tier > required)
        if not machine.holds(need):
            # How much is free is not said: it changes from run to run, and the result must not.
            gigabytes = f"{need.bytes_in_all / 1e9:.1f} GB of memory"
            reasons.append(f"tier {tier} needs about {gigabytes}, more than is free")
        elif bounded and not work.operations(tier) / machine.rate <= AUTO_BUDGET_S:
            minutes = f"about {work.operations(tier) / machine.rate / 60:.0f} minutes here"
            reasons.append(f"tier {tier} would take {minutes}; --tier {tier} asks for it")
        else:
            return tier, "; ".join(reasons) or _why(choice)
    return Tier.WEIGHTS, "; ".join(reasons) or _why(choice)


def ceiling_of(choice: TierChoice) -> Tier:
    """Return the highest tier that was asked for.

    Args:
        choice: What was asked for.

    Returns:
        The tier; ``full`` for ``auto``.
    """
    return Tier.FULL if choice is TierChoice.AUTO else Tier(choice.value)


def _why(choice: TierChoice) -> str:
    if choice is TierChoice.AUTO:
        return "auto takes the highest tier that memory and ten minutes allow"
    return f"tier {choice.value} was asked for"
