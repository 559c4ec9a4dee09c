"""Define the facts of one scan, which are all that a policy judges."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
class Facts:
    """Hold what one scan found, for a policy to judge.

    Law: every signal is there at most once.

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

    def __post_init__(self) -> None:
        """Refuse facts that hold a signal twice.

        Raises:
            ValueError: If two results carry the same name.
        """
        names = [result.name for result in self.signals]
        if len(set(names)) < len(names):
            msg = f"each signal is there at most once; got {', '.join(names)}"
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

    def signal(self, name: SignalName) -> SignalResult | None:
        """Return the result of a signal.

        Args:
            name: The signal.

        Returns:
            Its result, or None if the scan has none of that name.
        """
        return next((result for result in self.signals if result.name is name), None)
