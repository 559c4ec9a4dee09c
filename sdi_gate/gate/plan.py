"""Decide which tier runs: what was asked for, what the machine can do, what the models allow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sdi_gate.gate.request import TierChoice
from sdi_gate.gate.result import TierDecision
from sdi_gate.gate.tier import highest_tier, this_machine, workload
from sdi_gate.models.causal_lm import max_positions
from sdi_gate.models.differences import Differences, find_differences
from sdi_gate.models.tokenizer import (
    TokenizerComparison,
    compare_tokenizers,
    has_tokenizer,
    is_tokenizer_file,
    load_tokenizer,
)
from sdi_gate.models.tokens import TokenizedProbe, tokenize
from sdi_gate.policy.facts import Tier

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        differences: What the models say differently about how to run the same weights.
        shortened: Whether the probe's texts were cut because the candidate takes no longer ones.
    """

    decision: TierDecision
    tokenizer: TokenizerComparison
    tokens: TokenizedProbe | None
    differences: Differences = field(default_factory=Differences)
    shortened: bool = False

    @property
    def defects(self) -> tuple[str, ...]:
        """Return what the tier that runs is blind to and must not pass over.

        The same weights under another rotary base or another norm's epsilon compute something
        else, and only a forward pass shows how much.
        """
        if self.tokens is not None:
            cut = "the candidate takes shorter texts than the base, so the probe was cut short"
            return (cut,) if self.shortened else ()
        if not self.differences.settings:
            return ()
        named = _listed(self.differences.settings)
        return (f"the configurations differ ({named}) and tier weights cannot see what that does",)

    @property
    def notices(self) -> tuple[str, ...]:
        """Return what a reviewer must look at, because no number of the scan shows it."""
        found = []
        if self.tokens is not None and self.differences.unseen:
            named = _listed(self.differences.unseen)
            found.append(f"settings differ that may act beyond the probe's short texts: {named}")
        if self.differences.generation:
            named = _listed(self.differences.generation)
            found.append(f"settings of generation differ, which are not measured: {named}")
        if self.tokenizer.notice:
            found.append(self.tokenizer.notice)
        return tuple(found)

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


def make_plan(request: ScanRequest, weights: Weights) -> Plan:
    """Decide which tier runs.

    Args:
        request: What was asked for.
        weights: Both models, opened.

    Returns:
        The plan.

    Raises:
        FormatError: If a tokenizer or a configuration cannot be used.
    """  # noqa: DOC502 - raised by the functions called
    plan = _decide(request, weights)
    return replace(plan, differences=find_differences(weights.base, weights.candidate))


def _decide(request: ScanRequest, weights: Weights) -> Plan:
    base, candidate = weights.base.snapshot, weights.candidate.snapshot
    if request.tier is TierChoice.WEIGHTS:
        not_looked = TokenizerComparison(
            same=None, detail="not looked at in tier weights", notice=_files_notice(base, candidate)
        )
        return _weights_only(request, not_looked, "tier weights was asked for")
    tokenizer = _tokenizers(request, base, candidate)
    if tokenizer.same is False:
        return _weights_only(request, tokenizer, f"the tokenizers differ: {tokenizer.detail}")
    if not has_tokenizer(base):
        return _weights_only(request, tokenizer, tokenizer.detail)
    if not weights.alignment.runs_side_by_side:
        reason = "the models do not have the same tensors, so they cannot be run side by side"
        return _weights_only(request, tokenizer, reason)
    work = workload(
        weights.base.num_parameters,
        len(request.probe.strata),
        len(request.probe.samples),
        request.settings,
    )
    tier, reason = highest_tier(request.tier, work, this_machine(request.device), request.required)
    if tier is Tier.WEIGHTS:
        return _weights_only(request, tokenizer, reason)
    wanted = _shorter(request.settings.max_tokens, max_positions(weights.base.config))
    max_tokens = _shorter(wanted, max_positions(weights.candidate.config))
    tokens = tokenize(request.probe, load_tokenizer(base), max_tokens)
    decision = TierDecision(requested=request.tier, ran=tier, reason=reason)
    return Plan(
        decision=decision, tokenizer=tokenizer, tokens=tokens, shortened=max_tokens < wanted
    )


def _files_notice(base: ModelSnapshot, candidate: ModelSnapshot) -> str:
    ours, theirs = (
        {file.name: file.sha256 for file in snapshot.files if is_tokenizer_file(file.name)}
        for snapshot in (base, candidate)
    )
    if ours == theirs or not theirs:  # without its own, a candidate reads as its base does
        return ""
    return "the tokenizers' files differ, and tier weights reads no text"


def _shorter(num_tokens: int, limit: int | None) -> int:
    return num_tokens if limit is None else min(num_tokens, limit)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


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
