"""Decide which tier runs: what was asked for, what the machine can do, what the models allow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.gate.request import TierChoice
from sdi_gate.gate.result import TierDecision
from sdi_gate.gate.tier import highest_tier, this_machine, workload
from sdi_gate.models.causal_lm import max_positions
from sdi_gate.models.differences import config_differences
from sdi_gate.models.tokens import (
    TokenizedProbe,
    TokenizerComparison,
    compare_tokenizers,
    has_tokenizer,
    load_tokenizer,
    tokenize,
)
from sdi_gate.policy.facts import Tier

if TYPE_CHECKING:
    from sdi_gate.gate.request import ScanRequest
    from sdi_gate.gate.weights_tier import Weights
    from sdi_gate.models.snapshot import ModelSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Hold the decision, and the probe as tokens if a tier above the weights will run.

    Attributes:
        decision: Which tier runs, and why.
        tokenizer: Whether the models read alike.
        tokens: The probe set as tokens; None exactly if the tier is ``weights``.
        config_differences: Settings that differ and can change what a model computes.
    """

    decision: TierDecision
    tokenizer: TokenizerComparison
    tokens: TokenizedProbe | None
    config_differences: tuple[str, ...] = ()

    @property
    def defects(self) -> tuple[str, ...]:
        """Return what the tier that runs is blind to and must not pass over.

        The same weights under another rotary base or another norm's epsilon compute something
        else, and only a forward pass shows how much.
        """
        if not self.config_differences or self.tokens is not None:
            return ()
        named = ", ".join(self.config_differences[:5])
        return (f"the configurations differ ({named}) and tier weights cannot see what that does",)

    def lowered(self, reason: str) -> Plan:
        """Return the plan that measures the weights only.

        Args:
            reason: Why.

        Returns:
            The plan; unchanged if it is at the lowest tier already.
        """
        if self.tokens is None:
            return self
        decision = replace(self.decision, ran=Tier.WEIGHTS, reason=reason)
        return replace(self, decision=decision, tokens=None)


def make_plan(
    request: ScanRequest, base: ModelSnapshot, candidate: ModelSnapshot, weights: Weights
) -> Plan:
    """Decide which tier runs.

    Args:
        request: What was asked for.
        base: The base.
        candidate: The candidate.
        weights: Both checkpoints, opened.

    Returns:
        The plan.

    Raises:
        FormatError: If a tokenizer or a configuration cannot be used.
    """  # noqa: DOC502 - raised by the functions called
    plan = _decide(request, base, candidate, weights)
    return replace(plan, config_differences=config_differences(base, candidate))


def _decide(
    request: ScanRequest, base: ModelSnapshot, candidate: ModelSnapshot, weights: Weights
) -> Plan:
    if request.tier is TierChoice.WEIGHTS:
        not_looked = TokenizerComparison(same=None, detail="not looked at in tier weights")
        return _weights_only(request, not_looked, "tier weights was asked for")
    tokenizer = _tokenizers(request, base, candidate)
    if tokenizer.same is False:
        return _weights_only(request, tokenizer, f"the tokenizers differ: {tokenizer.detail}")
    if not has_tokenizer(base):
        return _weights_only(request, tokenizer, tokenizer.detail)
    if weights.alignment.coverage < 1.0:
        reason = "the models do not have the same tensors, so they cannot be run side by side"
        return _weights_only(request, tokenizer, reason)
    work = workload(
        sum(info.numel for info in weights.base.tensors.values()),
        len(request.probe.strata),
        len(request.probe.samples),
        request.settings,
    )
    tier, reason = highest_tier(request.tier, work, this_machine(request.device))
    if tier is Tier.WEIGHTS:
        return _weights_only(request, tokenizer, reason)
    limits = (request.settings.max_tokens, max_positions(base), max_positions(candidate))
    max_tokens = min(limit for limit in limits if limit is not None)
    tokens = tokenize(request.probe, load_tokenizer(base), max_tokens)
    decision = TierDecision(requested=request.tier, ran=tier, reason=reason)
    return Plan(decision=decision, tokenizer=tokenizer, tokens=tokens)


def _tokenizers(
    request: ScanRequest, base: ModelSnapshot, candidate: ModelSnapshot
) -> TokenizerComparison:
    if not has_tokenizer(base):
        return TokenizerComparison(same=None, detail="the base has no tokenizer")
    if not has_tokenizer(candidate):
        detail = "the candidate has no tokenizer of its own; the base's was used for both"
        return TokenizerComparison(same=None, detail=detail)
    return compare_tokenizers(load_tokenizer(base), load_tokenizer(candidate), request.probe)


def _weights_only(request: ScanRequest, tokenizer: TokenizerComparison, reason: str) -> Plan:
    decision = TierDecision(requested=request.tier, ran=Tier.WEIGHTS, reason=reason)
    return Plan(decision=decision, tokenizer=tokenizer, tokens=None)
