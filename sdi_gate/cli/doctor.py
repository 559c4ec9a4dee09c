"""Find out what this machine can run."""

from __future__ import annotations

import platform
import shutil
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import torch
from huggingface_hub import constants, get_token

from sdi_gate.cli.options import cpu_count
from sdi_gate.gate.environment import device_name
from sdi_gate.gate.request import Settings, TierChoice
from sdi_gate.gate.shape import llama_shape
from sdi_gate.gate.tier import Machine, highest_tier, this_machine
from sdi_gate.gate.workload import Workload
from sdi_gate.models.probe import load_default

# What dequantises checkpoints; each is optional, and none is imported here.
_DEQUANTISERS = ("bitsandbytes", "compressed-tensors", "gguf")
_SIZES = ((500_000_000, "0.5 B"), (1_500_000_000, "1.5 B"), (7_000_000_000, "7 B"))


def examine() -> tuple[tuple[str, str], ...]:
    """Look at the machine, the cache and the settings; a token is only said to be there.

    Returns:
        Pairs of name and finding.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    machine = this_machine(device)
    cache = Path(constants.HF_HUB_CACHE)
    return (
        ("sdi-gate", metadata.version("sdi-gate")),
        ("python", platform.python_version()),
        ("torch", torch.__version__),
        ("transformers", metadata.version("transformers")),
        *((name, _optional(name)) for name in _DEQUANTISERS),
        ("device", device_name(device)),
        ("CPU threads", str(cpu_count())),
        ("free memory", f"{machine.memory_bytes / 1e9:.1f} GB"),
        *((f"--tier auto, {label} model", _tier(size, machine)) for size, label in _SIZES),
        ("Hub cache", f"{cache} ({_free(cache)} free)"),
        ("Hub endpoint", _host(constants.ENDPOINT)),
        ("Hub token", _token()),
        ("Hub offline", "yes" if constants.HF_HUB_OFFLINE else "no"),
    )


def _optional(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent; checkpoints of its format are refused"


def _tier(num_parameters: int, machine: Machine) -> str:
    probe, settings = load_default(), Settings()
    size = 4 if machine.host_bytes is None else 2  # as --dtype auto has it
    work = Workload(
        shape=llama_shape(num_parameters),
        bytes_per_parameter=size,
        strata=probe.strata,
        probe_tokens=len(probe.samples) * settings.max_tokens,
        stored_bytes=num_parameters * size,
        settings=settings,
    )
    tier, reason = highest_tier(TierChoice.AUTO, work, machine)
    return f"{tier} ({reason})"


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "not a URL"
    except ValueError:
        return "not a URL"


def _token() -> str:
    try:
        return "present" if get_token() else "absent"
    except (OSError, ValueError):
        return "in a file that cannot be read"


def _free(folder: Path) -> str:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return f"{shutil.disk_usage(existing).free / 1e9:.1f} GB"
