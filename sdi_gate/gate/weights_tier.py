"""Run tier ``weights``: read the paired tensors, several at once, and measure geometry and spectra.

Memory: what `crew_for` allows to all jobs in flight together. With two threads that is what the
largest pair of tensors takes, see `held_bytes` and `work_bytes`: both in their storage types, six
float64 chunks of 16 MiB, and for the spectra of an ``[m, n]`` matrix some eight float64 matrices of
order ``min(m, n)`` and four ``[max(m, n), top_k]``. Nothing grows with the number of tensors but
the table of results, and the spectra that are kept for a profile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from sdi_gate.gate.pipeline import in_order, run_jobs
from sdi_gate.gate.stages import Work
from sdi_gate.gate.tensor_cost import crew_for
from sdi_gate.gate.tensor_work import Bench, base_job, finite_job, pair_job
from sdi_gate.models.layers import depth_of
from sdi_gate.models.rounding import Rounded
from sdi_gate.signals.geometry import weight_geometry
from sdi_gate.signals.interface import inconclusive
from sdi_gate.signals.spectral import spectral_divergence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sdi_gate.gate.pipeline import Job, Outcome
    from sdi_gate.gate.request import Settings
    from sdi_gate.gate.spectra import SpectraCache
    from sdi_gate.gate.tensor_work import PairFound
    from sdi_gate.models.alignment import Alignment
    from sdi_gate.models.opening import OpenModel
    from sdi_gate.progress import Progress
    from sdi_gate.signals.geometry import TensorMoments
    from sdi_gate.signals.interface import SignalResult
    from sdi_gate.signals.spectral import TensorComparison


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundingFacts:
    """Say what lies between two models that are stored in different types.

    Attributes:
        floor: Norm of what rounding took away over that of the tensors concerned; at least 0.
        num_tensors: Tensors that were rounded to the other model's type.
        base: Types to which tensors of the base were rounded, by name.
        candidate: Likewise of the candidate, all of whose numbers then equal the base's.
    """

    floor: float
    num_tensors: int
    base: dict[str, torch.dtype]
    candidate: dict[str, torch.dtype]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedRows:
    """Say how large the rows are that a candidate added to a tensor with one row for each token.

    Attributes:
        tensor: Its name.
        num_rows: Rows of added tokens.
        norm_ratio: Mean norm of an added row over that of a compared one of the candidate's;
            None if those are all zeros.
    """

    tensor: str
    num_rows: int
    norm_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsResult:
    """Hold what tier ``weights`` found.

    Attributes:
        geometry: Weight geometry.
        spectral: Spectral divergence.
        defects: One sentence if weights are not finite.
        notices: Sentences about what no number shows.
        rounding: What rounding took away; None if both models are stored alike.
        added: Rows of tokens that the candidate added.
        padding_differs: Tensors whose rows of padding are not the same in both.
        work: What reading and computing took.
    """

    geometry: SignalResult
    spectral: SignalResult
    defects: tuple[str, ...]
    notices: tuple[str, ...] = ()
    rounding: RoundingFacts | None = None
    added: tuple[AddedRows, ...] = ()
    padding_differs: tuple[str, ...] = ()
    work: tuple[Work, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Hold both open models and how their tensors match.

    Attributes:
        base: The base.
        candidate: The candidate.
        alignment: How their tensors match.
    """

    base: OpenModel
    candidate: OpenModel
    alignment: Alignment


@dataclass(slots=True)
class _Found:
    """Collect what the pairs show, one after the other."""

    moments: list[TensorMoments] = field(default_factory=list)
    comparisons: list[TensorComparison] = field(default_factory=list)
    added: list[AddedRows] = field(default_factory=list)
    padding_differs: list[str] = field(default_factory=list)
    collapsed: list[str] = field(default_factory=list)
    rounded: dict[Rounded, dict[str, torch.dtype]] = field(
        default_factory=lambda: {who: {} for who in Rounded}
    )
    floor_squares: float = 0.0
    floor_base_squares: float = 0.0
    bytes_read: int = 0
    operations: float = 0.0

    def add(self, found: PairFound) -> None:
        pair = found.pair
        self.moments.append(found.moment)
        self.bytes_read += found.bytes_read
        self.operations += found.operations
        if found.comparison is not None:
            self.comparisons.append(found.comparison)
        if pair.num_added:
            self.added.append(
                AddedRows(tensor=pair.name, num_rows=pair.num_added, norm_ratio=found.added_ratio)
            )
        if found.padding_differs:
            self.padding_differs.append(pair.name)
        if found.has_collapsed:
            self.collapsed.append(pair.name)
        if found.rounded is not None:
            name = pair.base.name if found.rounded is Rounded.BASE else pair.candidate.name
            self.rounded[found.rounded][name] = found.dtype
            self.floor_squares += found.floor_squares
            self.floor_base_squares += found.rounded_squares

    @property
    def rounding(self) -> RoundingFacts | None:
        base, candidate = self.rounded[Rounded.BASE], self.rounded[Rounded.CANDIDATE]
        if not base and not candidate:
            return None
        share = self.floor_squares / self.floor_base_squares if self.floor_base_squares else 0.0
        return RoundingFacts(
            floor=math.sqrt(share) if math.isfinite(share) else 0.0,
            num_tensors=len(base) + len(candidate),
            base=base,
            candidate=candidate,
        )

    @property
    def notices(self) -> tuple[str, ...]:
        found = []
        if self.collapsed:
            found.append(
                f"{len(self.collapsed)} tensors of the candidate vanish or have constant rows where"
                f" the base's do not, first {self.collapsed[0]}"
            )
        if hidden := self.rounded[Rounded.CANDIDATE]:
            found.append(
                f"{len(hidden)} tensors of the candidate equal the base's but for its rounding,"
                f" and what lies below that was not counted, first {next(iter(hidden))}"
            )
        return tuple(found)


