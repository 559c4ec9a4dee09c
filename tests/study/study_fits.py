"""Make small fits whose numbers a test sets as it likes."""

from __future__ import annotations

import study_rows

from sdi_gate.study.fit.fit import fit_study
from sdi_gate.study.row import Feature

FAMILIES = ("llama", "phi", "qwen")
HOSTILE = '<script>alert(1)</script>|[x](http://evil.example) `$&" @you #1 *b*'


def rows(**settings):
    return study_rows.rows(FAMILIES, **{"bases": 2, "variants": 6} | settings)


def failed(row, reason):
    changes = {"status": "failed", "reason": reason, "features": {}, "benchmarks": {}, "tier": None}
    return row.model_copy(update=changes)


def fitted(made):
    return fit_study(made)


def with_tier(fit, name="full", **changes):
    tier = fit.tiers[name].model_copy(update=changes)
    return fit.model_copy(update={"tiers": {**fit.tiers, name: tier}})


def with_evidence(fit, index="sdi", **changes):
    """Put other evidence into an index of tier full."""
    entry = getattr(fit.tiers["full"], index)
    evidence = entry.evidence.model_copy(update=changes)
    return with_tier(fit, **{index: entry.model_copy(update={"evidence": evidence})})


def with_index(fit, index="sdi", **changes):
    return with_tier(fit, **{index: getattr(fit.tiers["full"], index).model_copy(update=changes)})


def varied(made):
    """Give rows variants with recipes, and a micro-benchmark that follows what was lost."""
    return [_varied(row, place % 4) for place, row in enumerate(made)]


def _varied(row, which):
    micro = Feature(overall=row.features["behaviour/kl-divergence"].overall, stderr=None)
    recipes = (
        {"method": "noise", "relative": 0.4, "seed": row.pair.count("1")},
        {"method": "train", "texts": {"junk": 0.5, "replay": 0.5}, "steps": 40, "lora_rank": 0},
        {"method": "ablate", "layer": len(row.base)},
        {"method": "prune", "share": _share_of(row.pair)},
    )
    return row.model_copy(
        update={
            "variant": recipes[which]["method"],
            "dose": (0.4, 1.0, None, 0.5)[which],
            "recipe": recipes[which],
            "features": row.features | {"micro-benchmark/drop": micro},
            "num_parameters": 300_000 + 1000 * len(row.family),
        }
    )


def _share_of(text):
    return sum(map(ord, text)) / 10_000
