"""Make a calibration file from a fit."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from sdi_gate.errors import PublishError, UsageError
from sdi_gate.prediction import schema
from sdi_gate.prediction.calibration import Calibration, CalibrationStatus
from sdi_gate.report.files import write_files
from sdi_gate.study.fit.axes import MIN_DEGRADED
from sdi_gate.study.fit.conformal import FALSE_NEGATIVE_BOUND, LEVEL
from sdi_gate.study.fit.tier import KL_WORST

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sdi_gate.study.fit.result import (
        AxisEntry,
        FitResult,
        IndexEntry,
        IntervalEntry,
        KnotEntry,
        LevelEntry,
        RateEntry,
        TermEntry,
        TierEntry,
    )
    from sdi_gate.study.row import Row

MIN_PAIRS = 20
COMMAND = "sdi-gate calibrate"


def refuse_too_few(fit: FitResult) -> None:
    """Refuse a fit from which no calibration can be made.

    Args:
        fit: The fit.

    Raises:
        UsageError: If there are fewer than 20 pairs, or fewer than 8 high regressions, or no tier
            could be fitted.
    """
    if fit.num_pairs < MIN_PAIRS:
        msg = f"{fit.num_pairs} complete pairs; expected at least {MIN_PAIRS} for a calibration"
        raise UsageError(msg, hint="add rows of more fine-tunes, good and bad")
    if fit.num_degraded < MIN_DEGRADED:
        msg = (
            f"{fit.num_degraded} of {fit.num_pairs} pairs are high regressions; expected at least "
            f"{MIN_DEGRADED}, or no rate of misses can be told"
        )
        raise UsageError(msg, hint="add rows of fine-tunes that are known to have gone wrong")
    if all(tier.sdi is None for tier in fit.tiers.values()):
        reasons = "; ".join(f"{name}: {tier.reason}" for name, tier in fit.tiers.items())
        msg = f"no tier could be fitted: {reasons}"
        raise UsageError(msg, hint="nothing that was measured orders these pairs")


def calibration_from(
    fit: FitResult, rows: Sequence[Row], name: str, *, version: int = 1, command: str = COMMAND
) -> Calibration:
    """Make the calibration that a fit amounts to.

    Args:
        fit: The fit.
        rows: The rows it was made from, for what measured them.
        name: Its name: lower-case letters, digits, dots and hyphens.
        version: Its version.
        command: What made it, for the record.

    Returns:
        The calibration, with every tier that could be fitted.

    Raises:
        UsageError: If the fit is of too few pairs, or the name cannot be one.
    """
    refuse_too_few(fit)
    try:
        return Calibration(
            schema=2,
            name=name,
            version=version,
            status=CalibrationStatus.FITTED,
            note=_note(fit),
            families=fit.families,
            num_pairs=fit.num_pairs,
            num_degraded=fit.num_degraded,
            population=fit.population,
            scale=schema.ScaleEntry(
                min_parameters=fit.min_parameters, max_parameters=fit.max_parameters
            ),
            probe=_probe(fit),
            degradation=schema.DegradationEntry(axes=fit.axes, definition=fit.definition),
            signal_ids=fit.signal_ids,
            tiers={key: _tier(tier) for key, tier in fit.tiers.items() if tier.sdi is not None},
            provenance=_provenance(fit, rows, command),
        )
    except ValueError as exc:
        msg = f"no calibration can be called {name!r} and say this: {exc}"
        raise UsageError(msg, hint="name it such as support-models-1") from exc


def write_file(path: Path, content: bytes) -> None:
    """Write a file under another name first, so that no reader ever meets half of one.

    Args:
        path: Where to; its folder is made if it is absent.
        content: What to write.

    Raises:
        PublishError: If it cannot be written; a file that was there is as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        msg = f"cannot write {str(path)!r}: {exc.strerror}"
        raise PublishError(msg, hint="give another path") from exc
    write_files(path.parent, {path.name: content})


def _note(fit: FitResult) -> str:
    families = ", ".join(fit.families)
    return (
        f"Fitted to {fit.num_pairs} pairs of {fit.population} ({fit.num_degraded} of them high "
        f"regressions) of {fit.num_bases} bases with {fit.min_parameters:,} to "
        f"{fit.max_parameters:,} parameters, families {families}."
    )


def _probe(fit: FitResult) -> schema.ProbeEntry | None:
    return None if fit.probe is None else schema.ProbeEntry(name=fit.population, digest=fit.probe)


