"""Draw random policies, children of policies that load on top of them, and random facts.

Numbers come from a coarse grid that floats hold exactly, so that values often lie at a limit.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from sdi_gate.policy.chain.matching import OTHER, demands_of
from sdi_gate.policy.facts import (
    CalibrationFacts,
    Facts,
    ModelIdentity,
    PredictedDegradation,
    Tier,
)
from sdi_gate.policy.loader import LoadedPolicy, parse_policy
from sdi_gate.signals.interface import (
    Estimate,
    Measurement,
    Outcome,
    SignalId,
    SignalName,
    SignalResult,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.policy.chain.demands import Demands
    from sdi_gate.policy.chain.references import PolicyRef

Document = dict[str, Any]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

FAMILIES = ["llama", "qwen"]
MODELS = ["org/a", "org/b"]
DIGESTS = ["sha256:" + digit * 64 for digit in "ab"]
STEPS = [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0]
PATHS = [
    ("sdi",),
    ("predicted-degradation", "mean"),
    ("predicted-degradation", "axes", "skill"),
    ("signals", "curvature-shift"),
    ("behaviour", "nll-change"),
    ("coverage",),
    ("by-stratum", "safety", "kl-divergence"),
    ("by-layer", "layers.*", "weight-geometry"),
    ("by-role", "q", "weight-geometry"),
]
TIERS = ["weights", "probe", "full"]
MODES = ["observe", "warn", "enforce"]


@dataclass
class MemorySources:
    """Hold policies that are elsewhere, by their references."""

    files: Mapping[str, bytes]

    def read(self, ref: PolicyRef) -> bytes:
        return self.files[str(ref)]


def parse(document: Document, *ancestors: Document) -> LoadedPolicy:
    """Load a policy on top of its ancestors, the nearest first."""
    names = [f"org/policies//p{i}.yml@{COMMIT}" for i in range(len(ancestors))]
    chain = [
        {**part, **({"extends": names[i]} if i < len(names) else {})}
        for i, part in enumerate((document, *ancestors))
    ]
    return _parsed(tuple(json.dumps(part) for part in chain), tuple(names))


@lru_cache(maxsize=64)
def _parsed(texts: tuple[str, ...], names: tuple[str, ...]) -> LoadedPolicy:
    files = {name: text.encode() for name, text in zip(names, texts[1:], strict=True)}
    return parse_policy(texts[0].encode(), path="p.yml", sources=MemorySources(files))


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


def present(document: Document) -> Document:
    return {key: value for key, value in document.items() if value is not None}


def put(limits: Document, path: tuple[str, ...], value: Document) -> None:
    for key in path[:-1]:
        limits = limits.setdefault(key, {})
    limits[path[-1]] = value


@st.composite
def steps(draw: st.DrawFn, path: tuple[str, ...]) -> Document:
    low, high = sorted((draw(st.sampled_from(STEPS)), draw(st.sampled_from(STEPS))))
    first, last = (high, low) if path == ("coverage",) else (low, high)
    found = draw(st.sampled_from([{"fail": last}, {"warn": first}, {"warn": first, "fail": last}]))
    if path[0] == "predicted-degradation":
        found = {**found, "confidence": draw(st.sampled_from([0.5, 0.75]))}
    return dict(found)


@st.composite
def limits(draw: st.DrawFn, smallest: int = 1) -> Document:
    found: Document = {}
    for path in draw(st.lists(st.sampled_from(PATHS), min_size=smallest, max_size=4, unique=True)):
        put(found, path, draw(steps(path)))
    return found


@st.composite
def bases(draw: st.DrawFn) -> Document:
    named = present(
        {
            "name": draw(maybe(st.sampled_from(["org/base", "org/other"]))),
            "revision": draw(maybe(st.just(COMMIT))),
            "digest": draw(maybe(st.sampled_from(DIGESTS))),
        }
    )
    return named if {"name", "digest"} & set(named) else {"name": "org/base"}


SELECTORS = [
    present({"family": family, "model": model})
    for family in [None, *FAMILIES]
    for model in [None, *MODELS]
    if family or model
]


@st.composite
def blocks(draw: st.DrawFn) -> list[Document]:
    chosen = draw(st.permutations(SELECTORS))[: draw(st.integers(0, 3))]
    found = [
        present(
            {
                "match": selector,
                "mode": draw(maybe(st.sampled_from(MODES))),
                "required-tier": draw(maybe(st.sampled_from(TIERS))),
                "limits": draw(st.one_of(st.none(), limits())),
            }
        )
        for selector in chosen
    ]
    return [block for block in found if len(block) > 1]


@st.composite
def waivers(draw: st.DrawFn, document: Document) -> list[Document]:
    """Draw waivers that raise limits of a document, in force, expired and to come."""
    found = []
    for path in draw(st.lists(st.sampled_from(PATHS), max_size=3, unique=True)):
        model = draw(st.sampled_from(MODELS))
        steps_of = [
            limit["fail"]
            for part in (document, *document.get("match", ()))
            if part is document or part["match"].get("model", model) == model
            if "fail" in (limit := limit_at(part.get("limits", {}), path))
        ]
        lower = path == ("coverage",)
        room = [step for step in STEPS if steps_of and _looser(step, steps_of, lower=lower)]
        if room:
            first = draw(st.sampled_from([-40, -3, 0, 2]))
            granted = NOW + timedelta(days=first)
            found.append(
                {
                    "id": f"W-{len(found)}",
                    "owner": "team",
                    "reason": "known",
                    "approved-by": "model-governance",
                    "granted": granted.date().isoformat(),
                    "expires": (granted + timedelta(days=draw(st.integers(0, 9))))
                    .date()
                    .isoformat(),
                    "model": model,
                    "metric": ".".join(path),
                    "limit": draw(st.sampled_from(room)),
                }
            )
    return found


def _looser(step: float, others: list[float], *, lower: bool) -> bool:
    return step < min(others) if lower else step > max(others)


def limit_at(found: Document, path: tuple[str, ...]) -> Document:
    for key in path:
        found = found.get(key, {})
    return found


@st.composite
def documents(draw: st.DrawFn, *, waiving: bool = True) -> Document:
    """Draw a policy that extends nothing."""
    document = present(
        {
            "apiVersion": "sdi-gate/v1",
            "kind": "Policy",
            "metadata": {"name": "trial"},
            "mode": draw(maybe(st.sampled_from(MODES))),
            "required-tier": draw(maybe(st.sampled_from(TIERS))),
            "standard-errors": draw(maybe(st.sampled_from([0.0, 1.0, 2.0]))),
            "notices": draw(maybe(st.sampled_from(["warn", "fail"]))),
            "limits": draw(limits()),
            "match": draw(blocks()) or None,
        }
    )
    document |= draw(lists())
    found = draw(waivers(document)) if waiving else []
    return document | ({"waivers": found} if found else {})


@st.composite
def lists(draw: st.DrawFn) -> Document:
    # Rarely more than one of them: a scan that keeps them all would be rare.
    kinds = {
        "required-calibration": st.fixed_dictionaries(
            {"in-scope": st.booleans()},
            optional={
                "families": st.lists(st.sampled_from(FAMILIES), min_size=1, unique=True),
                "min-pairs": st.sampled_from([2, 4]),
            },
        ),
        "required-parameters": st.fixed_dictionaries({"seed": st.sampled_from([0, 1])}),
        "accepted-formats": some_of(["full", "adapter", "gguf"]),
        "allowed-bases": st.lists(bases(), min_size=1, max_size=3, unique_by=repr),
        "allowed-families": some_of(FAMILIES),
        "allowed-quantisations": some_of(["none", "bitsandbytes", "bitsandbytes-nf4"]),
        "maximum-age": st.sampled_from([1.0, 10.0]),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(kinds)), max_size=2, unique=True))
    return {key: draw(kinds[key]) for key in chosen}


def some_of(names: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), min_size=1, unique=True)


@st.composite
def children(draw: st.DrawFn, *ancestors: Document, waiving: bool = True) -> Document:
    """Draw a policy that is mostly no looser than its ancestors, the nearest first."""
    document = draw(documents(waiving=False))
    parts = draw(st.sampled_from(["own", "own", "repeats"]))
    if parts == "repeats":
        for key, value in ancestors[0].items():
            if key != "waivers" and draw(st.booleans()):
                document[key] = copy.deepcopy(value)
    if draw(st.integers(0, 7)):
        _tighten(document, parse(ancestors[0], *ancestors[1:]))
    found = draw(waivers(document)) if waiving else []
    return document | ({"waivers": found} if found else {})


def _tighten(document: Document, parent: LoadedPolicy) -> None:
    """Replace what is looser than the parent's demands by these."""
    for part in (document, *document.get("match", ())):
        names = part.get("match", {}) if part is not document else {}
        for level in parent.levels:
            demands = demands_of(
                level, family=names.get("family", OTHER), model=names.get("model", OTHER)
            )
            _tighten_part(part, demands)
    for level in parent.levels:
        _tighten_lists(document, demands_of(level, family=OTHER, model=OTHER))


