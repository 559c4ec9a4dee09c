"""Read the facts of a scan from its result document, so that it can be judged again.

Law: of the document of a scan, these are the facts of the scan itself. What an older document does
not say is not known, which a policy that asks for it finds inconclusive. Nothing here loads torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.errors import UsageError
from sdi_gate.gate.facts import MEAN, common_family, moment, predictions_of, tensor_roles
from sdi_gate.policy.facts import CalibrationFacts, Facts, ModelIdentity, Tier
from sdi_gate.signals.interface import (
    Estimate,
    Measurement,
    Outcome,
    SignalId,
    SignalName,
    SignalResult,
)

if TYPE_CHECKING:
    from sdi_gate.report.document import (
        CalibrationEntry,
        EstimateEntry,
        ModelEntry,
        ResultDocument,
        SignalEntry,
    )

_NO_REASON = "the result does not say why the calibration does not speak for these models"


def facts_of(document: ResultDocument) -> Facts:
    """Return what a policy judges of a recorded result.

    Args:
        document: The result; a verdict in it does not matter.

    Returns:
        The facts, as they were when the scan was run; its age is that of the scan.

    Raises:
        UsageError: If the document cannot be of a scan: a signal is there twice, or says neither
            its number nor why there is none.
    """
    try:
        return _facts(document)
    except ValueError as exc:
        msg = f"not the result of a scan: {exc}"
        raise UsageError(msg, hint="give the result.json that a check or a scan wrote") from exc


def _facts(document: ResultDocument) -> Facts:
    signals = tuple(map(_signal, document.signals))
    means = () if document.prediction is None else ((MEAN, document.prediction),)
    axes = ((found.axis, found.prediction) for found in document.axis_predictions)
    return Facts(
        tier=Tier(document.tier.ran),
        coverage=document.alignment.coverage,
        sdi=_estimate(document.sdi.estimate),
        sdi_plus=_estimate(document.sdi_plus.estimate),
        signals=signals,
        defects=document.defects,
        notices=document.notices,
        tier_reason=document.tier.reason,
        whole_tier=None if document.tier.whole is None else Tier(document.tier.whole),
        cuts=document.tier.cuts,
        base=_identity(document.base),
        candidate=_identity(document.candidate),
        family=common_family(document.base.family, document.candidate.family),
        registered_name=document.registered_name,
        calibration=_calibration(document.calibration),
        predictions=predictions_of((*means, *axes)),
        tensor_roles=tensor_roles(signals),
        measured_at=moment(document.cost.started_at),
    )


def _identity(entry: ModelEntry) -> ModelIdentity:
    return ModelIdentity(
        reference=entry.reference,
        name=entry.name,
        commit=entry.commit,
        digest=entry.digest,
        format=entry.kind,
        quantisation=entry.quantisation_method,
    )


def _calibration(entry: CalibrationEntry) -> CalibrationFacts:
    return CalibrationFacts(
        name=entry.name,
        fitted=entry.status == "fitted",
        families=entry.families,
        num_pairs=entry.num_pairs,
        out_of_scope=None if entry.calibrated else entry.reason or _NO_REASON,
    )


def _signal(entry: SignalEntry) -> SignalResult:
    parameters = tuple((found.name, found.value) for found in entry.parameters)
    return SignalResult(
        id=SignalId(name=SignalName(entry.name), version=entry.version, parameters=parameters),
        outcome=Outcome(entry.outcome),
        metric=entry.metric,
        estimate=_estimate(entry.headline),
        reason=entry.reason,
        measurements=tuple(
            Measurement(
                metric=row.metric,
                estimate=Estimate(
                    value=row.estimate.value, stderr=row.estimate.stderr, n=row.estimate.n
                ),
                layer=row.layer,
                tensor=row.tensor,
                stratum=row.stratum,
            )
            for row in entry.measurements
        ),
    )


def _estimate(entry: EstimateEntry | None) -> Estimate | None:
    if entry is None:
        return None
    return Estimate(value=entry.value, stderr=entry.stderr, n=entry.n)
