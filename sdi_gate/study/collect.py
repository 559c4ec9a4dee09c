"""Join units to rows: a row is there as soon as all that it needs has ended, well or not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sdi_gate.errors import UsageError
from sdi_gate.study.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sdi_gate.study.manifest import Manifest
    from sdi_gate.study.plan import PlannedPair
    from sdi_gate.study.units import Done, UnitStore

MICRO_BENCHMARK = "micro-benchmark/drop"
MICRO = "micro-"
_MEASURED = ("tier", "versions", "seeds", "signal_ids", "probe")
_NOTHING: Mapping[str, Any] = {
    "tier": None,
    "versions": {},
    "seeds": {},
    "signal_ids": (),
    "probe": None,
}


def collect(
    manifest: Manifest, planned: Iterable[PlannedPair], store: UnitStore
) -> tuple[Row, ...]:
    """Make a row of every pair whose work has ended.

    Args:
        manifest: The manifest.
        planned: The pairs to look at.
        store: The files of the units.

    Returns:
        Rows in the order of the pairs: complete, or failed with the reasons of all its steps. A
        pair whose models were not built has ended; any other when it is measured and both its
        models are evaluated.

    Raises:
        UsageError: If the payload of a unit does not belong into a row.
    """  # noqa: DOC502 - raised by the making
    rows = (_sound_row(manifest, entry, store) for entry in planned)
    return tuple(row for row in rows if row is not None)


def _sound_row(manifest: Manifest, entry: PlannedPair, store: UnitStore) -> Row | None:
    try:
        return _row(manifest, entry, store)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
        where = str(store.path(entry.measure))
        msg = f"the units of {entry.pair.pair!r} make no row: {type(exc).__name__}: {exc}"
        raise UsageError(msg, hint=f"remove {where!r} and those of its models") from exc


def _row(manifest: Manifest, entry: PlannedPair, store: UnitStore) -> Row | None:
    steps = {
        "build": store.read(entry.build) if entry.build is not None else None,
        "measure": store.read(entry.measure),
        "evaluate base": store.read(entry.base),
        "evaluate candidate": store.read(entry.candidate),
    }
    if not _has_ended(entry, steps):
        return None
    failures = [
        f"{name}: {done.reason}" for name, done in steps.items() if done is not None and done.failed
    ]
    failures += _moved(steps)
    scores = _benchmarks(steps["evaluate base"], steps["evaluate candidate"])
    plain = {
        **_identity(manifest, entry),
        **_measured(steps["measure"]),
        "features": _features(steps["measure"], scores),
        "num_parameters": _num_parameters(entry, steps),
        "status": "failed" if failures else "complete",
        "reason": "; ".join(failures) or None,
        "benchmarks": {axis: both for axis, both in scores.items() if not _is_micro(axis)},
        "cost": _cost(steps),
    }
    return _validated(plain, store.path(entry.measure))


def _has_ended(entry: PlannedPair, steps: Mapping[str, Done | None]) -> bool:
    built = steps["build"]
    if built is not None and built.failed:
        return True
    needed = [name for name in steps if name != "build" or entry.build is not None]
    return all(steps[name] is not None for name in needed)


def _validated(plain: dict[str, Any], path: Path) -> Row:
    try:
        return Row.model_validate(plain)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        msg = f"the units of {plain['pair']!r} make no row: {where}: {first['msg']}"
        raise UsageError(msg, hint=f"remove {str(path)!r}, and run again") from exc


def _moved(steps: Mapping[str, Done | None]) -> list[str]:
    # A branch may have been pushed to between the two.
    measured = steps["measure"]
    commits = measured.payload.get("commits", {}) if measured is not None else {}
    found = []
    for side in ("base", "candidate"):
        evaluated = steps[f"evaluate {side}"]
        commit = evaluated.payload.get("commit") if evaluated is not None else None
        before = commits.get(side)
        if commit is not None and before is not None and commit != before:
            found.append(f"evaluate {side}: commit {commit}, but {before} was measured")
    return found


def _identity(manifest: Manifest, entry: PlannedPair) -> dict[str, Any]:
    pair = entry.pair
    return {
        "schema": 1,
        "key": entry.key,
        "population": manifest.population.value,
        "scale": manifest.scale,
        "pair": pair.pair,
        "family": pair.family,
        "size": pair.size,
        "seed": pair.seed,
        "base": pair.cluster,
        "kind": pair.kind.value,
        "variant": pair.variant,
        "dose": pair.dose,
        "recipe": pair.recipe,
    }


def _measured(done: Done | None) -> dict[str, Any]:
    if done is None or done.failed:
        return dict(_NOTHING)
    found = {name: done.payload.get(name, _NOTHING[name]) for name in _MEASURED}
    return found | {"signal_ids": tuple(found["signal_ids"])}


def _features(
    measured: Done | None, scores: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    found = dict(measured.payload["features"]) if measured and not measured.failed else {}
    small = {axis.removeprefix(MICRO): both for axis, both in scores.items() if _is_micro(axis)}
    if not small:
        return found
    # A quick look at the same axes is a rival of the signals, and no outcome.
    drops = {axis: both["base"] - both["candidate"] for axis, both in small.items()}
    errors = [math.hypot(both["base_stderr"], both["candidate_stderr"]) for both in small.values()]
    feature = {
        "overall": math.fsum(max(0.0, drop) for drop in drops.values()) / len(drops),
        "stderr": math.hypot(*errors) / len(errors),
        "strata": drops,
    }
    return found | {MICRO_BENCHMARK: feature}


def _is_micro(axis: str) -> bool:
    return axis.startswith(MICRO)


def _num_parameters(entry: PlannedPair, steps: Mapping[str, Done | None]) -> int | None:
    for name in ("measure", "build"):
        done = steps[name]
        count = done.payload.get("num_parameters") if done is not None else None
        if isinstance(count, int):
            return count
    return entry.pair.num_parameters


def _benchmarks(base: Done | None, candidate: Done | None) -> dict[str, dict[str, Any]]:
    if base is None or candidate is None or base.failed or candidate.failed:
        return {}
    ours, theirs = base.payload["scores"], candidate.payload["scores"]
    return {
        axis: {
            "base": ours[axis]["value"],
            "base_stderr": ours[axis]["stderr"],
            "candidate": theirs[axis]["value"],
            "candidate_stderr": theirs[axis]["stderr"],
            "n": min(ours[axis]["n"], theirs[axis]["n"]),
        }
        for axis in ours
        if axis in theirs
    }


def _cost(steps: Mapping[str, Done | None]) -> dict[str, float | None]:
    evaluated = [steps["evaluate base"], steps["evaluate candidate"]]
    seconds = [done.seconds for done in evaluated if done is not None]
    build, measure = steps["build"], steps["measure"]
    return {
        "build_s": build.seconds if build is not None else None,
        "measure_s": measure.seconds if measure is not None else None,
        "evaluate_s": sum(seconds) if seconds else None,
    }