def measure_weights(
    weights: Weights,
    settings: Settings,
    device: torch.device,
    progress: Progress,
    spectra: SpectraCache | None = None,
) -> WeightsResult:
    """Measure weight geometry and spectral divergence.

    As many matrices at once as torch has threads, each on one: see `run_jobs`.

    Args:
        weights: Both models.
        settings: Depth weights and subspace dimension.
        device: Where to compute.
        progress: Told of every tensor, in stage ``weights``.
        spectra: What is known of the base's matrices, and is told what is not; None if nothing.

    Returns:
        Both signals. If any tensor, paired or not, holds NaN or infinity, both are inconclusive
        and a defect says so.
    """
    bench = Bench(weights.base, weights.candidate, settings.top_k, device, spectra)
    jobs = [pair_job(bench, pair) for pair in weights.alignment.paired]
    outcome = run_jobs(jobs, crew_for(jobs, device), _teller(weights, jobs, progress))
    found = _Found()
    for result in outcome.results:
        found.add(result)
    broken = [row.tensor for row in found.moments if not row.is_finite] + _broken_unpaired(weights)
    found.moments.sort(key=lambda row: depth_of(row.layer))
    found.comparisons.sort(key=lambda row: depth_of(row.layer))
    combined = _combine(found, broken, settings.for_layers(weights.alignment.layers), weights)
    return replace(combined, work=_work(outcome, found))


def measure_base_spectra(
    weights: Weights,
    settings: Settings,
    device: torch.device,
    progress: Progress,
    spectra: SpectraCache,
) -> tuple[str, ...]:
    """Compute what is kept of a base's matrices, and is not known yet.

    Args:
        weights: The base as both models, aligned with itself.
        settings: Subspace dimension.
        device: Where to compute.
        progress: Told of every tensor, in stage ``weights``.
        spectra: Is told what is not known yet.

    Returns:
        Tensors that hold NaN or infinity.
    """
    bench = Bench(weights.base, weights.base, settings.top_k, device, spectra)
    pairs = weights.alignment.paired
    jobs = [base_job(bench, pair) for pair in pairs]
    finite = run_jobs(jobs, crew_for(jobs, device), _teller(weights, jobs, progress)).results
    return tuple(pair.name for pair, ok in zip(pairs, finite, strict=True) if not ok)


def _teller(
    weights: Weights, jobs: Sequence[Job[Any, Any]], progress: Progress
) -> Callable[[int], None]:
    names = [weights.alignment.paired[number].name for number in in_order(jobs)]

    def tell(done: int) -> None:
        progress.advance("weights", done, len(names), *names[done : done + 1])

    return tell


def _work(outcome: Outcome[PairFound], found: _Found) -> tuple[Work, ...]:
    return (
        Work(part="read", seconds=outcome.read_s, bytes_read=found.bytes_read),
        Work(part="spectra", seconds=outcome.compute_s, operations=found.operations),
    )


def _broken_unpaired(weights: Weights) -> list[str]:
    # Nothing is compared with these, but NaN in them must not pass either.
    alignment = weights.alignment
    base = [*alignment.base_only, *(info for info, _ in alignment.mismatched)]
    candidate = [*alignment.candidate_only, *(info for _, info in alignment.mismatched)]
    partly = {rows.name for rows in alignment.vocabulary}
    candidate.extend(pair.candidate for pair in alignment.paired if pair.name in partly)
    tensors = [(weights.base, info) for info in base]
    tensors.extend((weights.candidate, info) for info in candidate)
    jobs = [finite_job(model, info) for model, info in tensors]
    finite = run_jobs(jobs, crew_for(jobs, torch.device("cpu"))).results
    return [info.name for (_, info), ok in zip(tensors, finite, strict=True) if not ok]


def _combine(
    found: _Found, broken: list[str], settings: Settings, weights: Weights
) -> WeightsResult:
    geometry = weight_geometry(found.moments, settings.depth_weighting)
    # Which side of a matrix its left vectors are of: named where a family stores it turned.
    turned = any(pair.is_transposed for pair in weights.alignment.paired)
    spectral = spectral_divergence(
        found.comparisons, settings.depth_weighting, settings.top_k, turned=turned
    )
    defects: tuple[str, ...] = ()
    if broken:
        reason = f"{len(broken)} tensors hold NaN or infinity, first {broken[0]}"
        geometry = inconclusive(geometry.id, geometry.metric, reason)
        spectral = inconclusive(spectral.id, spectral.metric, reason)
        defects = (f"weights: {reason}",)
    return WeightsResult(
        geometry=geometry,
        spectral=spectral,
        defects=defects,
        notices=found.notices,
        rounding=found.rounding,
        added=tuple(found.added),
        padding_differs=tuple(found.padding_differs),
    )