def _provenance(fit: FitResult, rows: Sequence[Row], command: str) -> schema.ProvenanceEntry:
    versions = {row.versions["sdi-gate"] for row in rows if "sdi-gate" in row.versions}
    return schema.ProvenanceEntry(
        results_digest=fit.results_digest,
        sdi_gate=", ".join(sorted(versions)) or metadata.version("sdi-gate"),
        command=command,
    )


def _tier(tier: TierEntry) -> schema.TierEntry:
    sdi, plus = tier.sdi, tier.sdi_plus
    assert sdi is not None  # noqa: S101 - such tiers are left out
    return schema.TierEntry(
        sdi=_terms(sdi.terms),
        sdi_plus=None if plus is None else _terms(plus.terms),
        prediction=_prediction(sdi),
        threshold=None
        if sdi.threshold is None
        else schema.ThresholdEntry(bound=FALSE_NEGATIVE_BOUND, value=sdi.threshold),
        evidence=_evidence(tier, sdi),
        evidence_plus=None if plus is None else _evidence(tier, plus),
        axes={
            axis: _axis_prediction(entry)
            for axis, entry in sdi.axes.items()
            if entry.reason is None
        },
        silent_axes={
            axis: entry.reason for axis, entry in sdi.axes.items() if entry.reason is not None
        },
    )


def _terms(terms: Sequence[TermEntry]) -> tuple[schema.TermEntry, ...]:
    return tuple(schema.TermEntry.model_validate(term.model_dump()) for term in terms)


def _prediction(index: IndexEntry) -> schema.PredictionEntry | None:
    if index.interval_offset is None or index.interval_slope is None:
        return None
    return schema.PredictionEntry(
        level=index.prediction.level,
        knots=_knots(index.knots),
        offset=index.interval_offset,
        slope=index.interval_slope,
        coverage=_rate(index.prediction.coverage),
        mean_width=index.prediction.mean_width,
        exceeded=next(
            (entry.exceeded for entry in _levels(index.prediction.levels) if entry.level == LEVEL),
            None,
        ),
        other_levels=_other_levels(index.prediction.levels),
    )


def _axis_prediction(entry: AxisEntry) -> schema.PredictionEntry:
    (main,) = (found for found in _levels(entry.levels) if found.level == LEVEL)
    return schema.PredictionEntry(
        level=main.level,
        knots=_knots(entry.knots),
        offset=main.offset,
        slope=main.slope,
        coverage=main.coverage,
        mean_width=main.mean_width,
        exceeded=main.exceeded,
        other_levels=_other_levels(entry.levels),
    )


def _other_levels(entries: Sequence[LevelEntry]) -> tuple[schema.LevelEntry, ...]:
    return tuple(entry for entry in _levels(entries) if entry.level != LEVEL)


def _levels(entries: Sequence[LevelEntry]) -> tuple[schema.LevelEntry, ...]:
    return tuple(
        schema.LevelEntry(
            level=entry.level,
            offset=entry.offset,
            slope=entry.slope,
            coverage=_rate(entry.coverage),
            mean_width=entry.mean_width,
            exceeded=_rate(entry.exceeded),
        )
        for entry in entries
        if entry.offset is not None and entry.slope is not None
    )


def _knots(knots: Sequence[KnotEntry]) -> tuple[schema.KnotEntry, ...]:
    return tuple(schema.KnotEntry(sdi=knot.sdi, degradation=knot.degradation) for knot in knots)


def _evidence(tier: TierEntry, index: IndexEntry) -> schema.EvidenceEntry:
    found = index.evidence
    kl = next((item for item in tier.baselines if item.name == KL_WORST), None)
    assert tier.left_out is not None  # noqa: S101 - known where there is an index
    return schema.EvidenceEntry(
        left_out=tier.left_out,
        num_pairs=tier.num_pairs,
        num_degraded=tier.num_degraded,
        rho=_interval(found.rho),
        within={name: _interval(entry) for name, entry in found.within.items()},
        misses=_rate(found.misses),
        false_alarms=_rate(found.false_alarms),
        kl_alone=None if kl is None else _interval(kl.evidence.rho),
    )


def _interval(entry: IntervalEntry) -> schema.IntervalEntry:
    return schema.IntervalEntry(value=entry.value, lower=entry.lower, upper=entry.upper)


def _rate(entry: RateEntry) -> schema.RateEntry:
    return schema.RateEntry.model_validate(entry.model_dump())
