"""Follow what a policy extends, from file to file up to the root, and refuse what loosens it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from sdi_gate.errors import PolicyError
from sdi_gate.files import read_at_most
from sdi_gate.policy.chain.levels import Level
from sdi_gate.policy.chain.matching import block_problems, selectors_of
from sdi_gate.policy.chain.references import PolicyRef, ReferenceFormError, Scheme, parse_reference
from sdi_gate.policy.chain.rules import rules_of
from sdi_gate.policy.chain.tightening import loosening_problems
from sdi_gate.policy.chain.waivers import waiver_problems
from sdi_gate.policy.format.places import Problem
from sdi_gate.policy.format.reading import MAX_SIZE_BYTES, listed, read_model
from sdi_gate.policy.format.schema import Policy

if TYPE_CHECKING:
    from sdi_gate.policy.chain.references import PolicySources

MAX_LEVELS = 8
# Families times models: what is demanded of each is part of the policy's identity.
MAX_KINDS = 2500
# Each rule is looked at for each kind, several times.
MAX_CELLS = 250_000
_NO_LIMIT = (
    "limits: the policy sets no limit for all; a candidate that no match block is for would be"
    " judged by nothing"
)

HINT = "docs/policies.md and the comments in policies/default.yml say what a policy may demand."


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Read a file.

    Args:
        path: The file.

    Returns:
        Its content, cut one byte above the size that a policy may have.

    Raises:
        PolicyError: If it cannot be read.
    """
    try:
        return read_at_most(path, MAX_SIZE_BYTES)
    except OSError as exc:
        msg = f"{path}: the policy cannot be read: {exc.strerror}"
        raise PolicyError(msg, hint=HINT) from exc


def read_chain(content: bytes, ref: PolicyRef, sources: PolicySources | None) -> tuple[Level, ...]:
    """Read a policy and all that it extends.

    Args:
        content: The policy itself.
        ref: Where it came from; what it names without a repository is beside it.
        sources: What fetches policies from elsewhere; None refuses them.

    Returns:
        The levels, the root ancestor first; every one only tightens those before it.

    Raises:
        PolicyError: If a file cannot be read, is not a policy, or loosens what it extends.
    """  # noqa: DOC502 - raised by the steps
    step = _Step(ref=ref, level=_read(content, str(ref)))
    steps = [step]
    while step.level.policy.extends is not None:
        ref = _parent(step)
        _refuse_a_cycle(steps, ref)
        step = _Step(ref=ref, level=_fetch(step, ref, sources))
        steps.append(step)
    levels = _with_days(tuple(step.level for step in reversed(steps)))
    _check(levels)
    return levels


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """Hold a file of the chain with the reference by which it was found."""

    ref: PolicyRef
    level: Level


def _read(content: bytes, path: str) -> Level:
    policy, document = read_model(content, path=path, model=Policy, hint=HINT)
    return Level(policy=policy, file=path, places=document.values)


def _refusal(level: Level, why: str) -> PolicyError:
    problem = Problem(level.place(("extends",)), f"extends: {why}")
    return PolicyError(listed(level.file, [problem]), hint=HINT)


def _parent(step: _Step) -> PolicyRef:
    try:
        ref = parse_reference(step.level.policy.extends or "")
        if ref.scheme is not Scheme.FILE:
            return ref
        if step.ref.scheme is not Scheme.FILE:
            return step.ref.beside(ref.path)
    except ReferenceFormError as exc:
        raise _refusal(step.level, str(exc)) from exc
    # Not resolved, so that messages name the file as the user did.
    beside = FilePath(step.ref.path).parent / ref.path
    return replace(ref, path=os.path.normpath(beside))


def _refuse_a_cycle(steps: list[_Step], ref: PolicyRef) -> None:
    names = [_identity(step.ref) for step in steps]
    last = steps[-1].level
    if _identity(ref) in names:
        round_trip = [str(step.ref) for step in steps[names.index(_identity(ref)) :]]
        raise _refusal(last, f"a cycle: {' extends '.join([*round_trip, str(ref)])}")
    if len(steps) == MAX_LEVELS:
        raise _refusal(last, f"a chain of more than {MAX_LEVELS} policies; merge some of them")


def _identity(ref: PolicyRef) -> str:
    return os.path.realpath(ref.path) if ref.scheme is Scheme.FILE else str(ref)


def _fetch(step: _Step, ref: PolicyRef, sources: PolicySources | None) -> Level:
    if ref.scheme is Scheme.FILE:
        try:
            return _read(read_at_most(ref.path, MAX_SIZE_BYTES), ref.path)
        except OSError as exc:
            why = f"{ref} cannot be read: {exc.strerror}"
            raise _refusal(step.level, why) from exc
    if sources is None:
        raise _refusal(step.level, f"{ref} is elsewhere, and nothing may be fetched here")
    return _read(sources.read(ref), str(ref))


def _with_days(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    # No file grants itself longer waivers than the files before it allow.
    days: int | None = None
    found = []
    for level in levels:
        stated = [day for day in (days, level.policy.maximum_waiver_days) if day is not None]
        days = min(stated, default=level.maximum_waiver_days)
        found.append(replace(level, maximum_waiver_days=days))
    return tuple(found)


def _check(levels: tuple[Level, ...]) -> None:
    for index, level in enumerate(levels):
        # First, for the checks below take time for each of them.
        problems = _too_many(levels[: index + 1])
        if problems:
            raise PolicyError(listed(level.file, problems), hint=HINT)
        problems = [
            *block_problems(level),
            *waiver_problems(level),
            *loosening_problems(level, levels[:index]),
        ]
        if level is levels[-1] and not any(rules_of(each.policy.limits) for each in levels):
            problems.append(Problem(level.place(()), _NO_LIMIT))
        if problems:
            raise PolicyError(listed(level.file, problems), hint=HINT)


def _too_many(levels: tuple[Level, ...]) -> list[Problem]:
    kinds, place = len(selectors_of(levels)), levels[-1].place(("match",))
    if kinds > MAX_KINDS:
        message = f"match: the blocks tell more than {MAX_KINDS} kinds of candidates apart"
        return [Problem(place, message)]
    stated = [level.policy.limits for level in levels]
    stated += [block.limits for level in levels for block in level.policy.match or ()]
    rules = sum(len(rules_of(limits)) for limits in stated)
    if kinds > 1 and kinds * rules > MAX_CELLS:
        message = (
            f"match: {kinds} kinds of candidates and {rules} limits are too many together; at most"
            f" {MAX_CELLS:,} pairs of both are judged"
        )
        return [Problem(place, message)]
    return []
