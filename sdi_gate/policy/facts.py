"""Define the facts of one scan, which are all that a policy judges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from sdi_gate.signals.interface import Estimate, SignalName, SignalResult


class Tier(StrEnum):
    """How much a scan looks at: the weights, a probe through both models, or everything."""

    WEIGHTS = "weights"
    PROBE = "probe"
    FULL = "full"

    # The order of str is the alphabet's, in which a full scan would be the lowest tier.
    def __lt__(self, other: str) -> bool:
        """Return whether this tier looked at less than the other."""
        return self.rank < Tier(other).rank

    def __le__(self, other: str) -> bool:
        """Return whether this tier looked at no more than the other."""
        return self.rank <= Tier(other).rank

    def __gt__(self, other: str) -> bool:
        """Return whether this tier looked at more than the other."""
        return self.rank > Tier(other).rank

    def __ge__(self, other: str) -> bool:
        """Return whether this tier looked at no less than the other."""
        return self.rank >= Tier(other).rank

    @property
    def rank(self) -> int:
        """Return 0 for weights, 1 for probe, 2 for full."""
        return tuple(Tier).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Say which model one of the two was; None where that is not known.

    Attributes:
        reference: As the user gave it, such as ``hf:org/name@main``.
        name: Its name on the Hub or in a registry, such as ``org/name``; a folder has none.
        commit: What the revision was resolved to.
        digest: ``sha256:…`` over its weights.
        format: What its weight files hold: ``full``, ``adapter`` or ``gguf``.
        quantisation: ``none``, or the method, such as ``bitsandbytes-nf4``.
    """

    reference: str
    name: str | None = None
    commit: str | None = None
    digest: str | None = None
    format: str | None = None
    quantisation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationFacts:
    """Say what the index's calibration rests on.

    Attributes:
        name: Its name.
        fitted: Whether its weights were fitted to measured degradation.
        families: Families of models that it was fitted on; None if that is not known.
        num_pairs: Pairs of base and fine-tune that it was fitted on; None if that is not known.
        out_of_scope: Why it does not speak for the models of this scan; None if it does.
    """

    name: str
    fitted: bool
    families: tuple[str, ...] | None
    num_pairs: int | None
    out_of_scope: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedDegradation:
    """Hold what a calibration predicts for one axis, or why it predicts nothing.

    Law: value, upper and level are there exactly if ``reason`` is not, and they are finite.

    Attributes:
        axis: Name of the axis; ``mean`` for the mean over all of them.
        value: Predicted degradation, in [0, 1].
        upper: Upper end of its interval.
        level: Coverage that the interval aims at.
        reason: Why nothing is predicted.
    """

    axis: str
    value: float | None = None
    upper: float | None = None
    level: float | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        """Refuse a prediction that breaks the law.

        Raises:
            ValueError: If numbers and reason do not belong together, or a number is not finite.
        """
        numbers = (self.value, self.upper, self.level)
        known = [number is not None and math.isfinite(number) for number in numbers]
        if not all(known) if self.reason is None else numbers != (None, None, None):
            msg = f"{self.axis}: a prediction has three finite numbers or a reason; got {numbers}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Hold what one scan found, for a policy to judge.

    Law: every signal is there at most once, and the time has a time zone.

    Attributes:
        tier: How much the scan looked at.
        coverage: Compared parameters / all parameters, in [0, 1]; anything else is judged
            inconclusive.
        sdi: The index over the four signals, in [0, 1]; None if it could not be formed.
        sdi_plus: The index with behaviour, in [0, 1]; None if it could not be formed.
        signals: The results of the four signals and of behaviour, as far as there are any.
        defects: Sentences about input that can never pass, such as weights that are not finite
            or a probe that is not deterministic. Each gives an inconclusive finding, whatever
            the policy says.
        notices: Sentences about what was seen and cannot be judged by a number, such as settings
            of generation that differ. Each gives a finding that warns, whatever the policy says.
        tier_reason: Why this tier ran and none higher; empty if there is nothing to say.
        whole_tier: The highest tier of which nothing was cut; None for the tier itself, or, where
            there are cuts, for ``weights``.
        cuts: Sentences about what was measured on less than was asked for.
        base: Which model the base was.
        candidate: Which model the candidate was.
        family: Family of architectures of both, such as ``llama``.
        registered_name: Name in the registry that whoever runs the gate gave for the candidate;
            it comes before the candidate's own.
        calibration: What the index's calibration rests on.
        predictions: Predicted degradation: ``mean``, and the axes that the calibration has.
        tensor_roles: What each measured tensor does, such as ``("q", "k", "v")``.
        measured_at: When the scan began, UTC.
    """

    tier: Tier
    coverage: float
    sdi: Estimate | None
    sdi_plus: Estimate | None
    signals: tuple[SignalResult, ...]
    defects: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    tier_reason: str = ""
    whole_tier: Tier | None = None
    cuts: tuple[str, ...] = ()
    base: ModelIdentity | None = None
    candidate: ModelIdentity | None = None
    family: str | None = None
    registered_name: str | None = None
    calibration: CalibrationFacts | None = None
    predictions: tuple[PredictedDegradation, ...] = ()
    tensor_roles: tuple[tuple[str, tuple[str, ...]], ...] = ()
    measured_at: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse facts that break the law.

        Raises:
            ValueError: If two results carry the same name, or the time has no time zone.
        """
        names = [result.name for result in self.signals]
        if len(set(names)) < len(names):
            msg = f"each signal is there at most once; got {', '.join(names)}"
            raise ValueError(msg)
        if self.measured_at is not None and self.measured_at.utcoffset() is None:
            msg = f"the time of a scan has a time zone; got {self.measured_at}"
            raise ValueError(msg)

    @property
    def uncut_tier(self) -> Tier:
        """Return the tier that a policy's requirement is held against: the highest whole one.

        What was cut short is measured, and is not what was required.
        """
        if self.whole_tier is None:
            # Whoever cut something and does not say how much is left whole has left nothing whole.
            return Tier.WEIGHTS if self.cuts else self.tier
        return min(self.tier, self.whole_tier)

    @property
    def model_name(self) -> str | None:
        """Return the name by which match blocks and waivers know the candidate, if it has one."""
        if self.registered_name is not None:
            return self.registered_name
        return None if self.candidate is None else self.candidate.name

    def signal(self, name: SignalName) -> SignalResult | None:
        """Return the result of a signal.

        Args:
            name: The signal.

        Returns:
            Its result, or None if the scan has none of that name.
        """
        return next((result for result in self.signals if result.name is name), None)
