"""Build facts and policies for tests of judging."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sdi_gate.policy.facts import Facts, Tier
from sdi_gate.policy.schema import Policy
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


def facts_of(**changes: Any) -> Facts:
    """Return the facts of a full scan of two equal models."""
    behaviour = [row(metric, 0.0) for metric in BEHAVIOUR[1:]]
    clean = Facts(
        tier=Tier.FULL,
        coverage=1.0,
        sdi=Estimate(value=0.0),
        sdi_plus=Estimate(value=0.0),
        signals=(
            *(signal(name, 0.0) for name in SIGNALS),
            signal(SignalName.BEHAVIOUR, 0.0, *behaviour, metric="kl-divergence"),
        ),
    )
    return replace(clean, **changes)


def policy_of(limits: dict[str, Any], **rest: Any) -> Policy:
    return Policy.model_validate({"version": 1, "name": "trial", "limits": limits} | rest)


def limits_at(key: str, bounds: dict[str, float]) -> dict[str, Any]:
    """Return limits with one limit, such as ``signals.weight-geometry``."""
    for part in reversed(key.split(".")):
        bounds = {part: bounds}
    return bounds


def found(verdict: Verdict, rule: str) -> Finding:
    (finding,) = (finding for finding in verdict.findings if finding.rule == rule)
    return finding


EVERY_KEY = [
    "sdi",
    "sdi-plus",
    *(f"signals.{name}" for name in SIGNALS),
    *(f"behaviour.{metric}" for metric in BEHAVIOUR),
    "coverage",
]
UPPER_KEYS = EVERY_KEY[:-1]


def every_limit(bounds: dict[str, float]) -> dict[str, Any]:
    return {
        "sdi": bounds,
        "sdi-plus": bounds,
        "signals": {name.value: bounds for name in SIGNALS},
        "behaviour": dict.fromkeys(BEHAVIOUR, bounds),
        "coverage": {"warn": 1.0, "fail": 0.5},
    }


def facts_with(key: str, value: float) -> Facts:
    """Return clean facts in which one value is another."""
    if key == "coverage":
        return facts_of(coverage=value)
    if key in {"sdi", "sdi-plus"}:
        return facts_of(**{key.replace("-", "_"): Estimate(value=value)})
    section, name = key.split(".")
    others = facts_of().signals
    if section == "signals":
        changed = signal(SignalName(name), value)
    else:
        values = dict.fromkeys(BEHAVIOUR, 0.0) | {name: value}
        rows = [row(metric, values[metric]) for metric in BEHAVIOUR[1:]]
        changed = signal(SignalName.BEHAVIOUR, values["kl-divergence"], *rows, metric=BEHAVIOUR[0])
    return facts_of(signals=tuple(changed if r.name is changed.name else r for r in others))
