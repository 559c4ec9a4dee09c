"""Make the keys under which work and rows are known: another recipe, another key."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.study.manifest import Endpoint, Manifest, Pair

# Extra settings that hold digests of files; see `with_inputs`.
PROBE, TASKS = "probe", "tasks"
_LENGTH = 16


def canonical_digest(plain: object) -> str:
    """Return the digest of plain data, equal for equal meaning.

    Args:
        plain: What JSON can hold.

    Returns:
        64 hex digits: SHA-256 of JSON with sorted keys, no spaces, ASCII.
    """
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def recipe_digest(pair: Pair) -> str:
    """Return the digest of everything that made a pair's models.

    Args:
        pair: The pair.

    Returns:
        64 hex digits. The pair's own name, licences, notes and what is expected of the models
        do not change it.
    """
    made = {"family", "size", "seed", "variant", "dose", "recipe"}
    return canonical_digest(
        {
            **pair.model_dump(mode="json", include=made),
            "base": _made(pair.base),
            "candidate": _made(pair.candidate),
        }
    )


def build_key(manifest: Manifest, pair: Pair) -> str:
    """Return the key of building a pair.

    Args:
        manifest: Its manifest.
        pair: The pair.

    Returns:
        16 hex digits over scale, recipe and what the builder is told beside them.
    """
    extra = _extra(manifest, without=(PROBE, TASKS))
    return _short({"scale": manifest.scale, "recipe": recipe_digest(pair), "extra": extra})


def measure_key(manifest: Manifest, pair: Pair, versions: Mapping[str, int]) -> str:
    """Return the key of measuring a pair.

    Args:
        manifest: Its manifest.
        pair: The pair.
        versions: Version of each signal.

    Returns:
        16 hex digits over what was built, the settings of the scan, the probe and the versions.
    """
    settings = manifest.settings.model_dump(mode="json", exclude={"evaluation_limit"})
    settings |= {"extra": _extra(manifest, without=(TASKS,))}
    return _short(
        {
            "build": build_key(manifest, pair),
            "settings": settings,
            "probe": manifest.probe,
            "signals": dict(versions),
        }
    )


def base_key(manifest: Manifest, pair: Pair) -> str:
    """Return the key of evaluating the base of a pair, which all its pairs share.

    Args:
        manifest: The manifest.
        pair: The pair.

    Returns:
        16 hex digits over the model and the tests.
    """
    made = pair.model_dump(mode="json", include={"family", "size", "seed"})
    return _evaluation(manifest, pair.base, made | {"base": _made(pair.base)})


def candidate_key(manifest: Manifest, pair: Pair) -> str:
    """Return the key of evaluating the candidate of a pair.

    Args:
        manifest: The manifest.
        pair: The pair.

    Returns:
        16 hex digits over the model and the tests.
    """
    return _evaluation(manifest, pair.candidate, {"recipe": recipe_digest(pair)})


def row_key(manifest: Manifest, pair: Pair, versions: Mapping[str, int]) -> str:
    """Return the key of a pair's row.

    Args:
        manifest: Its manifest.
        pair: The pair.
        versions: Version of each signal.

    Returns:
        16 hex digits over the pair's name and label, its recipe and that of its base, all
        settings and the versions of the signals.
    """
    return _short(
        {
            "population": manifest.population.value,
            "pair": pair.pair,
            "kind": pair.kind.value,
            "measure": measure_key(manifest, pair, versions),
            "evaluate": [base_key(manifest, pair), candidate_key(manifest, pair)],
        }
    )


def signal_versions() -> dict[str, int]:
    """Return the version of each signal's formula, as this package computes it.

    Returns:
        Versions by the signals' names.
    """
    # Imported here: these load torch, which a look at a manifest should not.
    from sdi_gate.signals import (  # noqa: PLC0415
        behaviour,
        curvature,
        geometry,
        representation,
        spectral,
    )

    return {
        "behaviour": behaviour.VERSION,
        "curvature-shift": curvature.VERSION,
        "representation-drift": representation.VERSION,
        "spectral-divergence": spectral.VERSION,
        "weight-geometry": geometry.VERSION,
    }


def _evaluation(manifest: Manifest, model: Endpoint, made: object) -> str:
    return _short(
        {
            # A public model is what its reference says; an organism is what made it.
            "model": made if model.is_organism else [model.ref, model.revision],
            "scale": manifest.scale,
            "population": manifest.population.value,
            "limit": manifest.settings.evaluation_limit,
            "extra": _extra(manifest, without=(PROBE,)),
        }
    )


def _extra(manifest: Manifest, without: tuple[str, ...]) -> dict[str, object]:
    extra: dict[str, object] = manifest.settings.model_dump(mode="json")["extra"]
    return {name: value for name, value in extra.items() if name not in without}


def _made(model: Endpoint) -> object:
    return model.model_dump(mode="json", exclude={"licence"})


def _short(plain: object) -> str:
    return canonical_digest(plain)[:_LENGTH]
