"""Hold everything that a scan found: the one value that a report is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.gate.facts import facts_of_scan

if TYPE_CHECKING:
    from sdi_gate.gate.request import TierChoice
    from sdi_gate.gate.weights_tier import AddedRows, RoundingFacts
    from sdi_gate.models.alignment import Alignment
    from sdi_gate.models.snapshot import ModelSnapshot
    from sdi_gate.models.tokenizer import TokenizerComparison
    from sdi_gate.policy.facts import Facts, Tier
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.policy.verdict import Verdict
    from sdi_gate.prediction.calibration import Calibration
    from sdi_gate.prediction.predict import AxisPrediction, Prediction
    from sdi_gate.signals.divergence import Divergence
    from sdi_gate.signals.interface import SignalResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Describe one of the two models.

    Attributes:
        snapshot: Its pinned files.
        architecture: Class named by its configuration.
        family: Family of architectures, as calibrations name it.
        num_parameters: Parameters in its weight files.
        dtypes: Storage types of its tensors, sorted.
        quantisation: How its weights were quantised, and by what they were dequantised; None if
            they were not.
        quantisation_method: The method in one word, as policies name it; None if they were not.
        adapter: What an adapter adds to the base; None if the candidate is none.
        ignored: Stored buffers that were not compared, for they are computed anew.
        tied_copies: Stored copies of tensors that are tied to them, counted once.
    """

    snapshot: ModelSnapshot
    architecture: str
    family: str
    num_parameters: int
    dtypes: tuple[str, ...]
    quantisation: str | None = None
    quantisation_method: str | None = None
    adapter: str | None = None
    ignored: tuple[str, ...] = ()
    tied_copies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TierDecision:
    """Say which tier ran.

    Attributes:
        requested: What was asked for.
        ran: What ran.
        reason: Why this one, and none higher.
        cuts: What was measured on less than the settings ask for, and why, one sentence each.
        whole: The highest tier of which nothing was cut.
    """

    requested: TierChoice
    ran: Tier
    reason: str
    cuts: tuple[str, ...] = ()
    whole: Tier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFacts:
    """Describe the probe set that both models read.

    Attributes:
        name: Its name.
        digest: Digest of its content.
        strata: Number of samples of each stratum.
        max_tokens: Where samples were cut.
        chat_template: Whether samples with a prompt went through a chat template.
    """

    name: str
    digest: str
    strata: tuple[tuple[str, int], ...]
    max_tokens: int
    chat_template: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Say what the numbers were computed with.

    Attributes:
        versions: Pairs of package and version.
        platform: System and processor.
        device: Device, with its name if it is a GPU.
        num_threads: Threads of the linear algebra.
        compute_dtype: Type of the forward passes.
        seed: Seed of every random draw.
    """

    versions: tuple[tuple[str, str], ...]
    platform: str
    device: str
    num_threads: int
    compute_dtype: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """Say what one stage cost, or a part of one.

    Attributes:
        stage: Its name; of a part ``stage/part``.
        seconds: Wall time; of a part the time in which it was busy, summed over threads.
        peak_host_bytes: Largest resident memory of the process until the stage's end.
        peak_device_bytes: Largest allocation on the GPU in the stage; None without one.
        bytes_read: Bytes that came from disk; None where it is not counted.
        operations: Floating-point operations; None where they are not counted.
    """

    stage: str
    seconds: float
    peak_host_bytes: int
    peak_device_bytes: int | None
    bytes_read: int | None = None
    operations: float | None = None

    @property
    def is_part(self) -> bool:
        """Say whether this is a part of a stage, whose time is in that stage's already."""
        return "/" in self.stage


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """Hold everything that a scan found.

    Attributes:
        base: The base.
        candidate: The candidate.
        alignment: How their tensors were matched.
        rounding: What rounding to the coarser of two storage types took away, which is not drift;
            None if both models are stored alike.
        added_rows: Rows of tokens that the candidate added.
        config_differences: Settings that differ and can change what a model computes.
        tokenizer: Whether they read text alike.
        tier: Which tier ran.
        probe: The probe set, if it was read.
        signals: The four signals and behaviour.
        calibration: What the index's weights rest on.
        uncalibrated: Why the calibration does not speak for these models; None if it does.
        prediction: Predicted degradation, or why there is none.
        axis_predictions: The same for each axis that the calibration has.
        sdi: The index over the structural signals.
        sdi_plus: The index that adds behaviour.
        defects: What keeps the candidate from passing whatever a policy says.
        notices: What a reviewer must look at, because no number shows it.
        environment: What the numbers were computed with.
        started_at: When the scan began, UTC, ISO 8601.
        stages: What each stage cost.
        reused: What of the base was taken from its profile, and what was refused there.
        registered_name: Name in the registry that was given for the candidate.
    """

    base: ModelFacts
    candidate: ModelFacts
    alignment: Alignment
    rounding: RoundingFacts | None
    added_rows: tuple[AddedRows, ...]
    config_differences: tuple[str, ...]
    tokenizer: TokenizerComparison
    tier: TierDecision
    probe: ProbeFacts | None
    signals: tuple[SignalResult, ...]
    calibration: Calibration
    uncalibrated: str | None
    prediction: Prediction
    sdi: Divergence
    sdi_plus: Divergence
    defects: tuple[str, ...]
    notices: tuple[str, ...]
    environment: Environment
    started_at: str
    stages: tuple[StageCost, ...]
    reused: tuple[str, ...] = ()
    registered_name: str | None = None
    axis_predictions: tuple[AxisPrediction, ...] = ()

    @property
    def facts(self) -> Facts:
        """Return what a policy judges."""
        return facts_of_scan(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Hold a verdict and the policy that it follows from.

    Attributes:
        policy: The policy, with its digest.
        verdict: What follows from it.
    """

    policy: LoadedPolicy
    verdict: Verdict
