"""Lay limits over a policy, as a trial: nobody's file changes, and nothing is enforced by it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import ValidationError

from sdi_gate.errors import UsageError
from sdi_gate.policy.chain.canonical import digest_of
from sdi_gate.policy.format.limits import Limits
from sdi_gate.policy.format.schema import Policy
from sdi_gate.policy.format.section import keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdi_gate.policy.loader import LoadedPolicy

Plain: TypeAlias = dict[str, Any]  # a policy as plain data, as its file has it
_STEPS = ("warn", "fail")
_HINT = "write RULE.STEP=NUMBER, such as sdi.fail=0.35 or behaviour.nll-change.warn=0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Hold a step of a limit that is tried.

    Attributes:
        path: Keys below ``limits``, such as ``("behaviour", "nll-change")``.
        step: ``warn`` or ``fail``.
        value: The number.
    """

    path: tuple[str, ...]
    step: str
    value: float

    @property
    def rule(self) -> str:
        """Return the rule, as findings have it."""
        return ".".join(("limits", *self.path))

    def __str__(self) -> str:
        """Return ``RULE.STEP=NUMBER``."""
        return f"{'.'.join(self.path)}.{self.step}={self.value!r}"


def parse_trial(text: str) -> Trial:
    """Read what is to be tried.

    Args:
        text: ``RULE.STEP=NUMBER``; the rule as reports name it, with or without ``limits.``.

    Returns:
        The trial.

    Raises:
        UsageError: If the text is not such, or no policy could have this limit.
    """
    left, sign, number = text.partition("=")
    *keys, step = left.strip().removeprefix("limits.").split(".")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not sign or step not in _STEPS or not keys or not math.isfinite(value):
        msg = f"cannot try {text!r}: a rule, warn or fail, and a finite number are needed"
        raise UsageError(msg, hint=_HINT)
    trial = Trial(path=_path(keys), step=step, value=value)
    _check(trial, text)
    return trial


def tried(loaded: LoadedPolicy, trials: Sequence[Trial]) -> LoadedPolicy:
    """Return a policy in which limits are others, for every candidate.

    Each trial replaces its step wherever the policy, a parent or a match block states it, also
    by a looser one; where nobody states it for all, it is added. A warning step that a tried
    failing step overtakes is dropped, and so is a waiver that would raise nothing any more.

    Args:
        loaded: The policy; it stays as it is.
        trials: What is tried; of two for one step the later counts.

    Returns:
        The trial policy, with a digest of its own.

    Raises:
        UsageError: If the outcome is no policy.
    """  # noqa: DOC502 - raised by _policy()
    plains = [_plain(level.policy) for level in loaded.levels]
    latest = {(trial.path, trial.step): trial for trial in trials}
    for trial in latest.values():
        for plain in plains:
            _replace(plain, trial)
        if not any(trial.step in (_at(plain, trial.path) or {}) for plain in plains):
            _add(plains[-1], trial)
    for plain in plains:
        _settle(plain, latest)
    levels = tuple(
        replace(level, policy=_policy(plain, level.file))
        for level, plain in zip(loaded.levels, plains, strict=True)
    )
    return replace(loaded, levels=levels, digest=digest_of(levels))


def _path(keys: list[str]) -> tuple[str, ...]:
    # Names of layer groups hold dots of their own.
    match keys:
        case ["by-stratum" | "by-layer" | "by-role" as head, *name, metric] if name:
            return (head, ".".join(name), metric)
        case ["predicted-degradation", "axes", *name] if name:
            return ("predicted-degradation", "axes", ".".join(name))
        case _:
            return tuple(keys)


def _check(trial: Trial, text: str) -> None:
    limit: Plain = {trial.step: trial.value}
    if trial.path[0] == "predicted-degradation":
        limit["confidence"] = 0.5  # the policy's own counts
    for key in reversed(trial.path):
        limit = {key: limit}
    try:
        Limits.model_validate(limit)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        known = trial.path[0] in keys_of(Limits)
        why = error["msg"] if known else f"known are {', '.join(keys_of(Limits))}"
        msg = f"cannot try {text!r}: {'.'.join(map(str, error['loc']))}: {why}"
        raise UsageError(msg, hint=_HINT) from exc


def _plain(policy: Policy) -> Plain:
    return policy.model_dump(mode="json", by_alias=True, exclude_none=True)


def _policy(plain: Plain, file: str) -> Policy:
    try:
        return Policy.model_validate(plain)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, error["loc"]))
        msg = f"{file}: the trial is no policy: {where}: {error['msg']}"
        raise UsageError(msg, hint="try limits that the policy could have") from exc


def _sections(plain: Plain) -> Iterator[Plain]:
    yield plain
    yield from plain.get("match", ())


def _at(section: Plain, path: tuple[str, ...]) -> Plain | None:
    found: Plain | None = section.get("limits")
    for key in path:
        found = found and found.get(key)
    return found


def _replace(plain: Plain, trial: Trial) -> None:
    for section in _sections(plain):
        limit = _at(section, trial.path)
        if limit is not None and trial.step in limit:
            limit[trial.step] = trial.value


def _add(plain: Plain, trial: Trial) -> None:
    found = plain.setdefault("limits", {})
    for key in trial.path:
        found = found.setdefault(key, {})
    found[trial.step] = trial.value


def _settle(plain: Plain, latest: dict[tuple[tuple[str, ...], str], Trial]) -> None:
    for (path, step), trial in latest.items():
        lower = path == ("coverage",)
        for section in _sections(plain):
            limit = _at(section, path) or {}
            both = "warn" in limit and "fail" in limit
            late = both and (
                limit["warn"] < limit["fail"] if lower else limit["warn"] > limit["fail"]
            )
            if late and (path, "warn") not in latest:
                del limit["warn"]
        if step == "fail":
            _drop_waivers(plain, trial, lower=lower)


def _drop_waivers(plain: Plain, trial: Trial, *, lower: bool) -> None:
    def raises(waiver: Plain) -> bool:
        limit = waiver["limit"]
        return bool(limit < trial.value if lower else limit > trial.value)

    waivers = [
        waiver
        for waiver in plain.get("waivers", ())
        if waiver["metric"] != ".".join(trial.path) or raises(waiver)
    ]
    if waivers:
        plain["waivers"] = waivers
    else:
        plain.pop("waivers", None)
