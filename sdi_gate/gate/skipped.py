"""Give a result to every signal that was not attempted: never a zero, never an absence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.policy.facts import Tier
from sdi_gate.signals import behaviour, curvature, representation
from sdi_gate.signals.interface import SignalId, SignalName, SignalResult, not_measured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.gate.result import TierDecision

_ABOVE_WEIGHTS = (
    (SignalName.REPRESENTATION_DRIFT, representation.METRIC, representation.VERSION),
    (SignalName.BEHAVIOUR, behaviour.METRIC, behaviour.VERSION),
    (SignalName.CURVATURE_SHIFT, curvature.METRIC, curvature.VERSION),
)


def skipped_signals(
    results: Sequence[SignalResult], decision: TierDecision
) -> tuple[SignalResult, ...]:
    """Return a result for each signal that has none.

    Args:
        results: What was attempted.
        decision: Which tier ran, and why.

    Returns:
        Results with outcome NOT_MEASURED that say why.
    """
    attempted = {result.name for result in results}
    return tuple(
        not_measured(SignalId(name=name, version=version), metric, _reason(decision))
        for name, metric, version in _ABOVE_WEIGHTS
        if name not in attempted
    )


def _reason(decision: TierDecision) -> str:
    if decision.ran is Tier.FULL:
        return "the forward passes gave no usable numbers"
    return f"tier {decision.ran} does not include it ({decision.reason})"
