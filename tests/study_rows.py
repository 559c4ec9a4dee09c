"""Make rows of a study whose truth is known: what drives degradation, and what is noise."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from sdi_gate.study.row import Row

FAMILIES = ("gemma", "llama", "mistral", "phi", "qwen")
STRATA = ("general", "knowledge", "safety")
AXES = ("grammar", "instruction", "knowledge", "safety", "truth")
STRUCTURAL = (
    "spectral-divergence/spectrum-distance",
    "representation-drift/cka-angle",
    "curvature-shift/fisher-trace-shift",
    "weight-geometry/relative-distance",
    "weight-geometry/pooled-relative-distance",
)
PROBED = ("representation-drift", "curvature-shift", "behaviour")


def feature(value, generator, *, strata=True, spread=0.1):
    parts = value * np.exp(spread * generator.normal(size=len(STRATA)))
    return {
        "overall": float(value),
        "stderr": None,
        "strata": dict(zip(STRATA, parts.tolist(), strict=True)) if strata else {},
    }


def row(pair, family, base, *, features, drops, **overrides):
    facts = {
        "schema": 1,
        "key": hashlib.sha256(pair.encode()).hexdigest()[:16],
        "population": "organisms",
        "scale": "small",
        "pair": pair,
        "family": family,
        "size": "s",
        "seed": 0,
        "base": base,
        "num_parameters": 300_000,
        "kind": "degraded",
        "variant": "noise",
        "dose": 1.0,
        "recipe": {},
        "status": "complete",
        "reason": None,
        "tier": "full",
        "features": features,
        "benchmarks": {
            axis: {
                "base": 0.95,
                "base_stderr": 0.01,
                "candidate": min(1.0, max(0.0, 0.95 - drop)),
                "candidate_stderr": 0.01,
                "n": 160,
            }
            for axis, drop in zip(AXES, drops, strict=True)
        },
        "versions": {"sdi-gate": "0.1.0"},
        "seeds": {},
        "signal_ids": tuple(
            f"{name}/1?probe=abc" for name in ("weight-geometry", "spectral-divergence", *PROBED)
        ),
        "probe": "sha256:abc",
        "cost": {},
    }
    return Row.model_validate({**facts, **overrides}, strict=False)


def rows(families=FAMILIES, *, bases=2, variants=12, seed=0, noise=0.4):
    """Make pairs whose degradation follows from a hidden dose.

    cka-angle follows the dose with noise, fisher-trace-shift another part of it; the weight
    signals are noise; KL follows the dose closely.
    """
    generator = np.random.default_rng(seed)
    made = []
    for family in families:
        for which in range(bases):
            base = f"{family}-{which}"
            for variant in range(variants):
                a, b = generator.normal(size=2)
                dose = a + b
                lost = 0.6 / (1.0 + math.exp(-1.5 * (dose - 0.7)))
                drops = np.clip(lost + 0.02 * generator.normal(size=len(AXES)), -0.05, 0.95)
                values = {
                    "representation-drift/cka-angle": math.exp(a + noise * generator.normal()),
                    "curvature-shift/fisher-trace-shift": math.exp(b + noise * generator.normal()),
                    "weight-geometry/relative-distance": math.exp(generator.normal()),
                    "weight-geometry/pooled-relative-distance": math.exp(generator.normal()),
                    "spectral-divergence/spectrum-distance": math.exp(generator.normal()),
                    "behaviour/kl-divergence": math.exp(dose + 0.3 * generator.normal()),
                    "behaviour/nll-change": 0.1 * dose,
                }
                features = {
                    name: feature(value, generator, strata=name.split("/")[0] in PROBED)
                    for name, value in values.items()
                }
                made.append(
                    row(
                        f"{base}/v-{variant}", family, base, features=features, drops=drops.tolist()
                    )
                )
    return made
