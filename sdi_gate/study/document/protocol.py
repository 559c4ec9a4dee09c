"""Say how the fit was made and judged, by the constants of the code that did it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdi_gate.study.document.words import counted, joined, percent, plain
from sdi_gate.study.fit import axes, bootstrap, conformal, evidence, isotonic, search

if TYPE_CHECKING:
    from sdi_gate.study.fit.result import FitResult

_TARGETS = {"small": "study", "smoke": "study-smoke", "large": "study-gpu"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Hold what the method's text tells.

    Attributes:
        rows: Which rows there are.
        digest: Digest of the rows.
        probe: Digest of the probe set.
        parameters: How large the models are.
        definition: What degradation is.
        spread: How much was lost.
        scales: Scales of the rows.
        manifest: Name of the manifest that ships with these pairs; ``FILE`` if none does.
        target: What ``make`` calls the study; empty if it has no name for it.
        has_large: Whether rows of the large scale are among them.
        resamples: Draws of the bootstrap.
        level: Level of the intervals of correlations and rates.
        few: Pairs below which there is no interval.
        margin: What a signal has to add to get a weight.
        bound: Bound on misses that sets the threshold.
        prediction: Level of the interval around the predicted degradation.
        other_levels: Its other levels.
        few_high: High regressions below which an axis is not predicted.
        most_exceeded: Share of high regressions that may lie above an interval.
        floor: What is added to a prediction before its error is taken relative to it.
        signals: Version and parameters of each signal.
    """

    rows: str
    digest: str
    probe: str
    parameters: str
    definition: str
    spread: str
    scales: str
    manifest: str
    target: str
    has_large: bool
    resamples: str
    level: str
    few: str
    margin: str
    bound: str
    prediction: str
    other_levels: str
    few_high: str
    most_exceeded: str
    floor: str
    signals: tuple[str, ...]


def protocol(fit: FitResult) -> Protocol:
    """Describe how a fit was made.

    Args:
        fit: The fit.

    Returns:
        What the text tells.
    """
    return Protocol(
        rows=f"{counted(fit.num_pairs, 'complete pair')} and {len(fit.failures)} failed",
        digest=fit.results_digest,
        probe=fit.probe or "none",
        parameters=_parameters(fit),
        definition=fit.definition,
        spread=_spread(fit),
        scales=joined(fit.scales),
        manifest=_manifest(fit),
        target=_TARGETS.get(fit.scales[0], ""),
        has_large="large" in fit.scales,
        resamples=f"{bootstrap.NUM_RESAMPLES:,}",
        level=percent(bootstrap.LEVEL),
        few=str(evidence.MIN_PAIRS),
        margin=f"{search.MARGIN:g}",
        bound=percent(conformal.FALSE_NEGATIVE_BOUND),
        prediction=percent(conformal.LEVEL),
        other_levels=joined(
            percent(level) for level in conformal.LEVELS if level != conformal.LEVEL
        ),
        few_high=str(axes.MIN_DEGRADED),
        most_exceeded=percent(axes.MOST_EXCEEDED),
        floor=f"{isotonic.FLOOR:g}",
        signals=fit.signal_ids,
    )


def _manifest(fit: FitResult) -> str:
    shipped = {"public": "public", "organisms": f"organisms-{fit.scales[0]}"}
    return shipped.get(fit.population, "FILE")


def _parameters(fit: FitResult) -> str:
    if fit.min_parameters == fit.max_parameters:
        return f"{fit.min_parameters:,}"
    return f"{fit.min_parameters:,} to {fit.max_parameters:,}"


def _spread(fit: FitResult) -> str:
    lost = sorted(pair.degradation for pair in fit.pairs)
    return (
        f"Over all pairs degradation goes from {plain(lost[0])} to {plain(lost[-1])}, with a "
        f"median of {plain(lost[len(lost) // 2])}; {fit.num_degraded} of {fit.num_pairs} pairs "
        f"are high regressions."
    )
