"""Form the identity of a policy: equal for equal demands, however and in how many files."""

from __future__ import annotations

import hashlib
import json
from functools import reduce
from typing import TYPE_CHECKING

from sdi_gate.policy.chain.demands import stricter
from sdi_gate.policy.chain.matching import demands_of, selectors_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.policy.chain.demands import Demands, RuleLimit, Sourced
    from sdi_gate.policy.chain.levels import Level
    from sdi_gate.policy.format.places import Plain


def digest_of(levels: Sequence[Level]) -> str:
    """Return the identity of a policy.

    Args:
        levels: Its files, the root ancestor first.

    Returns:
        ``sha256:`` and the digest of :func:`canonical_text`.
    """
    return f"sha256:{hashlib.sha256(canonical_text(levels).encode()).hexdigest()}"


def canonical_text(levels: Sequence[Level]) -> str:
    """Return what a policy means, in one form.

    It holds the metadata of the policy itself; the documentation of all levels; what is demanded
    of every kind of candidate that match blocks tell apart, the stricter of all levels; and for
    each level with waivers these, with what that level demands, and what all levels without demand
    together, because a waiver raises the limits of its own file only, and another file that demands
    as much is not raised. It does not hold comments, order, quotes, names of files, lines, nor over
    how many files the demands are spread.

    Args:
        levels: Its files, the root ancestor first.

    Returns:
        JSON: keys sorted, no spaces, ASCII.
    """
    documentation: dict[str, Plain] = {}
    for level in levels:
        documentation |= level.policy.documentation or {}
    last = levels[-1]
    waiving = [level for level in levels if level.policy.waivers]
    meaning: dict[str, Plain] = {
        "format": "sdi-gate/v1",
        "metadata": last.policy.metadata.model_dump(mode="json", by_alias=True),
        "documentation": documentation,
        "demands": _table(levels, levels),
        "maximum-waiver-days": last.maximum_waiver_days,
        "waived": [
            {
                "demands": _table((level,), levels),
                # Beside a root that is silent on coverage, a limit on it is full coverage.
                "root": level.is_root,
                "waivers": _waivers(level),
            }
            for level in waiving
        ],
    }
    if waiving:
        others = [level for level in levels if not level.policy.waivers]
        meaning["unwaived"] = _table(others, levels) if others else None
    return json.dumps(meaning, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _table(levels: Sequence[Level], of: Sequence[Level]) -> list[Plain]:
    return [
        {
            "family": family,
            "model": model,
            **_meaning(
                reduce(
                    stricter, (demands_of(level, family=family, model=model) for level in levels)
                )
            ),
        }
        for family, model in selectors_of(of)
    ]


def _meaning(demands: Demands) -> dict[str, Plain]:
    bases = None if demands.bases is None else demands.bases.value
    return {
        "mode": demands.mode.value.value,
        "required-tier": demands.required_tier.value.value,
        "standard-errors": demands.standard_errors.value,
        "notices": demands.notices.value,
        "limits": {str(limit): _limit(limit) for limit in demands.limits},
        "calibration-families": _sorted(demands.calibration_families),
        "calibration-pairs": _value(demands.calibration_pairs),
        "calibration-in-scope": _value(demands.calibration_in_scope),
        "parameters": [[name, sourced.value] for name, sourced in demands.parameters],
        "formats": _sorted(demands.formats),
        "bases": None if bases is None else [base.model_dump(mode="json") for base in bases],
        "families": _sorted(demands.families),
        "quantisations": _sorted(demands.quantisations),
        "maximum-age": _value(demands.maximum_age_days),
    }


def _limit(limit: RuleLimit) -> dict[str, Plain]:
    return {
        "warn": _value(limit.warn),
        "fail": _value(limit.fail),
        "confidence": _value(limit.confidence),
    }


def _value(sourced: Sourced[float] | Sourced[int] | Sourced[bool] | None) -> Plain:
    return None if sourced is None else sourced.value


def _sorted(names: Sourced[frozenset[str]] | None) -> Plain:
    return None if names is None else [*sorted(names.value)]


def _waivers(level: Level) -> list[Plain]:
    waivers = sorted(level.policy.waivers or (), key=lambda waiver: waiver.id)
    return [waiver.model_dump(mode="json", by_alias=True) for waiver in waivers]
