"""Say what the numbers were computed with."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING

import torch

from sdi_gate.gate.result import Environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.gate.request import ScanRequest

_PACKAGES = ("sdi-gate", "torch", "transformers", "safetensors")


def describe_environment(request: ScanRequest, dtype: torch.dtype) -> Environment:
    """Describe versions, platform and device.

    Args:
        request: The scan.
        dtype: Type of the forward passes.

    Returns:
        The description, the same for every run on one machine.
    """
    return Environment(
        versions=(
            ("python", platform.python_version()),
            *((name, metadata.version(name)) for name in _PACKAGES),
        ),
        platform=f"{platform.system()} {platform.machine()}",
        device=device_names(request.places),
        num_threads=torch.get_num_threads(),
        compute_dtype=str(dtype).removeprefix("torch."),
        seed=request.settings.seed,
    )


def device_name(device: torch.device) -> str:
    """Name a device for a reader.

    Args:
        device: CPU or GPU.

    Returns:
        ``cpu``, or ``cuda`` with the card's name.
    """
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def device_names(devices: Sequence[torch.device]) -> str:
    """Name several devices for a reader.

    Args:
        devices: One or more.

    Returns:
        Their names with ``+`` between them.
    """
    return " + ".join(map(device_name, devices))
