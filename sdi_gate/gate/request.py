"""Say what is to be measured, and by which settings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import torch

from sdi_gate.prediction.calibration import Calibration, load_default
from sdi_gate.profiles.store import NoStore
from sdi_gate.signals.depth import DepthWeighting
from sdi_gate.signals.matrices import TOP_K

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.models.probe import ProbeSet
    from sdi_gate.models.ref import ModelRef
    from sdi_gate.policy.facts import Tier
    from sdi_gate.profiles.store import ProfileStore


class TierChoice(StrEnum):
    """Name the tiers that a user can ask for."""

    WEIGHTS = "weights"
    PROBE = "probe"
    FULL = "full"
    AUTO = "auto"


class CurvatureMethod(StrEnum):
    """Name the ways to measure curvature, from the one that takes most memory to the least."""

    JOINT = "joint"
    BLOCKS = "blocks"
    FISHER = "fisher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hold every parameter that changes a number; each is in the id of the signals it changes.

    Attributes:
        seed: Seed of every random draw.
        depth_weighting: How much each layer group counts in the weight signals.
        top_k: Upper bound for the dimension of singular subspaces.
        max_tokens: Where probe samples are cut.
        batch_size: Samples that are run together.
        curvature_draws: Paired draws for each stratum; at least 2.
        curvature_samples: Samples of each draw.
        curvature_tokens: Where samples are cut for curvature.
        curvature_method: Over all parameters at once, over blocks of layers one after the other,
            or by first derivatives alone.
        curvature_blocks: Number of those blocks; used by method ``blocks`` only.
        output_tokens: Tokens of each stratum on which the outputs of matrices are compared.
    """

    seed: int = 0
    depth_weighting: DepthWeighting = field(default_factory=DepthWeighting)
    top_k: int = TOP_K
    max_tokens: int = 128
    batch_size: int = 16
    curvature_draws: int = 8
    curvature_samples: int = 4
    curvature_tokens: int = 64
    curvature_method: CurvatureMethod = CurvatureMethod.JOINT
    curvature_blocks: int = 8
    output_tokens: int = 128

    def for_layers(self, layers: Sequence[str]) -> Settings:
        """Return the settings of a scan whose layer groups are known.

        Args:
            layers: Layer groups of the paired tensors, from input to output.

        Returns:
            The settings, whose depth weights now go by the groups' names.

        Raises:
            UsageError: If the depth weights do not fit.
        """  # noqa: DOC502 - raised by for_layers()
        return replace(self, depth_weighting=self.depth_weighting.for_layers(layers))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRequest:
    """Say what is to be compared, and how closely.

    Attributes:
        base: The base model; None for that which the candidate, an adapter, names.
        candidate: The model made from it, or an adapter.
        tier: Highest tier to run.
        device: Where to compute.
        probe: Texts for the tiers above the weights.
        settings: Everything that changes a number.
        required: Tier that the policy requires: ``auto`` does not give it up for time.
        calibration: Metrics, weights and scales of the index, and what they rest on.
        dtype: Type in which the models run.
        budget_s: Seconds that the whole scan may take; None for no bound but that of ``auto``.
        store: Where profiles of bases are kept.
        registered_name: Name under which the candidate is registered, if it was given.
        devices: Devices over which the layers of a model may be spread; empty for ``device`` alone.
    """

    base: ModelRef | None
    candidate: ModelRef
    tier: TierChoice
    device: torch.device
    probe: ProbeSet
    settings: Settings
    required: Tier | None = None
    calibration: Calibration = field(default_factory=load_default)
    dtype: torch.dtype = torch.float32
    budget_s: float | None = None
    store: ProfileStore = field(default_factory=NoStore)
    devices: tuple[torch.device, ...] = ()
    registered_name: str | None = None

    @property
    def places(self) -> tuple[torch.device, ...]:
        """Return the devices that a model may lie on, the one that computes first."""
        return self.devices or (self.device,)

    def for_layers(self, layers: Sequence[str]) -> ScanRequest:
        """Return the request for models whose layer groups are known.

        Args:
            layers: Layer groups of the paired tensors, from input to output.

        Returns:
            The request, whose depth weights go by the groups' names.

        Raises:
            UsageError: If the depth weights do not fit.
        """  # noqa: DOC502 - raised by for_layers()
        return replace(self, settings=self.settings.for_layers(layers))
