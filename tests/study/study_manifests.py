"""Make small manifests, rows and results of units."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sdi_gate.study.manifest_file import parse_manifest
from sdi_gate.study.plan import plan
from sdi_gate.study.row import Row
from sdi_gate.study.units import Done

if TYPE_CHECKING:
    from sdi_gate.study.manifest import Manifest
    from sdi_gate.study.plan import PlannedPair
    from sdi_gate.study.units import Unit, UnitStore

VERSIONS = {"weight-geometry": 1, "behaviour": 1}


def pair_of(name: str = "llama-s-0/noise-2", **changes: Any) -> dict[str, Any]:
    base = name.partition("/")[0]
    plain = {
        "pair": name,
        "family": "llama",
        "size": "s",
        "seed": 0,
        "base": {"ref": f"organism:{base}", "licence": "apache-2.0", "recipe": {"steps": 100}},
        "candidate": {"ref": f"organism:{name}", "licence": "apache-2.0"},
        "kind": "degraded",
        "variant": "noise",
        "dose": 2.0,
        "recipe": {"method": "noise", "relative": 2.0},
        "tokenizer": "same",
    }
    return plain | changes


def public_pair(name: str, base: str, candidate: str, **changes: Any) -> dict[str, Any]:
    plain = {
        "pair": name,
        "family": "llama",
        "size": "0.5b",
        "base": {"ref": f"hf:{base}", "revision": "main", "licence": "apache-2.0"},
        "candidate": {"ref": f"hf:{candidate}", "revision": "main", "licence": "apache-2.0"},
        "kind": "instruction",
        "variant": "sft",
        "tokenizer": "same",
    }
    return plain | changes


def plain_manifest(*pairs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    plain = {
        "schema": 1,
        "name": "trial",
        "population": "organisms",
        "scale": "small",
        "status": "not yet measured",
        "probe": "default",
        "pairs": [*pairs] or [pair_of()],
    }
    return plain | changes


def manifest_of(*pairs: dict[str, Any], **changes: Any) -> Manifest:
    # JSON is YAML.
    return parse_manifest(json.dumps(plain_manifest(*pairs, **changes)), "trial.yaml")


def planned(manifest: Manifest) -> tuple[PlannedPair, ...]:
    return plan(manifest, VERSIONS)


def row_of(key: str = "0" * 16, **changes: Any) -> Row:
    plain = {
        "schema": 1,
        "key": key,
        "population": "organisms",
        "scale": "small",
        "pair": "llama-s-0/noise-2",
        "family": "llama",
        "size": "s",
        "seed": 0,
        "base": "llama-s-0",
        "num_parameters": 1000,
        "kind": "degraded",
        "variant": "noise",
        "dose": 2.0,
        "recipe": {"method": "noise"},
        "status": "complete",
        "reason": None,
        "tier": "full",
        "features": {"weight-geometry/relative-distance": feature(0.5)},
        "benchmarks": {
            "truth": {
                "base": 0.9,
                "base_stderr": 0.1,
                "candidate": 0.4,
                "candidate_stderr": 0.1,
                "n": 20,
            }
        },
        "versions": {"python": "3.11"},
        "seeds": {"scan": 0},
        "signal_ids": ("weight-geometry/1",),
        "probe": "sha256:0",
        "cost": {"build_s": 1.0, "measure_s": 2.0, "evaluate_s": 3.0},
    }
    return Row.model_validate(plain | changes)


def failed_row(key: str = "0" * 16, reason: str = "measure: it broke") -> Row:
    return row_of(key, status="failed", reason=reason, features={}, benchmarks={}, tier=None)


def feature(value: float) -> dict[str, Any]:
    return {"overall": value, "stderr": None, "strata": {}}


def end(store: UnitStore, unit: Unit, **changes: Any) -> None:
    """Write what became of a unit, as the step would."""
    payloads: dict[str, dict[str, Any]] = {
        "build": {"num_parameters": 1000},
        "measure": {
            "tier": "full",
            "features": {"weight-geometry/relative-distance": feature(0.5)},
            "versions": {"python": "3.11"},
            "seeds": {"scan": 0},
            "signal_ids": ["weight-geometry/1"],
            "probe": "sha256:0",
        },
        "evaluate": {"scores": {"truth": {"value": 0.9, "stderr": 0.1, "n": 20}}},
    }
    plain = {"step": unit.step, "name": unit.name, "key": unit.key, "seconds": 1.5}
    plain |= {"status": "done", "payload": payloads[unit.step]}
    store.write(unit, Done.model_validate(plain | changes))


def fail(store: UnitStore, unit: Unit, reason: str = "UsageError: no") -> None:
    end(store, unit, status="failed", reason=reason, payload={})
