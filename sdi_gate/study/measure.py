"""Scan a pair with the product's own scan, and keep every number of every signal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sdi_gate.gate.procedure import Effects, run_scan
from sdi_gate.progress import NullProgress
from sdi_gate.signals.interface import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.gate.request import ScanRequest
    from sdi_gate.gate.result import ScanResult
    from sdi_gate.models.ref import Scheme
    from sdi_gate.models.snapshot import ModelSource
    from sdi_gate.signals.interface import Estimate, SignalResult


def measure_pair(request: ScanRequest, sources: Mapping[Scheme, ModelSource]) -> dict[str, Any]:
    """Scan a pair.

    Args:
        request: The pair, and how closely to look.
        sources: Where models come from.

    Returns:
        Every metric over strata and by stratum, with what made them.

    Raises:
        SourceError: If a model cannot be had or read.
        IncomparableError: If the two cannot be compared.
    """  # noqa: DOC502 - raised by run_scan()
    began = time.monotonic()
    result = run_scan(request, Effects(sources=sources, progress=NullProgress()))
    return {
        "commits": {
            "base": result.base.snapshot.commit,
            "candidate": result.candidate.snapshot.commit,
        },
        "tier": result.tier.ran.value,
        "tier_reason": result.tier.reason,
        "defects": [*result.defects],
        "features": features_of(result),
        "signal_ids": [str(signal.id) for signal in result.signals],
        "probe": result.probe.digest if result.probe is not None else None,
        "num_parameters": result.base.num_parameters,
        "versions": dict(result.environment.versions),
        "seeds": {"scan": result.environment.seed},
        "stages": {cost.stage: round(cost.seconds, 3) for cost in result.stages},
        "seconds": round(time.monotonic() - began, 3),
    }


def features_of(result: ScanResult) -> dict[str, dict[str, Any]]:
    """Return every metric of every signal that was measured.

    Args:
        result: A scan.

    Returns:
        For each ``signal/metric`` its value over the model and the strata (or None), the standard
        error of that (or None), and its value on each stratum, if it has such.
    """
    found: dict[str, dict[str, Any]] = {}
    for signal in result.signals:
        if signal.outcome is not Outcome.MEASURED:
            continue
        metrics = dict.fromkeys([signal.metric, *(row.metric for row in signal.measurements)])
        for metric in metrics:
            feature = _feature(signal, metric)
            if feature is not None:
                found[f"{signal.name.value}/{metric}"] = feature
    return found


def _feature(signal: SignalResult, metric: str) -> dict[str, Any] | None:
    overall = signal.overall(metric)
    strata = {row.stratum or "": row.estimate.value for row in signal.by_stratum(metric)}
    if overall is None and not strata:
        return None  # known by tensor or by layer alone
    return {
        "overall": overall.value if overall is not None else None,
        "stderr": _stderr(overall),
        "strata": strata,
    }


def _stderr(estimate: Estimate | None) -> float | None:
    return estimate.stderr if estimate is not None else None