def _tighten_part(part: Document, demands: Demands) -> None:
    if "mode" in part:
        part["mode"] = max(part["mode"], demands.mode.value.value, key=MODES.index)
    if "required-tier" in part:
        tier = demands.required_tier.value.value
        part["required-tier"] = max(part["required-tier"], tier, key=TIERS.index)
    for path in PATHS:
        own, known = limit_at(part.get("limits", {}), path), demands.limit(("limits", *path))
        lower = path == ("coverage",)
        if lower and demands.silent_on_coverage and own:
            own.clear()
            own["fail"] = 1.0
        for key in ("warn", "fail") if known else ():
            step = getattr(known, key)
            if step is not None and key in own:
                own[key] = (max if lower else min)(own[key], step.value)
        if known and known.confidence is not None and own:
            own["confidence"] = max(own["confidence"], known.confidence.value)
        if {"warn", "fail"} <= set(own):
            first, last = sorted((own["warn"], own["fail"]), reverse=lower)
            own["warn"], own["fail"] = (first, last) if first != last else (last, last)


def _tighten_lists(document: Document, demands: Demands) -> None:
    if "standard-errors" in document:
        errors = demands.standard_errors.value
        document["standard-errors"] = max(document["standard-errors"], errors)
    if document.get("notices") == "warn":
        document["notices"] = demands.notices.value
    if "maximum-age" in document and demands.maximum_age_days:
        document["maximum-age"] = min(document["maximum-age"], demands.maximum_age_days.value)
    known: dict[str, Any] = {
        "accepted-formats": demands.formats,
        "allowed-families": demands.families,
        "allowed-quantisations": demands.quantisations,
    }
    for key, theirs in known.items():
        if theirs is not None and key in document:
            kept = [name for name in document[key] if name in theirs.value]
            document[key] = kept or sorted(theirs.value)
    if demands.bases is not None and "allowed-bases" in document:
        document["allowed-bases"] = [
            present({**base.model_dump(), "digest": base.digest or DIGESTS[0]})
            for base in demands.bases.value
        ][:1]
    if "required-parameters" in document:
        document["required-parameters"] |= {
            name: int(value.value) for name, value in demands.parameters
        }
    _tighten_calibration(document, demands)


