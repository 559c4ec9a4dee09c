"""Describe the machine that a benchmark ran on: what it is, not whose."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import psutil
import torch


def describe() -> dict[str, object]:
    """Return what decides how fast this machine is; no names, no paths."""
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": [{"name": gpu.name, "memory_bytes": gpu.total_memory} for gpu in gpus],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }


def processor() -> str:
    """Return the processor's name; its architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> int:
    """Print the description as JSON."""
    print(json.dumps(describe()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
