"""Build facts and policies for tests of judging."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.facts import Facts, PredictedDegradation, Tier
from sdi_gate.policy.format.schema import API_VERSION, KIND, Policy
from sdi_gate.policy.loader import LoadedPolicy
from sdi_gate.signals.interface import (
    Estimate,
    Measurement,
    Outcome,
    SignalId,
    SignalName,
    SignalResult,
)

if TYPE_CHECKING:
    from sdi_gate.policy.verdict import Finding, Verdict

SIGNALS = [name for name in SignalName if name is not SignalName.BEHAVIOUR]
BEHAVIOUR = ["kl-divergence", "nll-change", "top1-flip-rate"]


def signal_id(name: SignalName) -> SignalId:
    return SignalId(name=name, version=1)


def signal(name: SignalName, value: float, *rows: Measurement, metric: str | None = None):
    return SignalResult(
        id=signal_id(name),
        outcome=Outcome.MEASURED,
        metric=metric or name.value,
        estimate=Estimate(value=value),
        measurements=rows,
    )


def row(metric: str, value: float, **where: str) -> Measurement:
    return Measurement(metric=metric, estimate=Estimate(value=value), **where)


STRATA = ["general", "safety"]
LAYERS = ["layers.0", "layers.1"]
TENSORS = {"layers.1.q.weight": ("q",), "layers.1.k.weight": ("k",)}
WEIGHTS = [SignalName.SPECTRAL_DIVERGENCE, SignalName.WEIGHT_GEOMETRY]
BY_STRATUM = ["representation-drift", "curvature-shift", *BEHAVIOUR]
AXIS = "accuracy"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def rows_of(name: SignalName) -> tuple[Measurement, ...]:
    """Return the parts of a signal, all 0."""
    metrics = BEHAVIOUR if name is SignalName.BEHAVIOUR else [name.value]
    strata = () if name in WEIGHTS else STRATA
    layers = () if name is SignalName.BEHAVIOUR else LAYERS
    return (
        *(row(metric, 0.0) for metric in metrics[1:]),
        *(row(metric, 0.0, stratum=stratum) for metric in metrics for stratum in strata),
        *(row(name.value, 0.0, layer=layer) for layer in layers),
        *(row(name.value, 0.0, layer="layers.1", tensor=t) for t in TENSORS if name in WEIGHTS),
    )


def predicted(axis: str, value: float, upper: float | None = None) -> PredictedDegradation:
    upper = value if upper is None else upper
    return PredictedDegradation(axis=axis, value=value, upper=upper, level=0.95)


def facts_of(**changes: Any) -> Facts:
    """Return the facts of a full scan of two equal models."""
    clean = Facts(
        tier=Tier.FULL,
        coverage=1.0,
        sdi=Estimate(value=0.0),
        sdi_plus=Estimate(value=0.0),
        signals=(
            *(signal(name, 0.0, *rows_of(name)) for name in SIGNALS),
            signal(SignalName.BEHAVIOUR, 0.0, *rows_of(SignalName.BEHAVIOUR), metric=BEHAVIOUR[0]),
        ),
        predictions=(predicted("mean", 0.0), predicted(AXIS, 0.0)),
        tensor_roles=tuple(TENSORS.items()),
    )
    return replace(clean, **changes)


def judged(policy: LoadedPolicy, facts: Facts, now: datetime = NOW) -> Verdict:
    return judge(policy, facts, now=now)


def policy_of(limits: dict[str, Any], **rest: Any) -> LoadedPolicy:
    """Return a policy with these limits; what is given beside them stands at the top."""
    whole = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "trial"},
        "limits": limits,
    }
    return LoadedPolicy.of(Policy.model_validate(whole | rest))


def path_of(key: str) -> tuple[str, ...]:
    """Return the keys of a limit, such as ``by-layer.layers.1.weight-geometry``."""
    first, _, rest = key.partition(".")
    if first.startswith("by-"):
        part, _, metric = rest.rpartition(".")
        return first, part, metric
    return tuple(key.split("."))


def limits_at(key: str, bounds: dict[str, float]) -> dict[str, Any]:
    """Return limits with one limit, such as ``signals.weight-geometry``."""
    nested: dict[str, Any] = dict(bounds)
    if key.startswith("predicted-degradation"):
        nested.setdefault("confidence", 0.9)
    for part in reversed(path_of(key)):
        nested = {part: nested}
    return nested


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Lay mappings over each other, key by key."""
    both = first.keys() & second.keys()
    return first | second | {key: merged(first[key], second[key]) for key in both}


def found(verdict: Verdict, rule: str) -> Finding:
    (finding,) = (finding for finding in verdict.findings if finding.rule == rule)
    return finding


EVERY_KEY = [
    "sdi",
    "sdi-plus",
    "predicted-degradation.mean",
    f"predicted-degradation.axes.{AXIS}",
    *(f"signals.{name}" for name in SIGNALS),
    *(f"behaviour.{metric}" for metric in BEHAVIOUR),
    "coverage",
    *(f"by-stratum.safety.{metric}" for metric in BY_STRATUM),
    *(f"by-layer.layers.1.{name}" for name in SIGNALS),
    *(f"by-role.q.{name}" for name in WEIGHTS),
]
UPPER_KEYS = [key for key in EVERY_KEY if key != "coverage"]


def every_limit(bounds: dict[str, float]) -> dict[str, Any]:
    limits: dict[str, Any] = {"coverage": {"warn": 1.0, "fail": 0.5}}
    for key in UPPER_KEYS:
        limits = merged(limits, limits_at(key, bounds))
    return limits


def signal_of(key: str) -> SignalName | None:
    """Return the signal that a limit is about."""
    first, last = path_of(key)[0], path_of(key)[-1]
    if first not in {"signals", "behaviour", "by-stratum", "by-layer", "by-role"}:
        return None
    return SignalName.BEHAVIOUR if last in BEHAVIOUR else SignalName(last)


def is_part(key: str, row: Measurement) -> bool:
    """Say whether a limit is about a row."""
    first, *middle, metric = path_of(key)
    here = (row.metric, row.layer, row.tensor, row.stratum)
    match first:
        case "by-stratum":
            return here == (metric, None, None, *middle)
        case "by-layer":
            return here == (metric, *middle, None, None)
        case "by-role":
            return row.metric == metric and tuple(middle) == TENSORS.get(row.tensor or "")
        case _:
            return here == (metric, None, None, None)


def facts_with(key: str, value: float, stderr: float | None = None) -> Facts:
    """Return clean facts in which one value is another."""
    estimate, name = Estimate(value=value, stderr=stderr), signal_of(key)
    first, last = path_of(key)[0], path_of(key)[-1]
    if key == "coverage":
        return facts_of(coverage=value)
    if first == "predicted-degradation":
        others = tuple(one for one in facts_of().predictions if one.axis != last)
        return facts_of(predictions=(*others, predicted(last, value)))
    if name is None:
        return facts_of(**{key.replace("-", "_"): estimate})
    return facts_of(signals=tuple(_with(key, one, estimate) for one in facts_of().signals))


def _with(key: str, result: SignalResult, estimate: Estimate) -> SignalResult:
    if result.name is not signal_of(key):
        return result
    if path_of(key)[0] in {"signals", "behaviour"} and path_of(key)[-1] == result.metric:
        return replace(result, estimate=estimate)
    rows = tuple(
        replace(row, estimate=estimate) if is_part(key, row) else row for row in result.measurements
    )
    return replace(result, measurements=rows)