def _tighten_calibration(document: Document, demands: Demands) -> None:
    own = document.get("required-calibration")
    if own is None:
        return
    if demands.calibration_families is not None and "families" in own:
        own["families"] = sorted({*own["families"], *demands.calibration_families.value})
    if demands.calibration_pairs is not None and "min-pairs" in own:
        own["min-pairs"] = max(own["min-pairs"], demands.calibration_pairs.value)
    if demands.calibration_in_scope is not None:
        own["in-scope"] = own["in-scope"] or demands.calibration_in_scope.value


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    # Mostly small, so that much passes.
    value = draw(st.sampled_from([*[0.0] * 8, 0.0625, *STEPS[1:]]))
    return Estimate(value=value, stderr=draw(st.sampled_from([None, None, 0.125])))


@st.composite
def signals(draw: st.DrawFn) -> tuple[SignalResult, ...]:
    found = []
    for name in SignalName:
        outcome = draw(st.sampled_from([*[Outcome.MEASURED] * 29, *Outcome]))
        measured = outcome is Outcome.MEASURED
        behaves = name is SignalName.BEHAVIOUR
        metric = "kl-divergence" if behaves else name.value
        places: list[dict[str, str]] = [
            {"layer": "layers.0"},
            {"layer": "layers.1"},
            {"stratum": "safety"},
            {"layer": "layers.0", "tensor": "w"},
        ]
        rows = [Measurement(metric=metric, estimate=draw(estimates()), **at) for at in places]
        more = [Measurement(metric="nll-change", estimate=draw(estimates()))] if behaves else []
        found.append(
            SignalResult(
                id=SignalId(name=name, version=1, parameters=(("seed", "0"),)),
                outcome=outcome,
                metric=metric,
                estimate=draw(estimates()) if measured else None,
                reason=None if measured else "it did not work",
                measurements=(*rows, *more) if measured else (),
            )
        )
    return tuple(found)


