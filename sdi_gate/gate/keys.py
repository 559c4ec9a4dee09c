"""Name the parts of a base's profile by everything that their numbers depend on.

A part is used again only where it would come out the same to the last bit: a candidate that equals
its base must score exactly 0, whether the base was measured just now or last week.
"""

from __future__ import annotations

import hashlib
import json
import platform
from importlib import metadata
from typing import TYPE_CHECKING

import torch

from sdi_gate.gate.environment import device_names
from sdi_gate.gate.readings import tokens_digest
from sdi_gate.profiles.store import PartKey
from sdi_gate.signals import curvature, geometry, representation, spectral

if TYPE_CHECKING:
    from sdi_gate.gate.request import ScanRequest, Settings
    from sdi_gate.models.causal_lm import LoadingChanges
    from sdi_gate.models.opening import OpenModel
    from sdi_gate.models.tokens import TokenizedProbe

SPECTRA, PROBE, CURVATURE = "spectra", "probe", "curvature"
_Parameters = tuple[tuple[str, str], ...]


def spectra_key(base: OpenModel, request: ScanRequest) -> PartKey:
    """Name the spectra of a base.

    Args:
        base: The base.
        request: Dimension of the subspaces, and where to compute.

    Returns:
        The key.
    """
    return PartKey(
        base=base.snapshot.digest,
        part=SPECTRA,
        parameters=(
            *_made_with(base, request),
            ("geometry", str(geometry.VERSION)),
            ("spectral", str(spectral.VERSION)),
            ("top-k", str(request.settings.top_k)),
        ),
    )


def probe_key(
    base: OpenModel, request: ScanRequest, tokens: TokenizedProbe, changes: LoadingChanges
) -> PartKey:
    """Name what a base does with the probe.

    Args:
        base: The base.
        request: Type, place and size of the batches.
        tokens: The probe as the base reads it.
        changes: What is done to the base's weights when they are loaded.

    Returns:
        The key.
    """
    return PartKey(
        base=base.snapshot.digest,
        part=PROBE,
        parameters=(
            *_run_with(base, request, tokens, changes),
            ("representation", str(representation.VERSION)),
        ),
    )


def curvature_key(
    base: OpenModel, request: ScanRequest, tokens: TokenizedProbe, changes: LoadingChanges
) -> PartKey:
    """Name the curvature of a base.

    Args:
        base: The base.
        request: Type and place, and number, size, method and seed of the draws.
        tokens: The probe as the base reads it.
        changes: What is done to the base's weights when they are loaded.

    Returns:
        The key.
    """
    return PartKey(
        base=base.snapshot.digest,
        part=CURVATURE,
        parameters=(
            *_run_with(base, request, tokens, changes),
            *_draws(request.settings),
            ("curvature", str(curvature.VERSION)),
        ),
    )


def _draws(settings: Settings) -> _Parameters:
    return (
        ("curvature-blocks", str(settings.curvature_blocks)),
        ("curvature-draws", str(settings.curvature_draws)),
        ("curvature-method", settings.curvature_method.value),
        ("curvature-samples", str(settings.curvature_samples)),
        ("curvature-tokens", str(settings.curvature_tokens)),
        ("seed", str(settings.seed)),
    )


def _made_with(base: OpenModel, request: ScanRequest) -> _Parameters:
    # The digest of a model is that of its weights: how they are laid out and run stands beside.
    digests = sorted(f"{f.name} {f.sha256}" for f in base.snapshot.files if f.name == "config.json")
    dequantised = base.quantisation
    return (
        ("config", _digest(digests)),
        ("dequantised-by", f"{dequantised.library} {dequantised.version}" if dequantised else ""),
        ("device", device_names(request.places)),
        # Runners that share a folder need not be alike, and rounding goes by the instructions.
        ("processor", f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"),
        ("sdi-gate", metadata.version("sdi-gate")),
        ("torch", torch.__version__),
        ("transformers", metadata.version("transformers")),
    )


def _run_with(
    base: OpenModel, request: ScanRequest, tokens: TokenizedProbe, changes: LoadingChanges
) -> _Parameters:
    loading = {
        "rounding": {name: str(dtype) for name, dtype in changes.rounding.items()},
        "untied": sorted(changes.untied),
    }
    return (
        *_made_with(base, request),
        ("batch-size", str(request.settings.batch_size)),
        ("compute-dtype", str(request.dtype)),
        ("loading", _digest(loading)),
        ("threads", str(torch.get_num_threads())),
        ("tokens", tokens_digest(tokens)),
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
