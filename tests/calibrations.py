"""Make calibrations as a fit would, for families and sizes of one's choice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PROBE = "sha256:probe"
IDS = ("weight-geometry/2?depth-weights=uniform", "curvature-shift/1?probe=abc")


def term(signal: str, metric: str, **changes: Any) -> dict[str, Any]:
    facts = {
        "signal": signal,
        "metric": metric,
        "aggregation": "overall",
        "weight": 1.0,
        "scale": 0.5,
        "power": 1.0,
        "reason": None,
    }
    return facts | changes


def tier(*terms: dict[str, Any], **changes: Any) -> dict[str, Any]:
    rate = {"hits": 1, "trials": 10, "value": 0.1, "lower": 0.0, "upper": 0.4}
    interval = {"value": 0.8, "lower": 0.7, "upper": 0.9}
    facts = {
        "sdi": terms,
        "sdi_plus": None,
        "prediction": {
            "level": 0.9,
            "knots": [
                {"sdi": 0.0, "degradation": 0.0},
                {"sdi": 0.2, "degradation": 0.1},
                {"sdi": 0.6, "degradation": 0.5},
            ],
            "offset": 0.02,
            "slope": 0.5,
            "coverage": rate,
            "mean_width": 0.2,
        },
        "threshold": {"bound": 0.15, "value": 0.3},
        "evidence": {
            "left_out": "family",
            "num_pairs": 40,
            "num_degraded": 10,
            "rho": interval,
            "within": {"llama": interval},
            "misses": rate,
            "false_alarms": rate | {"trials": 30},
            "kl_alone": None,
        },
        "evidence_plus": None,
    }
    return facts | changes


def fitted_calibration(**changes: Any) -> dict[str, Any]:
    facts = {
        "schema": 2,
        "name": "organisms-1",
        "version": 1,
        "status": "fitted",
        "note": "Fitted to 40 pairs.",
        "families": ["llama", "phi"],
        "num_pairs": 40,
        "num_degraded": 10,
        "population": "organisms",
        "scale": {"min_parameters": 100_000, "max_parameters": 600_000},
        "probe": {"name": "organisms", "digest": PROBE},
        "degradation": {"axes": ["knowledge"], "definition": "The mean loss."},
        "formula_version": 2,
        "signal_ids": list(IDS),
        "tiers": {
            "weights": tier(term("weight-geometry", "relative-distance")),
            "full": tier(
                term("weight-geometry", "relative-distance", weight=0.25),
                term("curvature-shift", "trace-shift", weight=0.75),
            ),
        },
        "provenance": {
            "results_digest": "sha256:00",
            "sdi_gate": "0.1.0",
            "command": "sdi-gate calibrate",
        },
    }
    return facts | changes


def provisional_calibration():
    """Return a calibration whose weights were set by hand, as JSON holds it."""
    return json.loads(Path(__file__).with_name("provisional-1.json").read_bytes())