@st.composite
def identities(draw: st.DrawFn, name: str | None) -> ModelIdentity:
    return ModelIdentity(
        reference="x",
        name=name,
        commit=draw(maybe(st.just(COMMIT))),
        digest=draw(maybe(st.sampled_from(DIGESTS))),
        format=draw(st.sampled_from([None, "full", "full", "adapter"])),
        quantisation=draw(st.sampled_from([None, "none", "none", "bitsandbytes-nf4"])),
    )


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    """Draw what a scan found; names may be unknown, or ones that no policy knows."""
    return Facts(
        tier=draw(st.sampled_from([Tier.FULL, Tier.FULL, Tier.FULL, *Tier])),
        coverage=draw(st.sampled_from([1.0, 1.0, 1.0, 1.0, 0.75, 0.5])),
        sdi=draw(st.one_of(estimates(), estimates(), estimates(), st.none())),
        sdi_plus=None,
        signals=draw(signals()),
        notices=draw(st.sampled_from([(), (), ("a notice",)])),
        base=draw(maybe(identities(draw(st.sampled_from([None, "org/base"]))))),
        candidate=draw(identities(draw(st.sampled_from([*MODELS, *MODELS, "org/new", None])))),
        family=draw(st.sampled_from([None, *FAMILIES, "gemma"])),
        calibration=draw(
            maybe(
                st.builds(
                    CalibrationFacts,
                    name=st.just("c"),
                    fitted=st.sampled_from([True, True, False]),
                    families=st.sampled_from([None, ("llama",), ("llama", "qwen")]),
                    num_pairs=st.sampled_from([None, 2, 4]),
                    out_of_scope=st.sampled_from([None, None, "too large"]),
                )
            )
        ),
        predictions=tuple(
            PredictedDegradation(
                axis=axis,
                value=0.0,
                upper=draw(st.sampled_from([0.0, 0.0, 0.0, *STEPS])),
                level=draw(st.sampled_from([0.75, 0.75, 0.5])),
            )
            for axis in ("mean", "skill")
        ),
        tensor_roles=(("w", ("q",)),),
        measured_at=draw(st.sampled_from([None, NOW, NOW - timedelta(days=3)])),
    )


@st.composite
def families_of_policies(draw: st.DrawFn, *, waiving: bool = True) -> tuple[Document, Document]:
    """Draw a policy and one that may extend it."""
    parent = draw(documents(waiving=waiving))
    return parent, draw(children(parent, waiving=waiving))
