"""Decide which tier runs: what was asked for, what the machine can do, what the models allow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sdi_gate.gate.budget import WHOLE, Rung, part_of
from sdi_gate.gate.cuts import Asked, Choice, choose
from sdi_gate.gate.forecast import forecast
from sdi_gate.gate.request import TierChoice
from sdi_gate.gate.result import TierDecision
from sdi_gate.gate.shape import shape_of
from sdi_gate.gate.tier import this_machine
from sdi_gate.gate.workload import Workload
from sdi_gate.models.causal_lm import max_positions
from sdi_gate.models.differences import Differences, find_differences
from sdi_gate.models.probe import ProbeSet, reduced_indices
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

    from sdi_gate.gate.budget import Budget
    from sdi_gate.gate.forecast import Forecast
    from sdi_gate.gate.request import ScanRequest, Settings
    from sdi_gate.gate.weights_tier import Weights
    from sdi_gate.models.snapshot import ModelSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Hold what a plan was made from, so that it can be made anew while the scan runs.

    Attributes:
        work: All of the work that was asked for.
        budget: The user's time budget.
        forecast: How long each step will take.
    """

    work: Workload
    budget: Budget
    forecast: Forecast


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Hold the decision, and the probe as tokens if a tier above the weights will run.

    Attributes:
        decision: Which tier runs, and why, and what is cut.
        tokenizer: Whether the models read alike.
        tokens: The probe set as tokens; None exactly if the tier is ``weights``.
        probe: The probe set, of which a budget can leave a part.
        settings: What is measured by: what was asked for, or less.
        asked: The settings that were asked for.
        num_layers: Decoder layers of the models.
        curvature: Whether curvature is measured; in tier ``probe`` too, where memory is short.
        differences: What the models say differently about how to run the same weights.
        shortened: Whether the probe's texts were cut because the candidate takes no longer ones.
        outlook: What the plan was made from; None without a time budget.
        work: How large the work is that was asked for.
    """

    decision: TierDecision
    tokenizer: TokenizerComparison
    tokens: TokenizedProbe | None
    probe: ProbeSet
    settings: Settings
    asked: Settings
    num_layers: int
    curvature: bool = False
    differences: Differences = field(default_factory=Differences)
    shortened: bool = False
    outlook: Outlook | None = None
    work: Workload | None = None

    @property
    def cuts(self) -> tuple[str, ...]:
        """Return what is cut, one sentence each."""
        return self.decision.cuts

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
        decision = replace(self.decision, ran=Tier.WEIGHTS, whole=Tier.WEIGHTS, reason=reason)
        return replace(self, decision=decision, tokens=None, curvature=False)


def make_plan(request: ScanRequest, weights: Weights, budget: Budget | None = None) -> Plan:
    """Decide which tier runs, and how much of it.

    Args:
        request: What was asked for.
        weights: Both models, opened.
        budget: What `budget_of` returned; None for a scan without a time budget, whose plan does
            not depend on any measured time.

    Returns:
        The plan.

    Raises:
        FormatError: If a tokenizer or a configuration cannot be used.
    """  # noqa: DOC502 - raised by the functions called
    plan = _decide(request, weights, budget)
    return replace(plan, differences=find_differences(weights.base, weights.candidate))


def _decide(request: ScanRequest, weights: Weights, budget: Budget | None) -> Plan:
    tokenizer, obstacle = _obstacle(request, weights)
    work = _workload(request, weights)
    if obstacle:
        return _weights_only(request, tokenizer, (work, budget), obstacle)
    tokens, shortened = _tokens(request, weights) if budget is not None else (None, False)
    if tokens is not None:
        work = replace(work, probe_tokens=tokens.num_tokens)
    asked = Asked(tier=request.tier, required=request.required, work=work)
    choice = choose(asked, this_machine(*request.places), budget)
    if not choice.rung.sixteenths:
        return _weights_only(request, tokenizer, (work, budget), choice)
    if tokens is None:
        tokens, shortened = _tokens(request, weights)
    kept = reduced_indices(request.probe, choice.rung.sixteenths, WHOLE)
    return Plan(
        decision=_decision(request, choice),
        tokenizer=tokenizer,
        tokens=replace(tokens, samples=tuple(tokens.samples[index] for index in kept)),
        probe=request.probe.chosen(kept),
        settings=choice.rung.settings,
        asked=request.settings,
        num_layers=work.shape.num_layers,
        curvature=choice.rung.curvature,
        shortened=shortened,
        outlook=_outlook(work, choice.rung, budget),
        work=part_of(work, choice.rung),
    )


def _obstacle(request: ScanRequest, weights: Weights) -> tuple[TokenizerComparison, str]:
    base, candidate = weights.base.snapshot, weights.candidate.snapshot
    if request.tier is TierChoice.WEIGHTS:
        not_looked = TokenizerComparison(
            same=None, detail="not looked at in tier weights", notice=_files_notice(base, candidate)
        )
        return not_looked, "tier weights was asked for"
    tokenizer = _tokenizers(request, base, candidate)
    if tokenizer.same is False:
        return tokenizer, f"the tokenizers differ: {tokenizer.detail}"
    if not has_tokenizer(base):
        return tokenizer, tokenizer.detail
    if not weights.alignment.runs_side_by_side:
        reason = "the models do not have the same tensors, so they cannot be run side by side"
        return tokenizer, reason
    return tokenizer, ""


def _workload(request: ScanRequest, weights: Weights) -> Workload:
    base = weights.base
    skeleton = base.skeleton
    return Workload(
        shape=shape_of(
            {name: info.shape for name, info in base.tensors.items()},
            skeleton.vocabulary if skeleton is not None else (),
        ),
        bytes_per_parameter=request.dtype.itemsize,
        strata=request.probe.strata,
        probe_tokens=len(request.probe.samples) * request.settings.max_tokens,
        stored_bytes=sum(file.size_bytes for file in base.snapshot.weight_files),
        settings=request.settings,
    )


def _tokens(request: ScanRequest, weights: Weights) -> tuple[TokenizedProbe, bool]:
    wanted = _shorter(request.settings.max_tokens, max_positions(weights.base.config))
    max_tokens = _shorter(wanted, max_positions(weights.candidate.config))
    tokens = tokenize(request.probe, load_tokenizer(weights.base.snapshot), max_tokens)
    return tokens, max_tokens < wanted


def _decision(request: ScanRequest, choice: Choice) -> TierDecision:
    return TierDecision(
        requested=request.tier,
        ran=choice.rung.ran,
        reason=choice.reason,
        cuts=choice.cuts,
        whole=choice.whole,
    )


def _outlook(work: Workload, rung: Rung, budget: Budget | None) -> Outlook | None:
    if budget is None:
        return None
    expected = forecast(part_of(work, rung), rung, budget.rates)
    return Outlook(work=work, budget=budget, forecast=expected)


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


def _weights_only(
    request: ScanRequest,
    tokenizer: TokenizerComparison,
    known: tuple[Workload, Budget | None],
    why: str | Choice,
) -> Plan:
    work, budget = known
    rung = Rung(settings=request.settings, curvature=False, sixteenths=0)
    choice = why if isinstance(why, Choice) else Choice(rung=rung, whole=rung.ran, reason=why)
    return Plan(
        decision=_decision(request, choice),
        tokenizer=tokenizer,
        tokens=None,
        probe=request.probe,
        settings=request.settings,
        asked=request.settings,
        num_layers=work.shape.num_layers,
        outlook=_outlook(work, rung, budget),
    )
