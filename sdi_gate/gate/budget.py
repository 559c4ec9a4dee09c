"""Fit a scan into a time budget, by documented steps.

Whatever the budget, the weights are measured whole. What is above them is cut in this order, and
no further than is needed:

1. fewer curvature draws, not below 2 for each stratum;
2. curvature over blocks of layers one after the other, where memory is short;
3. curvature by first derivatives alone (Fisher), then none;
4. fewer probe samples, of every stratum, not below 8 of each;
5. the weights only.

Curvature goes before the first sample of the probe: a policy can require tier ``probe``, which is
whole without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.gate.forecast import forecast
from sdi_gate.gate.rates import Rates, measure_rates
from sdi_gate.gate.request import CurvatureMethod
from sdi_gate.models.probe import reduced_sizes
from sdi_gate.policy.facts import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdi_gate.gate.request import ScanRequest, Settings
    from sdi_gate.gate.tier import Machine
    from sdi_gate.gate.weights_tier import Weights
    from sdi_gate.gate.workload import Workload

MIN_DRAWS = 2
WHOLE = 16  # sixteenths of the probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Hold the time that a scan may take, and how fast the machine is.

    Attributes:
        seconds: For the whole scan, from its start.
        spent_s: How much of that is gone.
        rates: How fast the machine is.
    """

    seconds: float
    spent_s: float
    rates: Rates

    @property
    def left_s(self) -> float:
        """Return the seconds that are left; below 0 if it is overdrawn."""
        return self.seconds - self.spent_s

    def __str__(self) -> str:
        """Return the whole budget as a user writes it."""
        return duration_text(self.seconds)


def budget_of(
    request: ScanRequest, weights: Weights, clock: Callable[[], float], spent_s: float
) -> Budget | None:
    """Measure this machine, if there is a time budget.

    Args:
        request: The scan.
        weights: Both models, open; one of the base's files is read from.
        clock: Monotonic seconds.
        spent_s: How much of the budget is gone, but for this measurement itself.

    Returns:
        The budget; None, and nothing is measured, if the request has none.
    """
    if request.budget_s is None:
        return None
    snapshot, began = weights.base.snapshot, clock()
    largest = max(snapshot.weight_files, key=lambda file: file.size_bytes, default=None)
    path = snapshot.folder / largest.name if largest is not None else None
    rates = measure_rates(request.device, request.dtype, path, clock)
    return Budget(
        seconds=request.budget_s, spent_s=spent_s + max(0.0, clock() - began), rates=rates
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """Hold one way to do less of a scan.

    Attributes:
        settings: Draws and method of the curvature.
        curvature: Whether it is measured.
        sixteenths: How much of each stratum of the probe is read; 0 for the weights only.
    """

    settings: Settings
    curvature: bool
    sixteenths: int

    @property
    def ran(self) -> Tier:
        """Return the tier whose numbers are all there.

        Without the update's quadratic form, which one method alone gives, there is no index of
        tier ``full``.
        """
        if not self.sixteenths:
            return Tier.WEIGHTS
        joint = self.settings.curvature_method is CurvatureMethod.JOINT
        return Tier.FULL if self.curvature and joint else Tier.PROBE


def ladder(settings: Settings, ceiling: Tier, num_layers: int) -> Iterator[Rung]:
    """List the ways to do a scan, from everything that was asked for to the least.

    Args:
        settings: What was asked for.
        ceiling: Highest tier that was asked for.
        num_layers: Decoder layers, which bound the number of blocks.

    Yields:
        Rungs; the first one that fits is to be taken.
    """
    if ceiling is Tier.FULL:
        for smaller in (settings, *smaller_settings(settings, num_layers)):
            for draws in range(settings.curvature_draws, MIN_DRAWS - 1, -1):
                fewer = replace(smaller, curvature_draws=draws)
                yield Rung(settings=fewer, curvature=True, sixteenths=WHOLE)
    if ceiling >= Tier.PROBE:
        for sixteenths in range(WHOLE, 0, -1):
            yield Rung(settings=settings, curvature=False, sixteenths=sixteenths)
    yield Rung(settings=settings, curvature=False, sixteenths=0)


def smaller_settings(settings: Settings, num_layers: int) -> tuple[Settings, ...]:
    """List the ways to measure curvature that take less memory.

    Args:
        settings: What was asked for.
        num_layers: Decoder layers of the model.

    Returns:
        Settings, each taking less than the one before: more and more blocks, then Fisher.
    """
    method = settings.curvature_method
    found = []
    if method is not CurvatureMethod.FISHER:
        blocks = settings.curvature_blocks
        blocks *= 2 if method is CurvatureMethod.BLOCKS else 1
        while blocks <= max(num_layers, settings.curvature_blocks):
            by_blocks = replace(
                settings, curvature_method=CurvatureMethod.BLOCKS, curvature_blocks=blocks
            )
            found.append(by_blocks)
            blocks *= 2
        found.append(replace(settings, curvature_method=CurvatureMethod.FISHER))
    return tuple(found)


def first_that_fits(work: Workload, ceiling: Tier, machine: Machine, budget: Budget) -> Rung:
    """Choose how much of a scan is done.

    Args:
        work: All that was asked for.
        ceiling: Highest tier that was asked for.
        machine: How much memory there is.
        budget: How much time there is.

    Returns:
        The first rung of the ladder that memory and time allow; the last one is always allowed.
    """
    rungs = tuple(ladder(work.settings, ceiling, work.shape.num_layers))
    for rung in rungs[:-1]:
        part = part_of(work, rung)
        if not machine.holds(part.memory(Tier.FULL if rung.curvature else Tier.PROBE)):
            continue
        if forecast(part, rung, budget.rates).seconds <= budget.left_s:
            return rung
    return rungs[-1]


def part_of(work: Workload, rung: Rung) -> Workload:
    """Size the work that a rung leaves.

    Args:
        work: All that was asked for.
        rung: How much of it is done.

    Returns:
        Its size.
    """
    strata = reduced_sizes(work.strata, rung.sixteenths, WHOLE)
    share = sum(strata.values()) / max(1, work.num_samples)
    return replace(
        work,
        strata=strata,
        probe_tokens=round(work.probe_tokens * share),
        settings=rung.settings,
    )


def duration_text(seconds: float) -> str:
    """Write a duration as a user writes it.

    Args:
        seconds: At least 0.

    Returns:
        Such as ``1h30m``, ``90s`` as ``1m30s``; to the second.
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"
